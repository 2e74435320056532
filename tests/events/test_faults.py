"""
How an endpoint took an event, where that can never be written.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select
from twisted.logger import LogEvent, globalLogPublisher

from lmrelay.config.values import Config
from lmrelay.queue.schema import webhook_attempt, webhook_delivery
from tests.events.bench import Stage, plain
from tests.queue.filling import writing
from tests.queue.hooks import deliveries, with_hooks

ATTEMPT = """CREATE TRIGGER wrong BEFORE INSERT ON webhook_attempt WHEN NEW.event = 2
 BEGIN SELECT RAISE(ABORT, 'wrong'); END"""
DELIVERY = """CREATE TRIGGER wronger BEFORE UPDATE ON webhook_delivery
 WHEN NEW.event = 2 AND NEW.attempts > OLD.attempts BEGIN SELECT RAISE(ABORT, 'wrong'); END"""


@pytest.fixture
def stage(config: Config) -> Iterator[Stage]:
    stage = Stage(with_hooks(config, plain(events=("message.created",)), plain("other", events=("message.created",))))
    stage.start()
    yield stage
    stage.stop()


@pytest.fixture
def logged() -> Iterator[list[LogEvent]]:
    """
    What the relay says of it.
    """
    events: list[LogEvent] = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


def break_store(stage: Stage, *triggers: str) -> None:
    with writing(stage.config) as connection:
        for trigger in triggers:
            connection.exec_driver_sql(trigger)


def facts(logged: list[LogEvent], *wanted: str) -> list[str]:
    return [fact for one in logged if (fact := one.get("log_format")) in wanted]


def states(stage: Stage, endpoint: str = "shop") -> list[str]:
    return [state for _, name, state in deliveries(stage.config) if name == endpoint]


def rows(stage: Stage, table: Any) -> list[Any]:
    with writing(stage.config) as connection:
        return list(connection.execute(select(table).order_by(*table.primary_key)))


CANNOT = "how a webhook went cannot be recorded"
LEFT = "webhooks are left until the relay starts again"


def test_delivered(stage: Stage, logged: list[LogEvent]) -> None:
    """
    What was taken is delivered, though nothing more can be said of it; the log says so once, and all else goes on.
    """
    hook = stage.serve()
    stage.serve("other", "8.8.4.4")
    break_store(stage, ATTEMPT)
    for number in range(1, 9):
        stage.world.accept(number)
    stage.run(60)
    assert (["delivered"] * 8, ["delivered"] * 8) == (states(stage), states(stage, "other"))
    assert 8 == len(set(hook.ids)) == len(hook.ids)
    assert [CANNOT] * 2 == facts(logged, CANNOT, LEFT)
    assert {(2, "shop"), (2, "other")} == {
        (one.event, one.endpoint) for one in rows(stage, webhook_delivery) if one.last == CANNOT
    }
    assert 14 == len(rows(stage, webhook_attempt))


def test_failed(stage: Stage) -> None:
    """
    What was not taken is told again by its schedule, and at the end of that given up: nothing goes on for ever.
    """
    hook = stage.serve(say=lambda _: 503)
    stage.serve("other", "8.8.4.4")
    stage.reconfigure(retry=(10.0, 60.0))
    break_store(stage, ATTEMPT)
    for number in range(1, 4):
        stage.world.accept(number)
    stage.run(200, 1)
    assert ["dead"] * 3 == states(stage)
    assert {3} == {hook.ids.count(one) for one in hook.ids}


def test_left(stage: Stage, logged: list[LogEvent]) -> None:
    """
    Where not even that can be written, the events wait for the next start, and hold up nothing that comes after them.
    """
    hook = stage.serve()
    stage.serve("other", "8.8.4.4")
    break_store(stage, ATTEMPT, DELIVERY)
    for number in range(1, 40):
        stage.world.accept(number)
        stage.run(0.5)
    stage.run(60, 1)
    assert {1: "waiting"} == {n: one for n, one in enumerate(states(stage)) if one != "delivered"}
    assert [CANNOT, LEFT] * 2 == facts(logged, CANNOT, LEFT)
    assert 0 == sum(stage.teller._desks[one].running for one in stage.teller._desks)
    with writing(stage.config) as connection:
        for name in ("wrong", "wronger"):
            connection.exec_driver_sql(f"DROP TRIGGER {name}")
    stage.stop()
    stage.start()
    stage.run(5)
    assert {"delivered"} == set(states(stage))
    assert 2 == hook.ids.count(hook.ids[1])


def test_gone(stage: Stage, logged: list[LogEvent]) -> None:
    """
    An endpoint that is gone, and cannot be disabled, ends nothing but its own event.
    """
    stage.serve(say=lambda _: 410)
    stage.serve("other", "8.8.4.4")
    break_store(
        stage,
        "CREATE TRIGGER wrong BEFORE INSERT ON webhook_endpoint BEGIN SELECT RAISE(ABORT, 'wrong'); END",
    )
    stage.world.accept(1)
    stage.run(10)
    assert ["dead"] == states(stage)
    assert ["an endpoint cannot be disabled"] == facts(logged, "an endpoint cannot be disabled")
