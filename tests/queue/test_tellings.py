"""
What endpoints are to be told, on both databases: found, taken, recorded, given up and forgotten.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from attrs import evolve
from sqlalchemy import func, insert, select, update
from zope.interface.verify import verifyObject

from lmrelay.config.values import Config
from lmrelay.errors import StoreError
from lmrelay.interfaces import Endpoint, IHooks, Telling, Told, Want
from lmrelay.queue import endpoints, tellings
from lmrelay.queue.leases import DOUBTED_AFTER
from lmrelay.queue.outbox import Outbox
from lmrelay.queue.rows import event_row
from lmrelay.queue.schema import event, message, recipient, webhook_attempt, webhook_delivery, webhook_endpoint
from lmrelay.queue.upkeep import cap_due
from tests.queue.doubles import Settings
from tests.queue.filling import NOW, writing
from tests.queue.hooks import deliveries, hook, with_hooks
from tests.queue.test_claims import Losing
from tests.queue.world import OK, World, failure_of, result_of

SHOP: Endpoint = ("acme", "shop")
MUCH = Want(100, 1 << 20)
TAKEN = Told(NOW, NOW + 1, 204)
BROKEN = Told(NOW, NOW + 1, 500, body="oops")


@pytest.fixture
def world(config: Config) -> Iterator[World]:
    """
    A queue with an endpoint and a second to have told it nothing.
    """
    world = World(with_hooks(config, hook()))
    world.start()
    yield world
    if world.queue._loops:
        world.stop()


def take(world: World, want: Want = MUCH, endpoint: Endpoint = SHOP) -> list[Telling]:
    found = result_of(world.queue.hooks.take({endpoint: want}))
    return list(found.get(endpoint, ()))


def rows(world: World, table: Any = webhook_delivery) -> list[Any]:
    with writing(world.config) as connection:
        return list(connection.execute(select(table).order_by(*table.primary_key)))


def states(world: World) -> list[str]:
    return [state for _, _, state in deliveries(world.config)]


def test_seam(world: World) -> None:
    """
    The queue offers what events use.
    """
    assert verifyObject(IHooks, world.queue.hooks)


def test_taken_once(world: World) -> None:
    """
    What is taken is told as a document that says what the event says, and is not there for another.
    """
    world.accept()
    world.settle(1, OK)
    taken = take(world)
    assert world.told() == [json.loads(one.document) for one in taken]
    assert ["message.created", "message.sent", "message.delivered"] == [one.type for one in taken]
    assert [one["id"] for one in world.told()] == [one.id for one in taken]
    assert [(0, 0)] * 3 == [(one.attempts, one.earlier) for one in taken]
    assert [] == take(world)
    assert {(None, world.queue.worker)} == {(row.due, row.owner) for row in rows(world)}


def test_so_much(world: World) -> None:
    """
    No more is taken than is wanted, of events and of octets, but always one; the longest due first.
    """
    for number in range(1, 6):
        world.accept(number)
        world.clock.advance(1)
    octets = len(take(world, Want(1, 1))[0].document)
    assert ["2", "3"] == [
        json.loads(one.document)["data"]["message_id"].lstrip("0") for one in take(world, Want(2, 9999))
    ]
    assert 1 == len(take(world, Want(5, octets)))
    assert 1 == len(take(world))


def test_two_workers(world: World, config: Config) -> None:
    """
    Of two workers that found the same, one gets it.
    """
    world.accept()
    with writing(config) as connection:
        due, unreadable = tellings.find_due(connection, {SHOP: MUCH}, world.wall())
        wanted = tellings.Claim(due, unreadable, world.wall())
        assert {SHOP: due[SHOP]} == tellings.claim(connection, wanted, "one")
        assert {} == tellings.claim(connection, wanted, "other")


def test_waiting(world: World) -> None:
    """
    Endpoints to which something is due some time are found in their order, in steps, with those that are disabled.
    """
    hooks = [hook(f"h{n:04d}") for n in range(endpoints.ENDPOINTS + 5)]
    world.queue._settings.config = with_hooks(with_hooks(world.config, *hooks), hook("z"), project="other")  # type: ignore[misc]
    world.accept()
    world.accept(2, project="other")
    result_of(world.queue.hooks.disable(("acme", "h0003"), "why"))
    first = result_of(world.queue.hooks.find_waiting(None))
    assert [("acme", f"h{n:04d}") for n in range(endpoints.ENDPOINTS)] == list(first.soonest)
    assert {("acme", "h0003")} == set(first.disabled)
    assert {NOW} == set(first.soonest.values())
    rest = result_of(world.queue.hooks.find_waiting(first.after))
    assert [
        *(("acme", f"h{n:04d}") for n in range(endpoints.ENDPOINTS, endpoints.ENDPOINTS + 5)),
        ("other", "z"),
    ] == list(rest.soonest)
    assert None is rest.after


def test_recorded(world: World) -> None:
    """
    Each attempt is a row; what was not taken is due when it is said, and what was is over.
    """
    for number in (1, 2):
        world.accept(number)
    first, second = take(world)
    due = {first.sequence: NOW + 10, second.sequence: None}
    result_of(world.queue.hooks.record(SHOP, BROKEN, due))
    assert ["waiting", "dead"] == states(world)
    assert [] == take(world)
    world.clock.advance(10)
    (again,) = take(world)
    assert (first.id, 1, first.document) == (again.id, again.attempts, again.document)
    result_of(world.queue.hooks.record(SHOP, TAKEN, {again.sequence: None}))
    assert ["delivered", "dead"] == states(world)
    assert [(first.sequence, 1, 500, "oops"), (first.sequence, 2, 204, ""), (second.sequence, 1, 500, "oops")] == [
        (row.event, row.number, row.status, row.body) for row in rows(world, webhook_attempt)
    ]
    assert [(2, None, None, NOW + 1, "204"), (1, None, None, NOW + 1, "500")] == [
        (row.attempts, row.due, row.owner, row.ended_at, row.last) for row in rows(world)
    ]


def test_who_may_record(world: World, config: Config) -> None:
    """
    That it was taken counts whoever says so; that it was not, only from the one who owns it.
    """
    for number in (1, 2):
        world.accept(number)
    first, second = take(world)
    with writing(config) as connection:
        connection.execute(update(webhook_delivery).values(owner="another"))
    result_of(world.queue.hooks.record(SHOP, BROKEN, {first.sequence: None}))
    assert ["waiting", "waiting"] == states(world)
    result_of(world.queue.hooks.record(SHOP, TAKEN, {second.sequence: None}))
    result_of(world.queue.hooks.record(SHOP, TAKEN, {second.sequence: None}))
    assert ["waiting", "delivered"] == states(world)
    assert 1 == len(rows(world, webhook_attempt))


def test_dead_worker(world: World) -> None:
    """
    What a worker owned that is gone is due again, for the next.
    """
    world.accept()
    (before,) = take(world)
    world.crash()
    world.start()
    (after,) = take(world)
    assert before == after


def test_doubtful_worker(world: World) -> None:
    """
    A worker that others may take for dead takes nothing.
    """
    world.accept()
    world.queue._touched_at -= DOUBTED_AFTER
    assert [] == take(world)


def test_stopped_worker(world: World) -> None:
    """
    So is what it had not told when it was stopped.
    """
    world.accept()
    take(world)
    world.stop()
    assert {(None, "waiting")} == {(row.owner, row.state) for row in rows(world)}
    assert all(row.due is not None for row in rows(world))


def test_stale(world: World) -> None:
    """
    With a failure goes what is due there and was begun with too long ago, and nothing else.
    """
    for number in range(1, 6):
        world.accept(number)
        world.clock.advance(100)
    (first,) = take(world, Want(1, 1))
    result_of(
        world.queue.hooks.record(SHOP, evolve(BROKEN, ended_at=NOW + 500), {first.sequence: NOW + 600}, NOW + 250)
    )
    assert ["waiting", "dead", "dead", "waiting", "waiting"] == states(world)


def test_released(world: World, config: Config) -> None:
    """
    What was taken and not told is due at once, as if it had not been taken; what is with others stays theirs.
    """
    for number in (1, 2, 3):
        world.accept(number)
    taken = take(world)
    sequences = [one.sequence for one in taken]
    with writing(config) as connection:
        connection.execute(
            update(webhook_delivery).where(webhook_delivery.c.event == sequences[0]).values(owner="other")
        )
    result_of(world.queue.hooks.release(SHOP, sequences[:2]))
    due = [(None, "other"), (world.wall(), None), (None, world.queue.worker)]
    assert due == [(row.due, row.owner) for row in rows(world)]
    assert taken[1:2] == take(world)


def test_wordless(world: World) -> None:
    """
    What becomes of an event is recorded without the attempt, which counts all the same.
    """
    world.accept()
    (one,) = take(world)
    result_of(world.queue.hooks.record(SHOP, BROKEN, {one.sequence: NOW + 60}, wordless=True))
    (row,) = rows(world)
    assert (1, NOW + 60, None, "waiting") == (row.attempts, row.due, row.owner, row.state)
    assert [] == rows(world, webhook_attempt)


def test_ended(world: World) -> None:
    """
    What an endpoint is not to be told any more is given up in steps; what is being told is not touched.
    """
    for number in range(1, tellings.STEP + 6):
        world.accept(number)
    take(world, Want(2, 9999))
    ended = [result_of(world.queue.hooks.end(SHOP, "gone")) for _ in range(3)]
    assert [tellings.STEP, 3, 0] == ended
    assert 2 == states(world).count("waiting")
    assert {"gone"} == {row.last for row in rows(world) if row.state == "dead"}
    assert 0 == result_of(world.queue.hooks.end(("acme", "other"), "gone"))


def test_ended_while_disabled(world: World) -> None:
    """
    What is given up because the endpoint is disabled is so only while it is.
    """
    world.accept()
    world.queue.hooks.disable(SHOP, "for a while")
    with writing(world.config) as connection:
        endpoints.enable(connection, SHOP)
    assert 0 == result_of(world.queue.hooks.end(SHOP, "disabled", if_disabled=True))
    assert ["waiting"] == states(world)
    world.queue.hooks.disable(SHOP, "again")
    assert 1 == result_of(world.queue.hooks.end(SHOP, "disabled", if_disabled=True))
    assert ["dead"] == states(world)


def test_disabled_and_enabled(world: World, config: Config) -> None:
    """
    A disabled endpoint is to be told nothing of what comes, until it is enabled.
    """
    assert [True, False] == [result_of(world.queue.hooks.disable(SHOP, why)) for why in ("410", "again")]
    world.accept()
    assert [] == states(world)
    assert [("410", NOW)] == [(row.reason, row.disabled_at) for row in rows(world, webhook_endpoint)]
    with writing(config) as connection:
        assert endpoints.enable(connection, SHOP)
        assert not endpoints.enable(connection, SHOP)
    world.accept(2)
    assert ["waiting"] == states(world)


def test_unreadable(world: World, config: Config) -> None:
    """
    An event that cannot be read is given up, and keeps nothing else back.
    """
    for number in (1, 2):
        world.accept(number)
    with writing(config) as connection:
        connection.execute(update(event).where(event.c.message == f"{1:026d}").values(document="{"))
    assert [f"{2:026d}"] == [json.loads(one.document)["data"]["message_id"] for one in take(world)]
    assert ["dead", "waiting"] == states(world)
    assert "the event cannot be read" == rows(world)[0].last


def test_forgotten_with_the_message(world: World, config: Config) -> None:
    """
    What is known of an event's telling goes with its message; an event of no message goes when it is as old.
    """
    lone = event_row(world.random.randbytes, "suppression.added", NOW, ("acme", ""), (None, None))
    waiting = event_row(world.random.randbytes, "suppression.added", NOW, ("acme", ""), (None, None))
    outbox = Outbox(Settings(with_hooks(config, hook(events=("*",)))))
    world.accept()
    world.settle(1, OK)
    with writing(config) as connection:
        outbox.write(connection, [lone, waiting])
    taken = take(world)
    due = {one.sequence: NOW + 60 if one.id == waiting["id"] else None for one in taken}
    result_of(world.queue.hooks.record(SHOP, TAKEN, due | {taken[-1].sequence: None}))
    with writing(config) as connection:
        connection.execute(
            update(webhook_delivery).where(webhook_delivery.c.event == taken[-1].sequence).values(due=NOW + 60)
        )
    world.clock.advance(config.queue.retention + 7200)
    world.run(130)
    with writing(config) as connection:
        assert [waiting["id"]] == list(connection.execute(select(event.c.id)).scalars())
        tables = (message, recipient, webhook_delivery, webhook_attempt)
        counts = [connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables]
    assert [0, 0, 1, 1] == counts


def test_brought_near(world: World, config: Config) -> None:
    """
    What is due in a future that no delay leads to is brought as near as it can be.
    """
    with writing(config) as connection:
        connection.execute(
            insert(event),
            [
                {"sequence": n, "id": str(n), "type": "x", "at": NOW, "project": "acme", "route": "", "document": "{}"}
                for n in (1, 2)
            ],
        )
        made = {"endpoint": "shop", "project": "acme", "attempts": 0, "last": ""}
        connection.execute(
            insert(webhook_delivery), [{"event": 1, "due": NOW + 9999, **made}, {"event": 2, "due": NOW, **made}]
        )
        cap_due(connection, [(NOW + 5, NOW + 60)])
    assert [NOW + 60, NOW] == [row.due for row in rows(world)]


def test_brought_near_again(world: World, config: Config) -> None:
    """
    After a clock was set back each waits no longer than its own delay, nor lives longer than it would; what is due by
    then stays, and so does what is with a worker.
    """
    cases = [(0, 0, NOW + 900), (1, 0, NOW + 900), (3, 1, NOW + 900), (9, 0, NOW + 900), (1, 0, NOW + 7), (0, 0, NOW)]
    with writing(config) as connection:
        for n, (attempts, earlier, due) in enumerate([*cases, (0, 0, None)], 1):
            one = {
                "sequence": n,
                "id": str(n),
                "type": "x",
                "at": NOW,
                "project": "acme",
                "route": "",
                "document": "{}",
            }
            connection.execute(insert(event), [one])
            made = {"endpoint": "shop", "project": "acme", "attempts": attempts, "earlier": earlier, "last": ""}
            owner = None if due else "w" * 26
            connection.execute(
                insert(webhook_delivery), [{"event": n, "due": due, "begun_at": NOW + n - 4, "owner": owner, **made}]
            )
        assert 2 == tellings.bring_hooks_near(connection, NOW, (10.0, 60.0), 2)
        assert 2 == tellings.bring_hooks_near(connection, NOW, (10.0, 60.0), 3)
        assert 0 == tellings.bring_hooks_near(connection, NOW, (10.0, 60.0), 3)
    assert [NOW, NOW + 10, NOW + 60, NOW + 60, NOW + 7, NOW, None] == [row.due for row in rows(world)]
    assert [NOW - 3, NOW - 2, NOW - 1, NOW, NOW + 1, NOW + 2, NOW + 3] == [row.begun_at for row in rows(world)]


@pytest.mark.parametrize("others", [0, 1])
def test_a_claim_that_seemed_to_fail(world: World, others: int) -> None:
    """
    What was taken though the commit was said to have failed is found to be waiting again, and taken once; also where
    others shared that commit, so that the claim was run again and found nothing that was due.
    """
    world.accept()
    hooks = world.queue.hooks
    writer = Losing(hooks._writer, others)  # type: ignore[arg-type]
    hooks._writer = writer
    lost = hooks.take({SHOP: MUCH})
    if others:
        assert {} == result_of(lost)
    else:
        failure_of(lost, StoreError)
    assert (1, {(None, world.queue.worker)}) == (writer.lost, {(row.due, row.owner) for row in rows(world)})
    assert [SHOP] == list(result_of(hooks.find_waiting(None)).soonest)
    assert ["message.created"] == [one.type for one in take(world)]
    assert [] == list(result_of(hooks.find_waiting(None)).soonest)
    assert [] == take(world)
    assert {(None, world.queue.worker)} == {(row.due, row.owner) for row in rows(world)}


def test_a_claim_in_doubt_keeps_the_rest_back(world: World) -> None:
    """
    As long as it is not known whose something is nothing else is taken: what is given back later might be told by then.
    """
    world.accept()
    hooks = world.queue.hooks
    writer: Any = hooks._writer
    hooks._writer = Losing(writer, 0)
    failure_of(hooks.take({SHOP: MUCH}), StoreError)
    hooks._writer, hooks._doubted._writer = writer, Losing(writer, 0, "_free")
    failure_of(hooks.take({SHOP: MUCH}), StoreError)
    assert ["message.created"] == [one.type for one in take(world)]
    assert [] == list(result_of(hooks.find_waiting(None)).soonest)
    assert {(None, world.queue.worker)} == {(row.due, row.owner) for row in rows(world)}
