"""
The sites of recipient domains: each asked for once at a time, and remembered for a short while.

Bounded: so many domains at a time, the projects in turn, so that one project's dead domains
do not hold up another's mail.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable, Sequence
from typing import Any, Union

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from lmrelay.config.values import Config
from lmrelay.interfaces import ISettings
from lmrelay.mail.outcome import Delayed, Failed, Fault
from lmrelay.outbound.route import Router, Site
from lmrelay.outbound.sites import Held
from lmrelay.outbound.sts import StsPolicy
from lmrelay.shares import Shares, Turns
from lmrelay.tasks import Tasks

MAX_ASKING = 400
LEAST_ASKING = 20
MAX_KNOWN = 10_000
FRESH = 30.0
TROUBLE_FRESH = 5.0
"""
Domains asked for at a time, and those for which anybody may ask whatever the others do;
domains remembered, and for how many seconds: the resolver's cache
answers with the zone's own TTL, this one saves the asking.
"""

Found = Union[Site, Failed, Delayed]
FindPolicy = Callable[[str, Hashable], Coroutine["Deferred[Any]", Any, "StsPolicy | None"]]

log = Logger()


async def no_policy(domain: str, whose: Hashable = None) -> StsPolicy | None:
    """
    Nobody published any.
    """
    return None


@define(eq=False)
class Routing:
    """
    C{tell(recipients, found, policy)} is called once for all that was added, perhaps at once; C{policy} is what the
    domain published by MTA-STS, as C{find_policy} has it.
    """

    clock: IReactorTime
    router: Router
    settings: ISettings
    tell: Callable[[Sequence[Held], Found, StsPolicy | None], None]
    find_policy: FindPolicy
    _tasks: Tasks = field(factory=Tasks, init=False)
    _known: OrderedDict[str, tuple[float, Found, StsPolicy | None]] = field(factory=OrderedDict, init=False)
    _waiting: dict[str, list[Held]] = field(factory=dict, init=False)
    _turns: Turns[str] = field(factory=lambda: Turns(Shares(MAX_ASKING, LEAST_ASKING)), init=False)
    _unasked: dict[str, set[Hashable]] = field(factory=dict, init=False)
    _asking: bool = field(default=False, init=False)
    _asked_under: Config | None = field(default=None, init=False)

    def add(self, domain: str, recipients: Sequence[Held]) -> None:
        """
        Find the site of these, which are all at C{domain}.
        """
        if self.settings.config is not self._asked_under:
            self._adopt_settings()
        known = self._known.get(domain)
        if known is not None and known[0] > self.clock.seconds():
            self.tell(recipients, known[1], known[2])
        else:
            self._wait(domain, recipients)

    def _wait(self, domain: str, recipients: Sequence[Held]) -> None:
        if domain not in self._waiting:
            self._waiting[domain] = []
            self._unasked[domain] = set()
        self._waiting[domain] += recipients
        askers = self._unasked.get(domain)
        party = recipients[0].leased.lane.party
        if askers is not None and party not in askers:
            # It is asked for when the first of those who have mail for it has a turn.
            askers.add(party)
            self._turns.add(party, domain)
            self._ask()

    def _adopt_settings(self) -> None:
        """
        Other name servers may answer otherwise, and under another name other hosts are this one.
        """
        self._asked_under = self.settings.config
        self.forget()

    def forget(self) -> None:
        """
        Remember nothing.
        """
        self._known.clear()

    def _ask(self) -> None:
        if self._asking:
            # The outer loop takes up what this call was for; recursion would have no bound.
            return
        self._asking = True
        try:
            while (turn := self._turns.next()) is not None:
                party, domain = turn
                if self._unasked.pop(domain, None) is None:
                    self._turns.end(party)
                else:
                    self._tasks.run(self._find(domain, party))
        finally:
            self._asking = False

    async def _find(self, domain: str, party: Hashable) -> None:
        found: Found
        policy, began = None, self.clock.seconds()
        try:
            # Both at once, so that the one costs no more time than the other takes.
            published = Deferred.fromCoroutine(self.find_policy(domain, party))
            found = await self.router.find_site(domain, self.settings.config.server.hostname, party)
            self._tell_asked(domain, self.clock.seconds() - began)
            policy = await published if isinstance(found, Site) else None
        except Exception:  # noqa: BLE001 - our own fault, logged; it delays mail
            log.failure("routing broke", domain=domain)
            found = Delayed("4.3.0", "the relay had an internal error", Fault.OURS)
        self._turns.end(party)
        self._remember(domain, found, policy)
        self.tell(self._waiting.pop(domain), found, policy)
        self._ask()

    def _tell_asked(self, domain: str, seconds: float) -> None:
        for held in self._waiting[domain]:
            held.asked = seconds

    def _remember(self, domain: str, found: Found, policy: StsPolicy | None) -> None:
        fresh = TROUBLE_FRESH if isinstance(found, Delayed) else FRESH
        self._known[domain] = (self.clock.seconds() + fresh, found, policy)
        self._known.move_to_end(domain)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
