"""
Idempotency keys, on both databases: the same message is stored once, whoever sends it again and whenever.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import pytest
from attrs import evolve
from sqlalchemy import Connection, select
from twisted.internet.defer import Deferred

from lmrelay.config.values import Config
from lmrelay.errors import Refused, StoreError
from lmrelay.mail.suppression import Suppression, Why
from lmrelay.queue.keys import LIFETIME, Keys, Use
from lmrelay.queue.outbox import write_untold
from lmrelay.queue.schedule import SETTLED_AFTER
from lmrelay.queue.schema import idempotency
from lmrelay.queue.storing import Accept, Verdict, write_messages
from lmrelay.queue.suppressions import Suppressions
from lmrelay.queue.upkeep import STEP_EXPIRED, forget_expired
from lmrelay.smtp import replies
from tests.queue.filling import NOW, make_rows, writing
from tests.queue.world import OK, World, failure_of, name, result_of

PATIENCE = 30.0
"""
Seconds after which a thread is taken to hang.
"""

SAME, OTHER = "a" * 64, "b" * 64


def accept(world: World, number: int, fingerprint: str = SAME, **more: Any) -> Deferred[str]:
    """
    Hand a message over under a key.
    """
    return world.accept(number, key=more.pop("key", "k"), fingerprint=fingerprint, **more)


def refusal_of(done: Deferred[Any]) -> object:
    """
    The reply that a client gets.
    """
    return failure_of(done, Refused).value.reply


def keys_of(config: Config) -> list[tuple[str, str, str]]:
    """
    Project, key and message of each row.
    """
    with writing(config) as connection:
        rows = connection.execute(select(idempotency).order_by(idempotency.c.project, idempotency.c.key)).all()
    return [(row.project, row.key, row.message) for row in rows]


@pytest.mark.parametrize("size", [10, 700_000])
def test_duplicate(world: World, size: int) -> None:
    """
    The same message again is told the id of the first; of its own nothing is stored, handed over or kept reserved.
    """
    assert name(1) == result_of(accept(world, 1, body=bytes(size)))
    before, room, octets = world.count(), world.dispatch.room, world.queue._acceptance._budget.used
    assert name(1) == result_of(accept(world, 2, body=bytes(size)))
    assert (before, room, octets) == (world.count(), world.dispatch.room, world.queue._acceptance._budget.used)
    assert [(name(1), 0)] == world.dispatch.handed()
    assert world.queue._cache.get(name(2)) is None
    assert [("acme", "k", name(1))] == keys_of(world.config)


def test_another_message(world: World) -> None:
    """
    A key that was another message's is refused for good, and the first keeps it.
    """
    result_of(accept(world, 1))
    before, room = world.count(), world.dispatch.room
    assert replies.key_reused(name(1)) == refusal_of(accept(world, 2, OTHER, body=bytes(700_000)))
    assert (before, room) == (world.count(), world.dispatch.room)
    assert name(1) == result_of(accept(world, 3))


def test_keys_are_a_projects_own(world: World) -> None:
    """
    Other keys, other projects and messages without a key have nothing to do with it.
    """
    assert name(1) == result_of(accept(world, 1))
    assert name(2) == result_of(accept(world, 2, key="K"))
    assert name(3) == result_of(accept(world, 3, OTHER, project="other"))
    assert [name(4), name(5)] == [result_of(world.accept(number)) for number in (4, 5)]
    assert [("acme", "K", name(2)), ("acme", "k", name(1)), ("other", "k", name(3))] == keys_of(world.config)


def test_lifetime(world: World) -> None:
    """
    A key means its message for 24 hours from acceptance, whatever became of that; then it is free for another.
    """
    result_of(accept(world, 1))
    world.settle(1, OK)
    world.skew = LIFETIME - 1
    assert name(1) == result_of(accept(world, 2))
    world.skew = LIFETIME
    assert name(3) == result_of(accept(world, 3, OTHER))
    assert name(3) == result_of(accept(world, 4, OTHER))
    assert [("acme", "k", name(3))] == keys_of(world.config)


def test_restart(world: World) -> None:
    """
    Keys outlive a stop.
    """
    result_of(accept(world, 1))
    world.stop()
    world.start()
    assert name(1) == result_of(accept(world, 2))
    assert 1 == world.count()["message"]


def test_crash_between_commit_and_answer(world: World) -> None:
    """
    A client that never heard of its message's acceptance, for the process died behind the commit, sends it again and
    gets its id; the message is delivered once.
    """
    accept(world, 1)  # nobody is told
    world.crash()
    world.start()
    assert name(1) == result_of(accept(world, 2))
    assert replies.key_reused(name(1)) == refusal_of(accept(world, 3, OTHER))
    world.run(10)
    assert [(name(1), 0)] == world.dispatch.handed()


class HeldWriter:
    """
    A writer that holds back what it is given until it is let go.
    """

    def __init__(self, writer: Any) -> None:
        self.writer = writer
        self.held: list[tuple[Any, Any, Deferred[Any]]] = []

    def submit(self, write: Any, item: Any, *, urgent: bool = False) -> Deferred[Any]:
        self.held.append((write, item, Deferred()))
        return self.held[-1][2]

    def let_go(self, error: Exception | None = None) -> None:
        held, self.held = self.held, []
        for write, item, result in held:
            if error is None:
                self.writer.submit(write, item, urgent=True).chainDeferred(result)
            else:
                result.errback(error)


@pytest.fixture
def held(world: World) -> HeldWriter:
    """
    The writer that messages go to.
    """
    held = HeldWriter(world.queue._writer)
    world.queue._acceptance._writer = held  # type: ignore[assignment]
    return held


def test_in_use(world: World, held: HeldWriter) -> None:
    """
    While the first is being stored the second is told so at once, whatever it holds; then it is a duplicate.
    """
    first, room = accept(world, 1), world.dispatch.room
    body = world.queue.open_body()
    assert replies.KEY_IN_USE == refusal_of(accept(world, 2, into=body, body=bytes(1000)))
    assert replies.KEY_IN_USE == refusal_of(accept(world, 3, OTHER))
    other = accept(world, 4, project="other")
    assert room - 1 == world.dispatch.room
    held.let_go()
    assert [name(1), name(4)] == [result_of(first), result_of(other)]
    assert 0 == world.queue._acceptance._budget.used
    last = accept(world, 5)
    held.let_go()
    assert name(1) == result_of(last)


def test_free_after_a_failure(world: World, held: HeldWriter) -> None:
    """
    A key whose message could not be stored is free again.
    """
    first = accept(world, 1)
    held.let_go(StoreError("no"))
    # Whether it is there all the same was asked.
    held.let_go()
    failure_of(first, StoreError)
    assert 1000 == world.dispatch.room
    second = accept(world, 2, OTHER)
    held.let_go()
    assert name(2) == result_of(second)


def make(number: int, key: str = "k", fingerprint: str = SAME) -> Accept:
    """
    The rows of a message under a key.
    """
    rows = make_rows(["a@b.example"])
    id_ = rows.message["id"]
    return Accept(
        rows.message,
        rows.recipients,
        rows.event,
        rows.chunks,
        use=Use(("acme", key), id_, fingerprint) if key else None,
    )


def test_one_batch(config: Config) -> None:
    """
    Of those under one key in a batch the first is stored; the neighbours are as if they were alone.
    """
    items = [make(1), make(2, ""), make(3), make(4, fingerprint=OTHER), make(5, "other")]
    with writing(config) as connection:
        verdicts = write_messages(connection, items, NOW)
    assert [None, None, items[0].use, items[0].use, None] == verdicts
    stored = sorted(items[place].message["id"] for place in (0, 1, 4))
    with writing(config) as connection:
        assert stored == sorted(connection.exec_driver_sql("SELECT id FROM message").scalars())


def test_another_worker_is_faster(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A key that is another worker's by the time it is written: all of the batch that want it are told that message's
    id and stored nothing, and their neighbours are.
    """
    winner, items = make(1), [make(2), make(3), make(4, "")]
    look_up = Keys.look_up

    def overtaken(self: Keys, keys: Any) -> None:
        look_up(self, keys)
        monkeypatch.setattr(Keys, "look_up", look_up)
        write_messages(self._connection, [winner], NOW)

    monkeypatch.setattr(Keys, "look_up", overtaken)
    with writing(config) as connection:
        assert [winner.use, winner.use, None] == write_messages(connection, items, NOW)
        assert 2 == len(connection.exec_driver_sql("SELECT id FROM message").all())


