"""
One message that comes back to a signed address, without login: MAIL, one RCPT, content in memory, and the commit.

What it says is understood off the reactor thread and recorded; nothing is ever sent in answer, so no loop can arise.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorThreads, IReactorTime
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from lmrelay.errors import Refused, SyntaxRefused
from lmrelay.ids import make_id
from lmrelay.inbound.content import EXCESS, SizeLimit
from lmrelay.inbound.services import Services
from lmrelay.inbound.visitors import Visitors
from lmrelay.interfaces import Awaited
from lmrelay.mail.address import Address
from lmrelay.mail.envelope import Recipient
from lmrelay.mail.reports import Kind, Report, understand
from lmrelay.mail.return_path import Origin, read_return_path
from lmrelay.smtp import replies
from lmrelay.smtp.commands import Mail
from lmrelay.smtp.data import ChunkReader, DataReader
from lmrelay.smtp.reply import Reply

T = TypeVar("T")


@define(eq=False)
class Visit:
    """
    A session's way to bring mail without login. C{is_welcome}: it had a recipient that is awaited.
    """

    services: Services
    log: Logger
    address: str
    takes_bounces: bool
    is_welcome: bool = False
    _inside: bool = False

    @property
    def is_open(self) -> bool:
        """
        Is there anything that could come back here?
        """
        return self.takes_bounces and bool(self.services.visitors.domains)

    def begin(self, mail: Mail) -> Return:
        """
        The transaction that MAIL begins.

        @raise Refused: the message is too large as declared (552 5.3.4)
        """
        size = self.services.visitors.limits.message_size
        if mail.size is not None and mail.size > size:
            raise Refused(replies.TOO_LARGE)
        self.services.acceptance.check_room(None)
        return Return(self, mail, SizeLimit(size, replies.TOO_LARGE, EXCESS * size))

    def enter(self) -> None:
        """
        The session names a signed address; only from then on it takes a place, else anybody could keep them all.

        @raise Refused: too many have one (421 4.7.0)
        """
        if not self._inside:
            self.services.visitors.enter(self.address)
            self._inside = True

    def end(self) -> None:
        """
        The session ended, or logged in. May be said twice.
        """
        if self._inside:
            self._inside = False
            self.services.visitors.leave(self.address)


@define(eq=False)
class Gathering:
    """
    Content that is kept in memory. See L{lmrelay.inbound.intake.Arriving}.
    """

    reader: DataReader | ChunkReader
    limit: SizeLimit
    visitors: Visitors
    size: int = 0
    refusal: Reply | None = None
    # In one piece: of octets that come in twos, a list would take twenty times what is counted.
    _octets: bytearray = field(factory=bytearray)
    _held: int = 0

    @property
    def is_excessive(self) -> bool:
        """
        See there.
        """
        return self.size > self.limit.borne

    def feed(self, block: bytes) -> None:
        """
        See there.
        """
        self._keep(self.reader.read(block))

    def finish(self) -> None:
        """
        See there.
        """
        if isinstance(self.reader, ChunkReader):
            self._keep(self.reader.finish())

    def refuse(self, reply: Reply) -> None:
        """
        See there.
        """
        if self.refusal is None:
            self.refusal = reply
        self.discard()

    def octets(self) -> bytes:
        """
        All of it.
        """
        return bytes(self._octets)

    def discard(self) -> None:
        """
        Keep nothing.
        """
        self._octets = bytearray()
        held, self._held = self._held, 0
        self.visitors.let_go(held)

    def _keep(self, octets: bytes) -> None:
        self.size += len(octets)
        if self.size > self.limit.octets:
            self.refuse(self.limit.refusal)
        elif octets and self.refusal is None:
            self.visitors.hold(len(octets))
            self._held += len(octets)
            self._octets += octets


@define(eq=False)
class Return:
    """
    A transaction without login, and what takes its content. See L{lmrelay.inbound.intake.Taker}.
    """

    visit: Visit
    mail: Mail
    size_limit: SizeLimit
    recipients: dict[Address, Awaited] = field(factory=dict)
    content: Gathering | None = None
    chunked: bool = False
    id: str = ""

    @property
    def arriving(self) -> Gathering:
        """
        The content, once it was opened.
        """
        if self.content is None:
            raise RuntimeError("no content")
        return self.content

    async def add(self, recipient: Recipient) -> Reply:
        """
        Add the recipient. A report is about one, so there is only one: who has several sends it again for the next.

        @raise Refused: it is not awaited (550 5.1.1), of another domain (530), a second one, or of one message too many
            (452), or the session is one too many (421)
        """
        services, address = self.visit.services, recipient.address
        origin = self._read(address)
        if self.recipients and address not in self.recipients:
            raise Refused(replies.TOO_MANY_RECIPIENTS)
        self.visit.enter()
        services.visitors.count(self.visit.address)
        awaited: Awaited | None = await services.returns().find(origin.message_id, origin.number)
        # Signed for the domain that it names, so only a route that changed its domain since makes these differ.
        if awaited is None or awaited.domain != address.ascii_domain:
            self._tell_unknown("its message is not known", origin)
            raise Refused(replies.UNKNOWN_RECIPIENT)
        self.recipients[address] = awaited
        self.visit.is_welcome = True
        return replies.RECIPIENT_OK

    def release(self) -> None:
        """
        It is over. One recipient is next to nothing, and content gives back what it held by itself.
        """

    def _read(self, address: Address) -> Origin:
        services = self.visit.services
        if address.ascii_domain not in services.visitors.domains:
            raise Refused(replies.AUTH_REQUIRED)
        key = services.config.token_key
        if not key:
            self.visit.log.error("there is no key that return paths could be signed with")
            raise Refused(replies.STORE_FAILED)
        try:
            return read_return_path(key, address)
        except SyntaxRefused as error:
            self._tell_unknown(str(error))
            raise Refused(replies.UNKNOWN_RECIPIENT) from error

    def _tell_unknown(self, reason: str, origin: Origin | None = None) -> None:
        about = origin.message_id if origin is not None else ""
        self.visit.log.info("came back to nobody", reason=reason, message=about, peer=self.visit.address)

    def open(self, reader: DataReader | ChunkReader) -> Return:
        """
        Begin the content, which this takes.
        """
        services = self.visit.services
        self.id = make_id(services.wall(), services.entropy)
        self.chunked = isinstance(reader, ChunkReader)
        self.content = Gathering(reader, self.size_limit, services.visitors)
        return self

    async def commit(self) -> Reply:
        """
        Understand it and record what it says.

        @raise Refused: it is no report, and there is somebody to be told so (554 5.6.0)
        """
        services, content = self.visit.services, self.arriving
        (awaited,) = self.recipients.values()
        try:
            nobody = self.mail.reverse_path is None
            work = partial(understand, content.octets(), awaited.address, has_null_path=nobody)
            report: Report = await _run_apart(services.reactor, work)
        finally:
            content.discard()
        # With the null reverse path nobody would hear of a refusal; with another it is a person's mail, or might be.
        if report.kind is Kind.NONE and self.mail.reverse_path is not None:
            raise Refused(replies.NO_REPORT)
        news: bool = await services.returns().record(awaited, report)
        self._tell(awaited, report, news)
        return replies.OK

    def _tell(self, awaited: Awaited, report: Report, news: bool) -> None:
        # Where addresses are to stay out, nobody can say what else the words of others tell.
        text, by = ("", "") if awaited.redact else (report.text, report.by)
        self.visit.log.info(
            "came back",
            report=report.kind.value,
            message=awaited.message_id,
            number=awaited.number,
            recipient="" if awaited.redact else str(awaited.address),
            project=awaited.project,
            route=awaited.route,
            status=report.status,
            text=text,
            by=by,
            news=news,
            peer=self.visit.address,
        )

    def note_refused(self, refusal: Reply) -> None:
        """
        Log it.
        """
        about = next(iter(self.recipients.values()), None)
        self.visit.log.info(
            "what came back is refused",
            message=about.message_id if about is not None else "",
            reply=str(refusal),
            peer=self.visit.address,
        )


def _run_apart(reactor: IReactorTime, work: Callable[[], T]) -> Deferred[T]:
    """
    Do it on another thread: a large report with thousands of parts takes long to read. A clock has no threads.
    """
    threads = IReactorThreads(reactor, None)
    if threads is None:
        return succeed(work())
    return deferToThreadPool(threads, threads.getThreadPool(), work)
