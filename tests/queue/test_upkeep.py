"""
Upkeep: what goes, what stays, and in how small steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest
from attrs import define, evolve, field
from sqlalchemy import Connection, insert, select, text, update
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from lmrelay.config.values import DAY, Config
from lmrelay.queue.contents import InlineReader
from lmrelay.queue.orders import Verb
from lmrelay.queue.outbox import write_untold
from lmrelay.queue.schema import (
    DELETED,
    DELIVERED,
    FAILED,
    HELD,
    attempt,
    bounce,
    chunk,
    command,
    event,
    idempotency,
    message,
    metadata,
    recipient,
    suppression,
    webhook_attempt,
    webhook_delivery,
)
from lmrelay.queue.store import find_url, make_engine, make_reading_engine
from lmrelay.queue.suppressions import Suppressions
from lmrelay.queue.upkeep import (
    ANSWERED_FOR,
    STEP,
    STEP_RECIPIENTS,
    VACUUM_SLACK,
    Upkeep,
)
from lmrelay.queue.writer import InlineWriter
from tests.queue.filling import NOW, alter, fill, make_rows, rows, writing

OLD = NOW - 40 * DAY
RETENTION = 28 * DAY
SUPPRESSIONS = Suppressions(Random(1).randbytes, write_untold)


@define(eq=False)
class Settings:
    config: Config


@define(eq=False)
class CountingWriter:
    """
    A writer that knows how much it was given at once.
    """

    writer: InlineWriter
    items: list[Any] = field(factory=list)

    def start(self) -> None:
        self.writer.start()

    def submit(
        self, write: Callable[[Connection, Sequence[Any]], Sequence[Any]], item: Any, *, urgent: bool = False
    ) -> Deferred[Any]:
        self.items.append(item)
        return self.writer.submit(write, item, urgent=urgent)

    def stop(self) -> Deferred[None]:
        return self.writer.stop()


def keep_up(config: Config, sleep: Callable[[float], Deferred[None]] = lambda _: succeed(None)) -> list[Any]:
    """
    One round of upkeep; what was written, step by step.
    """
    url = find_url(config)
    writer, reader = CountingWriter(InlineWriter(make_engine(url))), InlineReader(make_reading_engine(url))
    results: list[object] = []
    upkeep = Upkeep(writer, reader, Settings(config), lambda: NOW, sleep, lambda: False, lambda: False, SUPPRESSIONS)
    Deferred.fromCoroutine(upkeep.keep_up()).addBoth(results.append)
    writer.stop()
    reader.stop()
    assert [None] == [one.value if isinstance(one, Failure) else one for one in results]
    return writer.items


def left(config: Config, column: Any) -> list[Any]:
    with writing(config) as connection:
        return sorted(connection.execute(select(column)).scalars())


def end_all(config: Config) -> None:
    """
    Everything failed long ago.
    """
    with writing(config) as connection:
        connection.execute(update(recipient).values(state=FAILED, due=None, ended_at=OLD))


def test_retention(config: Config) -> None:
    """
    What has been over for longer than the retention goes with all that is known of it; what is open, or was over
    lately, stays, however old the message is.
    """
    gone, held, fresh, partly, new = fill(
        config, *(make_rows(["a@a.example", "b@b.example"], at=at) for at in (OLD, OLD, OLD, OLD, NOW - DAY))
    )
    for id_, ended in ((gone, OLD + 60), (held, OLD), (fresh, NOW - RETENTION + 1), (partly, OLD), (new, NOW - DAY)):
        alter(config, (id_, 0), state=DELIVERED, due=None, ended_at=ended)
        alter(config, (id_, 1), state=DELETED, due=None, ended_at=OLD)
    alter(config, (held, 1), state=HELD, ended_at=None)
    alter(config, (partly, 1), ended_at=NOW - 60)
    made = {"recipient": 0, "number": 1, "started_at": OLD, "ended_at": OLD, "outcome": "delivered"}
    with writing(config) as connection:
        connection.execute(
            insert(attempt), [{**made, "message": id_, "text": "", "tls_failure": ""} for id_ in (gone, held)]
        )
    keep_up(config)
    staying = sorted([held, fresh, partly, new])
    assert staying == left(config, message.c.id)
    assert staying == left(config, event.c.message)
    assert staying == left(config, chunk.c.body)
    assert [held] == left(config, attempt.c.message)
    assert 8 == len(rows(config))


def test_webhooks_come_first(config: Config) -> None:
    """
    A message whose webhooks are not all told is not forgotten before they are.
    """
    ids = fill(config, make_rows(["a@a.example"], at=OLD), make_rows(["b@b.example"], at=OLD))
    for id_ in ids:
        alter(config, (id_, 0), state=DELIVERED, due=None, ended_at=OLD)
    with writing(config) as connection:
        sequences = dict(tuple(row) for row in connection.execute(select(event.c.message, event.c.sequence)))
        connection.execute(
            insert(webhook_delivery),
            [
                {"event": sequences[id_], "endpoint": "x", "project": "acme", "attempts": 1, "due": due, "last": ""}
                | {"state": "delivered" if due is None else "waiting"}
                for id_, due in zip(ids, (None, NOW + 60), strict=True)
            ],
        )
    keep_up(config)
    assert [ids[1]] == left(config, message.c.id)
    assert [sequences[ids[1]]] == left(config, webhook_delivery.c.event)


HANGING = {recipient, attempt, event, bounce}
OUTLIVING = {suppression, idempotency}


def test_all_that_hangs_on_a_message(config: Config) -> None:
    """
    With a message go its rows in every table, with its events how endpoints were told; only what has an end of its own
    outlives it.
    """
    assert HANGING | OUTLIVING == {table for table in metadata.tables.values() if "message" in table.c}
    assert {webhook_delivery, webhook_attempt} == {table for table in metadata.tables.values() if "event" in table.c}
    (gone,) = fill(config, make_rows(["a@a.example"], at=OLD))
    end_all(config)
    made = {"message": gone, "recipient": 0, "number": 1, "started_at": OLD, "ended_at": OLD, "outcome": "failed"}
    with writing(config) as connection:
        connection.execute(insert(attempt).values(**made, text="", tls_failure="", trace="[]"))
        back = {"id": "b", "message": gone, "recipient": 0, "at": OLD, "kind": "bounce", "status": "", "text": ""}
        connection.execute(insert(bounce).values(**back, by=""))
        sequence = connection.execute(select(event.c.sequence)).scalar_one()
        tell(connection, sequence, due=None)
    keep_up(config)
    for table in (*HANGING, message, chunk, webhook_delivery, webhook_attempt):
        assert [] == left(config, next(iter(table.primary_key)))


def tell(connection: Connection, sequence: int, due: float | None, tries: int = 2) -> None:
    """
    An endpoint that was told of an event in so many tries, or is to be told then.
    """
    state = "delivered" if due is None else "waiting"
    of = {"event": sequence, "endpoint": "x"}
    told = {**of, "project": "acme", "attempts": tries, "due": due, "last": "", "state": state}
    connection.execute(insert(webhook_delivery), [told])
    made = {**of, "started_at": OLD, "ended_at": OLD, "text": "", "body": "", "status": 500}
    connection.execute(insert(webhook_attempt), [{**made, "number": number} for number in range(1, tries + 1)])


def test_tries_count(config: Config) -> None:
    """
    Messages that endpoints were told of often go in smaller steps.
    """
    ids = fill(config, *(make_rows(["a@a.example"], at=OLD + number) for number in range(3)))
    end_all(config)
    with writing(config) as connection:
        for sequence in connection.execute(select(event.c.sequence)).scalars().all():
            tell(connection, sequence, None, STEP_RECIPIENTS // 2)
    assert [ids[:2], ids[2:]] == [one for one in keep_up(config) if isinstance(one, list)]


@pytest.mark.parametrize(("messages", "recipients"), [(2 * STEP + 1, 1), (5, STEP_RECIPIENTS // 2)])
def test_small_steps(config: Config, messages: int, recipients: int) -> None:
    """
    Much that is old goes in several short transactions, with a pause after each.
    """
    to = [f"r{number}@b.example" for number in range(recipients)]
    fill(config, *(make_rows(to, at=OLD + number) for number in range(messages)))
    end_all(config)
    pauses: list[float] = []

    def sleep(seconds: float) -> Deferred[None]:
        pauses.append(seconds)
        return succeed(None)

    steps = [one for one in keep_up(config, sleep) if isinstance(one, list)]
    assert [] == left(config, message.c.id)
    assert messages == sum(map(len, steps))
    assert (3, 3) == (len(steps), len(pauses))
    assert all(len(step) <= min(STEP, STEP_RECIPIENTS // recipients) for step in steps)


def test_stop(config: Config) -> None:
    """
    When the relay stops no further step begins.
    """
    ids = fill(config, *(make_rows(["a@a.example"], at=OLD + number) for number in range(STEP + 1)))
    end_all(config)
    url = find_url(config)
    writer, reader = InlineWriter(make_engine(url)), InlineReader(make_reading_engine(url))

    def sleep(_: float) -> Deferred[None]:
        upkeep.stop()
        return succeed(None)

    upkeep = Upkeep(writer, reader, Settings(config), lambda: NOW, sleep, lambda: False, lambda: False, SUPPRESSIONS)
    Deferred.fromCoroutine(upkeep.keep_up())
    writer.stop()
    reader.stop()
    assert [ids[-1]] == left(config, message.c.id)


def test_orders_go(config: Config) -> None:
    """
    Orders that were carried out are forgotten after a while, those that wait are not.
    """
    common = {"verb": Verb.HOLD.value, "selector": "{}", "ordered_at": NOW, "changed": 0, "in_flight": 0, "late": "[]"}
    done = {"old": NOW - ANSWERED_FOR - 1, "new": NOW - ANSWERED_FOR + 1, "waits": None}
    with writing(config) as connection:
        connection.execute(insert(command), [{**common, "id": id_, "done_at": at} for id_, at in done.items()])
    keep_up(config)
    assert ["new", "waits"] == left(config, command.c.id)


def _pages(config: Config) -> tuple[int, int]:
    with writing(config) as connection:
        return (
            connection.exec_driver_sql("PRAGMA page_count").scalar_one(),
            connection.exec_driver_sql("PRAGMA freelist_count").scalar_one(),
        )


def test_space_goes_back(on_sqlite: Config) -> None:
    """
    When most of the database is empty the disk gets it back, in small steps, but for what a busy queue needs again.
    """
    with writing(on_sqlite) as connection:
        octets = bytes(1 << 20)
        connection.execute(
            insert(chunk),
            [{"body": "x", "number": number, "size": len(octets), "octets": octets} for number in range(24)],
        )
    with writing(on_sqlite) as connection:
        connection.execute(text("DELETE FROM chunk"))
    before, free = _pages(on_sqlite)
    assert free > VACUUM_SLACK
    steps = [one for one in keep_up(on_sqlite) if one is None]
    after, free = _pages(on_sqlite)
    assert VACUUM_SLACK - 256 <= free <= VACUUM_SLACK
    assert 0 <= before - after - 256 * len(steps) < len(steps)  # the map of pages shrinks too
    assert [] == [one for one in keep_up(on_sqlite) if one is None]


def test_retention_is_as_configured(config: Config) -> None:
    """
    A reload that shortens the retention counts at once.
    """
    (id_,) = fill(config, make_rows(["a@a.example"], at=NOW - 7200))
    alter(config, (id_, 0), state=DELIVERED, due=None, ended_at=NOW - 3600)
    keep_up(config)
    assert [id_] == left(config, message.c.id)
    keep_up(evolve(config, queue=evolve(config.queue, retention=60.0)))
    assert [] == left(config, message.c.id)