def test_two_workers(config: Config) -> None:
    """
    A worker that wants a key which another is storing waits for that one's commit, and stores nothing.
    """
    winner, loser = make(1), make(2)
    with ThreadPoolExecutor(1) as threads:
        with writing(config) as connection:
            assert [None] == write_messages(connection, [winner], NOW)
            waiting = threads.submit(write_alone, config, loser)
        assert [winner.use] == waiting.result(PATIENCE)
    assert [("acme", "k", winner.message["id"])] == keys_of(config)


def write_alone(config: Config, one: Accept) -> list[Verdict]:
    """
    In a transaction of its own.
    """
    with writing(config) as connection:
        return write_messages(connection, [one], NOW)


def test_commit_that_seemed_to_fail(world: World, held: HeldWriter) -> None:
    """
    A message that is found under its own key, for an earlier try of its commit had reached the disk, is accepted: its
    body stays and it is delivered.
    """
    body = b"\r\n" + bytes(700_000)
    done = accept(world, 1, body=body)
    while held.held[-1][0] != world.queue._acceptance._write:
        held.let_go()
    ((write, item, _),) = held.held
    with writing(world.config) as connection:
        write(connection, [item])
    held.let_go()
    assert name(1) == result_of(done)
    assert [(name(1), 0)] == world.dispatch.handed()
    assert b"Subject: Hi\r\n" + body == world.read(name(1))


