"""
The whole ladder from a recipient domain to the wire: published policies, the hosts they bar, real handshakes in memory.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

from attrs import evolve
from OpenSSL import SSL
from twisted.internet import ssl
from twisted.internet.interfaces import IOpenSSLContextFactory
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from lmrelay.config.project import Project, Route
from lmrelay.config.values import Delivery, DomainDelivery
from lmrelay.config.words import Switch, TlsPolicy
from lmrelay.interfaces import IContent, Leased
from lmrelay.mail.outcome import Attempt, Delayed, Delivered, Fault
from lmrelay.outbound.connect import Connector
from lmrelay.outbound.courier import Courier
from lmrelay.outbound.dane import TLSA
from lmrelay.outbound.dispatch import Dispatch, Windows
from lmrelay.outbound.sts import StsMode, StsPolicy
from lmrelay.shares import Shares
from lmrelay.testing.certificates import Authority, Certificate
from lmrelay.testing.name_server import FakeResolver, Said, Zone
from lmrelay.testing.scripted_mx import ScriptedMx
from tests.outbound.bench import CONTENT, Blocks, Network
from tests.outbound.doubles import MemoryQueue, Settings, config, leased
from tests.outbound.test_dane import tlsa

AUTHORITY = Authority.make()
FOREIGN = Authority.make("somebody else's CA")
MX1, MX2 = "mx1.b.example", "mx2.b.example"
IP1, IP2 = "8.8.8.1", "8.8.8.2"
ENFORCE, TESTING = StsMode.ENFORCE, StsMode.TESTING


class Contents(MemoryQueue):
    """
    A queue whose messages have a content.
    """

    def open_content(self, message_id: str, fields: bytes = b"", above: bytes = b"") -> IContent:
        return Blocks([CONTENT])


class Ladder(SynchronousTestCase):
    """
    A courier with a real client, two domains at one site of two hosts, each behind a certificate of a known CA.
    """

    def setUp(self) -> None:
        self.network = Network()
        self.zone = Zone()
        for domain in ("b.example", "c.example"):
            self.zone.exchanges(domain, (10, MX1), (20, MX2))
        self.zone.addresses(MX1, IP1).addresses(MX2, IP2)
        self.hosts = {MX1: self.serve(MX1, IP1), MX2: self.serve(MX2, IP2)}
        self.policies: dict[str, StsPolicy] = {}
        self.ca_file = Path(self.mktemp())
        self.ca_file.parent.mkdir(parents=True, exist_ok=True)
        self.ca_file.write_bytes(AUTHORITY.pem)
        self.settings = Settings()
        self.configure()
        self.queue = Contents()
        self.resolver = FakeResolver(self.zone, self.network)
        self.courier = Courier(
            self.network,
            self.settings,
            self.resolver,
            Connector(self.network, self.network, self.settings),
            lambda: 1e9 + self.network.seconds(),
            Random(1),
            self.queue,
            Dispatch(Windows(10, Shares(20, 10))),
            self.find_policy,
        )

    def configure(self, **delivery: Any) -> None:
        self.settings.config = config(delivery=Delivery(ca_file=self.ca_file, **delivery))

    async def find_policy(self, domain: str, whose: object) -> StsPolicy | None:
        return self.policies.get(domain)

    def serve(self, host: str, address: str, certificate: Certificate | None = None, tls: bool = True) -> ScriptedMx:
        context = (certificate or AUTHORITY.issue(host)).server_context() if tls else None
        self.network.servers[address] = mx = ScriptedMx(self.network, host, tls=context)
        return mx

    def publish(self, *mx: str, mode: StsMode = ENFORCE, domain: str = "b.example") -> None:
        self.policies[domain] = StsPolicy(mode, mx)

    def message(self, message_id: str, domain: str = "b.example", route: str = "outgoing") -> Leased:
        return evolve(leased(message_id, domain=domain), route=route)

    def deliver(self, *messages: str, domain: str = "b.example", route: str = "outgoing") -> Attempt:
        """
        One after the other; the attempt of the last.
        """
        for message in messages:
            one = self.message(message, domain, route)
            self.assertTrue(self.courier.reserve(one.lane, 1))
            self.courier.take([one])
            self.network.settle()
        return self.queue.settled[messages[-1], 0]

    def delayed(self, *messages: str, domain: str = "b.example") -> str:
        """
        The reason why it waits; nothing went out for it.
        """
        sent = self.sent()
        outcome = self.deliver(*messages, domain=domain).outcome
        self.assertIsInstance(outcome, Delayed)
        self.assertEqual(sent, self.sent())
        return outcome.text

    def sent(self) -> list[str]:
        return [line for mx in self.hosts.values() for line in mx.commands if line.startswith("MAIL")]

    def ruled(self, attempt: Attempt) -> tuple[str, bool, str]:
        self.assertIsInstance(attempt.outcome, Delivered)
        return attempt.host, attempt.tls.verified, attempt.tls.policy


class StsTests(Ladder):
    def test_enforced(self) -> None:
        """
        A host that the policy names and a CA vouches for gets the mail, and the attempt says who ruled.
        """
        self.publish("*.b.example")
        self.assertEqual((MX1, True, "mta-sts"), self.ruled(self.deliver("m1")))

    def test_unnamed_hosts_are_passed_over(self) -> None:
        """
        A host that the policy does not name is not connected to, though it is the best; a named one is.
        """
        self.publish(MX2)
        self.assertEqual((MX2, True, "mta-sts"), self.ruled(self.deliver("m1")))
        self.assertEqual(0, self.hosts[MX1].connections)

    def test_no_host_is_named(self) -> None:
        """
        With none left the mail waits, and says why.
        """
        self.publish("mx.other.example")
        self.assertIn("does not name the host", self.delayed("m1"))
        self.assertEqual([0, 0], [mx.connections for mx in self.hosts.values()])
        attempt = self.queue.settled["m1", 0]
        self.assertEqual(
            ("4.7.5", Fault.POLICY, None), (attempt.outcome.status, attempt.outcome.fault, attempt.address)
        )

    def test_bad_certificates_are_passed_over(self) -> None:
        """
        A host with a certificate that no CA vouches for is passed over; with none left the mail waits, never in clear.
        """
        self.publish(MX1, MX2)
        self.hosts[MX1] = self.serve(MX1, IP1, FOREIGN.issue(MX1))
        self.assertEqual((MX2, True, "mta-sts"), self.ruled(self.deliver("m1")))
        self.network.pass_time(60, 10)
        self.hosts[MX2] = self.serve(MX2, IP2, AUTHORITY.issue("other.example"))
        self.assertIn("TLS is required (mta-sts), but the certificate", self.delayed("m2"))
        self.assertEqual([], self.sent())

    def test_no_starttls(self) -> None:
        """
        Neither does mail go to a host without TLS.
        """
        self.publish(MX1, MX2)
        self.hosts = {MX1: self.serve(MX1, IP1, tls=False), MX2: self.serve(MX2, IP2, tls=False)}
        self.assertIn("TLS is required (mta-sts), but the server does not offer STARTTLS", self.delayed("m1"))

    def test_testing(self) -> None:
        """
        In testing it stops nothing: the mail goes as without, and the log says what would have been.
        """
        self.publish("mx.other.example", mode=TESTING)
        with capturedLogs() as events:
            self.assertEqual((MX1, True, "opportunistic"), self.ruled(self.deliver("m1")))
            self.publish(MX1, mode=TESTING)
            self.courier.try_anew()
            self.network.pass_time(60, 10)
            self.assertEqual((MX1, True, "opportunistic"), self.ruled(self.deliver("m2")))
            self.hosts[MX1] = self.serve(MX1, IP1, tls=False)
            self.network.pass_time(60, 10)
            self.assertIsNone(self.deliver("m3").tls)
        told = [event["reason"] for event in events if "policy in testing" in event["log_format"]]
        self.assertEqual(
            [
                "the MTA-STS policy of the recipient's domain does not name the host mx1.b.example",
                "the connection is not encrypted",
            ],
            told,
        )

    def test_domains_are_kept_apart(self) -> None:
        """
        Two domains at one site: the policy of the one binds the other's mail in nothing.
        """
        self.publish(MX2)
        self.assertEqual(MX1, self.deliver("m1", domain="c.example").host)
        self.assertEqual(MX2, self.deliver("m2").host)

    def test_configuration_comes_first(self) -> None:
        """
        None stays none; enforced and the policy both hold.
        """
        self.publish(MX2)
        self.configure(domains={"b.example": DomainDelivery(TlsPolicy.NONE)})
        attempt = self.deliver("m1")
        self.assertEqual((MX1, None), (attempt.host, attempt.tls))
        self.configure(tls=TlsPolicy.ENFORCED)
        self.assertEqual((MX2, True, "mta-sts"), self.ruled(self.deliver("m2")))

    def test_kept_connections(self) -> None:
        """
        A connection that was opened opportunistically carries a policy's mail if it proved enough, and no other does.
        """
        self.publish(MX1)
        self.assertEqual((MX1, True, "opportunistic"), self.ruled(self.deliver("m1", domain="c.example")))
        self.assertEqual((MX1, True, "mta-sts"), self.ruled(self.deliver("m2")))
        self.assertEqual(1, self.hosts[MX1].connections)
        self.setUp()
        self.publish(MX1, MX2)
        self.hosts = {MX1: self.serve(MX1, IP1, FOREIGN.issue(MX1)), MX2: self.serve(MX2, IP2, FOREIGN.issue(MX2))}
        self.assertEqual((MX1, False, "opportunistic"), self.ruled(self.deliver("m1", domain="c.example")))
        self.assertIn("TLS is required (mta-sts)", self.delayed("m2"))

    def test_policy_is_of_its_time(self) -> None:
        """
        A policy that takes force while mail waits holds for its next attempt.
        """
        self.deliver("m1")
        self.publish("mx.other.example")
        self.network.pass_time(60, 10)
        self.assertIn("does not name", self.delayed("m2"))

    def test_broken_certificates_without_policy(self) -> None:
        """
        A receiver with a broken certificate, or broken TLS, still gets opportunistic mail.
        """
        self.hosts[MX1] = self.serve(MX1, IP1, FOREIGN.issue("elsewhere.example"))
        attempt = self.deliver("m1")
        self.assertEqual((MX1, False, "opportunistic"), self.ruled(attempt))
        self.assertEqual("the certificate's issuer is not known", attempt.tls.reason)
        self.network.pass_time(60, 10)
        self.hosts[MX1].broken_handshake = b"250 this is no TLS\r\n"
        attempt = self.deliver("m2")
        self.assertEqual((MX1, None, True), (attempt.host, attempt.tls, bool(attempt.tls_failure)))


class RouteTests(Ladder):
    def test_route_without_tls(self) -> None:
        """
        A route that says none goes in clear, also where it shares the site with mail under a policy.
        """
        self.publish(MX1)
        routes = {name: Route(name, tls=tls) for name, tls in (("outgoing", None), ("plain", TlsPolicy.NONE))}
        self.settings.config = evolve(self.settings.config, projects={"acme": Project("acme", routes=routes)})
        self.assertEqual((MX1, True, "mta-sts"), self.ruled(self.deliver("m1")))
        self.assertIsNone(self.deliver("m2", route="plain").tls)
        self.assertEqual((MX1, True, "mta-sts"), self.ruled(self.deliver("m3")))
        self.assertEqual(2, self.hosts[MX1].connections)


class DaneTests(Ladder):
    """
    In zones that the DNS vouches for. The CA that vouches for the hosts is none that is known.
    """

    def setUp(self) -> None:
        super().setUp()
        for domain in ("b.example", "c.example"):
            self.zone.exchanges(domain, (10, MX1), (20, MX2), authenticated=True)
        self.zone.addresses(MX1, IP1, authenticated=True).addresses(MX2, IP2, authenticated=True)
        self.pinned = FOREIGN.issue(MX1)
        self.hosts = {MX1: self.serve(MX1, IP1, self.pinned), MX2: self.serve(MX2, IP2, FOREIGN.issue(MX2))}

    def pin(self, *records: bytes, host: str = MX1, port: int = 25, **said: Any) -> None:
        said.setdefault("authenticated", True)
        self.zone.say(f"_{port}._tcp.{host}", TLSA, Said(records, **said))

    def test_pinned(self) -> None:
        """
        A certificate of no known CA is verified by its record; a host that shows another is passed over.
        """
        self.pin(tlsa(3, 1, 1, self.pinned))
        attempt = self.deliver("m1")
        self.assertEqual((MX1, True, "dane"), self.ruled(attempt))
        self.assertEqual("", attempt.tls.reason)
        self.network.pass_time(60, 10)
        self.hosts[MX1] = self.serve(MX1, IP1)
        self.assertEqual((MX2, False, "opportunistic"), self.ruled(self.deliver("m2")))
        self.pin(tlsa(3, 1, 1, self.pinned), host=MX2)
        self.network.pass_time(60, 10)
        self.assertIn("TLS is required (dane), but the certificate matches no TLSA record", self.delayed("m3"))

    def test_no_tls(self) -> None:
        """
        A host with a record never gets mail in clear, also where nothing in the record can be used.
        """
        for number, record in enumerate((tlsa(3, 1, 1, self.pinned), b"\x00\x01\x01" + bytes(32))):
            self.pin(record)
            self.pin(record, host=MX2)
            self.hosts = {MX1: self.serve(MX1, IP1, tls=False), MX2: self.serve(MX2, IP2, tls=False)}
            self.assertIn("does not offer STARTTLS", self.delayed(f"m{number}"))
            self.network.pass_time(60, 10)

    def test_unusable(self) -> None:
        """
        Records of which none can be used ask for TLS, with any certificate.
        """
        self.pin(b"\x01\x00\x01" + bytes(32), b"\x03\x01\x01short")
        attempt = self.deliver("m1")
        self.assertEqual((MX1, False, "dane"), self.ruled(attempt))
        self.assertEqual("the certificate's issuer is not known", attempt.tls.reason)

    def test_trust_anchor(self) -> None:
        """
        An issuer that the record names, and a certificate for the host or for the recipient's own domain.
        """
        anchor = tlsa(2, 0, 1, FOREIGN.root)
        self.pin(anchor)
        for number, name in enumerate((MX1, "b.example")):
            mx = self.hosts[MX1] = self.serve(MX1, IP1)
            mx.tls = FOREIGN.issue(name).server_context(FOREIGN.root)
            self.assertEqual((MX1, True, "dane"), self.ruled(self.deliver(f"m{number}")))
            self.network.pass_time(60, 10)
        self.zone.exchanges("c.example", (10, MX1), authenticated=True)
        self.assertIn("the certificate is for b.example", self.delayed("m2", domain="c.example"))

    def test_proof_is_of_the_domain(self) -> None:
        """
        A kept connection that proved itself by the recipient's domain does not serve another domain.
        """
        self.pin(tlsa(2, 0, 1, FOREIGN.root))
        self.hosts[MX1].tls = FOREIGN.issue("b.example").server_context(FOREIGN.root)
        self.assertEqual((MX1, True, "dane"), self.ruled(self.deliver("m1")))
        self.assertEqual((MX1, True, "dane"), self.ruled(self.deliver("m2")))
        self.assertEqual(1, self.hosts[MX1].connections)
        self.assertEqual(MX2, self.deliver("m3", domain="c.example").host)

    def test_lookup_that_fails(self) -> None:
        """
        A host whose records cannot be looked up is not used, nor connected to; with none left the mail waits.
        """
        self.pin(rcode=2)
        self.assertEqual(MX2, self.deliver("m1").host)
        self.network.pass_time(60, 10)
        self.pin(host=MX2, silent=True)
        self.assertIn(f"the TLSA records of {MX2} cannot be looked up", self.delayed("m2"))
        outcome = self.queue.settled["m2", 0].outcome
        self.assertEqual((0, "4.4.3", Fault.DNS), (self.hosts[MX1].connections, outcome.status, outcome.fault))

    def test_no_record(self) -> None:
        """
        Without one, or with an answer that the DNS does not vouch for, it is as ever.
        """
        for number, said in enumerate(({}, {"authenticated": False}, {"rcode": 3})):
            self.pin(*([tlsa(3, 1, 1, AUTHORITY.root)] if number == 1 else []), **said)
            self.assertEqual((MX1, False, "opportunistic"), self.ruled(self.deliver(f"m{number}")))

    def test_way_that_nobody_vouches_for(self) -> None:
        """
        Where MX or address are not authenticated records are not even asked for.
        """
        self.pin(tlsa(3, 1, 1, AUTHORITY.root))
        self.zone.addresses(MX1, IP1)
        self.assertEqual((MX1, False, "opportunistic"), self.ruled(self.deliver("m1")))
        self.zone.addresses(MX1, IP1, authenticated=True).exchanges("d.example", (10, MX1))
        self.assertEqual((MX1, False, "opportunistic"), self.ruled(self.deliver("m2", domain="d.example")))
        self.assertNotIn(TLSA, [type for _, type in self.resolver.asked])

    def test_connection_of_a_way_that_nobody_vouches_for(self) -> None:
        """
        A connection for which no record was looked up does not serve mail that goes by one.
        """
        self.zone.exchanges("d.example", (10, MX1), (20, MX2))
        self.pin(tlsa(3, 1, 1, AUTHORITY.root))
        self.assertEqual((MX1, False, "opportunistic"), self.ruled(self.deliver("m1", domain="d.example")))
        self.assertEqual(MX2, self.deliver("m2").host)

    def test_switched_off(self) -> None:
        """
        C{off} asks for no record.
        """
        self.configure(dane=Switch.OFF)
        self.pin(tlsa(3, 1, 1, AUTHORITY.root))
        self.assertEqual((MX1, False, "opportunistic"), self.ruled(self.deliver("m1")))
        self.assertNotIn(TLSA, [type for _, type in self.resolver.asked])

    def test_other_port(self) -> None:
        """
        The records are those of the port that is connected to.
        """
        self.configure(port=2525)
        self.pin(tlsa(3, 1, 1, self.pinned), port=2525)
        self.assertEqual((MX1, True, "dane"), self.ruled(self.deliver("m1")))

    def test_alias(self) -> None:
        """
        Of an MX host that is an alias the records of its target come first, then its own; SNI is the name they are of.
        """
        self.zone.exchanges("b.example", (10, "alias.b.example"), authenticated=True)
        self.zone.alias("alias.b.example", "real.example").addresses("real.example", IP1, authenticated=True)
        certificate = FOREIGN.issue("real.example")
        self.hosts[MX1].tls = asked = SniContext(certificate.server_context(FOREIGN.root))
        self.pin(tlsa(2, 0, 1, FOREIGN.root), host="real.example")
        self.pin(tlsa(3, 1, 1, AUTHORITY.root), host="alias.b.example")
        self.assertEqual(("alias.b.example", True, "dane"), self.ruled(self.deliver("m1")))
        self.assertEqual([b"real.example"], asked.names)
        self.network.pass_time(60, 10)
        self.pin(host="real.example")
        self.pin(tlsa(3, 1, 1, certificate), host="alias.b.example")
        self.assertEqual(("alias.b.example", True, "dane"), self.ruled(self.deliver("m2")))
        self.assertEqual([b"real.example", b"alias.b.example"], asked.names)

    def test_configuration_comes_first(self) -> None:
        """
        None asks for no record; enforced is satisfied by a record as by a CA, and not by one where the other fails.
        """
        self.pin(tlsa(3, 1, 1, self.pinned))
        self.pin(tlsa(3, 1, 1, self.pinned), host=MX2)
        self.configure(tls=TlsPolicy.NONE)
        self.assertIsNone(self.deliver("m1").tls)
        self.assertNotIn(TLSA, [type for _, type in self.resolver.asked])
        self.configure(tls=TlsPolicy.ENFORCED)
        self.assertEqual((MX1, True, "dane"), self.ruled(self.deliver("m2")))
        self.network.pass_time(60, 10)
        self.hosts = {MX1: self.serve(MX1, IP1), MX2: self.serve(MX2, IP2)}
        self.assertIn("TLS is required (dane)", self.delayed("m3"))
        self.zone.names.pop(f"_25._tcp.{MX1}")
        self.network.pass_time(60, 10)
        self.assertEqual((MX1, True, "enforced"), self.ruled(self.deliver("m4")))

    def test_beside_mta_sts(self) -> None:
        """
        With both, both hold: neither a CA's word nor a record makes up for the failure of the other.
        """
        self.publish(MX1)
        self.pin(tlsa(3, 1, 1, self.pinned))
        self.assertIn("TLS is required (mta-sts)", self.reason_at(MX1, "m1"))
        self.hosts[MX1] = self.serve(MX1, IP1)
        self.assertIn("TLS is required (dane)", self.reason_at(MX1, "m2"))
        both = AUTHORITY.issue(MX1)
        self.hosts[MX1] = self.serve(MX1, IP1, both)
        self.pin(tlsa(3, 1, 1, both))
        self.assertEqual((MX1, True, "dane"), self.ruled(self.deliver("m3")))

    def reason_at(self, host: str, message: str) -> str:
        """
        Why the only host of the site was not good enough.
        """
        self.zone.exchanges("b.example", (10, host), authenticated=True)
        self.courier.try_anew()
        reason = self.delayed(message)
        self.network.pass_time(60, 10)
        return reason


@implementer(IOpenSSLContextFactory)
class SniContext:
    """
    A server's context that remembers which names it was asked for.
    """

    def __init__(self, options: ssl.CertificateOptions) -> None:
        self.names: list[bytes | None] = []
        self._context = options.getContext()
        self._context.set_tlsext_servername_callback(lambda connection: self.names.append(connection.get_servername()))

    def getContext(self) -> SSL.Context:
        return self._context
