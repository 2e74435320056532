"""
What is done with hundreds of recipients is a few statements: between two of them a busy reactor has its turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, update

from lmrelay.config.values import Config
from lmrelay.config.words import Kind
from lmrelay.interfaces import Lane
from lmrelay.queue.ahead import read_whole
from lmrelay.queue.changes import SLICE, Order, Slice, find_slice, write_order, write_slices
from lmrelay.queue.claims import claim_lane
from lmrelay.queue.orders import Selector, Verb
from lmrelay.queue.schema import HELD, OPEN, recipient
from lmrelay.queue.taker import SHARE
from tests.queue.filling import NOW, fill, make_rows, rows, writing
from tests.queue.world import World


@pytest.fixture
def config(sqlite_config: Config) -> Config:
    """
    A store in which as many wait as an order changes in one transaction.
    """
    fill(sqlite_config, *(make_rows([f"u{number}@b.example"]) for number in range(SLICE)))
    return sqlite_config


@contextmanager
def counted(connection: Connection) -> Iterator[list[str]]:
    """
    The statements that are run, as often as they are.
    """
    run: list[str] = []
    database: Any = connection.connection.dbapi_connection
    database.set_trace_callback(run.append)
    yield run
    database.set_trace_callback(None)


@pytest.mark.parametrize("verb", [Verb.RETRY, Verb.HOLD, Verb.RELEASE, Verb.DELETE])
def test_order(config: Config, verb: Verb) -> None:
    """
    A slice of an order is a handful of statements, and changes each of its recipients once.
    """
    if verb is Verb.RELEASE:
        with writing(config) as connection:
            connection.execute(update(recipient).values(state=HELD, held_at=NOW, due=None))
    order = Order("0" * 26, verb, Selector(states=OPEN), NOW)
    with writing(config) as connection:
        write_order(connection, order)
        found = find_slice(connection, order)
        with counted(connection) as run:
            (order,) = write_slices(connection, [Slice(order, found, NOW)])
    assert SLICE == len(found) == order.changed
    assert len(run) <= 5


def test_claim(config: Config) -> None:
    """
    So is a claim of all that is taken of one lane in one pass.
    """
    lane = Lane("acme", Kind.TRANSACTIONAL, "b.example")
    world = World(config)
    world.dispatch.room = 0
    worker = world.start().worker
    with writing(config) as connection, counted(connection) as run:
        taken = claim_lane(connection, world.queue._taker._suppressions, worker, lane, SHARE, NOW)
    assert SHARE == len(taken)
    assert SHARE == len([row for row in rows(config) if row.owner == worker and row.due is None])
    assert len(run) <= 7
    world.stop()


def test_read_ahead(config: Config) -> None:
    """
    So is reading what was claimed.
    """
    ids = [row.message for row in rows(config)[:SHARE]]
    with writing(config) as connection, counted(connection) as run:
        assert ids == sorted(id_ for id_, _, _ in read_whole(connection, ids))
    assert 1 == len(run)