def test_suppressed_in_that_commit(world: World, held: HeldWriter) -> None:
    """
    Who was suppressed when it reached the disk is not sent to, and who was not is, whatever the list says by now.
    """
    suppressed = Suppression("acme", "a@b.example", Why.MANUAL, NOW)
    suppressions = Suppressions(Random(1).randbytes, write_untold)
    with writing(world.config) as connection:
        suppressions.add(connection, [suppressed], NOW)
    done = accept(world, 1, to=["a@b.example", "c@b.example"])
    ((write, item, _),) = held.held
    with writing(world.config) as connection:
        write(connection, [item])
        suppressions.remove(connection, [suppressed.key], NOW)
        suppressions.add(connection, [evolve(suppressed, address="c@b.example")], NOW)
    held.let_go()
    assert name(1) == result_of(done)
    assert [(name(1), 1)] == world.dispatch.handed()
    assert [(1, 0, "suppressed"), (1, 1, "queued")] == world.states()
    assert ["message.created", "message.suppressed"] == [type_ for type_, _ in world.events()]


def sweep(connection: Connection, now: float) -> bool:
    """
    One step.
    """
    return forget_expired(connection, [now])[0]


def test_sweep(config: Config) -> None:
    """
    Expired keys go, some thousand at a time; the others stay.
    """
    rows = [
        {"project": "acme", "key": str(number), "message": "m", "fingerprint": SAME, "expires_at": NOW + number}
        for number in range(STEP_EXPIRED + 10)
    ]
    with writing(config) as connection:
        connection.execute(idempotency.insert(), rows)
        until = NOW + STEP_EXPIRED + 4
        assert sweep(connection, until)
        assert not sweep(connection, until)
        assert [str(STEP_EXPIRED + number) for number in range(5, 10)] == sorted(
            connection.execute(select(idempotency.c.key)).scalars()
        )


def test_clock_was_ahead(world: World) -> None:
    """
    A key that was used while the clock was a year ahead is free a day after the clock, set right, is trusted again.
    """
    world.skew = 365 * LIFETIME
    result_of(accept(world, 1))
    world.skew = 0.0
    world.run(SETTLED_AFTER + 2 * 60, step=10.0)
    assert name(1) == result_of(accept(world, 2))
    world.skew = LIFETIME
    assert name(3) == result_of(accept(world, 3))


@pytest.mark.parametrize("ahead", [2 * LIFETIME, -2 * LIFETIME])
def test_clock_is_wrong_for_a_while(world: World, ahead: float) -> None:
    """
    A key that was used before the clock was set wrong means its message when the clock is right again.
    """
    result_of(accept(world, 1))
    world.skew = ahead
    world.run(2 * 60)
    world.skew = 0.0
    world.run(2 * 60)
    assert name(1) == result_of(accept(world, 2))
