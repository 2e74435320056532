"""
How long a connection waits for what comes next.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime

FOREVER = float("inf")


@define(eq=False)
class Patience:
    """
    Calls C{ended} when what was waited for has not come in time.
    """

    clock: IReactorTime
    ended: Callable[[], None]
    _deadline: float = field(default=FOREVER, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)

    def have(self, seconds: float | None) -> None:
        """
        From now so long; None: as long as it takes.

        The timer is moved when it fires, not at each call: that is many times cheaper.
        """
        if seconds is None:
            self._deadline = FOREVER
            return
        self._deadline = self.clock.seconds() + seconds
        if self._timer is not None and self._timer.getTime() > self._deadline:
            self.stop()
        if self._timer is None:
            self._timer = self.clock.callLater(seconds, self._look)

    def stop(self) -> None:
        """
        Wait for nothing any more.
        """
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _look(self) -> None:
        self._timer = None
        left = self._deadline - self.clock.seconds()
        if left == FOREVER:
            return
        if left > 0:
            self._timer = self.clock.callLater(left, self._look)
        else:
            self.ended()
