"""
Which MTA-STS policy holds for a domain, and when the policy host is asked: under one clock, with a store in memory.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from lmrelay.config.values import Delivery, DomainDelivery
from lmrelay.config.words import TlsPolicy
from lmrelay.errors import FetchError, StoreError
from lmrelay.interfaces import IPolicyStore, StsRecord
from lmrelay.outbound.sts import StsMode, StsPolicy
from lmrelay.outbound.sts_policies import TXT, StsPolicies
from lmrelay.testing.name_server import FakeResolver, Said, Zone
from tests.outbound.doubles import Settings, config

NOW = 1_000_000_000.0
ENFORCED = StsPolicy(StsMode.ENFORCE, ("mx.b.example",))


@implementer(IPolicyStore)
@define(eq=False)
class MemoryStore:
    """
    A store that can be out of order, or slow to answer.
    """

    kept: dict[str, StsRecord] = field(factory=dict)
    asked: list[str] = field(factory=list)
    broken: bool = False
    silent: bool = False

    def find_policy(self, domain: str) -> Deferred[StsRecord | None]:
        self.asked.append(domain)
        if self.silent:
            return Deferred()
        return fail(StoreError("away")) if self.broken else succeed(self.kept.get(domain))

    def keep_policy(self, policy: StsRecord) -> Deferred[None]:
        if self.broken:
            return fail(StoreError("away"))
        self.kept[policy.domain] = policy
        return succeed(None)


def policy_file(mode: str = "enforce", max_age: int = 86400) -> bytes:
    return f"version: STSv1\nmode: {mode}\nmx: mx.b.example\nmax_age: {max_age}\n".encode()


class Policies(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.zone = Zone()
        self.store = MemoryStore()
        self.settings = Settings()
        self.files: dict[str, Any] = {"b.example": policy_file()}
        self.fetched: list[str] = []
        self.start()
        self.publish("1")

    def start(self) -> None:
        """
        As after a restart: nothing is in memory.
        """
        resolver = FakeResolver(self.zone, self.clock)
        wall = lambda: NOW + self.clock.seconds()  # noqa: E731
        self.policies = StsPolicies(self.clock, self.settings, resolver, self.fetch, wall, lambda: self.store)
        self.resolver = resolver

    async def fetch(self, domain: str, whose: object = None) -> bytes:
        self.fetched.append(domain)
        said = self.files.get(domain, FetchError("nobody listens"))
        if isinstance(said, Deferred):
            said = await said
        if isinstance(said, Exception):
            raise said
        return said

    def publish(self, id: str, domain: str = "b.example", **said: Any) -> None:
        text = f"v=STSv1; id={id};".encode()
        self.zone.say(f"_mta-sts.{domain}", TXT, Said((bytes([len(text)]) + text,), **said))

    def begin(self, domain: str = "b.example", whose: object = None) -> Deferred[StsPolicy | None]:
        return Deferred.fromCoroutine(self.policies.find(domain, whose))

    def find(self, domain: str = "b.example") -> StsPolicy | None:
        return self.successResultOf(self.begin(domain))


class FindingTests(Policies):
    def test_store(self) -> None:
        """
        The double is a store.
        """
        self.assertTrue(verifyObject(IPolicyStore, self.store))

    def test_fetched_once(self) -> None:
        """
        It is fetched at the first mail, kept in the store, and not asked for again while its id stays; the DNS is.
        """
        self.assertEqual([ENFORCED] * 3, [self.find() for _ in range(3)])
        self.assertEqual((["b.example"], 3), (self.fetched, len(self.resolver.asked)))
        expected = StsRecord("b.example", "1", "enforce", ("mx.b.example",), NOW, NOW + 86400)
        self.assertEqual(expected, self.store.kept["b.example"])
        self.start()
        self.assertEqual((ENFORCED, ["b.example"]), (self.find(), self.fetched))

    def test_none_published(self) -> None:
        """
        Without a record nobody is asked for a policy; the store is asked once an hour.
        """
        for domain in ("c.example", "c.example", "c.example"):
            self.assertIsNone(self.find(domain))
        self.assertEqual(([], ["c.example"]), (self.fetched, self.store.asked))
        self.clock.advance(3601)
        self.find("c.example")
        self.assertEqual(["c.example"] * 2, self.store.asked)

    def test_not_asked_for(self) -> None:
        """
        Switched off, for a domain that goes without TLS, and for address literals, nothing is looked up.
        """
        domains = {"b.example": DomainDelivery(TlsPolicy.NONE), "d.example": DomainDelivery()}
        for delivery in (Delivery(mta_sts=False), Delivery(domains=domains)):
            self.settings.config = config(delivery=delivery)
            self.assertIsNone(self.find())
        self.assertIsNone(self.find("[192.0.2.1]"))
        self.assertEqual(([], []), (self.resolver.asked, self.store.asked))
        self.find("d.example")
        self.assertEqual(1, len(self.resolver.asked))

    def test_modes(self) -> None:
        """
        Testing is a policy that is told of; none is none, is remembered as such, and takes an earlier one away.
        """
        self.find()
        self.publish("2")
        self.files["b.example"] = policy_file("testing")
        self.clock.advance(1)
        self.assertEqual(StsMode.TESTING, self.find().mode)
        self.publish("3")
        self.files["b.example"] = policy_file("none")
        self.assertEqual([None, None], [self.find(), self.find()])
        self.assertEqual((3, "none"), (len(self.fetched), self.store.kept["b.example"].mode))

    def test_other_id(self) -> None:
        """
        Another id has it fetched anew at once.
        """
        self.find()
        self.publish("2")
        self.files["b.example"] = policy_file().replace(b"mx.b.example", b"*.c.example")
        self.assertEqual(("*.c.example",), self.find().mx)
        self.assertEqual("2", self.store.kept["b.example"].id)


class KeepingTests(Policies):
    def test_kept_until_it_expires(self) -> None:
        """
        What was fetched holds for its max_age, though record or policy host are gone, lie, or the DNS fails.
        """
        self.find()
        for said in (Said(), Said(rcode=2), Said((b"\x01x",))):
            self.zone.say("_mta-sts.b.example", TXT, said)
            self.clock.advance(20_000)
            self.assertEqual(ENFORCED, self.find())
        self.publish("2")
        for file in (FetchError("gone"), b"<html>", policy_file("report")):
            self.files["b.example"] = file
            self.clock.advance(400)
            self.assertEqual(ENFORCED, self.find())
        self.assertEqual(4, len(self.fetched))
        self.clock.advance(86400 - 61_200)
        self.assertIsNone(self.find())

    def test_failing_host_is_left_alone(self) -> None:
        """
        A policy host that failed is not asked again for five minutes, but at once under another id.
        """
        del self.files["b.example"]
        for _ in range(3):
            self.assertIsNone(self.find())
            self.clock.advance(99)
        self.assertEqual(1, len(self.fetched))
        self.publish("2")
        self.find()
        self.assertEqual(2, len(self.fetched))
        self.clock.advance(301)
        self.files["b.example"] = policy_file()
        self.assertEqual(ENFORCED, self.find())

    def test_renewed_ahead_of_time(self) -> None:
        """
        In the second half of its life it is fetched again, for which no mail waits, and lives on.
        """
        self.find()
        self.clock.advance(43_000)
        self.find()
        self.assertEqual(1, len(self.fetched))
        self.clock.advance(1_000)
        self.files["b.example"] = renewed = Deferred()
        self.assertEqual(ENFORCED, self.find())
        renewed.callback(policy_file())
        self.assertEqual(2, len(self.fetched))
        self.assertEqual(NOW + 44_000 + 86_400, self.store.kept["b.example"].expires_at)

    def test_no_time_at_all(self) -> None:
        """
        A policy with no max_age never holds, and does not have its host asked for every message.
        """
        self.files["b.example"] = policy_file(max_age=0)
        self.assertEqual([None] * 3, [self.find() for _ in range(3)])
        self.assertEqual(1, len(self.fetched))

    def test_clock_that_was_ahead(self) -> None:
        """
        A policy kept under a clock that was years ahead holds no longer than any may.
        """
        ahead = StsRecord("b.example", "1", "enforce", ("mx.x",), NOW + 9e8, NOW + 9.001e8)
        self.store.kept["b.example"] = ahead
        self.assertEqual(ENFORCED, self.find())

    def test_store_that_is_out_of_order(self) -> None:
        """
        Without its store the policy is fetched and holds in memory; a renewal is written once it can be.
        """
        self.store.broken = True
        self.assertEqual([ENFORCED] * 2, [self.find(), self.find()])
        self.assertEqual((1, {}), (len(self.fetched), self.store.kept))
        self.store.broken = False
        self.clock.advance(3601)
        self.assertEqual(ENFORCED, self.find())

    def test_other_node(self) -> None:
        """
        What another node fetched since is found in the store within the hour.
        """
        self.zone.say("_mta-sts.b.example", TXT, Said(rcode=2))
        self.assertIsNone(self.find())
        self.store.kept["b.example"] = StsRecord("b.example", "1", "enforce", ("mx.b.example",), NOW, NOW + 86400)
        self.clock.advance(3601)
        self.assertEqual((ENFORCED, []), (self.find(), self.fetched))


class WaitingTests(Policies):
    def test_bounded_wait(self) -> None:
        """
        Mail waits 30 s at most; then by what was known. What was under way goes on, and is there for the next.
        """
        self.files["b.example"] = slow = Deferred()
        waiting = [self.begin(), self.begin()]
        self.clock.advance(29)
        self.assertNoResult(waiting[0])
        self.clock.advance(1)
        self.assertEqual([None, None], [self.successResultOf(one) for one in waiting])
        slow.callback(policy_file())
        self.assertEqual((ENFORCED, 1), (self.find(), len(self.fetched)))
        self.publish("2")
        self.files["b.example"] = Deferred()
        waiting = [self.begin()]
        self.clock.advance(30)
        self.assertEqual(ENFORCED, self.successResultOf(waiting[0]))

    def test_silent_neighbours(self) -> None:
        """
        DNS and store that are silent hold mail up no longer.
        """
        self.publish("1", delay=100.0)
        waiting = self.begin()
        self.store.silent = True
        other = self.begin("c.example")
        self.clock.advance(30)
        self.assertEqual([None, None], [self.successResultOf(one) for one in (waiting, other)])
        self.clock.advance(100)

    def test_one_fetch_at_a_time(self) -> None:
        """
        All mail for a domain waits for the same fetch.
        """
        self.files["b.example"] = slow = Deferred()
        waiting = [self.begin() for _ in range(5)]
        slow.callback(policy_file())
        self.assertEqual([ENFORCED] * 5, [self.successResultOf(one) for one in waiting])
        self.assertEqual(1, len(self.fetched))

    def test_hanging_hosts_of_one_project(self) -> None:
        """
        One project's hanging policy hosts keep no other project's from being asked, nor are they asked all at once.
        """
        for number in range(300):
            self.publish("1", f"s{number}.example")
            self.files[f"s{number}.example"] = Deferred()
            self.begin(f"s{number}.example", "loud")
        asked = len(self.fetched)
        self.assertLess(asked, 100)
        self.assertEqual(ENFORCED, self.successResultOf(self.begin("b.example", "quiet")))
        for number in range(300):
            self.files[f"s{number}.example"].callback(policy_file())
        self.assertEqual(301, len(self.fetched))

    def test_bounded_memory(self) -> None:
        """
        Of the domains that mail went to last only so many are remembered.
        """
        self.policies.max_known = 3
        for number in range(10):
            self.find(f"d{number}.example")
        self.assertEqual(["d7.example", "d8.example", "d9.example"], list(self.policies._known))
        self.assertEqual(ENFORCED, self.find())
