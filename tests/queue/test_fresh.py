"""
Mail that is delivered at once: what is known of it need not be read, and is not believed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from sqlalchemy import select, update

from lmrelay.interfaces import RecipientKey
from lmrelay.mail.outcome import Attempt
from lmrelay.queue import settle
from lmrelay.queue.backlog import Waiting
from lmrelay.queue.fresh import Fresh
from lmrelay.queue.schema import FAILED, attempt, recipient
from lmrelay.queue.settle import Settle, Settled
from lmrelay.queue.statements import Open, find_open
from lmrelay.queue.store import find_url, make_engine
from lmrelay.queue.writer import run_batch
from tests.queue.filling import writing
from tests.queue.world import LATER, OK, World, name, result_of


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[RecipientKey]:
    """
    The recipients that were read to be settled.
    """
    seen: list[RecipientKey] = []

    def find(connection: Any, keys: list[RecipientKey]) -> dict[RecipientKey, Open]:
        seen.extend(keys)
        return find_open(connection, keys)

    monkeypatch.setattr(settle, "find_open", find)
    return seen


def change(world: World, number: int, **values: Any) -> None:
    """
    Somebody else changes the recipients of a message.
    """
    with writing(world.config) as connection:
        connection.execute(update(recipient).where(recipient.c.message == name(number)).values(**values))


def find_attempts(world: World) -> list[tuple[str, int]]:
    with writing(world.config) as connection:
        return [(row.message, row.number) for row in connection.execute(select(attempt).order_by(attempt.c.message))]


def settle_together(world: World, *numbers: int) -> list[Settled]:
    """
    Attempts that all delivered, in one commit.
    """
    made = {0: Attempt(world.wall(), world.wall(), OK, "mx.b.example")}
    write = world.queue._recorder._settler.write
    batch = [Waiting(write, Settle(name(number), made)) for number in numbers]
    engine = make_engine(find_url(world.config))
    run_batch(engine, batch, lambda: True)
    engine.dispose()
    return [one.answer for one in batch]


def test_delivered_without_a_read(world: World, read: list[RecipientKey]) -> None:
    """
    In SQLite the first attempt of a message for one is recorded without a read, and all
    that follows from it is written.
    """
    result_of(world.accept(1))
    world.settle(1, OK)
    assert ([] if world.config.queue.url == "sqlite" else [(name(1), 0)]) == read
    assert [(1, 0, "delivered")] == world.states()
    assert 0 == world.count()["chunk"]
    assert ["message.created", "message.sent", "message.delivered"] == [type_ for type_, _ in world.events()]


def test_read_where_more_is_to_be_known(world: World, read: list[RecipientKey]) -> None:
    """
    A message for two, and one that was tried before, are read.
    """
    result_of(world.accept(1, to=("a@b.example", "c@b.example")))
    result_of(world.accept(2))
    result_of(world.accept(3))
    world.settle(1, OK)
    world.settle(2, LATER)
    world.settle(2, OK)
    assert [(name(1), 0), (name(2), 0), (name(2), 0)] == read
    assert [(1, 0, "delivered"), (1, 1, "queued"), (2, 0, "delivered"), (3, 0, "queued")] == world.states()
    assert 2 == world.count()["chunk"]


@pytest.mark.parametrize(
    ("meanwhile", "states", "attempts"),
    [
        ({"owner": None}, [(1, 0, "delivered"), (2, 0, "delivered")], [(name(1), 1), (name(2), 1)]),
        ({"owner": "another", "attempts": 3}, [(1, 0, "delivered"), (2, 0, "delivered")], [(name(1), 4), (name(2), 1)]),
        ({"owner": None, "state": FAILED}, [(1, 0, FAILED), (2, 0, "delivered")], [(name(2), 1)]),
    ],
)
def test_not_so_any_more(
    world: World, meanwhile: Mapping[str, Any], states: list[tuple[int, int, str]], attempts: list[tuple[str, int]]
) -> None:
    """
    What another did with a recipient meanwhile is seen, whatever is known of it; what is written with it suffers
    nothing, and nothing is written twice.
    """
    result_of(world.accept(1))
    result_of(world.accept(2))
    change(world, 1, **meanwhile)
    settle_together(world, 2, 1)
    assert states == world.states()
    assert attempts == find_attempts(world)


def test_two_of_one(world: World) -> None:
    """
    Of two attempts of one recipient in one commit the first counts.
    """
    result_of(world.accept(1))
    first, second = settle_together(world, 1, 1)
    assert first.over
    assert [(name(1), 1)] == find_attempts(world)
    assert ["message.created", "message.sent", "message.delivered"] == [type_ for type_, _ in world.events()]
    assert first == second


def test_bounded() -> None:
    """
    However much mail is never tried, no more than the limit is remembered.
    """
    fresh = Fresh(2)
    row = dict.fromkeys(Open._fields)
    for id_ in "abc":
        fresh.put({**row, "id": id_}, row)
    assert [None, None, "c"] == [found and found.message for found in map(fresh.take, "abc")]
    assert None is fresh.take("c")
