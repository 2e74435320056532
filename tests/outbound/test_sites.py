"""
Sites under one clock: rates, rules, ceilings that change, and hosts that hang.
"""

from __future__ import annotations

from attrs import define, evolve, field
from twisted.internet.task import deferLater

from lmrelay.config.values import Receiver
from lmrelay.config.words import Kind
from lmrelay.interfaces import Lane, SiteState
from lmrelay.mail.outcome import Delayed, Fault
from lmrelay.outbound.connect import HostFailure
from lmrelay.outbound.dispatch import Dispatch, Windows
from lmrelay.shares import Shares
from lmrelay.smtp.reply import reply
from tests.outbound.doubles import BUSY, OK, SLOWER, FakeConnector, config, leased
from tests.outbound.test_courier import Deliveries

SILENT = Delayed("4.4.1", "no answer in time", Fault.NETWORK)


class Sites(Deliveries):
    def rule(self, **keys: object) -> None:
        self.settings.config = config(receivers=(Receiver("b", ("*.b.example",), **keys),))  # type: ignore[arg-type]

    def send(self, count: int, name: str = "m", **more: object) -> None:
        for number in range(count):
            self.take(leased(f"{name}{number}", **more))  # type: ignore[arg-type]


class RateTests(Sites):
    def test_rate(self) -> None:
        """
        So many a second go out, and in between no timer runs but one.
        """
        self.rule(rate=2)
        self.send(7)
        done = []
        for _ in range(4):
            done.append(len(self.queue.settled))
            self.clock.advance(0.5)
        self.assertEqual([2, 3, 4, 5], done)
        self.send(1, "other", domain="plain.example")
        timers = [call for call in self.clock.getDelayedCalls() if call.func == self.courier._wake]
        self.assertEqual(1, len(timers))
        self.clock.pump([0.5] * 2)
        self.assertEqual(7, len([key for key in self.queue.settled if key[0].startswith("m")]))

    def test_no_alarm_is_left(self) -> None:
        """
        Where nothing waits there is no alarm, nor once the relay drains; what rested goes back to the queue.
        """
        self.rule(rate=1)
        self.send(2)
        self.assertEqual(1.0, self.courier._alarm.getTime())
        self.clock.advance(1)
        self.assertIsNone(self.courier._alarm)
        self.send(1, "late")
        self.successResultOf(self.courier.drain())
        self.assertEqual([("late0", 0)], self.queue.released)
        self.assertIsNone(self.courier._alarm)
        self.clock.advance(9)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_clock_that_is_behind(self) -> None:
        """
        An alarm that rings a little too early is set again, not asked for without end.
        """
        self.rule(rate=1)
        self.send(2)
        self.courier._alarm.reset(0.9999999)
        self.clock.advance(0.9999999)
        self.assertEqual(1, len(self.queue.settled))
        self.clock.advance(0.001)
        self.assertEqual(2, len(self.queue.settled))


class RuleTests(Sites):
    def test_messages_per_connection(self) -> None:
        """
        A connection serves as many messages as the site's rule says.
        """
        self.rule(messages_per_connection=2)
        self.send(3)
        self.assertEqual([2, 1], [connection.transactions for connection in self.connector.opened])

    def test_reload_lowers_and_raises(self) -> None:
        """
        A reload counts for mail that waits: no connection too many begins, and more begin without any being over.
        """
        self.connector.script["mx1.b.example"] = lambda leased: None
        self.rule(connections=3)
        self.send(9)
        self.assertEqual(3, len(self.connector.opened))
        self.rule(connections=1)
        for connection in self.connector.opened[:2]:
            connection.answer({0: OK})
        self.assertEqual(3, sum(connection.transactions for connection in self.connector.opened))
        self.connector.opened[2].answer({0: OK})
        self.assertEqual(4, sum(connection.transactions for connection in self.connector.opened))
        self.rule(connections=4)
        self.courier.resume()
        self.assertEqual(7, sum(connection.transactions for connection in self.connector.opened))

    def test_ceiling_is_never_exceeded(self) -> None:
        """
        The back-off is told in the receiver's words, without addresses. After it successes lead back to the
        ruled number, and not above it.
        """
        self.rule(connections=3)
        said = reply(421, "4.7.0", "slow down, u0 and <u0@b.example>")
        slower = evolve(SLOWER, outcome=evolve(SLOWER.outcome, reply=said))
        verdicts = iter([slower] + [OK] * 40)
        self.connector.script["mx1.b.example"] = lambda leased: next(verdicts)
        self.send(1)
        [queue] = self.courier.dispatch._sites.values()
        allowed = [queue.budget.allowed]
        self.assertEqual(
            (1e9, "421 4.7.0 slow down, [redacted] and <[redacted]>"), (queue.budget.since, queue.budget.reason)
        )
        for number in range(1, 12):
            self.take(leased(f"m{number}"))
            allowed.append(queue.budget.allowed)
        self.assertEqual([1, 2, 2, 3, 3], allowed[:5])
        self.assertEqual({3}, set(allowed[5:]))
        self.assertIsNone(queue.budget.since)


