"""
What comes back without login: what is remembered of it, and what bounds it.
"""

from __future__ import annotations

import base64
import tracemalloc
from pathlib import Path

from attrs import evolve
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from lmrelay.config.values import Bounces, Config, Server, Timeouts
from lmrelay.errors import Refused, StoreError, StoreFull
from lmrelay.inbound.content import SizeLimit
from lmrelay.inbound.returns import Gathering
from lmrelay.inbound.visitors import MEMORY, PART, Visitors
from lmrelay.mail.address import Address
from lmrelay.mail.dsn import Action, Original, Subject, compose
from lmrelay.mail.envelope import Recipient, Ret
from lmrelay.mail.outcome import Failed, Fault
from lmrelay.mail.reports import Kind
from lmrelay.smtp.data import DataReader
from lmrelay.smtp.replies import TOO_LARGE
from tests.inbound.doubles import MESSAGE, SIGNED, TOKEN, Relay, Settings, await_returns, sign
from tests.inbound.peers import MemoryPeer

AUTH = "AUTH PLAIN " + base64.b64encode(b"\0lettermint\0" + TOKEN.encode()).decode()
ENVELOPE = ("MAIL FROM:<>", f"RCPT TO:<{SIGNED['signed']}>")
SENDER_OK, RECIPIENT_OK = "250 2.1.0 Sender OK", "250 2.1.5 Recipient OK"
GO_AHEAD = "354 End data with <CR><LF>.<CR><LF>"
BOUNCE = (
    "Subject: failure notice",
    "",
    "Hi. This is the qmail-send program.",
    "",
    "<u0@b.example>:",
    "No. (#5.1.1)",
    ".",
)
OK = "250 2.0.0 OK"
TOLD = ("report", "number", "recipient", "project", "route", "status", "news", "peer")
AUTH_FIRST = "530 5.7.0 Authentication required"
TOO_MANY = "421 4.7.0 Too many connections, try again later"


class Returning(SynchronousTestCase):
    """
    On a port that takes what comes back.
    """

    def setUp(self) -> None:
        self.relay = Relay(bounces=True)
        await_returns(self.relay)
        self.returns = self.relay.returns

    def limit(self, **limits: int) -> None:
        self.configure(bounces=Bounces(**limits))

    def configure(self, **changes: object) -> None:
        self.relay.settings.config = evolve(self.relay.settings.config, **changes)

    def connect(self, host: str = "192.0.2.7") -> MemoryPeer:
        peer = MemoryPeer(self.relay, host)
        peer.say("EHLO mx.b.example")
        return peer

    def logged(self) -> list[dict[str, object]]:
        seen: list[dict[str, object]] = []
        globalLogPublisher.addObserver(seen.append)
        self.addCleanup(globalLogPublisher.removeObserver, seen.append)
        return seen

    @property
    def visitors(self) -> Visitors:
        return self.relay.services.visitors


