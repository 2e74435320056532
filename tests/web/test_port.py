"""
The port for people: what is found where, how little it takes, and how a reload moves it.
"""

from __future__ import annotations

import errno

from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.trial.unittest import SynchronousTestCase

from lmrelay.config.values import Http
from lmrelay.errors import StoreError
from lmrelay.interfaces import Untold, Waiting
from lmrelay.web.census import FRESH, PATIENCE
from lmrelay.web.door import MAX_BODY, MAX_CONNECTIONS
from lmrelay.web.sources import SiteLimit
from tests.web.front import NOW, Front

Samples = dict[tuple[str, ...], float]


def samples(text: str) -> Samples:
    """
    By name and the values of the labels, in the order of their names.
    """
    return {
        (one.name, *(one.labels[name] for name in sorted(one.labels))): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


class TestPages(SynchronousTestCase):
    def setUp(self) -> None:
        self.front = Front()
        self.assertEqual((), self.front.open())

    def metrics(self) -> Samples:
        answer = self.front.ask("/metrics")
        self.assertEqual(200, answer.code)
        self.assertEqual("text/plain; version=0.0.4; charset=utf-8", answer.headers["Content-Type"])
        return samples(answer.body)

    def test_life(self) -> None:
        """
        While the process turns, it says so, ready or not.
        """
        self.front.oversight = None
        self.assertEqual((200, "ok\n"), (self.front.ask("/healthz").code, self.front.ask("/healthz").body))

    def test_readiness(self) -> None:
        """
        Ready is 200; else 503 with every reason in words.
        """
        before = self.front.ask("/readyz")
        self.front.oversight.troubles = ["the disk is full", "nothing is sent"]
        after = self.front.ask("/readyz")
        self.front.oversight = None
        starting = self.front.ask("/readyz")
        self.assertEqual(
            [(200, "ready\n"), (503, "the disk is full\nnothing is sent\n"), (503, "the relay is starting\n")],
            [(one.code, one.body) for one in (before, after, starting)],
        )

    def test_metrics(self) -> None:
        """
        What waits is told by project, route and state, with the age of the oldest; sites and the rest as they are.
        """
        self.front.oversight.waiting = (
            Waiting("acme", "outgoing", "queued", 3, NOW - 5),
            Waiting("acme", "outgoing", "deferred", 2, NOW - 60),
            Waiting("acme", "news", "held", 1, NOW + 60),
        )
        self.front.oversight.untold = (
            Untold("acme", "a", 4, NOW + 30),
            Untold("acme", "b", 2, NOW - 30),
            Untold("acme", "c", 1, NOW - 9e5, NOW, "gone"),
        )
        self.front.sites[:] = [SiteLimit("mx.a.example", 3, False), SiteLimit("mx.b.example", 20, True)]
        found = self.metrics()
        expected = {
            ("lmrelay_queue_recipients", "acme", "outgoing", "queued"): 3,
            ("lmrelay_queue_recipients", "acme", "outgoing", "deferred"): 2,
            ("lmrelay_queue_recipients", "acme", "news", "held"): 1,
            ("lmrelay_queue_oldest_seconds", "acme", "outgoing", "queued"): 5,
            ("lmrelay_queue_oldest_seconds", "acme", "outgoing", "deferred"): 60,
            # A clock that was set back makes nobody's mail younger than new.
            ("lmrelay_queue_oldest_seconds", "acme", "news", "held"): 0,
            ("lmrelay_webhook_pending", "acme"): 7,
            ("lmrelay_webhook_endpoints_disabled",): 1,
            ("lmrelay_webhook_overdue_seconds", "acme"): 30,
            ("lmrelay_site_connections_limit", "mx.a.example"): 3,
            ("lmrelay_sites_lowered",): 1,
            ("lmrelay_sites_suspended",): 1,
            ("lmrelay_sessions",): 3,
            ("lmrelay_transactions_running",): 2,
            ("lmrelay_recipients_in_memory",): 5,
            ("lmrelay_disk_free_bytes",): 1 << 40,
            ("lmrelay_ready",): 1,
        }
        self.assertEqual(expected, {key: found.get(key) for key in expected})
        self.assertIn("process_cpu_seconds_total", {key[0] for key in found})

    def test_facts_are_counted_while_the_port_is_open(self) -> None:
        """
        What is logged then is in the metrics; with the port closed it costs nothing.
        """
        event = {"log_format": "login", "project": "acme", "log_level": None}
        self.front.publisher(event)
        self.assertEqual(1, self.metrics()["lmrelay_logins_total", "acme"])
        self.front.open(Http())
        self.front.publisher(event)
        self.front.open(Http("127.0.0.1:9100"))
        self.front.reactor.advance(1)
        self.assertEqual(1, self.metrics()["lmrelay_logins_total", "acme"])

    def test_many_at_once(self) -> None:
        """
        Who asks again at once gets what was written, and a moment later what is new.
        """
        event = {"log_format": "login", "project": "acme", "log_level": None}
        found = []
        for pause in (0, 0.1, 0.5):
            self.front.reactor.advance(pause)
            self.front.publisher(event)
            found.append(self.metrics()["lmrelay_logins_total", "acme"])
        self.assertEqual([1, 1, 3], found)

    def test_openmetrics(self) -> None:
        """
        A client that prefers OpenMetrics gets it.
        """
        wrong = self.front.ask("/metrics", "Accept: application/openmetrics-text; version=x")
        self.assertEqual((200, "text/plain; version=0.0.4; charset=utf-8"), (wrong.code, wrong.headers["Content-Type"]))
        answer = self.front.ask("/metrics", "Accept: application/openmetrics-text; version=1.0.0")
        self.assertTrue(answer.headers["Content-Type"].startswith("application/openmetrics-text"))
        self.assertTrue(answer.body.endswith("# EOF\n"))

    def test_counting_is_seldom(self) -> None:
        """
        However often metrics are asked for, the queue is walked through once in a while.
        """
        for _ in range(5):
            self.metrics()
        self.assertEqual(1, self.front.oversight.asked)
        self.front.reactor.advance(FRESH)
        self.metrics()
        self.assertEqual(2, self.front.oversight.asked)

    def test_a_slow_count_is_not_waited_for(self) -> None:
        """
        While a count takes long, metrics come without it or with the last, and it is made seldom.
        """
        oversight = self.front.oversight
        oversight.late = late = Deferred()
        protocol, transport = self.front.connect()
        protocol.dataReceived(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual(b"", transport.value())
        self.front.reactor.advance(PATIENCE)
        self.assertIn(b"lmrelay_sessions 3.0", transport.value())
        self.assertNotIn(b"lmrelay_queue_recipients{", transport.value())
        self.front.reactor.advance(27)
        late.callback((Waiting("acme", "outgoing", "queued", 3, NOW),))
        self.front.reactor.advance(299)
        found = self.metrics()
        self.assertEqual(
            (1, 3, 299),
            (
                oversight.asked,
                found["lmrelay_queue_recipients", "acme", "outgoing", "queued"],
                found["lmrelay_queue_counted_seconds",],
            ),
        )

    def test_a_store_out_of_order(self) -> None:
        """
        Then metrics come without what it knows, and it is not asked at once again.
        """
        late = self.front.oversight.late = Deferred()
        late.errback(StoreError("no"))
        found = self.metrics()
        self.metrics()
        self.assertEqual(1, self.front.oversight.asked)
        self.assertNotIn("lmrelay_queue_counted_seconds", {key[0] for key in found})

    def test_a_disk_that_cannot_be_looked_at(self) -> None:
        """
        Then its metric is left out, not the others.
        """

        def fail() -> int:
            raise OSError(errno.EIO, "input/output error")

        self.front.find_free = fail
        self.assertNotIn(("lmrelay_disk_free_bytes",), self.metrics())

    def test_a_fault_of_ours(self) -> None:
        """
        It is logged, and the client told no more than that.
        """
        self.front.find_free = lambda: 1 // 0
        answer = self.front.ask("/metrics")
        self.assertEqual((500, 1), (answer.code, len(self.flushLoggedErrors(ZeroDivisionError))))
        self.assertNotIn("ZeroDivision", answer.body)

    def test_nothing_else_is_there(self) -> None:
        """
        404 for what is no page, below a page too.
        """
        self.assertEqual([404] * 3, [self.front.ask(path).code for path in ("/x", "/metrics/x", "/../etc/passwd")])

    def test_only_looking(self) -> None:
        """
        405 for anything but GET and HEAD; HEAD has no body.
        """
        answers = [self.front.ask("/healthz", method=method) for method in ("POST", "PUT", "DELETE", "PATCH")]
        self.assertEqual([(405, "GET, HEAD")] * 4, [(one.code, one.headers["Allow"]) for one in answers])
        every = self.front.ask("*", method="OPTIONS")
        self.assertEqual((404, "lmrelay"), (every.code, every.headers["Server"]))
        head = self.front.ask("/healthz", method="HEAD")
        self.assertEqual((200, "3", ""), (head.code, head.headers["Content-Length"], head.body))

    def test_bodies(self) -> None:
        """
        A request with a body is refused, and much of one is not even waited for.
        """
        self.assertEqual(413, self.front.ask("/healthz", "Content-Length: 5", body=b"hello").code)
        protocol, transport = self.front.connect()
        protocol.dataReceived(b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n")
        self.assertFalse(transport.disconnecting)
        protocol.dataReceived(b"x" * (MAX_BODY + 1))
        self.assertTrue(transport.disconnecting)
        self.assertEqual(b"", transport.value())

    def test_large_heads(self) -> None:
        """
        A head beyond all bounds is not read to its end.
        """
        protocol, transport = self.front.connect()
        protocol.dataReceived(b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"X: " + b"x" * 20_000)
        self.assertTrue(transport.disconnecting)

    def test_connections_are_bounded(self) -> None:
        """
        One too many takes the place of the oldest: who holds all there are keeps no probe out.
        """
        opened = [self.front.connect()[1] for _ in range(MAX_CONNECTIONS)]
        self.assertEqual(200, self.front.ask("/healthz").code)
        self.assertEqual([True, False], [one.disconnecting for one in opened[:2]])

    def test_idle_connections_end(self) -> None:
        """
        Who says nothing is not waited for.
        """
        _, transport = self.front.connect()
        self.front.reactor.advance(31)
        self.assertTrue(transport.disconnecting)

    def test_slow_connections_end(self) -> None:
        """
        Nor is who says a word now and then, or does not take the answer.
        """
        protocol, slow = self.front.connect()
        for _ in range(6):
            protocol.dataReceived(b"G")
            self.assertFalse(slow.disconnecting)
            self.front.reactor.advance(10)
        self.assertTrue(slow.disconnecting)

    def test_one_answer_a_connection(self) -> None:
        """
        Who asks for much at once gets the first answer alone, so no answers gather for who reads none.
        """
        protocol, transport = self.front.connect()
        protocol.dataReceived(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
        self.assertEqual(1, transport.value().count(b"HTTP/1.1 200"))
        self.assertIn(b"Connection: close", transport.value())
        self.assertTrue(transport.disconnecting)

    def test_headers(self) -> None:
        """
        Every answer forbids to be kept, guessed at, framed; none says by what it was made.
        """
        for path in ("/healthz", "/metrics", "/none"):
            headers = self.front.ask(path).headers
            names = ("Server", "Cache-Control", "X-Content-Type-Options", "X-Frame-Options")
            self.assertEqual(("lmrelay", "no-store", "nosniff", "DENY"), tuple(headers[name] for name in names))
            self.assertIn("default-src 'none'", headers["Content-Security-Policy"])


class TestPlace(SynchronousTestCase):
    def setUp(self) -> None:
        self.front = Front()
        self.reactor = self.front.reactor

    def places(self) -> list[tuple[str, int]]:
        return [(interface, port) for port, _, _, interface in self.reactor.tcpServers]

    def test_off(self) -> None:
        """
        Without C{listen} nothing is opened.
        """
        self.assertEqual((), self.front.open(Http()))
        self.assertEqual([], self.places())

    def test_moved(self) -> None:
        """
        A reload opens the new place and closes the old, with the connections that are left.
        """
        self.front.open()
        _, transport = self.front.connect()
        self.assertEqual((), self.front.open(Http("127.0.0.1:9200")))
        self.assertEqual([("127.0.0.1", 9100), ("127.0.0.1", 9200)], self.places())
        self.assertTrue(transport.disconnecting)
        self.assertEqual(200, self.front.ask("/healthz").code)

    def test_kept(self) -> None:
        """
        A reload that changes nothing leaves the port, and who is connected.
        """
        self.front.open()
        _, transport = self.front.connect()
        self.front.open()
        self.assertEqual(([("127.0.0.1", 9100)], False), (self.places(), transport.disconnecting))

    def test_in_use(self) -> None:
        """
        A port that is another's is named with the reason, and the old one stays.
        """
        self.front.open()

        def refuse(*_: object, **__: object) -> None:
            raise CannotListenError("127.0.0.1", 9200, OSError(errno.EADDRINUSE, "Address already in use"))

        listen, self.reactor.listenTCP = self.reactor.listenTCP, refuse
        (error,) = self.front.open(Http("127.0.0.1:9200"))
        self.reactor.listenTCP = listen
        self.assertIn("cannot listen on 127.0.0.1:9200", error)
        self.assertIn("in use", error)
        self.assertEqual(200, self.front.ask("/healthz").code)

    def test_to_another_interface(self) -> None:
        """
        The same port on another interface takes a restart, and it is said so.
        """
        self.front.open()
        (error,) = self.front.open(Http("[::1]:9100"))
        self.assertIn("takes a restart", error)

    def test_not_wanted_after_all(self) -> None:
        """
        Where the rest of a reload fails, the old place stays, and later ones can be taken.
        """
        self.front.open()
        self.front.web.prepare(Http("127.0.0.1:9200"))
        self.front.web.drop()
        self.assertEqual((), self.front.web.prepare(Http("127.0.0.1:9300")))
        self.front.web.keep()
        self.assertEqual(("127.0.0.1", 9300), self.places()[-1])

    def test_the_end(self) -> None:
        """
        Who is connected is cut off, and nothing is counted any more, however long that would take.
        """
        self.front.open()
        self.front.oversight.late = Deferred()
        protocol, transport = self.front.connect()
        protocol.dataReceived(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        self.successResultOf(self.front.web.stop())
        self.assertTrue(transport.disconnecting)
        self.front.publisher({"log_format": "login", "project": "acme"})
        self.assertEqual([], [key for one in self.front.web.facts.tallies if one.labels for key in one.copy()])
