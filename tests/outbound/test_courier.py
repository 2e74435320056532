from __future__ import annotations

from random import Random

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from lmrelay.config.values import Delivery, Dns, DomainDelivery, Server
from lmrelay.config.words import Kind, TlsPolicy
from lmrelay.interfaces import IDispatch, Lane
from lmrelay.mail.outcome import Delayed, Delivered, Failed, Fault
from lmrelay.outbound.carrier import MAX_THROTTLED
from lmrelay.outbound.courier import Courier
from lmrelay.outbound.dispatch import Dispatch, Windows
from lmrelay.outbound.sites import LATELY
from lmrelay.outbound.steps import Step
from lmrelay.outbound.tls import Level
from lmrelay.outbound.verdicts import judge
from lmrelay.shares import Shares
from lmrelay.smtp.reply import reply
from lmrelay.testing.name_server import FakeResolver, Said, Zone
from tests.outbound.doubles import (
    BUSY,
    OK,
    SHOWN,
    SLOWER,
    STALE,
    TLS,
    TOO_BIG,
    UNKNOWN,
    FakeConnector,
    MemoryQueue,
    Settings,
    config,
    leased,
)

TOO_MANY = judge(Step.RCPT, reply(452, "4.5.3", "Too many recipients"))
REFUSED = Delayed("4.4.1", "connection refused", Fault.NETWORK)


def zone() -> Zone:
    return (
        Zone()
        .exchanges("b.example", (10, "mx1.b.example"), (20, "mx2.b.example"))
        .exchanges("c.example", (10, "mx1.b.example"), (20, "mx2.b.example"))
        .addresses("mx1.b.example", "8.8.8.1")
        .addresses("mx2.b.example", "8.8.8.2")
    )


class Deliveries(SynchronousTestCase):
    """
    C{window} and C{budget}: recipients in memory, of a lane and in all.
    """

    window, budget = 10, 20

    def setUp(self) -> None:
        self.clock = Clock()
        self.settings = Settings()
        self.zone = zone()
        self.resolver = FakeResolver(self.zone, self.clock)
        self.connector = FakeConnector()
        self.queue = MemoryQueue()
        self.courier = Courier(
            self.clock,
            self.settings,
            self.resolver,
            self.connector,
            lambda: 1e9 + self.clock.seconds(),
            Random(1),
            self.queue,
            Dispatch(Windows(self.window, Shares(self.budget, 10))),
        )

    def take(self, *each) -> None:
        for one in each:
            self.assertTrue(self.courier.reserve(one.lane, len(one.recipients)))
        self.courier.take(each)

    def outcome(self, message_id: str, number: int = 0):
        return self.queue.settled[message_id, number].outcome


