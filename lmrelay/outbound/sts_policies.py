"""
The MTA-STS policy of a recipient domain now: from memory, from the store, or fetched where its record changed.

A policy that is kept holds until it expires, whatever DNS and policy host say by then (RFC 8461 §3.3, §5.1).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Protocol

from attrs import define, field
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from lmrelay.config.words import TlsPolicy
from lmrelay.errors import DnsError, FetchError, StoreError, SyntaxRefused
from lmrelay.interfaces import IPolicyStore, IResolver, ISettings, StsRecord
from lmrelay.outbound.sts import MAX_AGE, StsMode, StsPolicy, parse_policy, parse_record
from lmrelay.shares import Shares, Turns
from lmrelay.tasks import Tasks

TXT = 16

PATIENCE = 30.0
"""
Seconds that mail waits for all of it; then it goes by what was known before.
"""

ASK_AGAIN = 300.0
"""
Seconds for which a policy host is not asked again under the same id (RFC 8461 §3.3).
"""

FRESH = 3600.0
MAX_KNOWN = 10_000
"""
Seconds for which the store is not asked again for a domain, and domains of which something is in memory.
"""

MAX_FETCHING = 100
LEAST_FETCHING = 10
"""
Policies fetched at a time, and those that anybody's mail may have fetched whatever the others do.
"""

log = Logger()


class Fetch(Protocol):
    """
    As L{lmrelay.outbound.sts_fetch.PolicyHosts.fetch}.
    """

    def __call__(self, domain: str, whose: Hashable = None) -> Awaitable[bytes]: ...


@define(eq=False)
class _Known:
    """
    What is in memory of a domain. C{kept} is what the store has, until it is asked again. C{asked} is the id under
    which the policy host was asked, whatever came of it, and until when it is not asked again under that.
    """

    kept: StsRecord | None = None
    until: float = 0.0
    asked: str = ""
    asked_until: float = 0.0


@define(eq=False)
class StsPolicies:
    """
    The policies of all domains. C{wall()} is seconds since the epoch, C{store()} what keeps them.
    """

    clock: IReactorTime
    settings: ISettings
    resolver: IResolver
    fetch: Fetch
    wall: Callable[[], float]
    store: Callable[[], IPolicyStore]
    max_known: int = MAX_KNOWN
    failed: Callable[[str, FetchError | SyntaxRefused], None] = lambda domain, error: None
    _known: OrderedDict[str, _Known] = field(factory=OrderedDict, init=False)
    _waiting: dict[str, list[Deferred[None]]] = field(factory=dict, init=False)
    _turns: Turns[tuple[str, str]] = field(factory=lambda: Turns(Shares(MAX_FETCHING, LEAST_FETCHING)), init=False)
    _beginning: bool = field(default=False, init=False)
    _tasks: Tasks = field(factory=Tasks, init=False)

    async def find(self, domain: str, whose: Hashable = None) -> StsPolicy | None:
        """
        The policy for recipients at C{domain} (A-labels), if there is one to go by; within 30 s.

        @param whose: for whom the DNS is asked, as L{IResolver.query} has it
        """
        if not self._is_asked_for(domain):
            return None
        looking = Deferred.fromCoroutine(self._look(domain, whose))
        try:
            await looking.addTimeout(PATIENCE, self.clock)
        except TimeoutError:
            log.warn("mta-sts policy is waited for no longer", domain=domain)
        return self._policy_of(domain)

    def _is_asked_for(self, domain: str) -> bool:
        delivery = self.settings.config.delivery
        own = delivery.domains.get(domain)
        return delivery.mta_sts and not domain.startswith("[") and (own is None or own.tls is not TlsPolicy.NONE)

    def _policy_of(self, domain: str) -> StsPolicy | None:
        kept = self._known[domain].kept if domain in self._known else None
        if kept is None or not self._holds(kept):
            return None
        policy = StsPolicy(StsMode(kept.mode), kept.mx, round(kept.expires_at - kept.fetched_at))
        return policy if policy.mode is not StsMode.NONE else None

    def _holds(self, kept: StsRecord) -> bool:
        # One that was fetched under a clock that was ahead would hold for longer than any policy may.
        return 0.0 < kept.expires_at - self.wall() <= MAX_AGE

    async def _look(self, domain: str, whose: Hashable) -> None:
        known = await self._recall(domain)
        id = await self._ask_id(domain, whose)
        if id is None or (id == known.asked and self.clock.seconds() < known.asked_until):
            return
        kept = known.kept
        if kept is None or kept.id != id or not self._holds(kept):
            await self._fetched(domain, id, whose)
        elif kept.expires_at - self.wall() < self.wall() - kept.fetched_at:
            # In the second half of its life: renewed ahead of time, and nobody has to wait for that.
            self._fetched(domain, id, whose)

    async def _ask_id(self, domain: str, whose: Hashable) -> str | None:
        try:
            answer = await self.resolver.query(f"_mta-sts.{domain}", TXT, whose)
        except DnsError:
            return None
        return parse_record(answer.records)

    async def _recall(self, domain: str) -> _Known:
        """
        What is known of the domain, from the store where it was not asked lately.
        """
        known = self._known.get(domain)
        if known is None:
            known = self._known[domain] = _Known()
        self._known.move_to_end(domain)
        if known.until <= self.clock.seconds():
            try:
                kept = await self.store().find_policy(domain)
            except StoreError as error:
                log.warn("mta-sts policy cannot be read", domain=domain, reason=str(error))
                return known
            if known.kept is None or (kept is not None and kept.fetched_at > known.kept.fetched_at):
                known.kept = kept
            known.until = self.clock.seconds() + FRESH
        while len(self._known) > self.max_known:
            self._known.popitem(last=False)
        return known

    def _fetched(self, domain: str, id: str, whose: Hashable) -> Deferred[None]:
        """
        Fires when the policy was fetched, or could not be. A domain's is fetched once at a time, the parties in turn.
        """
        mine: Deferred[None] = Deferred()
        if domain in self._waiting:
            self._waiting[domain].append(mine)
        else:
            self._waiting[domain] = [mine]
            self._turns.add(whose, (domain, id))
            self._begin()
        return mine

    def _begin(self) -> None:
        if self._beginning:
            # The outer loop takes up what this call was for; recursion would have no bound.
            return
        self._beginning = True
        try:
            while (turn := self._turns.next()) is not None:
                whose, (domain, id) = turn
                self._tasks.run(self._fetch(domain, id, whose))
        finally:
            self._beginning = False

    async def _fetch(self, domain: str, id: str, whose: Hashable) -> None:
        known = self._known.setdefault(domain, _Known())
        try:
            published = parse_policy(await self.fetch(domain, whose))
        except (FetchError, SyntaxRefused) as error:
            self.failed(domain, error)
            log.warn("mta-sts policy cannot be had", domain=domain, id=id, reason=str(error))
        else:
            now, policy = self.wall(), published.policy
            record = StsRecord(domain, id, policy.mode.value, policy.mx, now, now + published.max_age)
            known.kept, known.until = record, self.clock.seconds() + FRESH
            log.info("mta-sts policy fetched", domain=domain, id=id, mode=record.mode, mx=record.mx)
            await self._keep(record)
        finally:
            known.asked, known.asked_until = id, self.clock.seconds() + ASK_AGAIN
            self._turns.end(whose)
            for waiting in self._waiting.pop(domain):
                waiting.callback(None)
            self._begin()

    async def _keep(self, record: StsRecord) -> None:
        try:
            await self.store().keep_policy(record)
        except StoreError as error:
            log.warn("mta-sts policy is kept in memory alone", domain=record.domain, reason=str(error))
