"""
From which addresses mail goes out, and under which name.
"""

from __future__ import annotations

import errno
from random import Random
from typing import Any

import pytest
from attrs import evolve
from twisted.internet.error import ConnectBindError
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from lmrelay.config.project import Project, Route
from lmrelay.config.values import Config, Delivery
from lmrelay.config.words import TlsPolicy
from lmrelay.interfaces import Leased
from lmrelay.mail.outcome import Delayed, Fault
from lmrelay.outbound.connect import HostFailure, Target
from lmrelay.outbound.sts import StsMode, StsPolicy
from lmrelay.outbound.terms import Egress, KnownTerms, find_terms
from lmrelay.outbound.tls import configured
from lmrelay.testing.scripted_mx import ScriptedMx
from tests.outbound.bench import Network, Relay
from tests.outbound.doubles import config, leased
from tests.outbound.test_courier import REFUSED, Deliveries

V4, V6 = "192.0.2.1", "2001:db8::1"


def test_source_is_of_the_family() -> None:
    """
    A connection comes from an address of its own family, each of several in its turn, or from where the system says.
    """
    both = Egress((V4, "192.0.2.2", V6))
    chosen = {
        address: {tuple(both.order_sources(address, Random(n))) for n in range(20)}
        for address in ("8.8.8.8", "2606::8")
    }
    assert {"8.8.8.8": {(V4, "192.0.2.2"), ("192.0.2.2", V4)}, "2606::8": {(V6,)}} == chosen
    assert (("",), True) == (Egress().order_sources("8.8.8.8", Random(1)), Egress().reaches("2606::8"))
    assert [True, False] == [Egress((V4,)).reaches(address) for address in ("8.8.8.8", "2606::8")]


@pytest.mark.parametrize(
    ("server", "route", "expected"),
    [
        ({}, {}, Egress()),
        ({"source_address": (V4,), "ehlo_name": "out.example"}, {}, Egress((V4,), "out.example")),
        (
            {"source_address": (V4,), "ehlo_name": "out.example"},
            {"source_address": (V6,)},
            Egress((V6,), "out.example"),
        ),
        ({"ehlo_name": "out.example"}, {"ehlo_name": "news.example"}, Egress((), "news.example")),
    ],
)
def test_route_before_server(server: dict[str, Any], route: dict[str, Any], expected: Egress) -> None:
    """
    What the route says holds, and else what the server says, each of the two keys for itself.
    """
    settings = with_route(Route("outgoing", **route), **server)
    assert expected == find_terms(settings, leased("m1")).egress


def test_project_that_is_gone() -> None:
    """
    Its mail goes out as the server's own.
    """
    settings = config(delivery=Delivery(source_address=(V4,)))
    assert Egress((V4,)) == find_terms(evolve(settings, projects={}), leased("m1")).egress


def test_known_terms() -> None:
    """
    Terms that were found are the same value for the lane's next message, and another one where the message, the policy
    of its domain or the configuration asks for something else.
    """
    known, settings, policy = KnownTerms(), config(), StsPolicy(StsMode.ENFORCE, ("mx.b.example",))
    plain = known.find(settings, leased("m1"), None)
    assert plain is known.find(settings, leased("m2"), None)
    required = evolve(leased("m3"), require_tls=True)
    asked = [
        (settings, leased("m1"), policy),
        (settings, required, policy),
        (settings, evolve(leased("m1"), tls=TlsPolicy.ENFORCED), None),
        (settings, evolve(leased("m1"), tls_optional=True), policy),
        (with_route(Route("outgoing"), source_address=(V4,)), leased("m1"), None),
        (settings, leased("m1"), None),
    ]
    assert [find_terms(*each) for each in asked] == [known.find(*each) for each in asked]


def with_route(*routes: Route, **delivery: Any) -> Config:
    project = Project("acme", routes={route.slug: route for route in routes})
    return evolve(config(delivery=Delivery(**delivery)), projects={"acme": project, "other": Project("other")})