class TestOutcomes(Deliveries):
    def test_offers_dispatch(self) -> None:
        """
        The courier is what the queue expects.
        """
        self.assertTrue(verifyObject(IDispatch, self.courier))

    def test_delivers(self) -> None:
        """
        A message goes to the best host, and its attempt says where.
        """
        self.connector.shown = SHOWN
        self.take(leased("m1", 0, 3))
        attempt = self.queue.settled["m1", 3]
        self.assertEqual(
            (OK.outcome, "mx1.b.example", "8.8.8.1", TLS), (attempt.outcome, attempt.host, attempt.address, attempt.tls)
        )
        self.assertEqual([("m1", [0, 3])], [(id, sorted(attempts)) for id, attempts in self.queue.settlements])
        self.assertEqual(0, self.courier.dispatch.windows.used)

    def test_falls_back_to_the_next_host(self) -> None:
        """
        A host that cannot be connected to is followed by the next in the same attempt.
        """
        self.connector.down["mx1.b.example"] = REFUSED
        self.take(leased("m1"))
        self.assertEqual(["mx1.b.example", "mx2.b.example"], self.connector.hosts())
        self.assertEqual("mx2.b.example", self.queue.settled["m1", 0].host)

    def test_every_host_down(self) -> None:
        """
        With no host left the recipient is delayed, and the attempt names the last host.
        """
        self.connector.down = {"mx1.b.example": REFUSED, "mx2.b.example": REFUSED}
        self.take(leased("m1"))
        self.assertEqual(REFUSED, self.outcome("m1"))
        self.assertEqual("mx2.b.example", self.queue.settled["m1", 0].host)

    def test_only_some_go_on(self) -> None:
        """
        Who got an answer at the first host is settled; only the others go to the second.
        """
        self.connector.script["mx1.b.example"] = lambda leased: {0: OK, 1: UNKNOWN, 2: BUSY}
        self.take(leased("m1", 0, 1, 2))
        self.assertEqual([OK.outcome, UNKNOWN.outcome, OK.outcome], [self.outcome("m1", number) for number in range(3)])
        self.assertEqual([[0, 1, 2], [2]], [[r.number for r in c.carried[0].recipients] for c in self.connector.opened])

    def test_temporary_before_permanent(self) -> None:
        """
        What one host refuses for good another, now down, may yet take.
        """
        self.connector.script["mx1.b.example"] = lambda leased: TOO_BIG
        self.connector.down["mx2.b.example"] = REFUSED
        self.take(leased("m1"))
        self.assertEqual(REFUSED, self.outcome("m1"))

    def test_permanent_everywhere(self) -> None:
        """
        Refused by every host it fails.
        """
        self.connector.script = dict.fromkeys(("mx1.b.example", "mx2.b.example"), lambda leased: TOO_BIG)
        self.take(leased("m1"))
        self.assertEqual(TOO_BIG.outcome, self.outcome("m1"))

    def test_the_remotes_words_are_kept(self) -> None:
        """
        Of two temporary failures the one with a reply is told.
        """
        self.connector.script["mx1.b.example"] = lambda leased: BUSY
        self.connector.down["mx2.b.example"] = REFUSED
        self.take(leased("m1"))
        self.assertEqual(BUSY.outcome, self.outcome("m1"))

    def test_lost_idle_connection_is_opened_anew(self) -> None:
        """
        A connection that died while it idled costs nobody an attempt.
        """
        self.take(leased("m1"))
        verdicts = iter([STALE, OK])
        self.connector.script["mx1.b.example"] = lambda leased: next(verdicts)
        self.take(leased("m2"))
        self.assertEqual(["mx1.b.example"] * 2, self.connector.hosts())
        self.assertEqual(OK.outcome, self.outcome("m2"))

    def test_slow_down_ends_the_attempt(self) -> None:
        """
        "Slow down" halves the site's connections at once and is no reason to ask the next host.
        """
        self.connector.script["mx1.b.example"] = lambda leased: SLOWER
        self.take(leased("m1"))
        self.assertEqual(["mx1.b.example"], self.connector.hosts())
        self.assertEqual(SLOWER.outcome, self.outcome("m1"))
        [queue] = self.courier.dispatch._sites.values()
        self.assertEqual(10, queue.budget.allowed)

    def test_fault_of_ours_delays(self) -> None:
        """
        What breaks in the relay is logged and delays the recipient; the connection is dropped.
        """
        self.connector.script["mx1.b.example"] = lambda leased: ZeroDivisionError()
        self.take(leased("m1"))
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.assertEqual(Fault.OURS, self.outcome("m1").fault)
        self.assertEqual("aborted", self.connector.opened[0].ended)
        self.assertEqual(0, self.courier.dispatch.running.used)

    def test_queue_that_breaks_loses_no_lease(self) -> None:
        """
        A settle that raises is logged, and the lease given back.
        """
        self.queue.broken = True
        self.take(leased("m1"))
        self.assertEqual(1, len(self.flushLoggedErrors(ValueError)))
        self.assertEqual([("m1", 0)], self.queue.released)


