"""
One request: where it may go, what it proves, and what of the answer is kept; in memory.
"""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from random import Random
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, fail
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import HTTPConnectionPool

from lmrelay.config.values import Config, Server, Webhooks
from lmrelay.events.post import MAX_TEXT, Post
from lmrelay.events.wire import MAX_BODY
from lmrelay.interfaces import Told
from lmrelay.reach import AAAA
from lmrelay.testing.certificates import NOT_BEFORE, Authority, Certificate
from lmrelay.testing.name_server import FakeResolver, Said, Zone
from tests.events.bench import PUBLIC, Hook
from tests.outbound.bench import Network
from tests.queue.doubles import Settings

AUTHORITY = Authority.make()
NAME = "shop.example"
CERTIFICATE = AUTHORITY.issue(NAME)


class Posting(SynchronousTestCase):
    def setUp(self) -> None:
        ca_file = Path(self.mktemp())
        ca_file.parent.mkdir(parents=True, exist_ok=True)
        ca_file.write_bytes(AUTHORITY.pem)
        self.network = Network()
        config = Config(Path("lmrelay.toml"), Server("relay.example"), webhooks=Webhooks(ca_file=ca_file))
        self.settings = Settings(config)
        self.zone = Zone().addresses(NAME, PUBLIC)
        self.post = Post(
            self.network, self.network, self.settings, FakeResolver(self.zone), Random(1), self.network.seconds
        )
        self.hook = Hook(self.network, lambda _: 200)

    def listen(self, address: str = PUBLIC, certificate: Certificate | None = CERTIFICATE) -> None:
        site = self.hook.site()
        if certificate is None:
            self.network.servers[address] = site
        else:
            context = certificate.server_context()
            self.network.servers[address] = TLSMemoryBIOFactory(context, False, site, clock=self.network)

    def answer(self, octets: bytes) -> None:
        """
        A server that says just that.
        """

        class Say(Protocol):
            def dataReceived(self, data: bytes) -> None:
                self.transport.write(octets)  # type: ignore[union-attr]

        self.network.servers[PUBLIC] = Factory.forProtocol(Say)

    def allow(self, *networks: str) -> None:
        webhooks = evolve(self.settings.config.webhooks, allow_networks=tuple(map(ip_network, networks)))
        self.settings.config = evolve(self.settings.config, webhooks=webhooks)

    def begin(self, url: str = f"https://{NAME}/x") -> Deferred[Told]:
        sending = Deferred.fromCoroutine(self.post.send(url, {"X-A": "b"}, b"{}"))
        # TLS gathers what is written within a turn.
        self.network.advance(0)
        self.network.settle()
        return sending

    def send(self, url: str = f"https://{NAME}/x") -> Told:
        return self.successResultOf(self.begin(url))

    def refused(self, url: str = f"https://{NAME}/x") -> str:
        told = self.send(url)
        self.assertIsNone(told.status)
        self.assertEqual([], self.hook.got)
        return told.text


class Reserved(Settings):
    """
    Settings that nobody may write out.
    """

    def __repr__(self) -> str:
        raise AssertionError("the whole configuration was written out")


