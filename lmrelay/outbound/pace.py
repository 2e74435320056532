"""
How fast: so many a second, with a second's worth at once after a rest.

Pure. Times are seconds of one clock that never goes back.
"""

from __future__ import annotations

from attrs import define, field


@define(eq=False)
class Pace:
    """
    A bucket that holds what may begin in one second, at least one, and fills at C{rate} a second; None: without end.

    Whatever the rate, nothing begins during a L{pause}.

    Kept as the time at which the next would be due if all came evenly: it needs no refilling.
    """

    rate: float | None = None
    _due: float = field(default=0.0, init=False)
    _paused_until: float = field(default=0.0, init=False)

    def adopt(self, rate: float | None) -> None:
        """
        Another rate holds from now on; what was taken at the old one does not count.
        """
        if rate != self.rate:
            self.rate, self._due = rate, 0.0

    @property
    def ready_at(self) -> float:
        """
        From when on the next may begin.
        """
        if self.rate is None:
            return self._paused_until
        return max(self._paused_until, self._due - max(0.0, 1.0 - 1.0 / self.rate))

    def pause(self, until: float) -> None:
        """
        Let nothing begin before then.
        """
        self._paused_until = until

    def take(self, now: float) -> None:
        """
        One begins now.
        """
        if self.rate is not None:
            self._due = max(self._due, now) + 1.0 / self.rate