class TestRoutes(Deliveries):
    def test_domain_without_mx(self) -> None:
        """
        Without MX the domain's own address is tried.
        """
        self.zone.addresses("plain.example", "8.8.4.4")
        self.take(leased("m1", domain="plain.example"))
        self.assertEqual(["plain.example"], self.connector.hosts())

    def test_refusals(self) -> None:
        """
        What the DNS says decides without a connection.
        """
        self.zone.exchanges("null.example", (0, "")).fault("broken.example", Said(rcode=2))
        self.zone.exchanges("loop.example", (10, "relay.example"))
        self.zone.exchanges("inside.example", (10, "in.inside.example")).addresses("in.inside.example", "127.0.0.1")
        self.zone.exchanges("void.example", (10, "gone.void.example")).addresses("bare.example")
        expected = {
            "nowhere.example": (Failed, "5.1.2"),
            "null.example": (Failed, "5.1.10"),
            "loop.example": (Failed, "5.4.6"),
            "inside.example": (Failed, "5.4.4"),
            "void.example": (Failed, "5.4.4"),
            "bare.example": (Failed, "5.1.2"),
            "broken.example": (Delayed, "4.4.3"),
            "[192.0.2.1]": (Failed, "5.1.2"),
        }
        for number, domain in enumerate(expected):
            self.take(leased(f"m{number}", domain=domain))
        outcomes = [self.outcome(f"m{number}") for number in range(len(expected))]
        self.assertEqual(list(expected.values()), [(type(outcome), outcome.status) for outcome in outcomes])
        self.assertEqual([], self.connector.asked)

    def test_many_without_a_site(self) -> None:
        """
        The outcomes of a newsletter to a name that does not exist come some at a time, each of them once.
        """
        self.courier.dispatch = Dispatch(Windows(1000, Shares(5000, 10)))
        self.queue.slow = True
        self.take(*(leased(f"m{number}", domain="nowhere.example") for number in range(450)))
        settled = []
        for _ in range(3):
            settled.append(len(self.queue.settlements))
            self.queue.commit()
        self.assertEqual([200, 400, 450], settled)
        self.assertEqual((450, 0), (len(self.queue.settled), self.courier.dispatch.windows.used))

    def test_two_domains_one_transaction(self) -> None:
        """
        Recipients of a message in two domains with the same hosts share a transaction.
        """
        self.resolver.zone.say("c.example", 15, evolve(self.zone.look_up("c.example", 15)))
        self.courier.pause()
        self.take(leased("m1", 0), leased("m1", 1, domain="c.example"))
        self.courier.resume()
        self.assertEqual([[0, 1]], [[r.number for r in c.carried[0].recipients] for c in self.connector.opened])

    def test_silent_domains_of_one_project(self) -> None:
        """
        One project's look-ups without an answer hold up no other's, also of a domain both have mail for.
        """
        self.courier.dispatch = Dispatch(Windows(10, Shares(5000, 10)))
        for number in range(400):
            self.zone.fault(f"s{number}.example", Said(rcode=2, delay=3.0))
        for number in range(400):
            self.take(leased(f"s{number}", domain=f"s{number}.example"))
        self.take(leased("a1", domain="b.example"))
        self.assertEqual({}, self.queue.settled)
        self.take(leased("o1", domain="c.example", project="other"), leased("o2", domain="b.example", project="other"))
        self.assertEqual({"o1", "o2", "a1"}, {id for id, _ in self.queue.settled})
        self.clock.pump([3.0] * 3)
        self.assertEqual(403, len(self.queue.settled))

    def test_reload_forgets_routes(self) -> None:
        """
        With other name servers, or another name, a domain is asked for again.
        """
        self.take(leased("m1"))
        self.take(leased("m2"))
        self.settings.config = config(dns=Dns(validating=True))
        self.take(leased("m3"))
        self.settings.config = evolve(self.settings.config, server=Server("mx1.b.example"))
        self.take(leased("m4"))
        self.assertEqual(3, self.resolver.asked.count(("b.example", 15)))
        self.assertEqual("5.4.6", self.outcome("m4").status)

    def test_domain_is_asked_for_once(self) -> None:
        """
        Messages for a domain whose route is being found wait for the same answer.
        """
        self.zone.exchanges("slow.example", (10, "mx1.b.example"))
        self.zone.say("slow.example", 15, evolve(self.zone.look_up("slow.example", 15), delay=3.0))
        self.take(leased("m1", domain="slow.example"))
        self.take(leased("m2", domain="slow.example"))
        self.take(leased("m3"))
        self.assertEqual([("m3", 0)], list(self.queue.settled))
        self.clock.advance(3)
        self.assertEqual({"m1", "m2", "m3"}, {id for id, _ in self.queue.settled})
        self.assertEqual(1, self.resolver.asked.count(("slow.example", 15)))


