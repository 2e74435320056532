"""
Taking due work costs the same however long anybody's backlog is.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import insert, literal, select

from lmrelay.config.values import Config
from lmrelay.queue.schema import recipient
from lmrelay.queue.store import FILE
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
