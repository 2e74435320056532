"""
Name servers, and whoever answers in their name, that mean harm.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.names import dns
from twisted.trial.unittest import SynchronousTestCase

from lmrelay.config.values import NameServer
from lmrelay.dns.exchange import MAX_NONSENSE, ask_tcp, ask_udp
from lmrelay.dns.message import MAX_TTL, Question, Response, read_response, write_question
from lmrelay.errors import DnsError
from lmrelay.interfaces import MxRecord
from lmrelay.mail.outcome import Delayed
from lmrelay.reach import A, find_addresses
from lmrelay.testing.name_server import MX, Zone
from tests.dns import test_resolver
from tests.dns.test_resolver import FIRST

ASKED = Question("b.example", MX)
ID = 513


def answer(*names: bytes, id: int = ID, ttl: int = 300, additional: tuple[dns.RRHeader, ...] = ()) -> bytes:
    """
    What the MX hosts are, to the question L{ASKED}.
    """
    message = dns.Message(id, answer=1, recDes=1, recAv=1, maxSize=65535)
    message.queries = [dns.Query(b"b.example", MX, dns.IN)]
    message.answers = [
        dns.RRHeader(b"b.example", MX, dns.IN, ttl, dns.Record_MX(number, name)) for number, name in enumerate(names)
    ]
    message.additional = list(additional)
    return message.toStr()


def read(octets: bytes) -> Response | None:
    return read_response(octets, ASKED, ID)


class Net(Clock):
    """
    Sockets that lead nowhere: the test is the server.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sockets: list[Any] = []

    def listenUDP(self, port: int, protocol: Any, interface: str = "", maxPacketSize: int = 8192) -> Any:
        protocol.transport = Socket()
        self.sockets.append(protocol)
        return protocol.transport

    def connectTCP(self, host: str, port: int, factory: Any, timeout: float = 30) -> Any:
        protocol = factory.buildProtocol(None)
        protocol.makeConnection(StringTransport())
        self.sockets.append(protocol)
        return SimpleNamespace(disconnect=protocol.transport.loseConnection)


class Socket:
    closed = False

    def connect(self, host: str, port: int) -> None:
        """
        To one server alone.
        """

    def write(self, octets: bytes) -> None:
        """
        Nobody reads it.
        """

    def stopListening(self) -> None:
        self.closed = True


def no_socket(*args: Any, **kwargs: Any) -> Any:
    raise CannotListenError("any", 0, OSError("too many files"))


class HostileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.net = Net()

    def ask(self, how: Callable[..., Deferred[Response]]) -> Deferred[Response]:
        return how(self.net, FIRST, write_question(ASKED, ID), read, 5.0)

    def failure(self, asking: Deferred[Response]) -> str:
        return str(self.failureResultOf(asking, DnsError).value)


class DatagramTests(HostileTests):
    def forge(self, count: int) -> Deferred[Response]:
        asking = self.ask(ask_udp)
        for number in range(count):
            self.net.sockets[0].datagramReceived(answer(b"evil.example", id=ID + 1 + number), (FIRST.host, FIRST.port))
        return asking

    def test_guesses(self) -> None:
        """
        Answers with other ids do not count, and some of them do not keep the right one out.
        """
        asking = self.forge(MAX_NONSENSE)
        self.net.sockets[0].datagramReceived(answer(b"mx.b.example"), (FIRST.host, FIRST.port))
        [record] = self.successResultOf(asking).answer.records
        self.assertEqual("mx.b.example", record.host)

    def test_guessing_game(self) -> None:
        """
        More of them end the asking at that port, for each is a guess: what comes then, right or not, is not heard.
        """
        asking = self.forge(MAX_NONSENSE + 1)
        self.assertIn("too many", self.failure(asking))
        self.assertTrue(self.net.sockets[0].transport.closed)
        self.net.sockets[0].datagramReceived(answer(b"mx.b.example"), (FIRST.host, FIRST.port))
        self.assertEqual([], self.net.getDelayedCalls())

    def test_nothing_to_ask_with(self) -> None:
        """
        Where there is no socket to be had, that is a failure as any other, and no fault to be logged at each question.
        """
        self.net.listenUDP = no_socket  # type: ignore[method-assign]
        self.assertIn("too many files", self.failure(self.ask(ask_udp)))
        self.assertEqual([], self.net.getDelayedCalls())

    def test_server_in_many_words(self) -> None:
        """
        However the address of a name server is written, its answers are its own.
        """
        for host, seen in (("2001:DB8:0:0::1", "2001:db8::1"), ("::FFFF:192.0.2.1", "::ffff:192.0.2.1")):
            asking = ask_udp(self.net, NameServer(host), write_question(ASKED, ID), read, 5.0)
            self.net.sockets[-1].datagramReceived(answer(b"mx.b.example"), (seen, 53, 0, 0))
            self.assertEqual(1, len(self.successResultOf(asking).answer.records))

    def test_other_sender(self) -> None:
        """
        The right answer from another address or port is none.
        """
        asking = self.ask(ask_udp)
        for place in (("192.0.2.99", FIRST.port), (FIRST.host, 5300)):
            self.net.sockets[0].datagramReceived(answer(b"evil.example"), place)
        self.assertNoResult(asking)
        self.net.advance(5)
        self.assertIn("in time", self.failure(asking))


