"""
When an endpoint that did not take an event is told again, and how much is asked of one that fails. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field

from lmrelay.interfaces import Telling

MOST = 8
MAX_REQUESTS = 200
"""
Requests at a time, to one endpoint and in all; but an endpoint that has none is never kept waiting for others.
"""

FEW = 3
"""
Failures in a row from which on a pause follows each.
"""

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 10.0
"""
Seconds: less than the first delay of the default schedule, so a few events that wait are each told again in time.
"""


SHORTEST_LIFE = 3600.0
"""
Seconds for which what waits is kept, however short the schedule: behind others it may not have had its turn.
"""


def lifetime(retry: Sequence[float]) -> float:
    """
    Seconds after which what was not taken is given up, though it was not tried as often as the schedule says.
    """
    return max(sum(retry), SHORTEST_LIFE)


def next_try(telling: Telling, ended_at: float, retry: Sequence[float], *, parted: bool = False) -> float | None:
    """
    When it is due again after an attempt that failed then; None: it is given up.

    One that had to wait behind others for its whole L{lifetime} is not kept for longer, unless the clocks have
    C{parted}, so that nobody can tell how long that was.
    """
    made = telling.attempts - telling.earlier
    is_old = not parted and ended_at >= telling.begun_at + lifetime(retry)
    if made >= len(retry) or is_old:
        return None
    return ended_at + retry[made]


@define
class Pace:
    """
    How many requests an endpoint gets at a time: fewer while it fails, and then one at a time with pauses, until one is
    taken. So what a dead endpoint costs does not grow with what waits for it.
    """

    failures: int = field(default=0, init=False)
    resting_until: float = field(default=0.0, init=False)
    _failed_at: float = field(default=0.0, init=False)

    def allowed(self, now: float) -> int:
        """
        So many at a time.
        """
        return 0 if now < self.resting_until else max(1, MOST >> self.failures)

    def succeed(self) -> None:
        """
        It took one.
        """
        self.failures, self.resting_until = 0, 0.0

    def fail(self, begun_at: float, now: float) -> None:
        """
        It did not take one that was begun then. Those that were under way together count once.
        """
        if self.failures and begun_at < self._failed_at:
            return
        self.failures += 1
        self._failed_at = now
        if self.failures > FEW:
            pause = FIRST_PAUSE * 2 ** min(self.failures - FEW - 1, 16)
            self.resting_until = now + min(pause, LONGEST_PAUSE)
