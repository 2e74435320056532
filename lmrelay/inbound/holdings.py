"""
What transactions keep in memory until their content is the queue's, recipients and heads: bounded, and shared fairly.

A session that begins a message with a thousand recipients and then waits holds most of a megabyte, for as long as it is
let; what is usual is not counted, so that however much others hold, ordinary mail goes on.
"""

from __future__ import annotations

from attrs import define, field

LIMIT = 128 * 1024 * 1024
RECIPIENT = 1024
"""
Octets that one takes, its parameters included.
"""
USUAL_RECIPIENTS = 20
USUAL_HEAD = 16 * 1024


@define(eq=False)
class Holdings:
    """
    Of all sessions, by project. C{limit} and C{total} are octets.
    """

    limit: int = LIMIT
    total: int = 0
    _of: dict[str, int] = field(factory=dict)

    def take(self, project: str, octets: int) -> bool:
        """
        Count so much more. False, and nothing counted: the project would hold more than it leaves for all others.
        """
        own = self._of.get(project, 0) + octets
        if own > self.limit - self.total - octets:
            return False
        self._of[project] = own
        self.total += octets
        return True

    def give(self, project: str, octets: int) -> None:
        """
        So much is held no more.
        """
        self.total -= octets
        self._of[project] -= octets
        if not self._of[project]:
            del self._of[project]


@define(eq=False)
class Holding:
    """
    Of one transaction.
    """

    holdings: Holdings
    project: str
    _held: int = 0
    _head: int = 0
    _over: bool = False

    def has_room_for_recipient(self, number: int) -> bool:
        """
        May there be one more, after so many? Then it is counted.
        """
        return number < USUAL_RECIPIENTS or self._take(RECIPIENT)

    def has_room_for_head(self, size: int) -> bool:
        """
        May the head be of so many octets? Then they are counted.
        """
        more = size - USUAL_HEAD - self._head
        if more <= 0:
            return True
        if not self._take(more):
            return False
        self._head += more
        return True

    def release(self) -> None:
        """
        The transaction is over, and nothing is counted for it any more. May be said twice.
        """
        # What closes the content comes after this, and nobody would give that back.
        self._over = True
        held, self._held = self._held, 0
        if held:
            self.holdings.give(self.project, held)

    def _take(self, octets: int) -> bool:
        if self._over:
            return True
        if not self.holdings.take(self.project, octets):
            return False
        self._held += octets
        return True
