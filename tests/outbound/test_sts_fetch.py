"""
Fetching policies: over TLS that proves the host, from public addresses, in bounds; in memory and over real sockets.
"""

from __future__ import annotations

import datetime
import gzip
from ipaddress import ip_network
from pathlib import Path
from random import Random
from typing import Any

from attrs import evolve
from twisted.internet import reactor
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase, TestCase

from lmrelay.errors import FetchError
from lmrelay.outbound.https import Https
from lmrelay.outbound.route import Router
from lmrelay.outbound.sts import MAX_OCTETS
from lmrelay.outbound.sts_fetch import PolicyHosts
from lmrelay.testing.certificates import Authority, Certificate
from lmrelay.testing.name_server import FakeResolver, Said, Zone
from lmrelay.testing.scripted_mx import ScriptedMx
from tests.outbound.bench import Network, Relay, settings
from tests.outbound.policy_host import GOOD, PolicyHost

AUTHORITY = Authority.make()
NAME = "mta-sts.b.example"
CERTIFICATE = AUTHORITY.issue(NAME)
PUBLIC = "8.8.8.8"


class Fetching(SynchronousTestCase):
    def setUp(self) -> None:
        ca_file = Path(self.mktemp())
        ca_file.parent.mkdir(parents=True, exist_ok=True)
        ca_file.write_bytes(AUTHORITY.pem)
        self.network = Network()
        self.settings = settings(ca_file=ca_file)
        self.zone = Zone().addresses(NAME, PUBLIC)
        router = Router(FakeResolver(self.zone), Random(1))
        self.hosts = PolicyHosts(Https(self.network, self.network, self.settings, router))
        self.host = PolicyHost()
        self.serve()

    def serve(self, certificate: Certificate = CERTIFICATE, address: str = PUBLIC) -> None:
        site = self.host.site(self.network)
        secured = TLSMemoryBIOFactory(certificate.server_context(), False, site, clock=self.network)
        self.network.servers[address] = secured

    def fetch(self) -> bytes:
        return Relay(self.network, self.settings).run(self.hosts.fetch("b.example"))

    def refused(self) -> str:
        with self.assertRaises(FetchError) as raised:
            self.fetch()
        self.network.settle()
        self.assertTrue(all(wire.client.disconnected for wire in self.network.wires))
        return str(raised.exception)


class GoodTests(Fetching):
    def test_fetched(self) -> None:
        """
        From the well-known path of the policy host, in however small pieces; the connection is closed.
        """
        for segment in (65536, 7):
            self.network.segment = segment
            self.assertEqual(GOOD, self.fetch())
            self.network.settle()
        self.assertEqual([(NAME, "/.well-known/mta-sts.txt")] * 2, self.host.paths)
        self.assertTrue(all(wire.client.disconnected for wire in self.network.wires))

    def test_next_address(self) -> None:
        """
        An address where nobody listens is followed by the next.
        """
        self.zone.addresses(NAME, "2606:4700::1", PUBLIC)
        self.assertEqual(GOOD, self.fetch())

    def test_at_the_bound(self) -> None:
        """
        64 KiB are not too much.
        """
        self.host.body = b"x" * MAX_OCTETS
        self.assertEqual(self.host.body, self.fetch())


