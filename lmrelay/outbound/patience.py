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
    _fires_at: float = field(default=FOREVER, init=False)

    def have(self, seconds: float | None, now: float | None = None) -> None:
        """
        From C{now} (what the clock says, if somebody has asked it) so long; None: as long as it takes.

        The timer is moved when it fires, not at each call: that is many times cheaper.
        """
        if seconds is None:
            self._deadline = FOREVER
            return
        self._deadline = (self.clock.seconds() if now is None else now) + seconds
        if self._timer is not None and self._fires_at > self._deadline:
            self.stop()
        if self._timer is None:
            self._begin(seconds)

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
            self._begin(left)
        else:
            self.ended()

    def _begin(self, seconds: float) -> None:
        self._timer, self._fires_at = self.clock.callLater(seconds, self._look), self._deadline
