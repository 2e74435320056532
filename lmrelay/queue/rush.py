"""
When what was submitted together is written: when the rush that it came in is over.

A commit costs as much as the writes of several messages, and more while the relay works on something else besides: the
thread of the store and the reactor take turns at the interpreter for every statement. So where many write at a time,
a commit waits until the reactor has little else to do, as far as that shows in what is written to connections. Most of
those who could add to the batch wait for it then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field

PATIENCE = 0.015
"""
Seconds after which a rush is not waited out any longer.
"""

CROWD = 4
"""
So many writes in a commit are of a rush. Whoever is one of fewer does not wait for others.
"""

STILL = 10
"""
So many turns of the reactor without a move are the end of a rush: time enough for a client nearby to answer.
"""


def stand_still() -> int:
    """
    Nothing moves, but for what is submitted.
    """
    return 0


@define(eq=False)
class Rush:
    """
    Calls C{over} when what was noted is to be written: after a commit of few at the end of the turn, after one of many
    at the end of the rush.

    C{reactor} is an L{IReactorTime}. C{moves} counts the turns in which something was written to connections.
    """

    _reactor: Any
    _moves: Callable[[], int]
    _over: Callable[[], None]
    _crowded: bool = field(default=False, init=False)
    _submitted: int = field(default=0, init=False)
    _waits: bool = field(default=False, init=False)
    _seen: int = field(default=0, init=False)
    _still: int = field(default=0, init=False)

    def note(self) -> None:
        """
        Something was submitted.
        """
        self._submitted += 1
        if not self._waits:
            self._wait(self._reactor.seconds())

    def learn(self, writes: int) -> None:
        """
        The last commit was of so many writes.
        """
        self._crowded = writes >= CROWD

    def _wait(self, began: float) -> None:
        self._waits = True
        # It is the reactor's thread: the way for other threads' calls would wake a reactor that is awake.
        self._reactor.callLater(0, self._look, began)

    def _look(self, began: float) -> None:
        # Whatever breaks here, the next to be noted is waited for anew.
        self._waits = False
        seen = self._moves() + self._submitted
        self._still = self._still + 1 if seen == self._seen else 0
        self._seen = seen
        if self._crowded and self._still < STILL and self._reactor.seconds() - began < PATIENCE:
            self._wait(began)
        else:
            self._over()