class BadTests(Fetching):
    def test_addresses(self) -> None:
        """
        A policy host cannot point inside, but for networks that are allowed; one without an address is none.
        """
        self.serve(address="127.0.0.1")
        self.zone.addresses(NAME, "127.0.0.1", "10.0.0.1", "::ffff:127.0.0.1")
        self.assertIn("may be connected to", self.refused())
        self.assertEqual([], self.host.paths)
        allowed = evolve(self.settings.config.delivery, allow_networks=(ip_network("127.0.0.0/8"),))
        self.settings.config = evolve(self.settings.config, delivery=allowed)
        self.assertEqual(GOOD, self.fetch())
        self.zone.addresses(NAME)
        self.assertEqual(f"{NAME} has no address", self.refused())
        self.zone.fault(NAME, Said(rcode=2))
        self.assertIn("the DNS gave no answer", self.refused())

    def test_nobody_listens(self) -> None:
        """
        Nothing at any address is told with the last.
        """
        del self.network.servers[PUBLIC]
        self.assertIn(f"{NAME} [{PUBLIC}]: Connection was refused", self.refused())

    def test_certificates(self) -> None:
        """
        One that no known CA vouches for, for another host or out of date, ends the handshake before the request.
        """
        cases = (
            (AUTHORITY.issue("b.example"), "the certificate is for b.example, not for mta-sts.b.example"),
            (Authority.make("another").issue(NAME), "issuer is not known"),
            (Authority.make(NAME).root, "self-signed"),
            (AUTHORITY.issue(NAME, not_after=datetime.datetime(2021, 1, 1)), "has expired"),
        )
        for certificate, words in cases:
            self.serve(certificate)
            self.assertIn(words, self.refused())
        self.assertEqual([], self.host.paths)

    def test_other_answers(self) -> None:
        """
        Redirects are not followed, errors and other media types are no policy.
        """
        for code in (204, 301, 302, 307, 308, 404, 500):
            self.host.code = code
            self.host.headers["Location"] = f"https://{NAME}/elsewhere"
            self.assertIn(f"the answer was {code}", self.refused())
        self.assertEqual(7, len(self.host.paths))
        self.host.code = 200
        for kind in ("text/html", "application/octet-stream", "text/plainer", ""):
            self.host.headers["Content-Type"] = kind
            self.assertIn("not text/plain", self.refused())

    def test_too_much(self) -> None:
        """
        More than 64 KiB, compressed or in its header, is not read.
        """
        self.host.body = b"x" * (MAX_OCTETS + 1)
        self.assertIn("more than 65536 octets", self.refused())
        self.host.body = gzip.compress(GOOD)
        self.host.headers["Content-Encoding"] = "gzip"
        self.assertIn("compressed", self.refused())
        del self.host.headers["Content-Encoding"]
        self.host.headers.update({f"X-{number}": "x" * 8000 for number in range(20)})
        self.refused()

    def test_no_tls(self) -> None:
        """
        What speaks something else there is no policy host.
        """
        self.network.servers[PUBLIC] = ScriptedMx(self.network)
        self.assertIn(f"{NAME} [{PUBLIC}]: ", self.refused())

    def test_slow(self) -> None:
        """
        A minute for all of it, wherever it hangs; nothing is left behind.
        """
        self.host.body = None
        begun = Relay(self.network, self.settings).begin(self.hosts.fetch("b.example"))
        self.network.pass_time(59, 10)
        self.assertNoResult(begun)
        self.network.pass_time(2)
        self.assertIn("60 s", str(self.failureResultOf(begun, FetchError).value))
        self.assertTrue(self.network.wires[0].client.disconnected)
        self.network.servers[PUBLIC] = None
        self.zone.addresses(NAME, *(f"8.8.8.{number}" for number in range(1, 9)))
        self.network.servers.update(dict.fromkeys((f"8.8.8.{number}" for number in range(1, 9)), None))
        begun = Relay(self.network, self.settings).begin(self.hosts.fetch("b.example"))
        self.network.pass_time(59, 5)
        self.assertNoResult(begun)
        self.network.pass_time(2)
        self.failureResultOf(begun, FetchError)

    def test_no_ca_file(self) -> None:
        """
        A CA file that is gone is told as such.
        """
        self.settings.config.delivery.ca_file.unlink()
        self.assertIn("certificate authorities cannot be read", self.refused())


class LiveTests(TestCase):
    """
    Over real sockets, on loopback.
    """

    timeout = 20

    async def test_fetched(self) -> None:
        """
        A policy comes from a real HTTPS server; one that shows another's certificate gives none.
        """
        ca_file = Path(self.mktemp())
        ca_file.parent.mkdir(parents=True, exist_ok=True)
        ca_file.write_bytes(AUTHORITY.pem)
        known = settings(ca_file=ca_file, allow_networks=(ip_network("127.0.0.0/8"),))
        zone = Zone().addresses(NAME, "127.0.0.1").addresses("mta-sts.c.example", "127.0.0.1")
        host, clock = PolicyHost(), reactor
        listening: Any = reactor.listenSSL(0, host.site(clock), CERTIFICATE.server_context(), interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        port = listening.getHost().port
        hosts = PolicyHosts(Https(reactor, reactor, known, Router(FakeResolver(zone), Random(1))), port)
        self.assertEqual(GOOD, await hosts.fetch("b.example"))
        self.assertEqual([(f"{NAME}:{port}", "/.well-known/mta-sts.txt")], host.paths)
        with self.assertRaisesRegex(FetchError, "not for mta-sts.c.example"):
            await hosts.fetch("c.example")
