"""
The whole room in memory: routes from a zone, connections with real STARTTLS, MXs that follow a script.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from random import Random
from typing import Any

from attrs import define, evolve
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from lmrelay.config.project import Project, Route
from lmrelay.config.values import Config, Delivery, DomainDelivery, Server
from lmrelay.config.words import TlsPolicy
from lmrelay.interfaces import IContent, IQueue, Leased
from lmrelay.mail.outcome import Attempt, Delayed, Delivered
from lmrelay.outbound.connect import Connector
from lmrelay.outbound.courier import Courier
from lmrelay.outbound.dispatch import Dispatch, Windows
from lmrelay.outbound.pool import IDLE
from lmrelay.shares import Shares
from lmrelay.testing.answers import say
from lmrelay.testing.certificates import Authority
from lmrelay.testing.name_server import FakeResolver, Zone
from lmrelay.testing.scripted_mx import ScriptedMx
from tests.outbound.bench import CONTENT, TIMEOUTS, Blocks, Network
from tests.outbound.doubles import MemoryQueue, Settings, leased

AUTHORITY = Authority.make()
GOOD = AUTHORITY.issue("mx1.b.example")
WRONG = AUTHORITY.issue("other.example")

MX1, MX2 = "8.8.8.1", "8.8.8.2"


@implementer(IQueue)
@define(eq=False)
class Queue(MemoryQueue):
    """
    With contents.
    """

    def open_content(self, message_id: str, fields: bytes = b"", above: bytes = b"") -> IContent:
        return Blocks([CONTENT])  # type: ignore[return-value]


class RoomTests(SynchronousTestCase):
    """
    C{b.example} is served by C{mx1.b.example}, C{c.example} by the same, and C{dN.example} by hosts of their own.
    """

    def setUp(self) -> None:
        ca_file = Path(self.mktemp())
        ca_file.parent.mkdir(parents=True, exist_ok=True)
        ca_file.write_bytes(AUTHORITY.pem)
        self.network = Network()
        routes = {name: Route(name, tls=TlsPolicy(name)) for name in ("none", "opportunistic", "enforced")}
        project = Project("acme", routes={"outgoing": Route("outgoing"), **routes})
        self.settings = Settings(
            Config(
                Path("/etc/lmrelay.toml"),
                Server("relay.example"),
                delivery=Delivery(timeouts=TIMEOUTS, ca_file=ca_file),
                projects={"acme": project},
            )
        )
        self.zone = Zone().addresses("mx1.b.example", MX1)
        for domain in ("b.example", "c.example"):
            self.zone.exchanges(domain, (10, "mx1.b.example"))
        self.queue = Queue()
        self.dispatch = Dispatch(Windows(100, Shares(1000, 100)))
        self.courier = Courier(
            self.network,
            self.settings,
            FakeResolver(self.zone, self.network),
            Connector(self.network, self.network, self.settings),
            lambda: 1e9 + self.network.seconds(),
            Random(1),
            self.queue,
            self.dispatch,
        )
        self.numbers = itertools.count(1)
        self.addCleanup(self.end)

    def end(self) -> None:
        """
        The room ends as it does with the relay, and leaves nothing behind.
        """
        drained = self.courier.drain()
        self.network.pass_time(700, 50)
        self.successResultOf(drained)
        self.assertEqual([], self.network.getDelayedCalls())
        self.assertTrue(all(wire.client.disconnected for wire in self.network.wires))
        self.assertEqual((0, 0), (self.courier.pool.idle, self.dispatch.windows.used))

    def mx(self, address: str = MX1, **script: Any) -> ScriptedMx:
        mx = ScriptedMx(self.network, **script)
        self.network.servers[address] = mx
        return mx

    def message(self, route: str = "opportunistic", domain: str = "b.example", recipients: int = 1) -> Leased:
        return evolve(leased(f"m{next(self.numbers)}", *range(recipients), domain=domain), route=route)

    def send(self, *messages: Leased) -> list[Attempt]:
        """
        Take them at once, and carry on while no time passes; the attempt for the first recipient of each.
        """
        for one in messages:
            self.assertTrue(self.courier.reserve(one.lane, len(one.recipients)))
            self.courier.take([one])
        self.network.settle()
        return [self.queue.settled[one.message_id, 0] for one in messages]


class TlsTests(RoomTests):
    def test_opportunistic(self) -> None:
        """
        TLS where it is offered, whatever the certificate; in clear where it is not; and the attempt tells which.
        """
        rows: list[tuple[Any, bool | None]] = [
            (GOOD.server_context(), True),
            (WRONG.server_context(), False),
            (None, None),
        ]
        for tls, verified in rows:
            mx = self.mx(tls=tls)
            attempt = self.send(self.message())[0]
            self.assertIsInstance(attempt.outcome, Delivered)
            self.assertEqual(verified, attempt.tls.verified if attempt.tls else None)
            self.assertEqual([None if tls is None else "TLSv1.3"], [message.tls for message in mx.messages])
            self.assertEqual([CONTENT], [message.content for message in mx.messages])
            self.network.pass_time(IDLE + 1)

    def test_broken_handshake(self) -> None:
        """
        A receiver whose TLS breaks gets opportunistic mail in clear, in the same attempt.
        """
        mx = self.mx(tls=GOOD.server_context(), broken_handshake=b"nonsense")
        attempt = self.send(self.message())[0]
        self.assertIsInstance(attempt.outcome, Delivered)
        self.assertEqual((None, 2, [None]), (attempt.tls, mx.connections, [message.tls for message in mx.messages]))

    def test_enforced(self) -> None:
        """
        Enforced mail goes over verified TLS and no other way; else it waits, and not one octet of it is shown.
        """
        scripts: list[tuple[dict[str, Any], bool]] = [
            ({"tls": GOOD.server_context()}, True),
            ({"tls": WRONG.server_context()}, False),
            ({}, False),
            ({"tls": GOOD.server_context(), "broken_handshake": b"nonsense"}, False),
            ({"tls": GOOD.server_context(), "answers": {"STARTTLS": say("454 4.7.0 Not now")}}, False),
        ]
        for script, good in scripts:
            mx = self.mx(**script)
            attempt = self.send(self.message("enforced"))[0]
            self.assertIsInstance(attempt.outcome, Delivered if good else Delayed, script)
            self.assertEqual(good, any(line.startswith("MAIL") for line in mx.commands))
            if not good:
                self.assertEqual("4.7.5", attempt.outcome.status)
            self.network.pass_time(40, 40)

    def test_enforced_by_the_domain(self) -> None:
        """
        What a recipient domain demands holds for its own mail, and for no other at the same host.
        """
        delivery = self.settings.config.delivery
        domains = {"b.example": DomainDelivery(TlsPolicy.ENFORCED)}
        self.settings.config = evolve(self.settings.config, delivery=evolve(delivery, domains=domains))
        mx = self.mx()
        attempts = self.send(self.message(), self.message(domain="c.example"))
        self.assertEqual([Delayed, Delivered], [type(attempt.outcome) for attempt in attempts])
        self.assertEqual([("u0@c.example",)], [message.addresses for message in mx.messages])

    def test_mixed_demands(self) -> None:
        """
        Mail never shares a connection that proved less than it asks, in whichever order it comes.
        """
        for order in itertools.permutations(("none", "opportunistic", "enforced")):
            for tls, verified in ((GOOD, True), (WRONG, False)):
                mx = self.mx(tls=tls.server_context())
                # One after the other, so that each finds the idle connections of those before it.
                attempts = {route: self.send(self.message(route))[0] for route in order}
                self.assertIsInstance(attempts["none"].outcome, Delivered)
                self.assertIsNone(attempts["none"].tls)
                self.assertEqual(verified, attempts["opportunistic"].tls.verified)
                self.assertIsInstance(attempts["enforced"].outcome, Delivered if verified else Delayed)
                carried: dict[int, set[str | None]] = {}
                for message in mx.messages:
                    carried.setdefault(message.connection, set()).add(message.tls)
                self.assertEqual([1] * len(carried), [len(kinds) for kinds in carried.values()])
                self.network.pass_time(40, 40)

    def test_mixed_demands_at_once(self) -> None:
        """
        The same when they come together, and one message of each after that.
        """
        mx = self.mx(tls=WRONG.server_context())
        messages = [self.message(route) for route in ("none", "opportunistic", "enforced") * 5]
        attempts = self.send(*messages)
        by_route = list(zip((one.route for one in messages), attempts, strict=True))
        self.assertEqual({None}, {one.tls for route, one in by_route if route == "none"})
        self.assertEqual({False}, {one.tls.verified for route, one in by_route if route == "opportunistic"})
        self.assertEqual({Delayed}, {type(one.outcome) for route, one in by_route if route == "enforced"})
        self.assertEqual(10, len(mx.messages))

    def test_one_tenant_does_not_close_a_host_for_others(self) -> None:
        """
        A host that cannot meet what some mail demands is passed over for that mail alone, and not asked again for it.
        """
        mx = self.mx(tls=WRONG.server_context())
        self.send(self.message("enforced"))
        again = self.message("enforced")
        self.assertTrue(self.courier.reserve(again.lane, 1))
        self.courier.take([again])
        attempts = self.send(self.message("none"), self.message("opportunistic"))
        self.assertEqual([Delivered, Delivered], [type(attempt.outcome) for attempt in attempts])
        self.assertEqual([(again.message_id, 0)], list(self.queue.postponed))
        self.assertEqual(3, mx.connections)

    def test_enforced_shares_what_is_verified(self) -> None:
        """
        An idle connection that proved enough is used, whoever opened it.
        """
        mx = self.mx(tls=GOOD.server_context())
        self.send(self.message("opportunistic"))
        self.send(self.message("enforced"))
        self.assertEqual([1, 1], [message.connection for message in mx.messages])


class ReuseTests(RoomTests):
    def test_reuse(self) -> None:
        """
        What comes soon after goes over the same connection, also to another domain there, until its messages are many.
        """
        delivery = evolve(self.settings.config.delivery, messages_per_connection=3)
        self.settings.config = evolve(self.settings.config, delivery=delivery)
        mx = self.mx()
        for number in range(7):
            self.send(self.message(domain="bc"[number % 2] + ".example"))
        self.assertEqual([1, 1, 1, 2, 2, 2, 3], [message.connection for message in mx.messages])
        self.assertEqual([True, True, False], [session.is_lost for session in mx.sessions])
        self.network.pass_time(IDLE + 1)
        self.assertTrue(mx.sessions[2].is_lost)
        self.assertEqual("QUIT", mx.sessions[2].commands[-1])

    def test_closed_while_idle(self) -> None:
        """
        A receiver that closes an idle connection costs no attempt.
        """
        mx = self.mx()
        self.send(self.message())
        mx.sessions[0].transport.loseConnection()
        attempt = self.send(self.message())[0]
        self.assertIsInstance(attempt.outcome, Delivered)
        self.assertEqual([1, 2], [message.connection for message in mx.messages])

    def test_greylisting(self) -> None:
        """
        Who is greylisted waits, whoever is not gets the message, and the next attempt brings the others.
        """
        mx = self.mx(greylist=True, recipients={"u1@b.example": say("250 2.1.5 OK")})
        message = self.message(recipients=3)
        self.send(message)
        outcomes = [type(self.queue.settled[message.message_id, number].outcome) for number in range(3)]
        self.assertEqual([Delayed, Delivered, Delayed], outcomes)
        self.queue.settled.clear()
        rest = evolve(message, recipients=[message.recipients[0], message.recipients[2]])
        self.assertIsInstance(self.send(rest)[0].outcome, Delivered)
        self.assertEqual([("u1@b.example",), ("u0@b.example", "u2@b.example")], [one.addresses for one in mx.messages])

    def test_many_at_one_site(self) -> None:
        """
        A burst opens no more connections than the site may have, and every message arrives once.
        """
        delivery = evolve(self.settings.config.delivery, connections_per_site=4)
        self.settings.config = evolve(self.settings.config, delivery=delivery)
        mx = self.mx(tls=GOOD.server_context())
        attempts = self.send(*(self.message() for _ in range(40)))
        self.assertEqual({Delivered}, {type(attempt.outcome) for attempt in attempts})
        self.assertEqual((40, 4), (len(mx.messages), mx.connections))


class IdleTests(RoomTests):
    def sites(self, count: int) -> list[ScriptedMx]:
        """
        Receivers of C{d0.example} and so on, each a site by itself.
        """
        made = []
        for number in range(count):
            self.zone.exchanges(f"d{number}.example", (10, f"mx.d{number}.example"))
            self.zone.addresses(f"mx.d{number}.example", f"9.9.9.{number + 1}")
            made.append(self.mx(f"9.9.9.{number + 1}"))
        return made

    def test_limit_of_the_process(self) -> None:
        """
        Connections that idle count for the limit of the process with those in use: the oldest give way.
        """
        self.dispatch.running = Shares(3, 3)
        mxs = self.sites(6)
        for number in range(6):
            self.send(self.message(domain=f"d{number}.example"))
            open_now = sum(not session.is_lost for mx in mxs for session in mx.sessions)
            self.assertEqual(min(number + 1, 3), open_now)
        self.assertEqual([True, True, True, False, False, False], [mx.sessions[0].is_lost for mx in mxs])
        self.assertEqual(["QUIT"] * 3, [mx.sessions[0].commands[-1] for mx in mxs[:3]])
        self.assertEqual(3, self.courier.pool.idle)

    def test_never_more_at_once(self) -> None:
        """
        Nor are more open at any moment of a burst to many sites, whatever idles from before.
        """
        self.dispatch.running = Shares(3, 3)
        mxs = self.sites(9)
        most = 0

        def look(_: object) -> None:
            nonlocal most
            most = max(most, sum(not session.is_lost for mx in mxs for session in mx.sessions))

        for mx in mxs:
            mx.received = look
        for _ in range(2):
            attempts = self.send(*(self.message(domain=f"d{number}.example") for number in range(9)))
            self.assertEqual({Delivered}, {type(attempt.outcome) for attempt in attempts})
        self.assertEqual((18, 3), (sum(len(mx.messages) for mx in mxs), most))
