"""
Whatever happens in whatever order, every lease ends once.
"""

from __future__ import annotations

from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.task import Clock

from lmrelay.config.values import Delivery, Receiver
from lmrelay.config.words import Kind
from lmrelay.mail.outcome import Delayed, Fault
from lmrelay.outbound.courier import Courier
from lmrelay.outbound.dispatch import Dispatch, Windows
from lmrelay.shares import Shares
from lmrelay.testing.name_server import FakeResolver, Said, Zone
from tests.outbound.doubles import (
    BUSY,
    LOST,
    OK,
    SLOWER,
    TOO_BIG,
    UNKNOWN,
    FakeConnection,
    FakeConnector,
    MemoryQueue,
    Settings,
    config,
    leased,
)

DOMAINS = ["b.example", "c.example", "d.example", "slow.example", "broken.example", "nowhere.example"]
SHARED = "mx1.b.example;mx2.b.example"
REFUSED = Delayed("4.4.1", "connection refused", Fault.NETWORK)


def zone() -> Zone:
    both = ((10, "mx1.b.example"), (20, "mx2.b.example"))
    made = Zone().exchanges("b.example", *both).exchanges("c.example", *both)
    made.exchanges("d.example", (10, "mx.d.example")).fault("broken.example", Said(rcode=2, delay=2.0))
    made.exchanges("slow.example", *both)
    made.names["slow.example"][15] = Said(made.look_up("slow.example", 15).records, delay=3.0)
    for number, host in enumerate(("mx1.b.example", "mx2.b.example", "mx.d.example")):
        made.addresses(host, f"8.8.8.{number}")
    return made


class Leases(RuleBasedStateMachine):
    """
    Takes, withdrawals, outcomes, lost connections, pauses, suspensions and the end, in any order; one site has a rate.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.connector = FakeConnector(hold=True)
        self.connector.script = dict.fromkeys(("mx1.b.example", "mx2.b.example", "mx.d.example"), lambda leased: None)
        self.queue = MemoryQueue(slow=True)
        self.courier = Courier(
            self.clock,
            Settings(
                config(
                    delivery=Delivery(connections_per_site=2, messages_per_connection=3),
                    receivers=(Receiver("d", ("mx.d.example",), rate=0.5),),
                )
            ),
            FakeResolver(zone(), self.clock),
            self.connector,
            self.clock.seconds,
            Random(0),
            self.queue,
            Dispatch(Windows(6, Shares(30, 0)), Shares(4, 1), max_sites=2),
        )
        self.taken: set[tuple[str, int]] = set()
        self.withdrawn: list[tuple[str, int]] = []
        self.drained = None
        self.messages = 0
        self.made: int | None = None

    @rule(
        domains=st.lists(st.sampled_from(DOMAINS), min_size=1, max_size=3, unique=True),
        kind=st.sampled_from(Kind),
        project=st.sampled_from(["acme", "other"]),
        count=st.integers(1, 3),
    )
    def take(self, domains: list[str], kind: Kind, project: str, count: int) -> None:
        self.messages += 1
        each = []
        for position, domain in enumerate(domains):
            numbers = range(position * 10, position * 10 + count)
            one = leased(f"m{self.messages}", *numbers, domain=domain, kind=kind, project=project)
            if self.courier.reserve(one.lane, count):
                each.append(one)
                self.taken |= {(one.message_id, number) for number in numbers}
        self.courier.take(each)

    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        if self.taken:
            keys = data.draw(st.lists(st.sampled_from(sorted(self.taken)), max_size=4, unique=True))
            self.withdrawn += self.courier.withdraw(keys)

    @precondition(lambda self: self.connector.held)
    @rule(down=st.booleans())
    def connect(self, down: bool) -> None:
        target, _ = self.connector.asked[-len(self.connector.held)]
        self.connector.down = {target.host: REFUSED} if down else {}
        self.connector.let()

    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        busy = [connection for connection in self.connector.opened if connection.waiting is not None]
        if busy:
            connection: FakeConnection = data.draw(st.sampled_from(busy))
            verdicts = st.sampled_from([OK, BUSY, UNKNOWN, TOO_BIG, SLOWER])
            numbers = [each.number for each in connection.carried[-1].recipients]
            lost = data.draw(st.booleans())
            connection.answer({number: LOST if lost else data.draw(verdicts) for number in numbers})

    @rule()
    def lose_an_idle_one(self) -> None:
        for connection in self.connector.opened:
            if connection.is_usable and connection.waiting is None and connection.transactions:
                connection.drop()
                return

    @rule(seconds=st.sampled_from([0.1, 3.0, 60.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def commit(self) -> None:
        self.queue.commit()

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        if paused:
            self.courier.pause()
        else:
            self.courier.resume()

    @rule(suspended=st.booleans())
    def suspend(self, suspended: bool) -> None:
        was = self.made is not None
        assert (was and not suspended) == self.courier.suspend([SHARED] if suspended else [])
        self.made = self.count_made() if suspended else None

    def count_made(self) -> int:
        return sum(one.transactions for one in self.connector.opened if one.host != "mx.d.example")

    @rule(hard=st.booleans())
    def drain(self, hard: bool) -> None:
        if self.drained is None:
            self.drained = self.courier.drain()
        if hard:
            self.courier.stop()

    def ended(self) -> list[tuple[str, int]]:
        return [*self.queue.settled, *self.queue.released, *self.queue.postponed, *self.withdrawn]

    @invariant()
    def every_lease_is_held_or_ended_once(self) -> None:
        # An outcome takes room until it is recorded.
        held = set(self.courier.dispatch._held) - set(self.queue.settled)
        assert sorted(self.taken) == sorted([*held, *self.ended()])

    @invariant()
    def none_begins_where_it_is_suspended(self) -> None:
        assert self.made in (None, self.count_made())

    @invariant()
    def budgets_are_kept(self) -> None:
        dispatch = self.courier.dispatch
        assert dispatch.running.used <= 4 + 4
        assert all(queue.running <= 2 for queue in dispatch._sites.values())
        assert len([c for c in self.connector.opened if c.is_usable]) <= 4 + 1

    def teardown(self) -> None:
        """
        Let everything go on: nothing is left over.
        """
        self.courier.resume()
        self.courier.suspend([])
        for _ in range(2000):
            self.connector.down = {}
            self.clock.advance(5)
            self.queue.commit()
            if self.connector.held:
                self.connector.let()
            for connection in self.connector.opened:
                if connection.waiting is not None:
                    connection.answer({each.number: OK for each in connection.carried[-1].recipients})
            if not self.connector.held and not self.queue.pending and not list(self.courier.dispatch._held):
                break
        self.clock.advance(60)
        assert sorted(self.taken) == sorted(self.ended())
        dispatch = self.courier.dispatch
        assert (0, 0, 0, {}) == (dispatch.windows.used, dispatch.running.used, self.courier.pool.idle, dispatch._held)
        assert [] == self.clock.getDelayedCalls()
        if self.drained is not None:
            assert self.drained.called


Leases.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None, derandomize=True)
TestLeases = Leases.TestCase
