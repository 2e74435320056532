"""
When reports go, and where: by HTTPS to a real web server in memory, by mail into the queue.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path
from random import Random
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import capturedLogs
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from zope.interface import implementer
from zope.interface.verify import verifyObject

from lmrelay.config.values import Delivery
from lmrelay.errors import StoreError
from lmrelay.interfaces import ITlsCounts, Submission
from lmrelay.mail.tlsrpt import TlsCount
from lmrelay.outbound.https import Https
from lmrelay.outbound.route import Router
from lmrelay.outbound.tls_reports import EARLIEST, LATEST, ROUND, TXT, ReportHosts, TlsReports
from lmrelay.testing.certificates import Authority, Certificate
from lmrelay.testing.name_server import FakeResolver, Said, Zone
from tests.outbound.bench import Network
from tests.outbound.doubles import Settings, config

AUTHORITY = Authority.make()
HOST, ADDRESS = "reports.b.example", "8.8.4.4"
URL = f"https://{HOST}/v1/tls?x=y"
MIDNIGHT = 1_700_006_400.0
YESTERDAY, BEFORE = "2023-11-14", "2023-11-13"
COUNTS = (TlsCount('{"policy-type":"no-policy-found","policy-domain":"b.example"}', "", 7),)


@implementer(ITlsCounts)
@define(eq=False)
class MemoryCounts:
    """
    What was counted, by day and domain; C{ended} are those closed, with their reports.
    """

    counted: dict[tuple[str, str], Sequence[TlsCount]] = field(factory=dict)
    ended: list[tuple[str, str, Submission | None]] = field(factory=list)
    is_broken: bool = False

    def count(self, domain: str, policy: str, result: str) -> None:
        raise NotImplementedError

    def find_due(self, before: str, after: tuple[str, str]) -> Deferred[Sequence[tuple[str, str]]]:
        if self.is_broken:
            return fail(StoreError("not now"))
        return succeed(sorted(key for key in self.counted if key[0] < before and key > after)[:2])

    def read(self, day: str, domain: str) -> Deferred[Sequence[TlsCount]]:
        return succeed(self.counted[day, domain])

    def close(self, day: str, domain: str, report: Submission | None = None, text: bytes = b"") -> Deferred[bool]:
        self.ended.append((day, domain, report))
        return succeed(self.counted.pop((day, domain), None) is not None)


class ReportHost(Resource):
    """
    Takes reports, or says C{code}; None: it is silent.
    """

    isLeaf = True

    def __init__(self) -> None:
        Resource.__init__(self)
        self.code: int | None = 201
        self.taken: list[tuple[str, str, str, dict[str, Any]]] = []

    def render_POST(self, request: Request) -> Any:
        report = json.loads(gzip.decompress(request.content.read()))
        said = (request.getHeader("host"), request.uri.decode(), request.getHeader("content-type"), report)
        self.taken.append(said)
        if self.code is None:
            return NOT_DONE_YET
        request.setResponseCode(self.code)
        request.setHeader("Location", "https://elsewhere.example/")
        return b"thanks"


class Reporting(SynchronousTestCase):
    """
    At five in the morning of a day, with counts of the day before for C{b.example}.
    """

    def setUp(self) -> None:
        self.network, self.zone, self.counts, self.web = Network(), Zone(), MemoryCounts(), ReportHost()
        verifyObject(ITlsCounts, self.counts)
        self.now = MIDNIGHT + 5 * 3600
        ca_file = Path(self.mktemp())
        ca_file.parent.mkdir(parents=True, exist_ok=True)
        ca_file.write_bytes(AUTHORITY.pem)
        self.settings = Settings()
        self.settings.config = config(delivery=Delivery(ca_file=ca_file))
        self.counts.counted[YESTERDAY, "b.example"] = COUNTS
        self.zone.addresses(HOST, ADDRESS)
        self.serve()
        self.resolver = FakeResolver(self.zone, self.network)
        https = Https(self.network, self.network, self.settings, Router(self.resolver, Random(1)))
        self.reports = TlsReports(
            self.network,
            self.settings,
            self.resolver,
            ReportHosts(https).post,
            lambda: self.now + self.network.seconds(),
            Random(1).randbytes,
            Random(1),
            lambda: self.counts,
        )
        self.reports.start()
        self.addCleanup(self.reports.stop)

    def serve(self, certificate: Certificate | None = None) -> None:
        site = Site(self.web, reactor=self.network)
        site.noisy = False
        context = (certificate or AUTHORITY.issue(HOST)).server_context()
        self.network.servers[ADDRESS] = TLSMemoryBIOFactory(context, False, site, clock=self.network)

    def ask(self, rua: str, domain: str = "b.example") -> None:
        text = f"v=TLSRPTv1; rua={rua}".encode()
        self.zone.say(f"_smtp._tls.{domain}", TXT, Said((bytes([len(text)]) + text,)))

    def round(self, rounds: int = 1) -> None:
        for _ in range(rounds):
            self.network.pass_time(ROUND, 10)

    @property
    def ended(self) -> list[tuple[str, str, str]]:
        """
        Day, domain and to whom the mail is.
        """
        return [(day, domain, report.to if report else "") for day, domain, report in self.counts.ended]


class WhereTests(Reporting):
    def test_https(self) -> None:
        """
        The report is POSTed, compressed, to the URL as it stands; then the day is over.
        """
        self.ask(URL)
        self.round(2)
        ((host, path, kind, report),) = self.web.taken
        self.assertEqual((HOST, "/v1/tls?x=y", "application/tlsrpt+gzip"), (host, path, kind))
        self.assertEqual(f"{YESTERDAY}_b.example", report["report-id"])
        self.assertEqual(7, report["policies"][0]["summary"]["total-successful-session-count"])
        self.assertEqual([(YESTERDAY, "b.example", "")], self.ended)

    def test_mail(self) -> None:
        """
        One message for all mailboxes, from nobody, that may go without TLS and that nobody is told of.
        """
        self.ask("mailto:a@b.example,mailto:c@d.example")
        self.round()
        self.assertEqual([(YESTERDAY, "b.example", "a@b.example, c@d.example")], self.ended)
        ((_, _, report),) = self.counts.ended
        assert report is not None
        self.assertIsNone(report.envelope.reverse_path)
        self.assertTrue(report.tls_optional)
        self.assertIn(b"\r\nTLS-Required: No\r\n", report.head)

    def test_both(self) -> None:
        """
        A URL that fails does not keep the mail.
        """
        self.ask(f"{URL},mailto:a@b.example")
        self.web.code = 500
        self.round()
        self.assertEqual([(YESTERDAY, "b.example", "a@b.example")], self.ended)

    def test_nobody_asks(self) -> None:
        """
        A domain without a record, or with one that is none, is through at once.
        """
        self.counts.counted[YESTERDAY, "c.example"] = COUNTS
        self.ask("ftp://c.example/", "c.example")
        self.round()
        self.assertEqual([(YESTERDAY, domain, "") for domain in ("b.example", "c.example")], self.ended)


class WhenTests(Reporting):
    def test_not_before_its_time(self) -> None:
        """
        Each relay begins at a moment of its own, some minutes to hours after midnight (UTC), and only then.
        """
        self.ask("mailto:a@b.example")
        self.now = MIDNIGHT
        self.round()
        self.assertEqual([], self.ended)
        began = next(number for number in range(60) if self.round() or self.ended) * ROUND
        self.assertTrue(EARLIEST - ROUND <= began <= LATEST, began)

    def test_today_is_not_over(self) -> None:
        """
        What is counted today is for tomorrow.
        """
        self.counts.counted = {("2023-11-15", "b.example"): COUNTS}
        self.round()
        self.assertEqual([], self.ended)

    def test_many(self) -> None:
        """
        All domains have their turn, and one whose report breaks keeps none of them.
        """
        self.counts.counted.update({(YESTERDAY, f"d{number}.example"): COUNTS for number in range(9)})
        self.counts.counted[YESTERDAY, "d3.example"] = (TlsCount("no JSON", "", 1),)
        for number in range(9):
            self.ask("mailto:a@b.example", f"d{number}.example")
        self.round()
        self.assertEqual([(YESTERDAY, "d3.example")], list(self.counts.counted))
        self.assertEqual(1, len(self.flushLoggedErrors(ValueError)))

    def test_switched_off(self) -> None:
        """
        C{tls_reports = false} takes force with the next round.
        """
        delivery = evolve(self.settings.config.delivery, tls_reports=False)
        self.settings.config = evolve(self.settings.config, delivery=delivery)
        self.round()
        self.assertEqual([], self.ended)


class TroubleTests(Reporting):
    def test_tried_again(self) -> None:
        """
        A URL that fails is asked again with the next round, those that took it are not; the day stays open meanwhile.
        """
        self.ask(f"{URL},https://other.b.example/")
        self.zone.addresses("other.b.example", "8.8.4.5")
        self.round(2)
        self.assertEqual((1, []), (len(self.web.taken), self.ended))
        self.zone.addresses("other.b.example", ADDRESS)
        self.serve(AUTHORITY.issue("other.b.example"))
        self.round()
        self.assertEqual(2, len(self.web.taken))
        self.assertEqual([(YESTERDAY, "b.example", "")], self.ended)

    def test_given_up(self) -> None:
        """
        After another day it is tried once more, and then no longer; so it is with a DNS that does not answer.
        """
        self.counts.counted = {(BEFORE, "b.example"): COUNTS, (BEFORE, "c.example"): COUNTS}
        self.ask(URL)
        self.web.code = 503
        self.zone.fault("_smtp._tls.c.example", Said(rcode=2))
        self.round()
        self.assertEqual(1, len(self.web.taken))
        self.assertEqual([(BEFORE, "b.example", ""), (BEFORE, "c.example", "")], sorted(self.ended))

    def test_no_dns(self) -> None:
        """
        Without an answer nobody knows whether it is asked for: later.
        """
        self.zone.fault("_smtp._tls.b.example", Said(rcode=2))
        self.round()
        self.assertEqual([], self.ended)
        del self.zone.faults["_smtp._tls.b.example"]
        self.ask("mailto:a@b.example")
        self.round()
        self.assertEqual([(YESTERDAY, "b.example", "a@b.example")], self.ended)

    def refused(self) -> str:
        """
        Why the URL did not get it.
        """
        self.ask(URL)
        with capturedLogs() as events:
            self.round()
            self.network.pass_time(70, 10)
        self.assertEqual([], self.ended)
        (reason,) = [event["reason"] for event in events if event["log_format"] == "tls report was not taken"]
        return str(reason)

    def test_answers(self) -> None:
        """
        Only 2xx is a yes; nobody is followed anywhere.
        """
        for code in (302, 307, 308, 404, 500):
            self.web.code = code
            self.assertEqual(f"the answer was {code}", self.refused())
        self.assertEqual(5, len(self.web.taken))

    def test_silence(self) -> None:
        """
        Who does not answer is waited for a minute.
        """
        self.web.code = None
        self.assertEqual("it took longer than 60 s", self.refused())
        self.assertTrue(all(wire.client.disconnected for wire in self.network.wires))

    def test_certificates(self) -> None:
        """
        A host that is not proved gets nothing.
        """
        self.serve(AUTHORITY.issue("other.example"))
        self.assertIn("the certificate is for other.example", self.refused())
        self.assertEqual([], self.web.taken)

    def test_inside(self) -> None:
        """
        Nobody can have reports sent to where only we can reach, but to networks that are allowed.
        """
        self.zone.addresses(HOST, "10.0.0.1")
        self.network.servers["10.0.0.1"] = self.network.servers[ADDRESS]
        self.assertIn("may be connected to", self.refused())
        self.assertEqual([], self.web.taken)
        delivery = evolve(self.settings.config.delivery, allow_networks=(ip_network("10.0.0.0/8"),))
        self.settings.config = evolve(self.settings.config, delivery=delivery)
        self.round()
        self.assertEqual(1, len(self.web.taken))

    def test_store_out_of_order(self) -> None:
        """
        It is for the next round.
        """
        self.ask("mailto:a@b.example")
        self.counts.is_broken = True
        self.round()
        self.counts.is_broken = False
        self.assertEqual([], self.ended)
        self.round()
        self.assertEqual(1, len(self.ended))

    def test_stopped(self) -> None:
        """
        A stop does not wait for a server that is silent; what was not finished is for the next start.
        """
        self.ask(URL)
        self.web.code = None
        self.network.pass_time(ROUND + 10, 10)
        self.assertEqual(1, len(self.web.taken))
        self.reports.stop()
        self.network.settle()
        self.assertTrue(all(wire.client.disconnected for wire in self.network.wires))
        self.web.code = 200
        self.round()
        self.assertEqual([], self.ended)
        self.reports.start()
        self.round()
        self.assertEqual([(YESTERDAY, "b.example", "")], self.ended)
