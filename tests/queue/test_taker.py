"""
Taking due work costs the same however long anybody's backlog is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from attrs import define, field
from sqlalchemy import Connection, insert, literal, select
from twisted.internet.defer import Deferred

from lmrelay.config.values import Config
from lmrelay.queue.schema import recipient
from lmrelay.queue.storing import Accept
from lmrelay.queue.taker import LANES, SHARE, SOON, find_lanes
from lmrelay.queue.writer import IWriter
from tests.queue.filling import fill, make_rows, writing
from tests.queue.world import NOW, World, name, result_of

BACKLOG = 100_000


@pytest.fixture
def config(sqlite_config: Config) -> Config:
    """
    A configuration whose store is empty.
    """
    return sqlite_config


def multiply(config: Config) -> None:
    """
    Give the first message a hundred thousand recipients like its own.
    """
    numbers = select(literal(1).label("n")).cte(recursive=True)
    numbers = numbers.union_all(select(numbers.c.n + 1).where(numbers.c.n < BACKLOG))
    columns = [numbers.c.n if column.name == "number" else column for column in recipient.c]
    rows = select(*columns).select_from(recipient.join(numbers, recipient.c.number == 0))
    with writing(config) as connection:
        connection.execute(insert(recipient).from_select([column.name for column in recipient.c], rows))


@define(eq=False)
class SlowWriter:
    """
    A writer whose reads and writes are done when the test says so.
    """

    writer: IWriter
    waiting: list[Callable[[], None]] = field(factory=list)

    def start(self) -> None:
        self.writer.start()

    def submit(
        self, write: Callable[[Connection, Sequence[Any]], Sequence[Any]], item: Any, *, urgent: bool = False
    ) -> Deferred[Any]:
        result: Deferred[Any] = Deferred()
        done = self.writer.submit(write, item, urgent=urgent)
        self.waiting.append(lambda: done.chainDeferred(result))
        return result

    def stop(self) -> Deferred[None]:
        return self.writer.stop()

    def go_on(self) -> None:
        waiting, self.waiting = self.waiting, []
        for one in waiting:
            one()


def test_woken_during_a_pass(config: Config) -> None:
    """
    Mail that comes due while a pass is under way, too late for it to see, is taken right after it.
    """
    world = World(config)
    world.start()
    world.run(6)
    taker = world.queue._taker
    slow = taker._writer = SlowWriter(taker._writer)
    taker.wake()
    world.clock.advance(SOON)
    assert 1 == len(slow.waiting)
    world.dispatch.room = 0
    result_of(world.accept(1))
    world.dispatch.room = 1000
    slow.go_on()
    taker._writer = slow.writer
    world.clock.advance(SOON)
    assert [(name(1), 0)] == world.dispatch.handed()
    world.stop()


def test_dead_lane(config: Config) -> None:
    """
    A lane with 100,000 rows and a full window costs others nothing: they go out in the first pass, and no
    pass walks through the backlog.
    """
    world = World(config)
    world.dispatch.room = 0
    world.start()
    result_of(world.accept(1, ["a@dead.example"]))
    multiply(config)
    result_of(world.accept(2, ["a@live.example"]))
    result_of(world.accept(3, ["a@late.example"], project="zzz"))
    world.dispatch.room, world.dispatch.per_lane = 10**6, 5
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    with world.queue._writer._engine.connect() as connection:  # type: ignore[attr-defined]
        connection.connection.driver_connection.set_progress_handler(count, 1000)
    world.run(6)
    assert {(name(2), 0), (name(3), 0)} == set(world.dispatch.handed())
    assert 0 < steps < 100
    world.stop()


@define(eq=False)
class CountingWriter:
    """
    Counts the passes.
    """

    writer: IWriter
    passes: int = 0

    def start(self) -> None:
        self.writer.start()

    def submit(
        self, write: Callable[[Connection, Sequence[Any]], Sequence[Any]], item: Any, *, urgent: bool = False
    ) -> Deferred[Any]:
        self.passes += write is find_lanes
        return self.writer.submit(write, item, urgent=urgent)

    def stop(self) -> Deferred[None]:
        return self.writer.stop()


def begin(config: Config, *accepts: Accept, per_lane: int = 10) -> tuple[World, CountingWriter]:
    """
    A queue that starts over that mail, and what counts its passes; none was made yet.
    """
    fill(config, *accepts)
    world = World(config)
    world.dispatch.room, world.dispatch.per_lane = 10**6, per_lane
    world.start()
    counting = CountingWriter(world.queue._taker._writer)
    world.queue._taker._writer = counting
    return world, counting


def newsletter(project: str, domains: int) -> Accept:
    """
    One to somebody at each of so many domains.
    """
    return make_rows([f"a@d{number}.example" for number in range(domains)], project=project)


def test_parties_in_turn(config: Config) -> None:
    """
    Mail is taken in the first pass, however many lanes another project has before it.
    """
    world, counting = begin(config, newsletter("acme", 5 * LANES), make_rows(["now@b.example"], project="zeta"))
    world.clock.advance(0)
    assert 1 == counting.passes
    assert "zeta" in {one.lane.project for one in world.dispatch.taken}
    world.stop()


def test_all_lanes_of_all_parties(config: Config) -> None:
    """
    A round passes by every lane, however many of them a party has, and however many parties there are.
    """
    numbers = {"acme": 3 * LANES, "beta": 2 * LANES, **{f"p{number:03}": 2 for number in range(2 * LANES)}}
    world, _ = begin(config, *(newsletter(*one) for one in numbers.items()))
    world.run(60)
    taken = Counter(one.lane.project for one in world.dispatch.taken)
    assert numbers == taken
    world.stop()


@pytest.mark.parametrize("lanes", [(1,), (3 * LANES,), (3 * LANES, 2 * LANES, 5)])
def test_rests_after_a_round(config: Config, lanes: Sequence[int]) -> None:
    """
    When no lane has room, each is looked at once in a round, and then there is rest.
    """
    accepts = (newsletter(f"p{number}", count) for number, count in enumerate(lanes))
    world, counting = begin(config, *accepts, per_lane=0)
    world.clock.pump([SOON] * 60)
    one_round = counting.passes
    assert one_round <= 1 + len(lanes) * sum(lanes) / LANES
    world.clock.pump([SOON] * 300)
    assert one_round < counting.passes <= 6 * one_round
    world.stop()


def test_no_pause_while_there_is_room(config: Config) -> None:
    """
    A backlog is taken without a pause as far as there is room for it: what was taken may be sent sooner than that.
    """
    world, _ = begin(config, *(make_rows(["a@b.example"]) for _ in range(4 * SHARE)), per_lane=3 * SHARE)
    world.clock.advance(0)
    assert 3 * SHARE == len(world.dispatch.handed())
    world.stop()


def test_soon_after_a_long_round(config: Config) -> None:
    """
    What is due in a second is taken in a second, also when the last lane was looked at in a round of many passes.
    """
    later = make_rows(["later@b.example"], at=NOW + 9.0, project="zeta")
    world, _ = begin(config, newsletter("acme", 3 * LANES), later)
    world.run(8)
    assert {"acme"} == {one.lane.project for one in world.dispatch.taken}
    world.run(2)
    assert {"acme", "zeta"} == {one.lane.project for one in world.dispatch.taken}
    world.stop()