HOSTS = "mx1.b.example;mx2.b.example"

CROWDED = Delayed("4.7.0", "in its greeting", Fault.RECEIVER, reply(421, "4.7.0", "too many connections"))


class RefusalTests(Sites):
    def begin(self, outcome: Delayed) -> int:
        """
        One connection carries mail, and further ones end so; how many connections are allowed then.
        """
        self.connector.script["mx1.b.example"] = lambda leased: None
        self.send(1)
        self.connector.down = {"mx1.b.example": outcome, "mx2.b.example": outcome}
        self.send(1, "n")
        [queue] = self.courier.dispatch._sites.values()
        return queue.budget.allowed

    def test_no_further_connection(self) -> None:
        """
        A site that takes mail, but drops a further connection without a word, gets fewer; the message waits for the
        one that works, and it was no attempt.
        """
        self.assertEqual(1, self.begin(SILENT))
        self.assertEqual(({}, {}), (self.queue.settled, self.queue.postponed))
        self.connector.opened[0].answer({0: OK})
        self.connector.opened[0].answer({0: OK})
        self.assertEqual([("m0", 0), ("n0", 0)], list(self.queue.settled))

    def crowd(self, count: int) -> None:
        """
        So many connections are being opened at once, and further ones are refused as too many.
        """
        self.zone.exchanges("d.example", (10, "mx.d.example")).addresses("mx.d.example", "8.8.8.3")
        self.courier.dispatch = Dispatch(Windows(100, Shares(5000, 100)))
        self.connector.hold = self.connector.slow_down = True
        self.connector.down = {"mx.d.example": CROWDED}
        self.send(count, domain="d.example")

    def test_too_many_at_once(self) -> None:
        """
        Of connections that are opened together a receiver may take some alone: what it did not take waits for what
        comes of the others, and that is no attempt.
        """
        self.crowd(20)
        for _ in range(18):
            self.connector.let()
        self.connector.down.clear()
        for _ in range(2):
            self.connector.let()
        self.assertEqual({OK.outcome}, {attempt.outcome for attempt in self.queue.settled.values()})
        while self.connector.held:
            self.connector.let()
        self.assertEqual((20, {}), (len(self.queue.settled), self.queue.postponed))
        self.assertEqual({OK.outcome}, {attempt.outcome for attempt in self.queue.settled.values()})

    def test_too_many_at_all(self) -> None:
        """
        A receiver that takes none of them is found out soon, by one message for all.
        """
        self.crowd(20)
        asked = 0
        while self.connector.held:
            self.connector.let()
            asked += 1
        self.assertEqual((1, 19), (len(self.queue.settled), len(self.queue.postponed)))
        self.assertLess(asked, 50)

    def test_fault_of_ours(self) -> None:
        """
        That this machine has no socket left says nothing of the site.
        """
        self.assertEqual(20, self.begin(Delayed("4.3.0", "too many open files", Fault.OURS)))
        self.assertEqual(Fault.OURS, self.outcome("n0").fault)


