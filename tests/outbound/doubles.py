"""
The neighbours of the delivery service, in memory: queue, connector, connections.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from lmrelay.config.project import Project
from lmrelay.config.values import Config, Server
from lmrelay.config.words import Kind, TlsPolicy
from lmrelay.interfaces import IContent, IQueue, ISettings, Lane, Leased, LeasedRecipient, RecipientKey, SiteState
from lmrelay.mail.address import Address
from lmrelay.mail.envelope import Recipient
from lmrelay.mail.outcome import Attempt, Delayed, Delivered, Failed, Fault, Tls
from lmrelay.outbound.connect import HostFailure, Target
from lmrelay.outbound.steps import Step
from lmrelay.outbound.tls import Demand, Shown, configured
from lmrelay.outbound.trace import Heard
from lmrelay.outbound.verdicts import STOPPING, Reach, Trouble, Verdict, judge_trouble
from lmrelay.smtp.reply import reply

OK = Verdict(Delivered(reply(250, "2.0.0", "taken")))
BUSY = Verdict(Delayed("4.3.2", "later", Fault.RECEIVER, reply(451, "4.3.2", "later")), Reach.HOST)
STALE = Verdict(Delayed("4.4.2", "the connection was lost", Fault.NETWORK), Reach.HOST, stale=True)
LOST = Verdict(Delayed("4.4.2", "the connection was lost", Fault.NETWORK), Reach.HOST)
UNKNOWN = Verdict(Failed("5.1.1", "no such user", Fault.RECIPIENT, reply(550, "5.1.1", "no such user")))
TOO_BIG = Verdict(Failed("5.3.4", "too big", Fault.RECEIVER, reply(552, "5.3.4", "too big")), Reach.MESSAGE)
SLOWER = Verdict(
    Delayed("4.7.0", "slow down", Fault.POLICY, reply(421, "4.7.0", "slow down")), Reach.SITE, slow_down=True
)
SHOWN = Shown("TLSv1.3", "AES", "")
PLAIN = configured(TlsPolicy.NONE)
TLS = Tls("TLSv1.3", "AES", True, "", "opportunistic")


def leased(
    message_id: str, *numbers: int, project: str = "acme", kind: Kind = Kind.TRANSACTIONAL, domain: str = "b.example"
) -> Leased:
    """
    Recipients of one message at one domain.
    """
    recipients = [LeasedRecipient(number, Recipient(Address(f"u{number}", domain))) for number in (numbers or (0,))]
    return Leased(message_id, Lane(project, kind, domain), "outgoing", None, recipients, received_at=1e9)


def config(**changes: object) -> Config:
    projects = {slug: Project(slug) for slug in ("acme", "other")}
    return Config(Path("/etc/lmrelay.toml"), Server("relay.example"), projects=projects, **changes)  # type: ignore[arg-type]


@implementer(ISettings)
@define(eq=False)
class Settings:
    config: Config = field(factory=config)


@implementer(IQueue)
@define(eq=False)
class MemoryQueue:
    """
    Remembers what it was told. With C{slow}, results wait for L{commit}.
    """

    settled: dict[RecipientKey, Attempt] = field(factory=dict)
    settlements: list[tuple[str, dict[int, Attempt]]] = field(factory=list)
    released: list[RecipientKey] = field(factory=list)
    postponed: dict[RecipientKey, float] = field(factory=dict)
    states: list[SiteState] = field(factory=list)
    domains: dict[str, str] = field(factory=dict)
    slow: bool = False
    broken: bool = False
    pending: list[Deferred[None]] = field(factory=list)

    def open_content(self, message_id: str, fields: bytes = b"", above: bytes = b"") -> IContent:
        return message_id  # type: ignore[return-value]

    def settle(self, message_id: str, attempts: Mapping[int, Attempt]) -> Deferred[None]:
        if self.broken:
            raise ValueError("broken")
        self.settlements.append((message_id, dict(attempts)))
        for number, attempt in attempts.items():
            if (message_id, number) in self.settled:
                raise ValueError("settled twice")
            self.settled[message_id, number] = attempt
        return self._soon()

    def release(self, keys: Collection[RecipientKey]) -> Deferred[None]:
        self.released += keys
        return self._soon()

    def postpone(self, keys: Collection[RecipientKey], seconds: float) -> Deferred[None]:
        self.postponed.update(dict.fromkeys(keys, seconds))
        return self._soon()

    def note_site(self, state: SiteState) -> None:
        self.states.append(state)

    def note_domain(self, domain: str, hosts: str) -> None:
        self.domains[domain] = hosts

    def _soon(self) -> Deferred[None]:
        if not self.slow:
            return succeed(None)
        self.pending.append(Deferred())
        return self.pending[-1]

    def commit(self) -> None:
        pending, self.pending = self.pending, []
        for waiting in pending:
            waiting.callback(None)


Script = Callable[[Leased], "Mapping[int, Verdict] | Verdict | Exception | None"]


@define(eq=False)
class FakeConnection:
    """
    Answers every transaction as its connector's script says; None waits for L{answer}.
    """

    connector: FakeConnector
    host: str
    address: str
    shown: Shown | None = None
    demand: Demand = PLAIN
    tls: Tls | None = None
    tls_failure: str = ""
    source: str = ""
    transactions: int = 0
    is_usable: bool = True
    ended: str = ""
    carried: list[Leased] = field(factory=list)
    waiting: Deferred[Mapping[int, Verdict]] | None = None
    at: Step = Step.MAIL
    lost: Callable[[object], None] | None = None
    opening: list[str] = field(factory=list)
    heard: list[Heard] = field(factory=list)
    began: float = 0.0

    def serve(self, demand: Demand) -> None:
        self.demand = demand
        self.tls = demand.describe(self.shown) if self.shown else None

    async def deliver(self, leased, content):
        self.transactions += 1
        self.carried.append(leased)
        said = self.connector.script.get(self.host, lambda leased: OK)(leased)
        if isinstance(said, Exception):
            raise said
        if said is None:
            self.waiting = Deferred()
            said = await self.waiting
        if isinstance(said, Verdict):
            said = {each.number: said for each in leased.recipients}
        if LOST in said.values() or STALE in said.values():
            self.is_usable = False
        return said

    def answer(self, said) -> None:
        waiting, self.waiting = self.waiting, None
        waiting.callback(said)

    def notify_lost(self, lost) -> None:
        self.lost = lost

    def drop(self) -> None:
        """
        The receiver closes it.
        """
        self.is_usable = False
        self.lost(self)

    def close(self) -> None:
        self.is_usable = False
        self.ended = "closed"

    def abort(self, trouble: Trouble = STOPPING) -> None:
        self.is_usable = False
        self.ended = "aborted"
        if self.waiting is not None:
            self.answer(judge_trouble(self.at, trouble))


@define(eq=False)
class FakeConnector:
    """
    Connects at once, except to what is C{down} by host or address, from sources that are C{missing}, or C{held} until
    L{let}.
    """

    script: dict[str, Script] = field(factory=dict)
    down: dict[str, Delayed] = field(factory=dict)
    missing: set[str] = field(factory=set)
    slow_down: bool = False
    of_host: bool = False
    shown: Shown | None = None
    asked: list[tuple[Target, Demand]] = field(factory=list)
    opened: list[FakeConnection] = field(factory=list)
    hold: bool = False
    held: list[Deferred[None]] = field(factory=list)

    async def connect(self, target: Target, demand: Demand):
        self.asked.append((target, demand))
        if self.hold:
            self.held.append(Deferred())
            await self.held[-1]
        if target.source in self.missing:
            return HostFailure(target, Delayed("4.3.0", "no such source", Fault.OURS), False, of_source=True)
        outcome = self.down.get(target.host) or self.down.get(target.address)
        if outcome is not None:
            return HostFailure(target, outcome, self.of_host, self.slow_down)
        connection = FakeConnection(self, target.host, target.address, self.shown, source=target.source)
        connection.serve(demand)
        self.opened.append(connection)
        return connection

    def let(self) -> None:
        """
        Go on with one that was held.
        """
        self.held.pop(0).callback(None)

    def hosts(self) -> list[str]:
        return [target.host for target, _ in self.asked]
