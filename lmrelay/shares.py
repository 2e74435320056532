"""
What many parties draw from one bounded supply, so that none of them can keep the others waiting.

Pure. A party takes no more than is left over for all others: one alone gets half, two that
want everything a third each. It always gets a little, so all that is out is bounded by the
supply and that little for each party.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Generic, TypeVar

from attrs import define, field

T = TypeVar("T")

FRESH = 3
"""
What begins something new may go so many times further: a party's stuck work leaves room
for its other work too.
"""


@define(eq=False)
class Shares:
    """
    A supply of C{total}; a party with less than C{least} of it, or nothing, is never refused.
    """

    total: int
    least: int
    used: int = field(default=0, init=False)
    _of: dict[Hashable, int] = field(factory=dict, init=False)

    def has_room(self, party: Hashable, number: int = 1, *, fresh: bool = False) -> bool:
        """
        May the party take so many more? C{fresh}: for something of which it has nothing yet.
        """
        mine = self._of.get(party, 0)
        return mine < self.least or not mine or mine + number <= self.free * (FRESH if fresh else 1)

    def take(self, party: Hashable, number: int = 1) -> None:
        """
        So many more are the party's.
        """
        self._of[party] = self._of.get(party, 0) + number
        self.used += number

    def give_back(self, party: Hashable, number: int = 1) -> None:
        """
        So many are not any more.
        """
        self.used -= number
        left = self._of.get(party, 0) - number
        if left > 0:
            self._of[party] = left
        else:
            self._of.pop(party, None)

    @property
    def free(self) -> int:
        """
        What nobody has.
        """
        return max(0, self.total - self.used)


@define(eq=False)
class Turns(Generic[T]):
    """
    Things to be done, the parties in turn, as many at a time as their shares allow.
    """

    shares: Shares
    _waiting: OrderedDict[Hashable, deque[T]] = field(factory=OrderedDict, init=False)

    def add(self, party: Hashable, thing: T) -> None:
        """
        Behind all else of the party.
        """
        self._waiting.setdefault(party, deque()).append(thing)

    def next(self) -> tuple[Hashable, T] | None:
        """
        What may be done now, and for whom: it is out of the party's share until L{end}.
        """
        for party in self._waiting:
            if self.shares.has_room(party):
                return party, self._take(party)
        return None

    def _take(self, party: Hashable) -> T:
        things = self._waiting.pop(party)
        thing = things.popleft()
        if things:
            self._waiting[party] = things
        self.shares.take(party)
        return thing

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def end(self, party: Hashable) -> None:
        """
        It is done.
        """
        self.shares.give_back(party)