class MemoryTests(Sites):
    def test_what_is_learnt_is_told(self) -> None:
        """
        Each change of what a site bears is noted, with the words and the time of the first refusal; and its domains.
        """
        verdicts = iter([SLOWER, SLOWER, OK, OK, OK])
        self.connector.script["mx1.b.example"] = lambda leased: next(verdicts)
        self.rule(connections=3)
        for number in range(5):
            self.take(leased(f"m{number}", domain="bc"[number % 2] + ".example"))
            self.clock.advance(1)
        words = "421 4.7.0 slow down"
        expected = [SiteState(HOSTS, 1, 1e9, words), SiteState(HOSTS, 1, 1e9, words), SiteState(HOSTS, 2, 1e9, words)]
        self.assertEqual([*expected, SiteState(HOSTS)], self.queue.states)
        self.assertEqual({"b.example": HOSTS, "c.example": HOSTS}, self.queue.domains)

    def test_recalled(self) -> None:
        """
        A site begins with what was known of it, never above what is allowed now; one with another set of hosts anew.
        """
        self.courier.recall([SiteState(HOSTS, 2, 5.0, "slower"), SiteState("mx1.b.example", 1, 5.0, "other")])
        self.connector.script["mx1.b.example"] = lambda leased: None
        self.send(5)
        self.assertEqual(2, len(self.connector.opened))
        [queue] = self.courier.dispatch._sites.values()
        self.assertEqual((2, 5.0, "slower"), (queue.budget.allowed, queue.budget.since, queue.budget.reason))
        self.rule(connections=1)
        self.courier.resume()
        self.assertEqual(1, queue.budget.allowed)

    def test_forgotten_and_made_anew(self) -> None:
        """
        Where so many sites are known that a quiet one is forgotten, what it bears is not.
        """
        self.courier.dispatch.max_sites = 1
        self.zone.exchanges("d.example", (10, "mx.d.example")).addresses("mx.d.example", "8.8.8.3")
        verdicts = iter([SLOWER] + [OK] * 9)
        self.connector.script["mx1.b.example"] = lambda leased: next(verdicts)
        self.send(1)
        self.send(1, "d", domain="d.example")
        self.assertEqual(["mx.d.example"], [queue.hosts for queue in self.courier.dispatch._sites.values()])
        self.send(1, "n")
        [queue] = self.courier.dispatch._sites.values()
        self.assertEqual((HOSTS, 10), (queue.hosts, queue.budget.lowered))


class SuspensionTests(Sites):
    def suspend(self, *hosts: str) -> bool:
        return self.courier.suspend(hosts)

    def test_waiting_mail_goes_back(self) -> None:
        """
        What waits at the site goes back to the queue untried, and gives its room to others; what is under way ends.
        """
        self.rule(connections=1)
        self.connector.script["mx1.b.example"] = lambda leased: None
        self.send(3)
        self.assertEqual(1, self.courier.count_running(HOSTS))
        self.assertFalse(self.suspend(HOSTS))
        self.assertEqual([("m1", 0), ("m2", 0)], sorted(self.queue.released))
        self.assertFalse(self.courier.reserve(Lane("acme", Kind.TRANSACTIONAL, "b.example"), 1))
        self.connector.opened[0].answer({0: OK})
        self.assertEqual([("m0", 0)], list(self.queue.settled))
        self.assertEqual((0, 0), (self.courier.count_running(HOSTS), self.courier.dispatch.windows.used))

    def test_other_domains_of_the_site(self) -> None:
        """
        Mail for another domain there is found to be at the site, and goes back too; other sites do not mind.
        """
        self.zone.exchanges("d.example", (10, "mx.d.example")).addresses("mx.d.example", "8.8.8.3")
        self.suspend(HOSTS)
        self.send(1, "c", domain="c.example")
        self.send(1, "d", domain="d.example")
        self.assertEqual(([("c0", 0)], [("d0", 0)]), (self.queue.released, list(self.queue.settled)))
        self.assertFalse(self.courier.reserve(Lane("acme", Kind.TRANSACTIONAL, "c.example"), 1))

    def test_resume(self) -> None:
        """
        Resumed, its mail is taken at once, and the queue hears that there is some; said again, nothing changes.
        """
        self.suspend(HOSTS)
        self.send(1)
        self.assertEqual([False, True, False], [self.suspend(HOSTS), self.suspend(), self.suspend()])
        self.send(1, "n")
        self.assertEqual([("n0", 0)], list(self.queue.settled))

    def test_domain_that_moves(self) -> None:
        """
        After a minute one look finds out whether a domain is still there; where it is elsewhere, its mail goes on.
        """
        self.suspend(HOSTS)
        self.send(1)
        lane = Lane("acme", Kind.TRANSACTIONAL, "b.example")
        self.clock.advance(59)
        self.assertFalse(self.courier.reserve(lane, 1))
        self.clock.advance(2)
        self.send(1, "look")
        self.assertEqual([("m0", 0), ("look0", 0)], self.queue.released)
        self.assertFalse(self.courier.reserve(lane, 1))
        self.zone.exchanges("b.example", (10, "mx.d.example")).addresses("mx.d.example", "8.8.8.3")
        self.clock.advance(61)
        self.send(1, "moved")
        self.assertEqual([("moved0", 0)], list(self.queue.settled))

    def test_connection_that_comes_too_late(self) -> None:
        """
        A connection that was being opened when the site was suspended carries nothing, and nobody is charged.
        """
        self.connector.hold = True
        self.send(1)
        self.suspend(HOSTS)
        self.connector.let()
        self.assertEqual(["closed"], [connection.ended for connection in self.connector.opened])
        self.assertEqual(([("m0", 0)], {}), (self.queue.released, self.queue.settled))

    def test_next_host_is_not_asked(self) -> None:
        """
        Where a host fails after the site was suspended, the others are not asked any more.
        """
        self.connector.script["mx1.b.example"] = lambda leased: None
        self.send(1)
        self.suspend(HOSTS)
        self.connector.opened[0].answer({0: BUSY})
        self.assertEqual(["mx1.b.example"], self.connector.hosts())
        self.assertEqual(([("m0", 0)], {}), (self.queue.released, self.queue.settled))