class StreamTests(HostileTests):
    def test_octet_by_octet(self) -> None:
        """
        An answer that dribbles in counts if it is whole in time.
        """
        asking = self.ask(ask_tcp)
        octets = answer(b"mx.b.example")
        for at in range(len(octets)):
            self.net.sockets[0].dataReceived((struct.pack("!H", len(octets)) + octets)[at : at + 1])
        self.assertNoResult(asking)
        self.net.sockets[0].dataReceived(octets[-2:])
        self.successResultOf(asking)

    def test_dribbling(self) -> None:
        """
        One that does not end takes no longer than its time, however steadily it comes.
        """
        asking = self.ask(ask_tcp)
        self.net.sockets[0].dataReceived(b"\xff\xff")
        for _ in range(4):
            self.net.advance(1)
            self.net.sockets[0].dataReceived(b"x" * 1000)
        self.assertNoResult(asking)
        self.net.advance(1)
        self.assertIn("in time", self.failure(asking))
        self.assertEqual([], self.net.getDelayedCalls())

    def test_garbage(self) -> None:
        """
        What is no answer ends it at once.
        """
        for octets in (b"", b"\xff" * 65535, answer(b"evil.example", id=1)):
            asking = self.ask(ask_tcp)
            self.net.sockets[-1].dataReceived(struct.pack("!H", len(octets)) + octets)
            self.assertIn("another question", self.failure(asking))


class PoisonTests(SynchronousTestCase):
    def test_additional_section(self) -> None:
        """
        Addresses that come along with an answer, unasked, are not believed: they are asked for.
        """
        evil = dns.RRHeader(b"mx.b.example", A, dns.IN, 300, dns.Record_A("6.6.6.6"))
        said = read(answer(b"mx.b.example", additional=(evil,)))
        assert said is not None
        self.assertEqual((MxRecord(0, "mx.b.example"),), said.answer.records)
        case = test_resolver.TestResolver()
        resolver = case.make(Zone().exchanges("b.example", (0, "mx.b.example")).addresses("mx.b.example", "8.8.8.8"))
        case.result(resolver.query("b.example", MX))
        self.assertEqual(("8.8.8.8",), case.result(resolver.query("mx.b.example", A)).records)
        self.assertEqual(2, case.asked(FIRST))

    def test_unaskable_hosts(self) -> None:
        """
        A host's name that no name can be leads to no question and no address, whatever its labels have in them.
        """
        for label in (b"a b", b"a\0b", b"a\x1b[2J", b"\xff\xfe", b"a\r\nb"):
            said = read(answer(label + b".example"))
            assert said is not None
            [record] = said.answer.records
            case = test_resolver.TestResolver()
            resolver = case.make(Zone())
            finding = Deferred.fromCoroutine(find_addresses(resolver, Random(1), record.host, ()))
            self.assertIsInstance(self.successResultOf(finding), Delayed)
            self.assertEqual(0, case.asked(FIRST))


@pytest.mark.parametrize("ttl", [2**31 - 1, 2**31, 2**32 - 1])
def test_endless_ttl(ttl: int) -> None:
    """
    Nothing is kept longer than a day, be the number one that some read as negative.
    """
    said = read(answer(b"mx.b.example", ttl=ttl))
    assert said is not None
    assert MAX_TTL == said.answer.ttl


def test_pointers() -> None:
    """
    An answer made of nothing but pointers to long names is given up before it takes time or memory.
    """
    records, names = b"", 12 + len(b"\1b\7example\0") + 4 + 12
    for number in range(200):
        target = struct.pack("!H", 0xC000 | names + 66 * (number - 1)) if number else b"\0\0"
        records += b"\x3f" + b"a" * 63 + target
    first = b"\xc0\x0c" + struct.pack("!HHIH", 999, 1, 60, len(records)) + records
    last = struct.pack("!H", 0xC000 | names + 66 * 199)
    each = b"\xc0\x0c" + struct.pack("!HHIH", MX, 1, 60, 4) + b"\0\1" + last
    count = (65000 - len(first)) // len(each)
    question = b"\1b\7example\0" + struct.pack("!HH", MX, 1)
    head = struct.pack("!HHHHHH", ID, 0x8180, 1, count + 1, 0, 0)
    assert read(head + question + first + each * count) is None


def test_many_hosts() -> None:
    """
    As many MX records as a message holds are read, or are none: there is no third way.
    """
    said = read(answer(*[b"mx%d.b.example" % number for number in range(400)]))
    assert said is not None
    assert 400 == len(said.answer.records)
    assert read(answer(*[b"mx%d.b.example" % number for number in range(2000)])) is None