class TestTls(Deliveries):
    def test_policy_of_the_domain(self) -> None:
        """
        A recipient domain may raise what is asked of its hosts.
        """
        domains = {"b.example": DomainDelivery(TlsPolicy.ENFORCED)}
        self.settings.config = config(delivery=Delivery(domains=domains))
        self.take(leased("m1"))
        self.assertEqual([Level.AUTHENTICATED], [demand.required for _, demand in self.connector.asked])

    def test_fault_of_ours_is_not_the_hosts(self) -> None:
        """
        A connection that this machine could not make says nothing of the host.
        """
        self.connector.down = dict.fromkeys(
            ("mx1.b.example", "mx2.b.example"), Delayed("4.3.0", "too many open files", Fault.OURS)
        )
        self.take(leased("m1"))
        self.connector.down = {}
        self.take(leased("m2"))
        self.assertEqual(OK.outcome, self.outcome("m2"))

    def test_attempt_tells_whether_mail_was_sent(self) -> None:
        """
        A host that could not be reached, or lacks what the message needs, was sent nothing of it.
        """
        self.connector.down["mx2.b.example"] = REFUSED
        said = iter([OK, TOO_BIG])
        self.connector.script["mx1.b.example"] = lambda leased: next(said)
        for number in range(2):
            self.take(leased(f"m{number}"))
        self.connector.down["mx1.b.example"] = REFUSED
        self.clock.advance(60)
        self.take(leased("m2"))
        attempts = [self.queue.settled[f"m{number}", 0] for number in range(3)]
        self.assertEqual([True, False, False], [attempt.offered for attempt in attempts])

    def test_plaintext_connection_is_not_for_all(self) -> None:
        """
        A message that demands proof never uses an idle connection that has none.
        """
        self.take(leased("m1"))
        domains = {"b.example": DomainDelivery(TlsPolicy.ENFORCED)}
        self.settings.config = config(delivery=Delivery(domains=domains))
        self.take(leased("m2"))
        self.assertEqual(["opportunistic", "enforced"], [demand.policy for _, demand in self.connector.asked])

    def test_kept_connection_serves_what_it_proved(self) -> None:
        """
        Mail that demands more uses a connection opened for less if that showed enough; each attempt says who ruled.
        """
        enforced = config(delivery=Delivery(domains={"b.example": DomainDelivery(TlsPolicy.ENFORCED)}))
        for distrust, connections in (("", 1), ("the certificate is self-signed", 2)):
            self.setUp()
            self.connector.shown = evolve(SHOWN, distrust=distrust)
            self.take(leased("m1"))
            self.settings.config = enforced
            self.take(leased("m2"))
            self.assertEqual(connections, len(self.connector.opened))
            policies = [self.queue.settled[message, 0].tls.policy for message in ("m1", "m2")]
            self.assertEqual(["opportunistic", "enforced"], policies)