@define(eq=False)
class HangingConnector(FakeConnector):
    """
    Connections to hosts that C{hang} give up after 30 s.
    """

    clock: object = None
    hang: set[str] = field(factory=set)
    hanging: int = 0
    most: int = 0

    async def connect(self, target, demand):
        if target.host not in self.hang:
            return await FakeConnector.connect(self, target, demand)
        self.asked.append((target, demand))
        self.hanging += 1
        self.most = max(self.most, self.hanging)
        await deferLater(self.clock, 30.0)
        self.hanging -= 1
        return HostFailure(target, SILENT, of_host=False)


class HangTests(Sites):
    def setUp(self) -> None:
        Sites.setUp(self)
        self.connector = self.courier.connector = self.courier._approach.connector = HangingConnector(clock=self.clock)
        self.courier.dispatch = Dispatch(Windows(50, Shares(2000, 50)), Shares(12, 2))
        for number in range(8):
            self.zone.exchanges(f"d{number}.example", (10, f"mx.d{number}.example"))
            self.zone.addresses(f"mx.d{number}.example", f"8.8.4.{number}")

    def test_dead_sites_hold_no_worker_that_others_need(self) -> None:
        """
        While one project's mail hangs at all its dead sites, every other's, and its own of the other kind, goes out at
        once, to any site that lives.
        """
        self.connector.hang = {f"mx.d{number}.example" for number in range(7)}
        for number in range(7):
            self.send(9, f"dead{number}-", domain=f"d{number}.example")
        self.assertGreater(self.connector.hanging, 2)
        self.send(9, "other", project="other", domain="d7.example")
        self.assertEqual({"other"}, {key[0].rstrip("012345678") for key in self.queue.settled})
        self.assertEqual(9, len(self.queue.settled))

    def test_one_tries_for_all(self) -> None:
        """
        A host that hung is passed over quickly; then one message finds out whether it lives, and where it does not
        no other hangs there. When it lives again all go.
        """
        self.connector.hang = {"mx.d0.example"}
        self.send(9, "a", domain="d0.example")
        at_first = self.connector.most
        self.clock.advance(30)
        self.assertEqual((6, 3, 0), (len(self.queue.settled), len(self.queue.postponed), self.connector.hanging))
        self.connector.most = 0
        for number in range(20):
            self.send(9, f"b{number}-", domain="d0.example")
            self.clock.advance(10)
        self.assertEqual(1, self.connector.most)
        self.assertLess(1, at_first)
        self.connector.hang = set()
        self.clock.advance(60)
        self.send(9, "c", domain="d0.example")
        self.assertEqual(9, len([key for key in self.queue.settled if key[0].startswith("c")]))

    def test_backup_is_used_meanwhile(self) -> None:
        """
        Where one of two hosts hangs the first messages wait for it once, and all that come later go to the other at
        once, but the one that tries it.
        """
        self.connector.hang = {"mx1.b.example"}
        self.send(1)
        self.clock.advance(30)
        self.send(20, "n")
        self.assertEqual(21, len(self.queue.settled))
        self.clock.advance(31)
        self.send(20, "o")
        self.assertEqual((40, 1), (len(self.queue.settled), self.connector.hanging))
        self.clock.advance(30)
        self.assertEqual((41, 0), (len(self.queue.settled), self.connector.hanging))
