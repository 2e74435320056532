"""
What waits to be written: in two lines, one of which may overtake the other.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred

MAX_BATCH = 200
"""
Writes in one commit: at most half of them are such that somebody waits for, and half others, so neither holds up the
other for longer than the commit of half a batch.
"""

LONG = 0.05
"""
Seconds that others may take of a commit, syncs apart, before fewer of them go into the next: an outcome that makes a
notification takes as long as twenty messages.
"""

LEAST_OTHERS = 10


@define(eq=False)
class Waiting:
    """
    One write, the item that it is of, and who is to hear of it. C{urgent}: somebody waits for it at the other end of a
    wire.
    """

    write: Any
    item: Any
    urgent: bool = False
    result: Deferred[Any] = field(factory=Deferred)
    answer: Any = None


@define(eq=False)
class Backlog:
    """
    What waits to be written.
    """

    _urgent: deque[Waiting] = field(factory=deque, init=False)
    _others: deque[Waiting] = field(factory=deque, init=False)
    _most_others: int = field(default=MAX_BATCH // 2, init=False)

    def __len__(self) -> int:
        return len(self._urgent) + len(self._others)

    @property
    def is_urgent(self) -> bool:
        """
        Does somebody wait for any of it?
        """
        return bool(self._urgent)

    def add(self, one: Waiting) -> None:
        """
        It waits behind what is as urgent.
        """
        (self._urgent if one.urgent else self._others).append(one)

    def take(self) -> list[Waiting]:
        """
        What goes into the next commit.
        """
        return [
            waiting.popleft()
            for waiting, most in ((self._urgent, MAX_BATCH // 2), (self._others, self._most_others))
            for _ in range(min(len(waiting), most))
        ]

    def note(self, seconds: float) -> None:
        """
        It took so long to write the others of what was taken last.
        """
        if seconds > LONG:
            self._most_others = max(LEAST_OTHERS, self._most_others // 2)
        else:
            self._most_others = min(MAX_BATCH // 2, self._most_others * 2)
