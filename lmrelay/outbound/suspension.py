"""
Which sites an operator suspended, and the domains whose mail is not taken meanwhile.

Mail for a suspended site waits in the queue, due and untried: in memory it would take the room of other mail. That a
domain is at such a site is believed for a minute; then one look finds out whether it has moved.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

BARRED = 60.0
"""
Seconds.
"""

MAX_BARRED = 100_000

log = Logger()


@define(eq=False)
class Suspension:
    """
    C{sites} are those suspended, each by its hosts in one word.
    """

    clock: IReactorTime
    sites: frozenset[str] = frozenset()
    _until: OrderedDict[str, float] = field(factory=OrderedDict, init=False)

    def change(self, sites: Collection[str]) -> frozenset[str] | None:
        """
        These are suspended now; the answer is those that go on, None where nothing changed.
        """
        new = frozenset(sites)
        if new == self.sites:
            return None
        resumed, begun, self.sites = self.sites - new, new - self.sites, new
        for hosts in sorted(begun):
            log.info("site suspended", site=hosts)
        for hosts in sorted(resumed):
            log.info("site resumed", site=hosts)
        if resumed:
            self._until.clear()
        return resumed

    def bar(self, domain: str) -> None:
        """
        Its mail is for a suspended site.
        """
        self._until[domain] = self.clock.seconds() + BARRED
        self._until.move_to_end(domain)
        while len(self._until) > MAX_BARRED:
            self._until.popitem(last=False)

    def bars(self, domain: str) -> bool:
        """
        Is its mail not to be taken now? After a while one look is let through.
        """
        until = self._until.get(domain)
        if until is None:
            return False
        if until > self.clock.seconds():
            return True
        del self._until[domain]
        return False