class TestConnections(Deliveries):
    def test_reuse(self) -> None:
        """
        The next message uses the idle connection, until it has carried its share.
        """
        self.settings.config = config(delivery=Delivery(messages_per_connection=2))
        for number in range(4):
            self.take(leased(f"m{number}"))
        self.assertEqual([2, 2], [connection.transactions for connection in self.connector.opened])
        self.assertEqual(["closed", "closed"], [connection.ended for connection in self.connector.opened])

    def test_idle_connections_end(self) -> None:
        """
        A connection idles for a few seconds, then says QUIT; no timer is left.
        """
        self.take(leased("m1"))
        self.clock.advance(4)
        self.assertEqual([""], [connection.ended for connection in self.connector.opened])
        self.clock.advance(2)
        self.assertEqual(["closed"], [connection.ended for connection in self.connector.opened])
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_connection_closed_by_the_receiver(self) -> None:
        """
        What the receiver closed while it idled is not used again.
        """
        self.take(leased("m1"))
        self.connector.opened[0].drop()
        self.take(leased("m2"))
        self.assertEqual(2, len(self.connector.opened))

    def test_budget_of_the_site(self) -> None:
        """
        A site never has more transactions under way than connections allowed.
        """
        self.settings.config = config(delivery=Delivery(connections_per_site=2))
        self.connector.script["mx1.b.example"] = lambda leased: None
        for number in range(4):
            self.take(leased(f"m{number}"))
        self.assertEqual(2, len(self.connector.opened))
        self.connector.opened[0].answer(OK_FOR_FIRST)
        self.assertEqual([2, 1], [connection.transactions for connection in self.connector.opened])

    def test_stale_connection_leads_to_no_worse_host(self) -> None:
        """
        A kept connection that had ended is followed by a fresh one to the same host, even if it
        has a worse preference and others come after it.
        """
        self.connector.down["mx1.b.example"] = REFUSED
        self.take(leased("m1"))
        verdicts = iter([STALE, OK])
        self.connector.script["mx2.b.example"] = lambda leased: next(verdicts)
        self.take(leased("m2"))
        self.assertEqual(["mx1.b.example", "mx2.b.example", "mx2.b.example"], self.connector.hosts())
        self.assertEqual(OK.outcome, self.outcome("m2"))

    def test_not_tried_is_no_attempt(self) -> None:
        """
        Where all hosts are passed over there is no attempt: it comes again when one is worth a
        try, the later the more have come. When it is too old it ends all the same.
        """
        self.connector.down = {"mx1.b.example": REFUSED, "mx2.b.example": REFUSED}
        self.take(leased("m1"))
        self.clock.advance(10)
        self.take(leased("m2"), leased("m3"))
        self.assertEqual([("m1", 0)], list(self.queue.settled))
        self.assertEqual([20.0, 20.1], list(self.queue.postponed.values()))
        self.assertEqual(0, self.courier.dispatch.windows.used)
        self.take(evolve(leased("m4"), received_at=1e9 - 48 * 3600))
        self.assertEqual(REFUSED, self.outcome("m4"))
        self.assertEqual(2, len(self.connector.asked))

    def test_try_anew(self) -> None:
        """
        An operator who wants it tried gets an attempt, whatever was found before.
        """
        self.connector.down = {"mx1.b.example": REFUSED, "mx2.b.example": REFUSED}
        self.zone.fault("broken.example", Said(rcode=2))
        self.take(leased("m1"), leased("b1", domain="broken.example"))
        self.connector.down = {}
        self.resolver.zone.faults.clear()
        self.zone.exchanges("broken.example", (10, "mx1.b.example"))
        self.courier.try_anew()
        self.take(leased("m2"), leased("b2", domain="broken.example"))
        self.assertEqual([OK.outcome] * 2, [self.outcome("m2"), self.outcome("b2")])

    def test_refused_connection_waits_for_another(self) -> None:
        """
        Where a site takes mail, but not over so many connections, the mail waits for one that
        works, and it was no attempt; where none works it was one.
        """
        self.connector.script["mx1.b.example"] = lambda leased: None
        self.take(leased("m1"))
        self.connector.down = dict.fromkeys(("mx1.b.example", "mx2.b.example"), SLOWER.outcome)
        self.connector.slow_down = self.connector.of_host = True
        self.settings.config = config(delivery=Delivery(connections_per_site=2))
        self.take(leased("m2"))
        self.assertEqual(({}, {}), (self.queue.settled, self.queue.postponed))
        self.connector.opened[0].answer(OK_FOR_FIRST)
        self.connector.opened[0].answer(OK_FOR_FIRST)
        self.assertEqual([("m1", 0), ("m2", 0)], list(self.queue.settled))
        self.assertEqual([2], [connection.transactions for connection in self.connector.opened])
        self.connector.opened[0].drop()
        self.take(leased("m3"))
        self.assertEqual(SLOWER.outcome, self.outcome("m3"))

    def test_more_recipients_than_it_takes(self) -> None:
        """
        Where a host takes fewer recipients of a transaction than there are, the others go in the next ones, and that
        was no attempt; where it takes none of them it was one.
        """
        room = [2]

        def take_some(leased):
            numbers = [one.number for one in leased.recipients]
            verdicts = dict.fromkeys(numbers[: room[0]], OK) | dict.fromkeys(numbers[room[0] :], TOO_MANY)
            return verdicts | {number: UNKNOWN for number in numbers if number == 3}

        self.connector.script["mx1.b.example"] = take_some
        self.take(leased("m1", *range(1, 8)))
        self.assertEqual(
            [OK.outcome] * 2 + [UNKNOWN.outcome] + [OK.outcome] * 4, [self.outcome("m1", n) for n in range(1, 8)]
        )
        self.assertEqual([3], [connection.transactions for connection in self.connector.opened])
        room[0] = 0
        self.take(leased("m2", 1, 2))
        self.assertEqual([TOO_MANY.outcome] * 2, [self.outcome("m2", n) for n in (1, 2)])

    def test_more_recipients_at_the_end(self) -> None:
        """
        While the relay stops, those that did not go with the others go back to the queue, untried.
        """
        self.connector.script["mx1.b.example"] = lambda leased: None
        self.take(leased("m1", 1, 2))
        drained = self.courier.drain()
        self.connector.opened[0].answer({1: OK, 2: TOO_MANY})
        self.successResultOf(drained)
        self.assertEqual((OK.outcome, [("m1", 2)]), (self.outcome("m1", 1), self.queue.released))

    def test_throttled_mail_waits_for_its_turn(self) -> None:
        """
        Where a site takes mail, but not so fast, a message that it was too much for has its turn again, and it was no
        attempt.
        """
        verdicts = iter([OK, SLOWER, SLOWER, OK])
        self.connector.script["mx1.b.example"] = lambda leased: next(verdicts)
        self.take(leased("m1"))
        self.take(leased("m2"))
        self.clock.pump([0.1] * 100)
        self.assertEqual(OK.outcome, self.outcome("m2"))
        self.assertEqual(2, len(self.queue.settlements))
        self.assertEqual(0, self.courier.dispatch.windows.used)

    def test_throttled_for_good(self) -> None:
        """
        But not for ever: a receiver that says so of this message each time has it tried again as any other failure.
        """
        self.connector.script["mx1.b.example"] = lambda leased: SLOWER if leased.message_id == "m2" else OK
        self.take(leased("m1"))
        self.take(leased("m2"))
        self.clock.pump([0.1] * 300)
        self.assertEqual(SLOWER.outcome, self.outcome("m2"))
        tries = [one for connection in self.connector.opened for one in connection.carried if one.message_id == "m2"]
        self.assertEqual(MAX_THROTTLED + 1, len(tries))

    def test_site_that_takes_nothing(self) -> None:
        """
        A site that took nothing for a while and says so refuses mail: that is an attempt.
        """
        self.take(leased("m1"))
        self.clock.advance(LATELY + 1)
        self.connector.script["mx1.b.example"] = lambda leased: SLOWER
        self.take(leased("m2"))
        self.assertEqual(SLOWER.outcome, self.outcome("m2"))

    def test_throttled_when_the_relay_stops(self) -> None:
        """
        What was to have its turn again when the relay stops goes back to the queue.
        """
        verdicts = iter([OK, SLOWER, SLOWER, SLOWER, SLOWER, SLOWER])
        self.connector.script["mx1.b.example"] = lambda leased: next(verdicts)
        self.settings.config = config(delivery=Delivery(connections_per_site=1))
        self.take(leased("m1"))
        self.take(leased("m2"))
        self.assertEqual([("m1", 0)], list(self.queue.settled))
        self.courier.drain()
        self.assertEqual([("m2", 0)], self.queue.released)
        self.assertEqual(0, self.courier.dispatch.windows.used)

    def test_dead_host_is_passed_over(self) -> None:
        """
        A host lately found dead is not tried again for a while, and the message not held up.
        """
        self.connector.down["mx1.b.example"] = REFUSED
        self.take(leased("m1"))
        self.take(leased("m2"))
        self.assertEqual(1, self.connector.hosts().count("mx1.b.example"))
        self.clock.advance(60)
        self.take(leased("m3"))
        self.assertEqual(2, self.connector.hosts().count("mx1.b.example"))

    def test_dead_site_delays_nobody_else(self) -> None:
        """
        While one site's connections hang, another's mail goes out.
        """
        self.zone.exchanges("d.example", (10, "mx.d.example")).addresses("mx.d.example", "8.8.8.3")
        self.connector.script["mx1.b.example"] = lambda leased: None
        for number in range(10):
            self.take(leased(f"m{number}"))
        self.assertFalse(self.courier.reserve(Lane("acme", Kind.TRANSACTIONAL, "b.example"), 1))
        self.take(leased("d1", domain="d.example"))
        self.assertEqual([("d1", 0)], list(self.queue.settled))


