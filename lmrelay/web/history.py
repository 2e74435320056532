"""
What went on lately, for charts: a sample every few minutes, kept for a day in memory. It begins anew with the process.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from attrs import define, field, frozen

STEP = 300.0
KEPT = 288
"""
Seconds between two samples, and how many are kept: a day.
"""


@frozen
class Totals:
    """
    Counted since the start; C{waiting} is of now (None: not known).
    """

    accepted: float = 0.0
    delivered: float = 0.0
    delayed: float = 0.0
    failed: float = 0.0
    refused: float = 0.0
    waiting: int | None = None


@frozen
class Span:
    """
    What was counted from C{began} until C{ended} (seconds since the epoch).
    """

    began: float
    ended: float
    counted: Totals


def subtract(later: Totals, earlier: Totals) -> Totals:
    """
    What was counted between two looks.
    """
    return Totals(
        later.accepted - earlier.accepted,
        later.delivered - earlier.delivered,
        later.delayed - earlier.delayed,
        later.failed - earlier.failed,
        later.refused - earlier.refused,
        later.waiting,
    )


@define(eq=False)
class History:
    """
    C{count} gives the totals of now.
    """

    _count: Callable[[], Totals]
    _wall: Callable[[], float]
    _last: tuple[float, Totals] = field(init=False)
    _spans: deque[Span] = field(factory=lambda: deque(maxlen=KEPT), init=False)

    @_last.default
    def _begin(self) -> tuple[float, Totals]:
        return self._wall(), self._count()

    def sample(self) -> None:
        """
        A span ends now, and the next begins.
        """
        self._spans.append(self._current())
        self._last = self._begin()

    def _current(self) -> Span:
        began, before = self._last
        return Span(began, self._wall(), subtract(self._count(), before))

    def spans(self) -> Sequence[Span]:
        """
        The spans, the oldest first; the last is under way.
        """
        return (*self._spans, self._current())