class GoodTests(Posting):
    def test_costs_no_more_for_more_projects(self) -> None:
        """
        A connection is made without writing out the configuration, which may be long and has secrets.
        """
        self.post.settings = Reserved(self.settings.config)
        self.listen()
        self.assertEqual(200, self.send().status)

    def test_taken(self) -> None:
        """
        Over TLS with the host's own name, from a body of octets; status and answer are told.
        """
        self.hook.body = "thänks".encode()
        self.listen()
        told = self.send()
        self.assertEqual((200, "", "thänks"), (told.status, told.text, told.body))
        self.assertTrue(told.is_success)
        got = self.hook.got[0]
        self.assertEqual((b"{}", "b", NAME), (got.body, got.headers["x-a"], got.headers["host"]))
        self.assertEqual("lmrelay", got.headers["user-agent"])
        self.assertNotIn("accept-encoding", got.headers)

    def test_pieces(self) -> None:
        """
        However small the pieces in which it comes.
        """
        self.network.segment = 7
        self.hook.body = b"ok"
        self.listen()
        self.assertEqual((200, "ok"), (lambda told: (told.status, told.body))(self.send()))

    def test_long_answer(self) -> None:
        """
        Of a long answer the beginning is kept; it is a success, and its connection is left.
        """
        self.hook.body = b"x" * 1_000_000
        self.listen()
        told = self.send()
        self.assertEqual((200, "x" * MAX_BODY), (told.status, told.body))
        self.network.settle()
        self.assertTrue(all(wire.client.disconnected for wire in self.network.wires))

    def test_compressed_answer(self) -> None:
        """
        Nothing is unpacked.
        """
        self.hook.headers["Content-Encoding"] = "gzip"
        self.hook.body = b"not gzip"
        self.listen()
        self.assertEqual((200, "not gzip"), (lambda told: (told.status, told.body))(self.send()))

    def test_kept(self) -> None:
        """
        A second request goes over the connection of the first, unless what is allowed has changed.
        """
        self.listen()
        self.send()
        self.send()
        self.assertEqual(1, len(self.network.wires))
        self.allow("10.0.0.0/8")
        self.send()
        self.assertEqual(2, len(self.network.wires))

    def test_kept_for_one(self) -> None:
        """
        Of two endpoints at a host each has connections of its own.
        """
        self.listen()
        for whose in (("acme", "shop"), ("other", "shop"), ("acme", "shop")):
            sending = Deferred.fromCoroutine(self.post.send(f"https://{NAME}/x", {}, b"{}", whose))
            self.network.advance(0)
            self.network.settle()
            self.assertEqual(200, self.successResultOf(sending).status)
        self.assertEqual(2, len(self.network.wires))

    def test_what_twisted_writes_down(self) -> None:
        """
        For each connection Twisted writes down where it leads: that is not the configuration with all its projects.
        """
        written: list[str] = []

        def find(key: Any, endpoint: Any) -> Deferred[Any]:
            written.append(repr(endpoint))
            return fail(ValueError("enough"))

        pool = HTTPConnectionPool(self.network)
        pool.getConnection = find  # type: ignore[method-assign]
        self.post._pool, self.post._pool_of = pool, self.settings.config.webhooks
        self.assertEqual("enough", self.send().text)
        self.assertNotIn("Config", written[0])
        self.assertLess(len(written[0]), 200)

    def test_as_it_stands(self) -> None:
        """
        A URL is asked for as it stands, in whatever way its path and query are written.
        """
        self.listen()
        rests = (
            "/a%2Fb/../c//d;e?sp=%2Ft&x=a+b&y=%2B&k;l=1&z&=&q=%ff&r=%zz&s='(!*)",
            "?a",
            "",
            "/%E0%A4%A",
            "/|^`{}",
        )
        for rest in rests:
            self.assertEqual(200, self.send(f"https://{NAME}{rest}").status)
        expected = [rest if rest.startswith("/") else f"/{rest}" for rest in rests]
        self.assertEqual(expected, [one.path for one in self.hook.got])

    def test_next_address(self) -> None:
        """
        An address where nobody listens is followed by the next.
        """
        self.zone.addresses(NAME, "2606:4700::1", PUBLIC)
        self.listen()
        self.assertEqual(200, self.send().status)

    def test_login_in_the_url(self) -> None:
        """
        User and password in the URL are said as HTTP says them, and nowhere else.
        """
        self.listen()
        self.send(f"https://me:p%40ss@{NAME}/x")
        self.assertEqual("Basic bWU6cEBzcw==", self.hook.got[0].headers["authorization"])
        self.assertEqual((NAME, "/x"), (self.hook.got[0].headers["host"], self.hook.got[0].path))

    def test_address_as_host(self) -> None:
        """
        A host may be an address, with a certificate for it, or none where the URL says http; localhost is one too.
        """
        self.allow("127.0.0.0/8", "::1")
        for host, address in (("127.0.0.1", "127.0.0.1"), ("[::1]", "::1"), ("localhost", "127.0.0.1")):
            self.listen(address, None)
            self.assertEqual(200, self.send(f"http://{host}:8080/").status)
        self.listen("127.0.0.9", AUTHORITY.issue("127.0.0.9"))
        self.assertEqual(200, self.send("https://127.0.0.9/").status)


