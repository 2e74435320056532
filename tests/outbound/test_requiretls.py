"""
Mail whose sender asks for TLS all the way, or for none of the receivers' policies (RFC 8689), on the ladder of TLS.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve

from lmrelay.config.values import DomainDelivery
from lmrelay.config.words import TlsPolicy
from lmrelay.mail.outcome import Attempt, Delivered, Failed
from lmrelay.outbound.dane import TLSA
from lmrelay.testing.name_server import Said
from lmrelay.testing.scripted_mx import EXTENSIONS, ScriptedMx
from tests.outbound import test_ladder as ladder
from tests.outbound.doubles import leased
from tests.outbound.test_dane import tlsa
from tests.outbound.test_ladder import AUTHORITY, FOREIGN, IP1, IP2, MX1, MX2, TESTING

OFFERED = (*EXTENSIONS, "REQUIRETLS")


class Asked(ladder.Ladder):
    def serve(self, host: str, address: str, *args: Any, offers: bool = True, **more: Any) -> ScriptedMx:
        mx = super().serve(host, address, *args, **more)
        mx.extensions = OFFERED if offers else EXTENSIONS
        return mx

    def serve_both(self, **how: Any) -> None:
        self.hosts = {MX1: self.serve(MX1, IP1, **how), MX2: self.serve(MX2, IP2, **how)}

    def send(self, message: str, domain: str = "b.example", **asks: bool) -> Attempt:
        one = evolve(leased(message, domain=domain), **(asks or {"require_tls": True}))
        self.assertTrue(self.courier.reserve(one.lane, 1))
        self.courier.take([one])
        self.network.settle()
        return self.queue.settled[message, 0]

    def failed(self, message: str, **asks: bool) -> tuple[str, str]:
        sent = self.sent()
        outcome = self.send(message, **asks).outcome
        self.assertIsInstance(outcome, Failed)
        self.assertEqual(sent, self.sent())
        return outcome.status, outcome.text


class RequireTlsTests(Asked):
    def vouch(self) -> None:
        self.zone.exchanges("b.example", (10, MX1), (20, MX2), authenticated=True)

    def test_sent(self) -> None:
        """
        It goes to a host whose name and certificate are verified and that offers REQUIRETLS, and MAIL says so; on the
        same connection mail without it says nothing.
        """
        self.publish(MX1)
        self.assertEqual((MX1, True, "mta-sts"), self.ruled(self.send("m1")))
        self.send("m2", require_tls=False)
        self.assertEqual(1, self.hosts[MX1].connections)
        first, second = self.sent()
        self.assertTrue(first.endswith(" REQUIRETLS"), first)
        self.assertNotIn("REQUIRETLS", second)

    def test_vouched_by_the_dns(self) -> None:
        """
        Where the DNS vouches for the MX records, or the domain is its own host, the certificate alone is to be proved.
        """
        self.vouch()
        self.assertEqual((MX1, True, "requiretls"), self.ruled(self.send("m1")))
        self.zone.addresses("lone.example", "8.8.8.3")
        self.hosts["lone.example"] = self.serve("lone.example", "8.8.8.3")
        attempt = self.send("m2", domain="lone.example")
        self.assertEqual(("lone.example", True, "requiretls"), self.ruled(attempt))

    def test_policy_in_testing(self) -> None:
        """
        An MTA-STS policy in testing names the hosts as well.
        """
        self.publish(MX1, mode=TESTING)
        self.assertEqual((MX1, True, "requiretls"), self.ruled(self.send("m1")))

    def test_nobody_vouches(self) -> None:
        """
        Else the MX could be anybody's: it fails for good, and nothing is connected to.
        """
        status, text = self.failed("m1")
        self.assertEqual(("5.7.10", 0), (status, self.hosts[MX1].connections))
        self.assertIn("neither DNSSEC nor MTA-STS", text)

    def test_unoffered(self) -> None:
        """
        A host that does not offer it is passed over; where none does, it fails for good.
        """
        self.vouch()
        self.hosts[MX1] = self.serve(MX1, IP1, offers=False)
        self.assertEqual((MX2, True, "requiretls"), self.ruled(self.send("m1")))
        self.network.pass_time(60, 10)
        self.serve_both(offers=False)
        status, text = self.failed("m2")
        self.assertEqual("5.7.30", status)
        self.assertIn("does not offer REQUIRETLS", text)

    def test_other_host_in_trouble(self) -> None:
        """
        As long as another host may yet take it, it waits.
        """
        self.vouch()
        self.hosts[MX1] = self.serve(MX1, IP1, offers=False)
        del self.network.servers[IP2]
        outcome = self.send("m1").outcome
        self.assertEqual("4.4.1", outcome.status)

    def test_without_tls(self) -> None:
        """
        What a host offers in clear counts for nothing; who knows no STARTTLS gets no mail that requires it.
        """
        self.vouch()
        self.serve_both(tls=False)
        self.assertEqual("5.7.10", self.failed("m1")[0])
        self.assertIsInstance(self.send("m2", require_tls=False).outcome, Delivered)

    def test_bad_certificate(self) -> None:
        """
        A certificate that nobody vouches for can be mended: it waits, and other mail goes on.
        """
        self.vouch()
        self.hosts = {host: self.serve(host, ip, FOREIGN.issue(host)) for host, ip in ((MX1, IP1), (MX2, IP2))}
        outcome = self.send("m1").outcome
        self.assertEqual("4.7.5", outcome.status)
        self.assertIn("TLS is required (requiretls), but the certificate", outcome.text)
        self.assertIsInstance(self.send("m2", require_tls=False).outcome, Delivered)

    def test_proved_by_dane(self) -> None:
        """
        A TLSA record proves the certificate as well as a known CA does.
        """
        self.vouch()
        self.zone.addresses(MX1, IP1, authenticated=True)
        pinned = FOREIGN.issue(MX1)
        self.hosts[MX1] = self.serve(MX1, IP1, pinned)
        self.zone.say(f"_25._tcp.{MX1}", TLSA, Said((tlsa(3, 1, 1, pinned),), authenticated=True))
        self.assertEqual((MX1, True, "dane"), self.ruled(self.send("m1")))

    def test_configured_none(self) -> None:
        """
        C{tls = "none"} for the domain does not send in clear what its sender wants to go by TLS.
        """
        self.vouch()
        self.configure(domains={"b.example": DomainDelivery(tls=TlsPolicy.NONE)})
        self.assertEqual((MX1, True, "requiretls"), self.ruled(self.send("m1")))
        self.assertIsNone(self.send("m2", require_tls=False).tls)


class TlsOptionalTests(Asked):
    def test_mta_sts(self) -> None:
        """
        A policy that names no host, and certificates that are wrong, hold no such mail up; they hold up other mail.
        """
        self.publish("other.example")
        self.assertIn("does not name", self.delayed("m1"))
        self.assertEqual((MX1, True, "opportunistic"), self.ruled(self.send("m2", tls_optional=True)))
        self.network.pass_time(60, 10)
        self.publish(MX1, MX2)
        self.serve_both(tls=False)
        self.assertIsNone(self.send("m3", tls_optional=True).tls)

    def test_dane(self) -> None:
        """
        Nor do TLSA records that do not fit, or cannot be looked up.
        """
        for domain in ("b.example", "c.example"):
            self.zone.exchanges(domain, (10, MX1), authenticated=True)
        self.zone.addresses(MX1, IP1, authenticated=True)
        self.zone.say(f"_25._tcp.{MX1}", TLSA, Said((tlsa(3, 1, 1, FOREIGN.issue(MX1)),), authenticated=True))
        self.assertIn("dane", self.delayed("m1"))
        self.assertEqual((MX1, True, "opportunistic"), self.ruled(self.send("m2", tls_optional=True)))

    def test_enforced(self) -> None:
        """
        What the operator promised is not the sender's to take back.
        """
        self.configure(tls=TlsPolicy.ENFORCED)
        self.hosts = {host: self.serve(host, ip, FOREIGN.issue(host)) for host, ip in ((MX1, IP1), (MX2, IP2))}
        self.assertEqual("4.7.5", self.send("m1", tls_optional=True).outcome.status)
        self.assertEqual([], self.sent())
        self.network.pass_time(60, 10)
        self.hosts[MX1] = self.serve(MX1, IP1, AUTHORITY.issue(MX1))
        self.assertEqual((MX1, True, "enforced"), self.ruled(self.send("m2", tls_optional=True)))

    def test_both(self) -> None:
        """
        With REQUIRETLS in the same message REQUIRETLS counts.
        """
        self.publish(MX1, MX2)
        self.serve_both(tls=False)
        self.assertIn("mta-sts", self.send("m1", require_tls=True, tls_optional=True).outcome.text)
        self.assertEqual([], self.sent())