class ConnectingTests(SynchronousTestCase):
    """
    What reaches the socket and the wire.
    """

    def test_source_and_name(self) -> None:
        """
        The connection is bound to the source, and EHLO says the name.
        """
        network = Network()
        mx = network.servers["192.0.2.9"] = ScriptedMx(network)
        bound: list[object] = []
        connect_tcp = network.connectTCP

        def connect(*args: Any, bindAddress: Any = None, **more: Any) -> Any:
            bound.append(bindAddress)
            return connect_tcp(*args, **more)

        network.connectTCP = connect  # type: ignore[method-assign]
        relay = Relay(network)
        connection = relay.connect(TlsPolicy.NONE, Target("mx.example", "192.0.2.9", 25, V4, "news.example"))
        self.assertEqual(([(V4, 0)], V4), (bound, connection.source))
        self.assertEqual("EHLO news.example", mx.commands[0])

    def failure(self, number: int, times: int = 1) -> HostFailure:
        relay = Relay(Network())

        def connect(*args: object, **more: object) -> None:
            raise ConnectBindError(number, "no")

        relay.network.connectTCP = connect  # type: ignore[method-assign]
        target = Target("mx.example", "192.0.2.9", 25, V4)
        for _ in range(times):
            failure = relay.run(relay.connector.connect(target, configured(TlsPolicy.NONE)))
        assert isinstance(failure, HostFailure)
        return failure

    def test_source_of_another_machine(self) -> None:
        """
        It is our own fault, in words, and says nothing of the host; the operator is told once.
        """
        with capturedLogs() as said:
            failure = self.failure(errno.EADDRNOTAVAIL, times=3)
        outcome = failure.outcome
        self.assertEqual((True, Fault.OURS, "4.3.0"), (failure.of_source, outcome.fault, outcome.status))
        self.assertEqual("cannot connect from 192.0.2.1: it is not an address of this machine", outcome.text)
        self.assertEqual([V4], [line["source"] for line in said if line["log_level"] is LogLevel.warn])

    def test_family_that_the_kernel_lacks(self) -> None:
        """
        The address is not to be had, as any that has no route: it is passed over for the others.
        """
        self.assertEqual(Fault.NETWORK, self.failure(errno.EAFNOSUPPORT).outcome.fault)


class DeliveringTests(Deliveries):
    """
    Which connections serve which mail.
    """

    def configure(self, *routes: Route, **delivery: Any) -> None:
        self.settings.config = with_route(*routes, **delivery)

    def of_route(self, message_id: str, route: str) -> Leased:
        return evolve(leased(message_id), route=route)

    def test_attempt_says_the_source(self) -> None:
        """
        Whoever asks why a receiver refused it, sees which of our addresses it saw.
        """
        self.configure(Route("outgoing", source_address=(V4,)))
        self.take(leased("m1"))
        self.assertEqual(V4, self.queue.settled["m1", 0].source)
        self.assertEqual([V4], [target.source for target, _ in self.connector.asked])

    def test_source_that_is_missing(self) -> None:
        """
        Where this machine has not got one of the sources, the mail goes out from another; with none it waits.
        """
        self.configure(Route("outgoing", source_address=(V4, "192.0.2.2", "192.0.2.3")))
        self.connector.missing = {V4, "192.0.2.3"}
        for number in range(9):
            self.take(leased(f"m{number}"))
            self.clock.advance(6)
        self.assertEqual({"192.0.2.2"}, {attempt.source for attempt in self.queue.settled.values()})
        self.connector.missing.add("192.0.2.2")
        self.take(leased("none"))
        self.assertEqual((Delayed, Fault.OURS), (type(self.outcome("none")), self.outcome("none").fault))

    def test_connections_are_of_one_egress(self) -> None:
        """
        A connection that is kept carries further mail of the same egress, and no other.
        """
        self.configure(Route("outgoing"), Route("news", source_address=(V4,), ehlo_name="news.example"))
        for number, route in enumerate(("outgoing", "news", "outgoing", "news")):
            self.take(self.of_route(f"m{number}", route))
        self.assertEqual([("", ""), (V4, "news.example")], [(one.source, one.name) for one, _ in self.connector.asked])
        self.assertEqual([2, 2], [len(one.carried) for one in self.connector.opened])

    def test_dead_for_one_source_alone(self) -> None:
        """
        A host that refuses one of our addresses is still asked from another.
        """
        self.configure(Route("outgoing", source_address=(V4,)), Route("news", source_address=("192.0.2.2",)))
        self.connector.of_host = True
        self.connector.down = {"mx1.b.example": REFUSED, "mx2.b.example": REFUSED}
        self.take(leased("m1"))
        self.connector.down.clear()
        self.take(self.of_route("m2", "news"))
        self.assertEqual("mx1.b.example", self.queue.settled["m2", 0].host)

    def test_family_without_a_source(self) -> None:
        """
        Addresses of a family that there is no source of are passed over; a host with no other makes way for the next.
        """
        self.configure(Route("outgoing", source_address=(V4,)))
        self.zone.addresses("mx1.b.example", "2606:4700::1").addresses("mx2.b.example", "2606:4700::2", "8.8.8.2")
        self.take(leased("m1"))
        self.assertEqual([("8.8.8.2", V4)], [(target.address, target.source) for target, _ in self.connector.asked])
        self.assertEqual("mx2.b.example", self.queue.settled["m1", 0].host)

    def test_no_family_at_all(self) -> None:
        """
        Where every host has the other family alone, the mail waits, and says for what.
        """
        self.configure(Route("outgoing", source_address=(V6,)))
        self.take(leased("m1"))
        outcome = self.outcome("m1")
        self.assertEqual((Delayed, Fault.OURS), (type(outcome), outcome.fault))
        self.assertEqual("the hosts have no address of the family of source_address", outcome.text)
        self.assertEqual([], self.connector.asked)