OK_FOR_FIRST = {0: OK}


class TestOrders(Deliveries):
    def test_withdraw(self) -> None:
        """
        What only waits can be withdrawn; what is under way cannot.
        """
        self.settings.config = config(delivery=Delivery(connections_per_site=1))
        self.connector.script["mx1.b.example"] = lambda leased: None
        self.take(leased("m1"))
        self.take(leased("m2", 0, 1))
        self.assertEqual({("m2", 1)}, self.courier.withdraw([("m1", 0), ("m2", 1), ("m9", 0)]))
        self.connector.opened[0].answer({0: OK})
        self.assertEqual([0], [each.number for each in self.connector.opened[0].carried[1].recipients])

    def test_withdraw_under_way(self) -> None:
        """
        What is under way is asked back all the same: where it would have its turn again it goes back to the queue.
        """
        self.settings.config = config(delivery=Delivery(connections_per_site=1))
        self.connector.script["mx1.b.example"] = lambda leased: None
        self.take(leased("m1", 0, 1, 2))
        self.assertEqual(set(), self.courier.withdraw([("m1", 1)]))
        self.connector.opened[0].answer({0: OK, 1: TOO_MANY, 2: TOO_MANY})
        self.assertEqual([("m1", 1)], self.queue.released)
        self.assertEqual([2], [each.number for each in self.connector.opened[0].carried[1].recipients])
        self.connector.opened[0].answer({2: OK})
        self.assertEqual(([("m1", 0), ("m1", 2)], 0), ([*self.queue.settled], self.courier.dispatch.windows.used))

    def test_withdraw_while_routing(self) -> None:
        """
        A recipient whose route is being found can be withdrawn, and is not tried.
        """
        self.zone.fault("slow.example", Said(rcode=2, delay=3.0))
        self.take(leased("m1", domain="slow.example"))
        self.assertEqual({("m1", 0)}, self.courier.withdraw([("m1", 0)]))
        self.clock.advance(3)
        self.assertEqual({}, self.queue.settled)
        self.assertEqual(0, self.courier.dispatch.windows.used)

    def test_pause(self) -> None:
        """
        Paused, nothing begins; resumed, all does.
        """
        self.courier.pause()
        self.take(leased("m1"))
        self.assertEqual([], self.connector.asked)
        self.courier.resume()
        self.assertEqual([("m1", 0)], list(self.queue.settled))

    def test_drain(self) -> None:
        """
        What is under way ends and is recorded, what waits is released, idle connections close.
        """
        self.settings.config = config(delivery=Delivery(connections_per_site=1))
        self.connector.script["mx1.b.example"] = lambda leased: None
        self.queue.slow = True
        self.take(leased("m1"))
        self.take(leased("m2"))
        drained = self.courier.drain()
        self.assertEqual([("m2", 0)], self.queue.released)
        self.connector.opened[0].answer({0: OK})
        self.assertNoResult(drained)
        self.queue.commit()
        self.successResultOf(drained)
        self.assertEqual([("m1", 0)], list(self.queue.settled))
        self.assertEqual("closed", self.connector.opened[0].ended)
        self.assertFalse(self.courier.reserve(leased("m3").lane, 1))

    def test_drain_begins_no_further_host(self) -> None:
        """
        While draining, a recipient that would go on to the next host is released.
        """
        self.connector.script["mx1.b.example"] = lambda leased: None
        self.take(leased("m1"))
        drained = self.courier.drain()
        self.connector.opened[0].answer({0: BUSY})
        self.successResultOf(drained)
        self.assertEqual(([("m1", 0)], {}), (self.queue.released, self.queue.settled))

    def test_stop(self) -> None:
        """
        Stopped, transactions under way are dropped, and their recipients not lost.
        """
        self.connector.script["mx1.b.example"] = lambda leased: None
        self.take(leased("m1"))
        drained = self.courier.drain()
        self.courier.stop()
        self.successResultOf(drained)
        self.assertEqual(([("m1", 0)], {}), (self.queue.released, self.queue.settled))

    def test_stop_while_connecting(self) -> None:
        """
        A connection that is being made when the time is over is given up, and carries nothing.
        """
        self.connector.hold = True
        self.take(leased("m1"))
        drained = self.courier.drain()
        self.courier.stop()
        self.successResultOf(drained)
        self.assertEqual(([("m1", 0)], []), (self.queue.released, self.connector.opened))

    def test_drain_while_connecting(self) -> None:
        """
        A connection that is ready only when the relay stops carries nothing, and is closed.
        """
        self.connector.hold = True
        self.take(leased("m1"))
        drained = self.courier.drain()
        self.connector.let()
        self.successResultOf(drained)
        self.assertEqual([("m1", 0)], self.queue.released)
        self.assertEqual([("closed", 0)], [(one.ended, one.transactions) for one in self.connector.opened])

    def test_stop_after_the_end_of_data(self) -> None:
        """
        Stopped while the receiver may have taken it, the attempt is recorded and waits for the next.
        """
        self.connector.script["mx1.b.example"] = lambda leased: None
        self.take(leased("m1"))
        drained = self.courier.drain()
        self.connector.opened[0].at = Step.END_OF_DATA
        self.courier.stop()
        self.successResultOf(drained)
        self.assertEqual([], self.queue.released)
        self.assertIn("may be sent more than once", self.outcome("m1").text)
        self.assertEqual((Fault.OURS, "4.3.0"), (self.outcome("m1").fault, self.outcome("m1").status))

    def test_room_is_free_once_recorded(self) -> None:
        """
        A recipient takes room until its outcome is on disk.
        """
        self.queue.slow = True
        self.take(leased("m1", *range(10)))
        self.assertFalse(self.courier.reserve(leased("m2").lane, 1))
        self.queue.commit()
        self.assertTrue(self.courier.reserve(leased("m2").lane, 1))
        self.courier.cancel(leased("m2").lane, 1)
        self.assertEqual(0, self.courier.dispatch.windows.used)

    def test_delivered_is_a_delivery(self) -> None:
        """
        The attempt's time is that of the wall clock.
        """
        self.take(leased("m1"))
        attempt = self.queue.settled["m1", 0]
        self.assertEqual((1e9, True), (attempt.started_at, isinstance(attempt.outcome, Delivered)))
