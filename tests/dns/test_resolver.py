from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.names import dns
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from lmrelay.config.values import Dns
from lmrelay.config.values import NameServer as Server
from lmrelay.dns.resolver import Resolver
from lmrelay.dns.servers import DEFAULT, Servers, parse_resolv_conf
from lmrelay.errors import DnsError
from lmrelay.interfaces import Answer, IResolver, MxRecord
from lmrelay.testing.name_server import MX, FakeResolver, NameServer, Said, Zone

FIRST, SECOND = Server("192.0.2.1"), Server("192.0.2.2", 5353)


class Datagrams(Clock):
    """
    A clock with UDP sockets that lead into zones, one for each server.
    """

    def __init__(self, zones: dict[Server, Zone]) -> None:
        super().__init__()
        self.servers = {(s.host, s.port): NameServer(self, zone) for s, zone in zones.items()}
        self.open = 0
        self.ports = iter(range(20000, 30000))

    def listenUDP(self, port, protocol, interface="", maxPacketSize=8192):
        self.open += 1
        protocol.transport = Socket(self, protocol)
        return protocol.transport


class Socket:
    def __init__(self, net: Datagrams, protocol) -> None:
        self.net = net
        self.protocol = protocol

    def connect(self, host: str, port: int) -> None:
        self.peer = (host, port)

    def write(self, octets: bytes) -> None:
        def receive(said: bytes) -> None:
            self.net.callLater(0, self.protocol.datagramReceived, said, self.peer)

        if self.peer in self.net.servers:
            self.net.servers[self.peer].answer(octets, "udp", receive)
        else:
            self.net.callLater(0, self.protocol.connectionRefused)

    def stopListening(self) -> None:
        self.net.open -= 1


def settings(*servers: Server, validating: bool = False) -> SimpleNamespace:
    return SimpleNamespace(config=SimpleNamespace(dns=Dns(servers, validating)))


