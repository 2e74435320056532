"""
Taking due work costs the same however long anybody's backlog is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from sqlalchemy import Connection, insert, literal, select
from twisted.internet.defer import Deferred

from lmrelay.config.values import Config
from lmrelay.queue.schema import recipient
from lmrelay.queue.store import FILE
from lmrelay.queue.taker import SOON
from lmrelay.queue.writer import IWriter
from tests.queue.conftest import make_config
from tests.queue.filling import writing
from tests.queue.world import World, name, result_of

BACKLOG = 100_000


@pytest.fixture
def config(sqlite: Path, tmp_path: Path) -> Config:
    """
    A configuration whose store is empty.
    """
    (tmp_path / FILE).write_bytes(sqlite.read_bytes())
    return make_config(tmp_path)


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

    def submit(self, write: Callable[[Connection, Sequence[Any]], Sequence[Any]], item: Any) -> Deferred[Any]:
        result: Deferred[Any] = Deferred()
        done = self.writer.submit(write, item)
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
