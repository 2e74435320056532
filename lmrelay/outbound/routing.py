"""
The sites of recipient domains: each asked for once at a time, and remembered for a short while.

Bounded: so many domains at a time, the projects in turn, so that one project's dead domains
do not hold up another's mail.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Union

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from lmrelay.interfaces import ISettings
from lmrelay.mail.outcome import Delayed, Failed, Fault
from lmrelay.outbound.route import Router, Site
from lmrelay.outbound.sites import Held
from lmrelay.tasks import Tasks

MAX_ASKING = 400
MAX_KNOWN = 10_000
FRESH = 30.0
TROUBLE_FRESH = 5.0
"""
Domains asked for at a time, domains remembered, and for how many seconds: the resolver's cache
answers with the zone's own TTL, this one saves the asking.
"""

Found = Union[Site, Failed, Delayed]

log = Logger()


@define(eq=False)
class Routing:
    """
    C{tell(recipients, found)} is called once for all that was added, perhaps at once.
    """

    clock: IReactorTime
    router: Router
    settings: ISettings
    tell: Callable[[Sequence[Held], Found], None]
    max_asking: int = MAX_ASKING
    _tasks: Tasks = field(factory=Tasks, init=False)
    _known: OrderedDict[str, tuple[float, Found]] = field(factory=OrderedDict, init=False)
    _waiting: dict[str, list[Held]] = field(factory=dict, init=False)
    _turns: OrderedDict[str, deque[str]] = field(factory=OrderedDict, init=False)
    _asking: int = field(default=0, init=False)

    def add(self, domain: str, recipients: Sequence[Held]) -> None:
        """
        Find the site of these, which are all at C{domain}.
        """
        known = self._known.get(domain)
        if known is not None and known[0] > self.clock.seconds():
            self.tell(recipients, known[1])
        elif domain in self._waiting:
            self._waiting[domain] += recipients
        else:
            self._waiting[domain] = list(recipients)
            self._turns.setdefault(recipients[0].leased.lane.project, deque()).append(domain)
            self._ask()

    def forget(self) -> None:
        """
        Remember nothing.
        """
        self._known.clear()

    def _ask(self) -> None:
        while self._turns and self._asking < self.max_asking:
            project, domains = self._turns.popitem(last=False)
            domain = domains.popleft()
            if domains:
                self._turns[project] = domains
            self._asking += 1
            self._tasks.start(self._find(domain))

    async def _find(self, domain: str) -> None:
        found: Found
        try:
            found = await self.router.find_site(domain, self.settings.config.server.hostname)
        except Exception:  # noqa: BLE001 - our own fault, logged; it delays mail
            log.failure("routing broke", domain=domain)
            found = Delayed("4.3.0", "the relay had an internal error", Fault.OURS)
        self._asking -= 1
        self._remember(domain, found)
        self.tell(self._waiting.pop(domain), found)
        self._ask()

    def _remember(self, domain: str, found: Found) -> None:
        fresh = TROUBLE_FRESH if isinstance(found, Delayed) else FRESH
        self._known[domain] = (self.clock.seconds() + fresh, found)
        self._known.move_to_end(domain)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