class TestResolver(SynchronousTestCase):
    def make(self, *zones: Zone, validating: bool = False) -> Resolver:
        servers = (FIRST, SECOND)[: len(zones)]
        self.net = Datagrams(dict(zip(servers, zones, strict=True)))
        numbers = iter(range(65536))
        self.settings = settings(*servers, validating=validating)
        return Resolver(self.net, self.settings, lambda count: next(numbers).to_bytes(count, "big"))

    def asked(self, server: Server) -> int:
        return len(self.net.servers[server.host, server.port].asked)

    def result(self, waiting: Deferred[Answer], seconds: int = 30) -> Answer:
        self.net.pump([0] + [1] * seconds)
        return self.successResultOf(waiting)

    def failure(self, waiting: Deferred[Answer], seconds: int = 30) -> str:
        self.net.pump([0] + [1] * seconds)
        return str(self.failureResultOf(waiting, DnsError).value)

    def test_offers_resolver(self) -> None:
        """
        The resolver and its double are what outbound expects.
        """
        self.assertTrue(verifyObject(IResolver, self.make(Zone())))
        self.assertTrue(verifyObject(IResolver, FakeResolver()))

    def test_answer_is_cached(self) -> None:
        """
        The same question within the TTL is not asked again, and no socket stays open.
        """
        resolver = self.make(Zone().exchanges("b.example", (10, "m.x"), ttl=60))
        self.assertEqual((MxRecord(10, "m.x"),), self.result(resolver.query("b.example", MX), 0).records)
        self.assertEqual(60.0, self.successResultOf(resolver.query("B.example", MX)).ttl)
        self.assertEqual((1, 0), (self.asked(FIRST), self.net.open))
        self.net.advance(61)
        self.result(resolver.query("b.example", MX))
        self.assertEqual(2, self.asked(FIRST))

    def test_questions_are_joined(self) -> None:
        """
        The same question in flight is asked once; who cancels leaves the others waiting.
        """
        resolver = self.make(Zone().exchanges("b.example", (10, "m.x")))
        first, second = resolver.query("b.example", MX), resolver.query("b.example", MX)
        first.cancel()
        self.failureResultOf(first)
        self.assertEqual(1, len(self.result(second).records))
        self.assertEqual(1, self.asked(FIRST))

    def test_failing_server_is_passed_over(self) -> None:
        """
        SERVFAIL and REFUSED lead to the next server.
        """
        for rcode in (dns.ESERVER, dns.EREFUSED):
            resolver = self.make(
                Zone().fault("b.example", Said(rcode=rcode)), Zone().exchanges("b.example", (1, "m.x"))
            )
            self.assertEqual(1, len(self.result(resolver.query("b.example", MX)).records))

    def test_lame_server_is_passed_over(self) -> None:
        """
        A server that only refers to others is none: it never means that a name has nothing.
        """
        lame = Zone().fault("b.example", Said(lame=True))
        resolver = self.make(lame, Zone().exchanges("b.example", (1, "m.x")))
        self.assertEqual(1, len(self.result(resolver.query("b.example", MX)).records))
        resolver = self.make(lame)
        self.assertEqual("a referral from 192.0.2.1 for b.example", self.failure(resolver.query("b.example", MX), 0))

    def test_silent_names_of_one_hold_up_nobody_else(self) -> None:
        """
        However many silent names one asks for, others get their answers at once, also where the
        one wants to know the same.
        """
        zone = Zone().exchanges("b.example", (1, "m.x")).exchanges("c.example", (1, "m.x"))
        for number in range(500):
            zone.fault(f"s{number}.example", Said(silent=True))
        resolver = self.make(zone)
        silent = [resolver.query(f"s{number}.example", MX, "acme") for number in range(500)]
        late = resolver.query("b.example", MX, "acme")
        self.net.pump([0, 0])
        self.assertNoResult(late)
        self.assertEqual(100, self.net.open)
        self.result(resolver.query("c.example", MX, "other"), 0)
        self.result(resolver.query("b.example", MX, "other"), 0)
        self.successResultOf(late)
        self.net.pump([1] * 60)
        self.assertEqual(500, len([self.failureResultOf(one, DnsError) for one in silent]))
        self.assertEqual((0, []), (self.net.open, self.net.getDelayedCalls()))

    def test_silent_server_is_passed_over(self) -> None:
        """
        A server that does not answer in time is followed by the next.
        """
        resolver = self.make(Zone().fault("b.example", Said(silent=True)), Zone().exchanges("b.example", (1, "m.x")))
        self.assertEqual(1, len(self.result(resolver.query("b.example", MX), 3).records))
        self.assertEqual(0, self.net.open)

    def test_closed_port(self) -> None:
        """
        A server that is not there is passed over at once, not after the time for an answer.
        """
        resolver = self.make(Zone())
        self.settings.config = settings(SECOND, FIRST).config
        self.assertFalse(self.result(resolver.query("b.example", MX), 0).exists)

    def test_everybody_fails(self) -> None:
        """
        A failure of all is a L{DnsError} that names the reason, remembered for some seconds.
        """
        resolver = self.make(Zone().fault("b.example", Said(rcode=2)), Zone().fault("b.example", Said(rcode=5)))
        self.assertEqual("REFUSED from 192.0.2.2 for b.example", self.failure(resolver.query("b.example", MX), 0))
        self.failureResultOf(resolver.query("b.example", MX), DnsError)
        self.assertEqual((1, 1), (self.asked(FIRST), self.asked(SECOND)))

    def test_nobody_answers(self) -> None:
        """
        Silence ends after three rounds, with no socket or timer left.
        """
        resolver = self.make(Zone().fault("b.example", Said(silent=True)))
        self.assertIn("no answer in time", self.failure(resolver.query("b.example", MX)))
        self.assertEqual((3, 0, []), (self.asked(FIRST), self.net.open, self.net.getDelayedCalls()))

    def test_late_and_wrong_answers(self) -> None:
        """
        An answer to another question is passed over and the right one taken.
        """
        said = Said((MxRecord(1, "m.x"),), wrong_question=True)
        resolver = self.make(Zone().fault("b.example", said))
        self.assertEqual((MxRecord(1, "m.x"),), self.result(resolver.query("b.example", MX)).records)

    def test_authenticated_only_from_trusted_servers(self) -> None:
        """
        The AD bit is believed only of servers that are said to validate.
        """
        zone = Zone().exchanges("b.example", (1, "m.x"), authenticated=True)
        for validating in (True, False):
            resolver = self.make(zone, validating=validating)
            self.assertEqual(validating, self.result(resolver.query("b.example", MX)).authenticated)
            self.assertEqual(validating, self.successResultOf(resolver.query("b.example", MX)).authenticated)

    def test_nonexistent_is_an_answer(self) -> None:
        """
        NXDOMAIN is an answer, asked once.
        """
        resolver = self.make(Zone())
        self.assertFalse(self.result(resolver.query("b.example", MX)).exists)
        self.assertFalse(self.successResultOf(resolver.query("b.example", MX)).exists)

    def test_new_servers_forget_the_old(self) -> None:
        """
        After a reload with other servers, what the old ones said does not count.
        """
        resolver = self.make(Zone().exchanges("b.example", (1, "old.x")), Zone().exchanges("b.example", (1, "new.x")))
        self.result(resolver.query("b.example", MX))
        self.settings.config = settings(SECOND).config
        self.assertEqual((MxRecord(1, "new.x"),), self.result(resolver.query("b.example", MX)).records)

    def test_bad_name(self) -> None:
        """
        What cannot be asked for fails at once.
        """
        self.failureResultOf(self.make(Zone()).query("a..b", MX), DnsError)


