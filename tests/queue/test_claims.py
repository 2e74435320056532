"""
What was leased gets to delivery or goes back to the queue, whatever breaks in between: on SQLite.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import pytest
from attrs import define
from sqlalchemy import Connection, select
from twisted.internet.defer import Deferred, fail

from lmrelay.config.values import Config
from lmrelay.errors import StoreError
from lmrelay.interfaces import Leased
from lmrelay.queue.backlog import Waiting
from lmrelay.queue.schema import recipient
from lmrelay.queue.taker import AGAIN
from lmrelay.queue.writer import InlineWriter, run_batch
from tests.queue.doubles import Dispatch
from tests.queue.filling import writing
from tests.queue.world import World, name, result_of


@pytest.fixture
def config(sqlite_config: Config) -> Config:
    """
    A configuration whose store is empty.
    """
    return sqlite_config


@define(eq=False)
class Clumsy(Dispatch):
    """
    Breaks over these messages.
    """

    breaks_over: Collection[str] = ()

    def take(self, leased: Sequence[Leased]) -> None:
        super().take(leased)
        if leased[0].message_id in self.breaks_over:
            raise RuntimeError("a bug")


def begin(config: Config, dispatch: Dispatch, messages: int = 3) -> World:
    """
    A queue in which mail waits that delivery had no room for.
    """
    world = World(config, dispatch)
    dispatch.room = 0
    world.start()
    for number in range(messages):
        result_of(world.accept(number, [f"a@d{number}.example", f"b@d{number}.example"]))
    dispatch.room = 1000
    return world


def owners(config: Config) -> list[tuple[int, str | None]]:
    """
    Whose the recipients are, in order: the number of the message, and the owner.
    """
    with writing(config) as connection:
        rows = connection.execute(select(recipient.c.message, recipient.c.owner).order_by(*recipient.primary_key))
        return [(int(id_), owner) for id_, owner in rows]


def test_a_fault_of_delivery(config: Config) -> None:
    """
    Of mail that was leased together, one message over which delivery breaks keeps back no other; what delivery took of
    it is asked back, and it is tried again after a while.
    """
    dispatch = Clumsy(breaks_over=(name(1),))
    world = begin(config, dispatch)
    world.run(6)
    everything = [(name(number), which) for number in range(3) for which in range(2)]
    assert everything == sorted(dispatch.handed())
    assert everything[2:4] == dispatch.withdrawn
    mine = world.queue.worker
    assert [(0, mine), (0, mine), (1, None), (1, None), (2, mine), (2, mine)] == owners(config)
    dispatch.breaks_over = ()
    dispatch.taken.clear()
    world.run(AGAIN - 10)
    assert [] == dispatch.handed()
    world.run(20)
    assert everything[2:4] == sorted(dispatch.handed())
    world.stop()


def test_a_fault_of_delivery_over_fresh_mail(config: Config) -> None:
    """
    Fresh mail over which delivery breaks is accepted, asked back, and taken again.
    """
    dispatch = Clumsy(breaks_over=(name(1),))
    world = World(config, dispatch)
    world.start()
    assert name(1) == result_of(world.accept(1))
    assert [(name(1), 0)] == dispatch.withdrawn
    dispatch.breaks_over = ()
    dispatch.taken.clear()
    world.run(6)
    assert [(name(1), 0)] == dispatch.handed()
    world.stop()


def test_a_fault_of_reading_ahead(config: Config) -> None:
    """
    What was to be read before its turn is sent all the same when that breaks.
    """

    @define(eq=False)
    class Broken:
        def start(self) -> None:
            pass

        def run(self, read: Callable[[Connection], Any]) -> Deferred[Any]:
            return fail(RuntimeError("a bug"))

        def stop(self) -> None:
            pass

    world = begin(config, Dispatch())
    world.queue._cache._kept.clear()
    world.queue._taker._ahead._reader = Broken()
    world.run(6)
    assert 6 == len(set(world.dispatch.handed())) == len(world.dispatch.handed())
    world.stop()


def do_nothing(connection: Connection, items: Sequence[None]) -> list[None]:
    """
    A write that shares a commit.
    """
    return [None] * len(items)


@define(eq=False)
class Losing:
    """
    A writer that loses the database's answer to the first commit with this write, which so many others share.
    """

    writer: InlineWriter
    others: int
    of: str = "_claim"
    lost: int = 0

    def start(self) -> None:
        self.writer.start()

    def submit(
        self, write: Callable[[Connection, Sequence[Any]], Sequence[Any]], item: Any, *, urgent: bool = False
    ) -> Deferred[Any]:
        if self.lost or write.__name__ != self.of:
            return self.writer.submit(write, item, urgent=urgent)
        dialect: Any = self.writer._engine.dialect
        commit = dialect.do_commit

        def lose_answer(connection: Any) -> None:
            commit(connection)
            dialect.do_commit = commit
            self.lost += 1
            raise dialect.loaded_dbapi.OperationalError("disk I/O error")

        dialect.do_commit = lose_answer
        one = Waiting(write, item)
        run_batch(self.writer._engine, [one, *(Waiting(do_nothing, None) for _ in range(self.others))], lambda: True)
        one.result.callback(one.answer)
        return one.result

    def stop(self) -> Deferred[None]:
        return self.writer.stop()


@pytest.mark.parametrize("others", [0, 1])
def test_a_claim_that_seemed_to_fail(config: Config, others: int) -> None:
    """
    Mail that is leased though the commit was said to have failed is taken again, once each; also where others shared
    that commit, so that the claim was run again and found nothing that was due.
    """
    world = begin(config, Dispatch())
    writer = Losing(world.queue._taker._writer, others)  # type: ignore[arg-type]
    world.queue._taker._writer = writer
    world.clock.advance(5)
    assert (1, []) == (writer.lost, world.dispatch.handed())
    assert {world.queue.worker} == {owner for _, owner in owners(config)}
    world.run(12)
    assert 6 == len(set(world.dispatch.handed())) == len(world.dispatch.handed())
    assert {world.queue.worker} == {owner for _, owner in owners(config)}
    assert (1000 - 6, 6) == (world.dispatch.room, sum(world.dispatch.held.values()))
    world.stop()


def test_a_claim_in_doubt_keeps_the_rest_back(config: Config) -> None:
    """
    As long as it is not known whose they are nothing else is leased: what is given back later might be under way then.
    """
    world = begin(config, Dispatch())
    writer = Losing(world.queue._taker._writer, 0)  # type: ignore[arg-type]
    world.queue._taker._writer = writer
    world.clock.advance(5)
    assert 1 == writer.lost
    inner = writer.writer
    refused: list[str] = []

    @define(eq=False)
    class Refusing:
        def submit(self, write: Any, item: Any, *, urgent: bool = False) -> Deferred[Any]:
            refused.append(write.__name__)
            return fail(StoreError("the disk is gone"))

    taker = world.queue._taker
    taker._writer = taker._doubted._writer = Refusing()  # type: ignore[assignment]
    world.run(12)
    assert {"free"} == set(refused)
    taker._writer = taker._doubted._writer = inner
    world.run(6)
    assert 6 == len(set(world.dispatch.handed())) == len(world.dispatch.handed())
    world.stop()
