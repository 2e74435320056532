"""
From the record in the DNS over the policy host to the MX, all of it in memory with real TLS; and what mail waits for.
"""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.protocols.tls import TLSMemoryBIOFactory

from lmrelay.interfaces import StsRecord
from lmrelay.outbound.https import Https
from lmrelay.outbound.route import Router
from lmrelay.outbound.sts import StsPolicy
from lmrelay.outbound.sts_fetch import PolicyHosts
from lmrelay.outbound.sts_policies import TXT, StsPolicies
from lmrelay.testing.name_server import Said
from tests.outbound.policy_host import PolicyHost
from tests.outbound.test_ladder import AUTHORITY, IP1, MX1, MX2, Ladder
from tests.outbound.test_sts_policies import MemoryStore

HOST = "8.8.4.4"


class PublishedTests(Ladder):
    """
    A domain with a record and a policy host.
    """

    is_broken = False

    def setUp(self) -> None:
        super().setUp()
        self.store = MemoryStore()
        self.web = PolicyHost(b"version: STSv1\nmode: enforce\nmx: mx2.b.example\nmax_age: 86400\n")
        certificate = AUTHORITY.issue("mta-sts.b.example")
        self.network.servers[HOST] = TLSMemoryBIOFactory(
            certificate.server_context(), False, self.web.site(self.network), clock=self.network
        )
        self.zone.addresses("mta-sts.b.example", HOST)
        self.record("1")
        fetch = PolicyHosts(Https(self.network, self.network, self.settings, Router(self.resolver, Random(1)))).fetch
        self.sts = StsPolicies(
            self.network, self.settings, self.resolver, fetch, lambda: 1e9 + self.network.seconds(), lambda: self.store
        )

    async def find_policy(self, domain: str, whose: object) -> StsPolicy | None:
        if self.is_broken:
            raise ZeroDivisionError
        return await self.sts.find(domain, whose)

    def record(self, id: str, **said: Any) -> None:
        text = f"v=STSv1; id={id};".encode()
        self.zone.say("_mta-sts.b.example", TXT, Said((bytes([len(text)]) + text,), **said))

    def test_from_record_to_host(self) -> None:
        """
        The first message already goes by the policy; the policy host is asked once.
        """
        self.assertEqual((MX2, True, "mta-sts"), self.ruled(self.deliver("m1")))
        self.network.pass_time(60, 10)
        self.assertEqual((MX2, True, "mta-sts"), self.ruled(self.deliver("m2")))
        self.assertEqual([("mta-sts.b.example", "/.well-known/mta-sts.txt")], self.web.paths)
        expected = StsRecord("b.example", "1", "enforce", (MX2,), 1e9, 1e9 + 86400)
        self.assertEqual(expected, self.store.kept["b.example"])

    def test_new_policy(self) -> None:
        """
        With another id the policy changes for the next attempt.
        """
        self.deliver("m1")
        self.web.body = b"version: STSv1\nmode: none\nmax_age: 86400\n"
        self.record("2")
        self.network.pass_time(60, 10)
        self.assertEqual((MX1, True, "opportunistic"), self.ruled(self.deliver("m2")))

    def test_slow_policy_host(self) -> None:
        """
        Mail waits for half a minute, and other domains' mail does not; then it goes as without a policy.
        """
        self.web.body = None
        self.courier.reserve(self.message("m1").lane, 1)
        self.courier.take([self.message("m1")])
        self.network.settle()
        self.assertEqual((MX1, True, "opportunistic"), self.ruled(self.deliver("m2", domain="c.example")))
        self.network.pass_time(29, 5)
        self.assertNotIn(("m1", 0), self.queue.settled)
        self.network.pass_time(2)
        self.assertEqual((MX1, True, "opportunistic"), self.ruled(self.queue.settled["m1", 0]))

    def test_no_site_waits_for_no_policy(self) -> None:
        """
        A domain that takes no mail fails at once, whatever its policy host does.
        """
        self.web.body = None
        self.zone.exchanges("b.example", (0, ""))
        self.courier.reserve(self.message("m1").lane, 1)
        self.courier.take([self.message("m1")])
        self.assertEqual("5.1.10", self.queue.settled["m1", 0].outcome.status)
        self.network.pass_time(61, 5)

    def test_policy_host_inside(self) -> None:
        """
        A domain whose policy host has no public address has no policy, and nobody is connected to.
        """
        self.zone.addresses("mta-sts.b.example", "10.0.0.1")
        self.network.servers["10.0.0.1"] = self.network.servers[HOST]
        self.assertEqual((MX1, True, "opportunistic"), self.ruled(self.deliver("m1")))
        self.assertEqual([], self.web.paths)

    def test_policy_that_breaks(self) -> None:
        """
        Our own fault while a policy is looked for delays the mail, and is logged.
        """
        self.is_broken = True
        outcome = self.deliver("m1").outcome
        self.assertEqual("4.3.0", outcome.status)
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.assertNotIn(IP1, [wire.client.peer.host for wire in self.network.wires])