def test_resolv_conf() -> None:
    """
    The first three name servers count; what is no address is passed over.
    """
    text = "# x\nsearch a.x\nnameserver 192.0.2.1\nnameserver nonsense\nnameserver\n nameserver fe80::1%eth0\n" * 2
    assert ["192.0.2.1", "fe80::1%eth0", "192.0.2.1"] == [server.host for server in parse_resolv_conf(text)]


def test_resolv_conf_is_read_again(tmp_path: Path) -> None:
    """
    A changed file is noticed within seconds; without one the local host is asked.
    """
    path = tmp_path / "resolv.conf"
    servers = Servers(settings(), path)
    found = [servers.current(0.0)]
    path.write_text("nameserver 192.0.2.1\n")
    found += [servers.current(1.0), servers.current(5.0)]
    assert [DEFAULT, DEFAULT, (FIRST,)] == found


def test_settings_come_first() -> None:
    """
    Configured servers are asked, whatever the system has.
    """
    assert (SECOND,) == Servers(settings(SECOND), Path("/nonexistent")).current(0.0)


class TestLive(TestCase):
    """
    Against a real server on loopback.
    """

    timeout = 20

    def setUp(self) -> None:
        self.server = NameServer(reactor, Zone())
        port = self.server.start()
        self.addCleanup(self.server.stop)
        self.resolver = Resolver(reactor, settings(Server("127.0.0.1", port)), lambda count: b"\1" * count)

    async def test_truncated_over_tcp(self) -> None:
        """
        An answer that was cut short is asked for over TCP, of the same server.
        """
        records = tuple(MxRecord(number, f"mx{number}.b.example") for number in range(200))
        self.server.zone.say("b.example", MX, Said(records, truncated=True))
        answer = await self.resolver.query("b.example", MX)
        self.assertEqual(records, answer.records)
        self.assertEqual(["udp", "tcp"], [transport for _, _, transport in self.server.asked])

    async def test_aliases(self) -> None:
        """
        An alias leads to its target; a loop is a failure.
        """
        self.server.zone.alias("a.example", "b.example").exchanges("b.example", (1, "m.x"))
        self.server.zone.alias("c.example", "c.example")
        answer = await self.resolver.query("a.example", MX)
        self.assertEqual(((MxRecord(1, "m.x"),), "b.example"), (answer.records, answer.name))
        self.assertEqual("", (await self.resolver.query("b.example", MX)).name)
        with self.assertRaises(DnsError):
            await self.resolver.query("c.example", MX)

    async def test_closed_port(self) -> None:
        """
        A server that is not there fails at once, not after the time for an answer.
        """
        await self.server.stop()
        with self.assertRaisesRegex(DnsError, "nothing listens there"):
            await self.resolver.query("b.example", MX)