class BadTests(Posting):
    def test_private_addresses(self) -> None:
        """
        Nothing is connected to inside, however its address is written, unless it is allowed.
        """
        inside = ("127.0.0.1", "10.0.0.1", "192.168.1.1", "169.254.169.254", "::1", "fd00::1", "::ffff:127.0.0.1")
        self.zone.addresses(NAME, *inside)
        for address in inside:
            self.listen(address)
        self.assertIn("that may be connected to", self.refused())
        for url in ("http://127.0.0.1/", "http://[::1]/", "http://localhost/", "http://169.254.169.254/latest"):
            self.assertIn("that may be connected to", self.refused(url))
        self.assertEqual([], self.network.wires)
        self.allow("10.0.0.0/8")
        self.assertEqual(200, self.send().status)
        self.assertEqual(1, len(self.network.wires))

    def test_rebinding(self) -> None:
        """
        What a name leads to is judged for each connection, not once: one that later leads inside is not followed.
        """
        self.listen()
        self.assertEqual(200, self.send().status)
        self.hook.got.clear()
        self.network.wires[0].server.loseConnection()
        self.network.settle()
        self.zone.addresses(NAME, "127.0.0.1")
        self.listen("127.0.0.1")
        self.assertIn("that may be connected to", self.refused())

    def test_names(self) -> None:
        """
        A host without an address, or of which the DNS says nothing, is told as such.
        """
        self.zone.addresses(NAME)
        self.assertEqual(f"{NAME} has no address", self.refused())
        self.zone.fault(NAME, Said(rcode=2))
        self.assertIn("the DNS gave no answer", self.refused())

    def test_certificates(self) -> None:
        """
        A certificate that no known CA vouches for, or of another host, ends it before the request.
        """
        for certificate, words in (
            (AUTHORITY.issue("b.example"), "the certificate is for b.example, not for shop.example"),
            (Authority.make("another").issue(NAME), "issuer is not known"),
            (AUTHORITY.issue(NAME, not_after=NOT_BEFORE + timedelta(days=1)), "the certificate has expired"),
        ):
            self.listen(certificate=certificate)
            self.assertIn(words, self.refused())

    def test_no_authorities(self) -> None:
        """
        A file of authorities that is gone is our trouble, told as such.
        """
        self.listen()
        webhooks = evolve(self.settings.config.webhooks, ca_file=Path("/nowhere/ca.pem"))
        self.settings.config = evolve(self.settings.config, webhooks=webhooks)
        self.assertIn("the certificate authorities cannot be read", self.refused())

    def test_nobody_listens(self) -> None:
        """
        Neither there nor at another address.
        """
        self.assertIn(f"{NAME} [{PUBLIC}]: Connection was refused", self.refused())

    def test_silence(self) -> None:
        """
        Without an answer it is over after the timeout, connecting included, and the connection is gone.
        """
        self.hook.say = lambda _: None
        self.listen()
        sending = self.begin()
        self.network.pass_time(29)
        self.assertNoResult(sending)
        self.network.pass_time(2)
        self.assertEqual((None, "no answer within 30 s"), (lambda t: (t.status, t.text))(self.successResultOf(sending)))
        self.assertTrue(all(wire.client.disconnected for wire in self.network.wires))
        self.network.servers[PUBLIC] = None
        self.zone.addresses(NAME, PUBLIC, "8.8.4.4", "1.1.1.1")
        self.network.servers["8.8.4.4"] = self.network.servers["1.1.1.1"] = None
        sending = self.begin()
        self.network.pass_time(31)
        self.assertIn("no answer within 30 s", self.successResultOf(sending).text)

    def test_half_an_answer_of_the_dns(self) -> None:
        """
        It is over after the timeout as well if by then only one kind of address is known.
        """
        self.hook.say = lambda _: None
        self.zone.say(NAME, AAAA, Said((), delay=40.0))
        self.post.resolver = FakeResolver(self.zone, self.network)
        self.listen()
        sending = self.begin()
        self.network.pass_time(31)
        self.assertEqual("no answer within 30 s", self.successResultOf(sending).text)
        self.network.pass_time(60)
        self.assertEqual([], self.network.wires)

    def test_body_that_does_not_end(self) -> None:
        """
        A status that came in time counts, however its body goes on.
        """

        class Slow(Hook):
            def render_POST(self, request):  # type: ignore[no-untyped-def]
                Hook.render_POST(self, request)
                request.write(b"so ")
                return 1

        self.hook = Slow(self.network, lambda _: None)
        self.listen()
        sending = self.begin()
        self.network.pass_time(6)
        told = self.successResultOf(sending)
        self.assertEqual((200, "so "), (told.status, told.body))
        self.network.settle()
        self.assertTrue(all(wire.client.disconnected for wire in self.network.wires))

    def test_status_that_does_not_exist(self) -> None:
        """
        A status that HTTP does not have is no answer, and nothing that the store would have to hold.
        """
        for status in (99999999999999999999, 600, 99, 0, -200):
            self.hook.say = lambda _, status=status: status
            self.listen()
            told = self.send()
            self.assertEqual((None, False), (told.status, told.is_success))
            self.assertEqual("it answered with a status that HTTP does not have", told.text)

    def test_words_are_bounded(self) -> None:
        """
        What a server says instead of HTTP is told, but no more than a line of it.
        """
        self.answer(b"HTTP/1.1 " + b"\x1b[31m" * 2000 + b"\r\n\r\n")
        told = self.send(f"http://{NAME}/")
        self.assertIn("non-integer status code", told.text)
        self.assertEqual(MAX_TEXT, len(told.text))

    def test_endless_head(self) -> None:
        """
        A head that does not end is left, and told as such.
        """
        self.answer(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 10_000)
        told = self.send(f"http://{NAME}/")
        self.assertEqual((None, "it said more than any good answer has"), (told.status, told.text))

    def test_body_as_long_as_the_connection(self) -> None:
        """
        A long body that only the end of the connection would end is left without an error in the log.
        """
        self.answer(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 10_000)
        told = self.send(f"http://{NAME}/")
        self.network.settle()
        self.assertEqual((200, "x" * MAX_BODY), (told.status, told.body))
        self.assertTrue(all(wire.client.disconnected for wire in self.network.wires))

    def test_cancelled(self) -> None:
        """
        Broken off, it tells nothing and leaves no connection.
        """
        self.hook.say = lambda _: None
        self.listen()
        sending = self.begin()
        sending.cancel()
        self.network.settle()
        self.failureResultOf(sending)
        self.assertTrue(all(wire.client.disconnected for wire in self.network.wires))
