"""
The whole ladder from a recipient domain to the wire: published policies, the hosts they bar, real handshakes in memory.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

from attrs import evolve
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from lmrelay.config.values import Delivery, DomainDelivery, Project, Route, TlsPolicy
from lmrelay.interfaces import IContent
from lmrelay.mail.outcome import Attempt, Delayed, Delivered, Fault
from lmrelay.outbound.connect import Connector
from lmrelay.outbound.courier import Courier
from lmrelay.outbound.dispatch import Dispatch, Windows
from lmrelay.outbound.sts import StsMode, StsPolicy
from lmrelay.shares import Shares
from lmrelay.testing.certificates import Authority, Certificate
from lmrelay.testing.name_server import FakeResolver, Zone
from lmrelay.testing.scripted_mx import ScriptedMx
from tests.outbound.bench import CONTENT, Blocks, Network
from tests.outbound.doubles import MemoryQueue, Settings, config, leased

AUTHORITY = Authority.make()
FOREIGN = Authority.make("somebody else's CA")
MX1, MX2 = "mx1.b.example", "mx2.b.example"
IP1, IP2 = "8.8.8.1", "8.8.8.2"
ENFORCE, TESTING = StsMode.ENFORCE, StsMode.TESTING


class Contents(MemoryQueue):
    """
    A queue whose messages have a content.
    """

    def open_content(self, message_id: str, fields: bytes = b"") -> IContent:
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

    def deliver(self, *messages: str, domain: str = "b.example", route: str = "outgoing") -> Attempt:
        """
        One after the other; the attempt of the last.
        """
        for message in messages:
            one = evolve(leased(message, domain=domain), route=route)
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