class Recording(Returning):
    def test_recorded(self) -> None:
        """
        A report is recorded for the recipient whose address it came to, and the 250 waits for that.
        """
        commit: Deferred[bool] = Deferred()
        self.returns.answers = [commit]
        seen, peer = self.logged(), self.connect()
        self.assertEqual([SENDER_OK, RECIPIENT_OK, GO_AHEAD], peer.say(*ENVELOPE, "DATA"))
        self.assertEqual([], peer.say(*BOUNCE))
        ((awaited, report),) = self.returns.recorded
        self.assertEqual((MESSAGE, 0), (awaited.message_id, awaited.number))
        self.assertEqual((Kind.BOUNCE, "5.1.1"), (report.kind, report.status))
        commit.callback(True)
        peer.wait(0)
        self.assertEqual([OK], peer.heard())
        (line,) = [one for one in seen if one.get("log_format") == "came back"]
        self.assertEqual(
            ("bounce", 0, "u0@b.example", "acme", "outgoing", "5.1.1", True, "192.0.2.7"),
            tuple(line[name] for name in TOLD),
        )
        self.assertEqual([], self.relay.acceptance.accepted)

    def test_any_case(self) -> None:
        """
        A server may have changed the case of the address.
        """
        peer = self.connect()
        self.assertEqual([SENDER_OK, RECIPIENT_OK], peer.say("MAIL FROM:<>", f"RCPT TO:<{SIGNED['signed'].upper()}>"))

    def test_redacted(self) -> None:
        """
        The log of a redacted message has no address, not even those in the report.
        """
        key = (MESSAGE, 0)
        self.returns.awaited[key] = evolve(self.returns.awaited[key], redact=True)
        seen, peer = self.logged(), self.connect()
        peer.say(*ENVELOPE, "DATA")
        self.assertEqual([OK], peer.say(*BOUNCE[:-2], "No u0@b.example (#5.1.1)", "."))
        self.assertNotIn("u0", " ".join(str(value) for line in seen for value in line.values()))

    def test_of_another_domain(self) -> None:
        """
        An address of a route's earlier domain is no longer awaited.
        """
        key = (MESSAGE, 0)
        self.returns.awaited[key] = evolve(self.returns.awaited[key], domain="old.acme.example")
        self.assertEqual("550 5.1.1 Nothing is awaited at this address", self.connect().say(*ENVELOPE)[-1])

    def test_store_down(self) -> None:
        """
        Whatever of the store fails, it is for now, and the other server comes again.
        """
        peer = self.connect()
        for fault, answer in (
            (StoreError("down"), "451 4.3.0 Requested action aborted: local error in processing"),
            (StoreFull("full"), "452 4.3.1 Insufficient system storage"),
        ):
            self.returns.fault = fault
            self.assertEqual([SENDER_OK, answer, OK], peer.say(*ENVELOPE, "RSET"))
            self.returns.fault, self.returns.answers = None, [fail(fault)]
            peer.say(*ENVELOPE, "DATA")
            self.assertEqual([answer], peer.say(*BOUNCE))
        self.relay.acceptance.room = StoreFull("full")
        self.assertEqual(["452 4.3.1 Insufficient system storage"], peer.say("MAIL FROM:<>"))

    def test_without_key(self) -> None:
        """
        That the relay's key is gone is the relay's fault, and no reason to refuse for good.
        """
        self.configure(token_key=b"")
        self.assertEqual(
            "451 4.3.0 Requested action aborted: local error in processing", self.connect().say(*ENVELOPE)[-1]
        )


class Doors(Returning):
    def test_only_where_a_listener_takes_it(self) -> None:
        """
        On other ports there is no mail without login.
        """
        for bounces in (False, None):
            self.relay = Relay(bounces=bounces)
            await_returns(self.relay)
            self.assertEqual([AUTH_FIRST], self.connect().say("MAIL FROM:<>"))

    def test_only_while_a_route_wants_it(self) -> None:
        """
        A reload opens and closes the door.
        """
        peer, projects = self.connect(), self.relay.settings.config.projects
        self.configure(projects={})
        self.assertEqual([AUTH_FIRST], peer.say("MAIL FROM:<>"))
        self.configure(projects=projects)
        self.assertEqual([SENDER_OK, RECIPIENT_OK], peer.say(*ENVELOPE))

    def test_guessing(self) -> None:
        """
        Who tries addresses is shown the door.
        """
        peer = self.connect()
        said = peer.say("MAIL FROM:<>", *[f"RCPT TO:<{sign(0, key=bytes([n]) * 32)}>" for n in range(1, 30)])
        self.assertEqual("421 4.7.0 Too many errors, closing connection", said[-1])
        self.assertEqual(21, len(said))


