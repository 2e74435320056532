"""
Names that lead inside, whoever publishes them and however.
"""

from __future__ import annotations

from ipaddress import ip_network

from attrs import evolve

from lmrelay.config.values import Delivery
from lmrelay.mail.outcome import Delivered, Failed
from lmrelay.outbound.carrier import MAX_MISSES
from lmrelay.outbound.route import MAX_HOSTS
from tests.outbound import test_courier
from tests.outbound.doubles import leased
from tests.outbound.test_courier import REFUSED

INSIDE = (
    "127.0.0.1",
    "0.0.0.0",
    "10.0.0.1",
    "172.31.255.1",
    "192.168.0.1",
    "169.254.169.254",
    "100.100.100.200",
    "::1",
    "::",
    "fe80::1",
    "fd00:ec2::254",
    "::ffff:169.254.169.254",
    "::ffff:127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::7f00:1",
    "2002:7f00:1::1",
    "::127.0.0.1",
)
"""
What a cloud's metadata, a neighbour or the relay itself may be at.
"""


class InsideTests(test_courier.Deliveries):
    def test_every_way(self) -> None:
        """
        By MX, by the domain's own address or behind an alias: nothing inside is connected to, and the mail fails.
        """
        for number, address in enumerate(INSIDE):
            mx, bare, alias = (f"{kind}{number}.example" for kind in ("mx", "bare", "alias"))
            self.zone.exchanges(mx, (10, f"in.{mx}")).addresses(f"in.{mx}", address)
            self.zone.addresses(bare, address)
            self.zone.exchanges(alias, (10, f"out.{alias}")).alias(f"out.{alias}", f"in.{mx}")
            for domain in (mx, bare, alias):
                self.take(leased(domain, domain=domain))
                outcome = self.outcome(domain)
                self.assertEqual((Failed, "5.4.4"), (type(outcome), outcome.status), (domain, address))
        self.assertEqual([], self.connector.asked)

    def test_beside_a_good_one(self) -> None:
        """
        Of a host with both only the address outside is connected to.
        """
        self.zone.exchanges("mixed.example", (10, "mx.mixed.example"))
        self.zone.addresses("mx.mixed.example", *INSIDE, "8.8.4.4")
        self.take(leased("m1", domain="mixed.example"))
        self.assertIsInstance(self.outcome("m1"), Delivered)
        self.assertEqual(["8.8.4.4"], [target.address for target, _ in self.connector.asked])

    def test_rebinding(self) -> None:
        """
        A name that leads elsewhere at each look gives what was looked at, and the next attempt looks anew.
        """
        self.zone.exchanges("turn.example", (10, "mx.turn.example")).addresses("mx.turn.example", "8.8.4.4")
        self.connector.down["8.8.4.4"] = REFUSED
        self.take(leased("m1", domain="turn.example"))
        self.zone.addresses("mx.turn.example", "127.0.0.1")
        self.take(leased("m2", domain="turn.example"))
        self.assertEqual(["8.8.4.4"], [target.address for target, _ in self.connector.asked])
        self.assertEqual("5.4.4", self.outcome("m2").status)

    def test_allowed(self) -> None:
        """
        A network that is listed is connected to, in every form of its addresses, and no other is by that.
        """
        delivery = Delivery(allow_networks=(ip_network("10.0.0.0/8"),))
        self.settings.config = evolve(self.settings.config, delivery=delivery)
        for domain, address in (("plain", "10.0.0.1"), ("mapped", "::ffff:10.0.0.2"), ("other", "192.168.0.1")):
            self.zone.addresses(f"{domain}.example", address)
            self.take(leased(domain, domain=f"{domain}.example"))
        self.assertEqual(["10.0.0.1", "::ffff:10.0.0.2"], [target.address for target, _ in self.connector.asked])
        self.assertEqual("5.4.4", self.outcome("other").status)

    def test_hosts_without_number(self) -> None:
        """
        Of thousands of MX hosts with many addresses each, an attempt asks for a few and knocks at fewer.
        """
        hosts = [f"mx{number}.many.example" for number in range(3000)]
        self.zone.exchanges("many.example", *((number % 3, host) for number, host in enumerate(hosts)))
        addresses = [f"8.8.{number // 200}.{number % 200}" for number in range(1000)]
        for number, host in enumerate(hosts):
            self.zone.addresses(host, *addresses[number % 900 : number % 900 + 20])
        self.connector.down.update(dict.fromkeys(addresses, REFUSED))
        asked = len(self.resolver.asked)
        self.take(leased("m1", domain="many.example"))
        self.assertEqual(REFUSED, self.outcome("m1"))
        self.assertEqual(MAX_MISSES, len(self.connector.asked))
        self.assertLessEqual(len(self.resolver.asked) - asked, 2 + 2 * MAX_HOSTS)
