"""
Sending TLS reports (RFC 8460): once a day, about yesterday (UTC), to each domain that asks for one.

By mail, which enters the queue in the commit that ends the day for the domain, so that it is sent once whatever dies
meanwhile; and by HTTPS, which comes before that commit, so that after a crash it can come twice, under the same id.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from random import Random
from urllib.parse import urlsplit

from attrs import define, field
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, gatherResults, succeed
from twisted.internet.interfaces import IConsumer, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from lmrelay.config.words import Kind
from lmrelay.errors import DnsError, FetchError, StoreError
from lmrelay.ids import make_id
from lmrelay.interfaces import IResolver, ISettings, ITlsCounts, Submission
from lmrelay.mail.address import ascii_domain
from lmrelay.mail.dkim import hash_body
from lmrelay.mail.envelope import Envelope, Notify, Recipient
from lmrelay.mail.head import Head
from lmrelay.mail.signing import Signers
from lmrelay.mail.tlsrpt import MEDIA_TYPE, Destinations, Report, compose, day_of, find_destinations
from lmrelay.outbound.https import Https
from lmrelay.outbound.sts import join_strings

TXT = 16

ROUND = 600.0
"""
Seconds between the rounds in which is reported what is due.
"""

EARLIEST, LATEST = 300.0, 4 * 3600.0
"""
Seconds of a day before which yesterday is not reported: what was counted has to be stored, and not all who report are
to do it at midnight (RFC 8460 §4.1).
"""

DAY = timedelta(days=1).total_seconds()

WHOSE = ("", "tls-reports")
"""
For whom the DNS is asked.
"""

log = Logger()

Post = Callable[[str, bytes], Awaitable[None]]
"""
As L{ReportHosts.post}.
"""


@implementer(IBodyProducer)
@define(eq=False)
class _Body:
    """
    The body of a request, written at once: it is small.
    """

    octets: bytes

    @property
    def length(self) -> int:
        """
        In octets.
        """
        return len(self.octets)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """
        All of it.
        """
        consumer.write(self.octets)
        return succeed(None)

    def pauseProducing(self) -> None:
        """
        Nothing is left to come.
        """

    resumeProducing = stopProducing = pauseProducing


@define(eq=False)
class ReportHosts:
    """
    The web servers that take reports.
    """

    https: Https

    async def post(self, url: str, report: bytes) -> None:
        """
        POST a compressed report (RFC 8460 §5.4).

        @raise FetchError: the server did not take it
        """
        parts = urlsplit(url)

        async def send(client: HTTPClient) -> int:
            response = await client.post(
                url,
                data=_Body(report),
                headers=Headers({"Content-Type": [MEDIA_TYPE]}),
                allow_redirects=False,
                unbuffered=True,
                reactor=self.https.reactor,
            )
            return int(response.code)

        code = await self.https.ask(parts.hostname or "", parts.port or 443, send, WHOSE)
        if not 200 <= code < 300:
            raise FetchError(f"the answer was {code}")


@define(eq=False)
class TlsReports:
    """
    The reports of this relay. C{counts()} is what was counted, once the queue has started.
    """

    clock: IReactorTime
    settings: ISettings
    resolver: IResolver
    post: Post
    wall: Callable[[], float]
    entropy: Callable[[int], bytes]
    random: Random
    counts: Callable[[], ITlsCounts]
    _signers: Signers = field(init=False)
    _loop: LoopingCall | None = field(default=None, init=False)
    _since: float = field(default=0.0, init=False)
    _round: Deferred[None] | None = field(default=None, init=False)
    _posted: set[tuple[str, str, str]] = field(factory=set, init=False)

    @_signers.default
    def _make_signers(self) -> Signers:
        return Signers(lambda: self.settings.config.dkim)

    def start(self) -> None:
        """
        Look from time to time whether something is due.
        """
        self._since = self.random.uniform(EARLIEST, LATEST)
        self._loop = LoopingCall(self._look)
        self._loop.clock = self.clock
        self._loop.start(ROUND, now=False)

    def stop(self) -> None:
        """
        Begin nothing more, and break off what is under way: what is not closed is reported after the next start.
        """
        if self._loop is not None and self._is_running:
            self._loop.stop()
        if self._round is not None:
            self._round.cancel()

    @property
    def _is_running(self) -> bool:
        return self._loop is not None and self._loop.running

    def _look(self) -> Deferred[None]:
        self._round = Deferred.fromCoroutine(self._report_due())
        return self._round.addErrback(_tell_fault)

    async def _report_due(self) -> None:
        now = self.wall()
        if not self.settings.config.delivery.tls_reports or now % DAY < self._since:
            return
        after = ("", "")
        while self._is_running and (due := await self.counts().find_due(day_of(now), after)):
            await gatherResults(
                [Deferred.fromCoroutine(self._report(day, domain, now)) for day, domain in due], consumeErrors=True
            )
            after = due[-1]

    async def _report(self, day: str, domain: str, now: float) -> None:
        """
        One that fails keeps none of the others.
        """
        try:
            await self._send(day, domain, now)
        except (DnsError, StoreError) as error:
            log.warn("tls report has to wait", domain=domain, day=day, reason=str(error))
        except CancelledError:
            # The relay stops, which the others hear as well.
            return
        except Exception:  # noqa: BLE001 - our own fault, logged; of others there is still to be reported
            log.failure("tls report broke", domain=domain, day=day)

    async def _send(self, day: str, domain: str, now: float) -> None:
        # What could not be sent for a day is tried once more, and then given up (RFC 8460 §5.5).
        is_last = day < day_of(now - DAY)
        to = await self._find_destinations(domain, is_last)
        if not to:
            await self.counts().close(day, domain)
            return
        report = await self._make(day, domain)
        octets = report.to_gzip()
        taken = [await self._post((day, domain, url), octets) for url in to.urls]
        if not (all(taken) or to.mailboxes or is_last):
            return
        if await self.counts().close(day, domain, *(self._write(report, to, octets) if to.mailboxes else ())):
            log.info("tls report sent", domain=domain, day=day, mailboxes=len(to.mailboxes), urls=sum(taken))
        self._posted.difference_update([(day, domain, url) for url in to.urls])

    async def _find_destinations(self, domain: str, is_last: bool) -> Destinations:
        try:
            answer = await self.resolver.query(f"_smtp._tls.{domain}", TXT, WHOSE)
        except DnsError:
            if is_last:
                return Destinations()
            raise
        texts = [join_strings(record) for record in answer.records if isinstance(record, bytes)]
        return find_destinations(text for text in texts if text is not None)

    async def _make(self, day: str, domain: str) -> Report:
        config = self.settings.config
        # The same however often it is made, so that who gets it twice can tell.
        id_ = f"{day}_{domain}"
        contact = config.delivery.bounce_from or f"MAILER-DAEMON@{config.server.hostname}"
        return Report(id_, day, domain, config.server.hostname, contact, await self.counts().read(day, domain))

    async def _post(self, what: tuple[str, str, str], octets: bytes) -> bool:
        """
        Did the URL take it, now or before?
        """
        if what in self._posted:
            return True
        day, domain, url = what
        try:
            await self.post(url, octets)
        except FetchError as error:
            log.warn("tls report was not taken", domain=domain, day=day, url=url, reason=str(error))
            return False
        self._posted.add(what)
        return True

    def _write(self, report: Report, to: Destinations, octets: bytes) -> tuple[Submission, bytes]:
        """
        The message with the report, as the queue takes it.
        """
        now = self.wall()
        head, text = compose(report, to.mailboxes, octets, now)
        author = ascii_domain(report.contact.rpartition("@")[2])
        if self._signers.find(author):
            body = text.removeprefix(b"\r\n")
            head = self._signers.sign(Head.parse(head), author, hash_body(body), now).to_bytes()
        recipients = tuple(Recipient(one, frozenset({Notify.NEVER})) for one in to.mailboxes)
        submission = Submission(
            "",
            "",
            Kind.BROADCAST,
            Envelope(None, recipients, smtputf8=not head.isascii()),  # type: ignore[arg-type]
            head,
            now,
            make_id(now, self.entropy),
            utf8_head=not head.isascii(),
            subject="tls report",
            to=", ".join(str(one) for one in to.mailboxes),
            tls_optional=True,
        )
        return submission, text


def _tell_fault(failure: Failure) -> None:
    if failure.check(StoreError):
        log.warn("tls reports have to wait", reason=failure.getErrorMessage())
    elif not failure.check(CancelledError):
        log.failure("tls reports broke", failure)