class Limits(Returning):
    def test_connections(self) -> None:
        """
        So many sessions at a time bring mail, and a fourth of them from one address; the place is free with the end.
        """
        self.limit(connections=2 * PART)
        first = [self.connect() for _ in range(3)]
        self.assertEqual([RECIPIENT_OK, RECIPIENT_OK, TOO_MANY], [peer.say(*ENVELOPE)[-1] for peer in first])
        self.assertTrue(first[2].client.is_lost)
        others = [self.connect(f"198.51.100.{n}") for n in range(1, 8)]
        self.assertEqual([RECIPIENT_OK] * 6 + [TOO_MANY], [peer.say(*ENVELOPE)[-1] for peer in others])
        first[0].say("QUIT")
        self.assertEqual(RECIPIENT_OK, self.connect("203.0.113.1").say(*ENVELOPE)[-1])

    def test_no_place_without_signature(self) -> None:
        """
        Who names no signed address takes no place from those who do.
        """
        self.limit(connections=1)
        for _ in range(3):
            self.assertEqual(AUTH_FIRST, self.connect().say("MAIL FROM:<>", "RCPT TO:<a@b.example>")[-1])
        self.assertEqual(RECIPIENT_OK, self.connect().say(*ENVELOPE)[-1])

    def test_login_gives_the_place_back(self) -> None:
        """
        Who logs in is a client like others.
        """
        self.limit(connections=1)
        peer = self.connect()
        peer.say(*ENVELOPE, "RSET", "STARTTLS")
        peer.start_tls()
        self.assertEqual("235 2.7.0 Authentication successful", peer.say("EHLO c.example", AUTH)[-1])
        self.assertEqual([SENDER_OK], peer.say("MAIL FROM:<a@acme.example>"))
        self.assertEqual(RECIPIENT_OK, self.connect().say(*ENVELOPE)[-1])

    def test_messages_per_minute(self) -> None:
        """
        Over the rate, or a client's fourth of it, it is for later; forged addresses count for nothing.
        """
        self.limit(messages_per_minute=2 * PART)
        peer = self.connect()
        for _ in range(3):
            peer.say("MAIL FROM:<>", f"RCPT TO:<{SIGNED['forged']}>", "RSET")
        for _ in range(2):
            self.assertEqual([SENDER_OK, RECIPIENT_OK, OK], peer.say(*ENVELOPE, "RSET"))
        late = "452 4.7.0 Too many messages come back, try again later"
        self.assertEqual([SENDER_OK, late, OK], peer.say(*ENVELOPE, "RSET"))
        others = [self.connect(f"198.51.100.{n}") for n in range(1, 8)]
        said = [other.say(*ENVELOPE, "RSET")[1] for other in others]
        self.assertEqual([RECIPIENT_OK] * 6 + [late], said)
        peer.wait(60)
        self.assertEqual([SENDER_OK, RECIPIENT_OK, OK], peer.say(*ENVELOPE, "RSET"))

    def test_memory(self) -> None:
        """
        All that is being read at a time is bounded, and freed whether it is taken, given up or lost.
        """
        self.limit(message_size=MEMORY)
        peers = [self.connect(f"198.51.100.{number}") for number in range(1, 4)]
        for peer in peers:
            peer.say(*ENVELOPE, "DATA")
        line = b"x" * 62 + b"\r\n"
        peers[0].send(line * (MEMORY // 64 - 10))
        peers[1].send(line * 20 + b".\r\n")
        self.assertEqual(["452 4.3.1 Insufficient system storage"], peers[1].heard())
        peers[0].client.transport.loseConnection()
        peers[0].wire.flush()
        peers[2].send(line * 20 + b".\r\n")
        self.assertEqual([OK], peers[2].heard())
        self.assertEqual(0, self.visitors._held)

    def test_memory_of_crumbs(self) -> None:
        """
        What comes two octets at a time takes no more than it counts, but for some spare room.
        """
        gathering = Gathering(DataReader(), SizeLimit(MEMORY, TOO_LARGE, MEMORY), self.visitors)
        crumbs = [bytes((120, number % 10 + 48)) for number in range(20_000)]
        tracemalloc.start()
        try:
            for crumb in crumbs:
                gathering.feed(bytes(bytearray(crumb)))
            taken, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        self.assertEqual(b"".join(crumbs), gathering.octets())
        self.assertLess(taken, 2 * gathering.size)

    def test_pipelined_chunk(self) -> None:
        """
        Content right behind RCPT waits for its answer, and is not taken for too much before login.
        """
        found: Deferred[object] = Deferred()
        known = self.returns.awaited[MESSAGE, 0]
        self.returns.finds = [found]
        peer = self.connect()
        content = "\r\n".join(["Subject: failure notice", "", "Hi. This is the qmail-send program.", "x" * 40_000])
        said = peer.say(*ENVELOPE, f"BDAT {len(content) + 2} LAST", content)
        self.assertEqual([SENDER_OK], said)
        found.callback(known)
        peer.wait(0)
        self.assertEqual([RECIPIENT_OK, OK], peer.heard())

    def test_time(self) -> None:
        """
        Two minutes are for those who bring nothing; others have the time of every session, message after message.
        """
        self.configure(timeouts=Timeouts(command=300.0))
        idle, busy = self.connect(), self.connect()
        idle.say("MAIL FROM:<>")
        for _ in range(4):
            busy.say(*ENVELOPE, "DATA")
            self.assertEqual([OK], busy.say(*BOUNCE))
            for _ in range(10):
                busy.wait(10)
                idle.wait(0)
        self.assertEqual("421 4.4.2 Timeout, closing connection", idle.heard()[-1])
        self.assertEqual([OK], busy.say("NOOP"))

    def test_many_in_one_session(self) -> None:
        """
        A server that keeps its connection is not counted for a client that never logs in.
        """
        peer = self.connect()
        for _ in range(60):
            peer.say(*ENVELOPE, "DATA")
            self.assertEqual([OK], peer.say(*BOUNCE))

    def test_drain(self) -> None:
        """
        A report that is being read is read to its end when the relay stops.
        """
        peer = self.connect()
        peer.say(*ENVELOPE, "DATA")
        self.relay.factory.drain()
        self.assertEqual([OK, "421 4.3.2 Service shutting down, closing connection"], peer.say(*BOUNCE))
        self.assertEqual(1, len(self.returns.recorded))


class VisitorsTests(SynchronousTestCase):
    def test_one_network_is_one_client(self) -> None:
        """
        An IPv6 client has every address of its /64, and one place more for none of them.
        """
        config = Config(Path("/etc/lmrelay.toml"), Server("mx.example.org"), bounces=Bounces(connections=1))
        visitors = Visitors(Settings(config), Clock().seconds)
        visitors.enter("2001:db8::1")
        self.assertRaises(Refused, visitors.enter, "2001:db8::2")
        visitors.leave("2001:db8::1")
        visitors.enter("2001:db8::2")


OTHERS = (
    (
        Kind.BOUNCE,
        "multipart/report; report-type=delivery-status",
        "message/delivery-status",
        "Reporting-MTA: dns; mx.b.example\r\n\r\n"
        "Original-Recipient: rfc822; victim@c.example\r\nFinal-Recipient: rfc822; u1@b.example\r\n"
        "Action: failed\r\nStatus: 5.1.1\r\nX-Original-Message-ID: <other@acme.example>",
    ),
    (
        Kind.COMPLAINT,
        "multipart/report; report-type=feedback-report",
        "message/feedback-report",
        "Feedback-Type: abuse\r\nOriginal-Rcpt-To: victim@c.example\r\nOriginal-Rcpt-To: u1@b.example\r\n"
        "Original-Mail-From: bounces+other@bounce.acme.example\r\nUser-Agent: evil/1",
    ),
)
"""
A bounce and a complaint in which somebody else is named, in every field that there is for it.
"""


class Forging(Returning):
    def report(self, type_: str, part: str, fields: str) -> str:
        peer = self.connect()
        peer.say(*ENVELOPE, "DATA")
        lines = ["From: x@b.example", "Message-ID: <other@acme.example>", f"Content-Type: {type_}; boundary=b", ""]
        return peer.say(*lines, "--b", f"Content-Type: {part}", "", *fields.split("\r\n"), "", "--b--", ".")[-1]

    def test_others_are_named(self) -> None:
        """
        A report is about whom it was sent to, whoever it names: nobody gets anybody else suppressed.
        """
        for kind, *content in OTHERS:
            self.returns.recorded.clear()
            self.assertEqual(OK, self.report(*content))
            [(awaited, report)] = self.returns.recorded
            self.assertEqual((MESSAGE, 0, "u0@b.example"), (awaited.message_id, awaited.number, str(awaited.address)))
            self.assertEqual(kind, report.kind)

    def test_sent_by_us(self) -> None:
        """
        A notification of the relay's own that comes back, and one about that, are recorded and answered by nothing.
        """
        subject = Subject(Recipient(Address("u0", "b.example")), Failed("5.1.1", "No", Fault.RECIPIENT))
        head, body = b"From: a@acme.example\r\n", b"\r\nHello\r\n"
        for number in range(3):
            original = Original(MESSAGE, Address("a", "acme.example"), 0.0, head, body, Ret.FULL)
            about = {"id": f"0{number}", "hostname": "mx.example.org", "bounce_from": "MAILER-DAEMON@mx.example.org"}
            head, body = compose(Action.FAILED, original, [subject], now=0.0, **about)
            peer = self.connect()
            peer.say(*ENVELOPE, "DATA")
            peer.send((head + body).replace(b"\r\n.", b"\r\n..") + b".\r\n")
            self.assertEqual([OK], peer.heard())
        self.assertEqual([Kind.BOUNCE] * 3, [report.kind for _, report in self.returns.recorded])
        self.assertEqual([], self.relay.acceptance.accepted)
