"""
What stands in for the other rooms: projects and the queue, with what they are to say set by the test.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from ssl import SSLContext
from tempfile import TemporaryDirectory
from typing import Any

from attrs import define, evolve, field
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from zope.interface import implementer

from lmrelay.config.project import Project, Route
from lmrelay.config.values import Config, Limits, Listener, Server, ServerTls
from lmrelay.config.words import Security
from lmrelay.errors import Refused
from lmrelay.inbound.factory import SubmissionFactory
from lmrelay.inbound.services import Services
from lmrelay.interfaces import (
    Awaited,
    IAcceptance,
    IBody,
    ICramCredentials,
    IReturns,
    ISettings,
    ISubmitter,
    ITokenCredentials,
    Submission,
)
from lmrelay.mail.address import Address
from lmrelay.mail.reports import Report
from lmrelay.mail.return_path import make_return_path
from lmrelay.server_tls import make_context
from lmrelay.smtp import replies
from lmrelay.smtp.reply import Reply
from lmrelay.testing.certificates import Authority

TOKEN = "lmr_demodemodemo_0123456789012345678901234567890123456789"
OFF_TOKEN = "lmr_switchedoff0_0123456789012345678901234567890123456789"
AUTHORITY = Authority.make()
CERTIFICATE = AUTHORITY.issue("mx.example.org")


def _make_context() -> SSLContext:
    with TemporaryDirectory() as folder:
        context = make_context(ServerTls(*CERTIFICATE.write(Path(folder))))
    if context is None:
        raise RuntimeError("there is a certificate")
    return context


CONTEXT = _make_context()


@implementer(ISettings)
@define(eq=False)
class Settings:
    config: Config


@implementer(ISubmitter)
@define(eq=False)
class Submitter:
    token_id: str = "demodemodemo"
    slug: str = "acme"
    domains: tuple[str, ...] = ("acme.example",)
    refusal: Reply | None = None
    token_gone: bool = False
    configured: Project = field(factory=lambda: Project("acme"))
    _given: Project | None = None

    def project(self) -> Project:
        if self.refusal is not None:
            raise Refused(self.refusal)
        given = evolve(self.configured, slug=self.slug, domains=self.domains)
        # Another only when something was changed, as it is after a reload.
        if self._given is None or given != self._given:
            self._given = given
        return self._given

    def check_token(self) -> None:
        if self.token_gone:
            raise Refused(replies.TOKEN_GONE)

    def check_sender(self, domain: str) -> None:
        if domain.lower() not in self.domains:
            raise Refused(replies.sender_not_allowed(domain, self.slug))

    def validateFrom(self, helo: Any, origin: Any) -> Any:
        return origin

    def validateTo(self, user: Any) -> Any:
        raise NotImplementedError

    def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> bytes:
        return b""


@define(eq=False)
class Realm:
    """
    C{most} sessions are let in; C{inside} are logins less logouts.
    """

    submitter: Submitter = field(factory=Submitter)
    logouts: int = 0
    inside: int = 0
    most: int | None = None

    def requestAvatar(self, avatarId: object, mind: object, *interfaces: object) -> Any:
        if self.most is not None and self.inside >= self.most:
            raise Refused(replies.too_many_connections_of("acme"))
        self.inside += 1
        return ISubmitter, self.submitter, self._logout

    def _logout(self) -> None:
        self.logouts += 1
        self.inside -= 1


@define(eq=False)
class Checker:
    """
    C{answer} in place of a verdict, when set.
    """

    credentialInterfaces = (ITokenCredentials, ICramCredentials)
    answer: Deferred[Any] | None = None
    seen: list[Any] = field(factory=list)

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        self.seen.append(credentials)
        if self.answer is not None:
            return self.answer
        if credentials.checkPassword(OFF_TOKEN.encode()):
            return fail(Refused(replies.smtp_not_enabled("acme")))
        known = credentials.username in (b"lettermint", b"acme")
        if known and credentials.checkPassword(TOKEN.encode()):
            return succeed("acme")
        return fail(Refused(replies.AUTH_INVALID))


@implementer(IBody)
@define(eq=False)
class Body:
    size: int = 0
    octets: bytearray = field(factory=bytearray)
    discarded: int = 0
    waits: list[Deferred[None] | None] = field(factory=list)

    def write(self, octets: bytes) -> Deferred[None] | None:
        self.size += len(octets)
        self.octets += octets
        return self.waits.pop(0) if self.waits else None

    def discard(self) -> None:
        self.discarded += 1
        self.octets.clear()


@implementer(IAcceptance)
@define(eq=False)
class Acceptance:
    """
    C{accepted} are submissions with their bodies' octets. C{answers}, when any, are what the next accepts give (None:
    the message's own id); C{room} and C{quota} what the next look for them raises.
    """

    accepted: list[tuple[Submission, bytes]] = field(factory=list)
    bodies: list[Body] = field(factory=list)
    answers: list[Deferred[Any]] = field(factory=list)
    waits: list[Deferred[None] | None] = field(factory=list)
    room: Exception | None = None
    quota: Exception | None = None

    def check_room(self, declared: int | None) -> None:
        if self.room is not None:
            raise self.room

    def open_body(self) -> Body:
        self.bodies.append(Body(waits=self.waits))
        return self.bodies[-1]

    def check_quota(self, project: str) -> None:
        if self.quota is not None:
            raise self.quota

    def accept(self, submission: Submission, body: Any) -> Deferred[str]:
        self.accepted.append((submission, bytes(body.octets)))
        answer = self.answers.pop(0) if self.answers else succeed(None)
        return answer.addCallback(lambda given: given or submission.id)


@implementer(IReturns)
@define(eq=False)
class Returns:
    """
    C{awaited} by message and number; C{recorded} is what came. C{finds} and C{answers}, when any, are what the next
    calls give, C{fault} what a look raises.
    """

    awaited: dict[tuple[str, int], Awaited] = field(factory=dict)
    recorded: list[tuple[Awaited, Report]] = field(factory=list)
    finds: list[Deferred[Any]] = field(factory=list)
    answers: list[Deferred[Any]] = field(factory=list)
    fault: Exception | None = None

    def find(self, message_id: str, number: int) -> Deferred[Awaited | None]:
        if self.finds:
            return self.finds.pop(0)
        return fail(self.fault) if self.fault else succeed(self.awaited.get((message_id, number)))

    def record(self, awaited: Awaited, report: Report) -> Deferred[bool]:
        self.recorded.append((awaited, report))
        return self.answers.pop(0) if self.answers else succeed(True)


KEY = b"k" * 32
RETURN_DOMAIN = "bounce.acme.example"
MESSAGE = "01jd3k8t5v0000000000000000"
FORGOTTEN = "01jd3k8t5v1111111111111111"


def sign(number: int, message_id: str = MESSAGE, key: bytes = KEY) -> str:
    return str(make_return_path(key, RETURN_DOMAIN, message_id, number))


SIGNED = {
    "signed": sign(0),
    "signed2": sign(1),
    "forgotten": sign(0, FORGOTTEN),
    "forged": sign(0, key=b"j" * 32),
}
"""
Addresses as dialogues call them.
"""


def await_returns(relay: Relay) -> None:
    """
    A route has a return path, and mail to two recipients went out under it.
    """
    project = Project("acme", routes={"outgoing": Route("outgoing", return_path=RETURN_DOMAIN)})
    relay.settings.config = evolve(relay.settings.config, projects={"acme": project}, token_key=KEY)
    for number in range(2):
        address = Address(f"u{number}", "b.example")
        known = Awaited(MESSAGE, number, address, RETURN_DOMAIN, "acme", "outgoing")
        relay.returns.awaited[MESSAGE, number] = known


@define(eq=False)
class Relay:
    """
    Everything a port needs, with doubles for the other rooms.
    """

    security: Security = Security.STARTTLS
    cram: bool = True
    config: Config = field(factory=lambda: Config(Path("/etc/lmrelay.toml"), Server("mx.example.org"), limits=Limits()))
    clock: Clock = field(factory=Clock)
    acceptance: Acceptance = field(factory=Acceptance)
    returns: Returns = field(factory=Returns)
    bounces: bool | None = None
    realm: Realm = field(factory=Realm)
    checker: Checker = field(factory=Checker)
    settings: Settings = field()
    services: Services = field()
    factory: SubmissionFactory = field()

    @settings.default
    def _make_settings(self) -> Settings:
        return Settings(self.config)

    @services.default
    def _make_services(self) -> Services:
        numbers = itertools.count(1)
        return Services(
            self.clock,
            self.settings,
            Portal(self.realm, [self.checker]),
            self.acceptance,
            wall=lambda: 1_800_000_000.0 + self.clock.seconds(),
            entropy=lambda count: next(numbers).to_bytes(count, "big"),
            context=lambda: CONTEXT,
            offer_cram=lambda: self.cram,
            returns=lambda: self.returns,
        )

    @factory.default
    def _make_factory(self) -> SubmissionFactory:
        return SubmissionFactory(self.services, Listener(587, self.security, bounces=self.bounces), 587)
