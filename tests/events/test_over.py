"""
A project that is removed from the configuration while its endpoints have much to be told.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from attrs import evolve
from sqlalchemy import select
from twisted.logger import LogEvent, globalLogPublisher

from lmrelay.config.values import Config
from lmrelay.queue.schema import webhook_attempt, webhook_delivery
from tests.events.bench import PUBLIC, Stage, plain
from tests.queue.filling import writing
from tests.queue.hooks import with_hooks

WHY = "there is no such endpoint any more"


@pytest.fixture
def logged() -> Iterator[list[LogEvent]]:
    events: list[LogEvent] = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


@pytest.fixture(params=[1, 100])
def stage(request: pytest.FixtureRequest, config: Config) -> Iterator[Stage]:
    """
    A project with two endpoints, and another with one.
    """
    hooks = [plain(name, batch=request.param) for name in ("a", "b")]
    both = with_hooks(with_hooks(config, *hooks), plain("c"), project="other")
    stage = Stage(both)
    stage.start()
    yield stage
    stage.stop()


def rows(stage: Stage, table: Any) -> list[Any]:
    with writing(stage.config) as connection:
        return list(connection.execute(select(table).order_by(*table.primary_key)))


def remove(stage: Stage, slug: str = "acme") -> None:
    config = stage.settings.config
    stage.settings.config = evolve(config, projects={k: v for k, v in config.projects.items() if k != slug})


@pytest.mark.parametrize("answer", [None, 503, "refused"])
def test_removed_project(stage: Stage, logged: list[LogEvent], answer: int | str | None) -> None:
    """
    All of it is given up within seconds, what waits with one line for each endpoint; nothing is recorded that was not
    tried, and those of others are told.
    """
    for name in "ab":
        if answer == "refused":
            stage.zone.addresses(f"{name}.example", PUBLIC)
        else:
            stage.serve(name, f"8.8.8.{ord(name)}", say=lambda _: answer)  # type: ignore[arg-type,return-value]
    other = stage.serve("c", "8.8.4.4")
    for number in range(1, 420):
        stage.world.accept(number)
    stage.run(3)
    tried = len(rows(stage, webhook_attempt))
    under_way = sum(desk.being_told for desk in stage.teller._desks.values())
    logged.clear()
    remove(stage)
    stage.world.accept(900)
    stage.world.accept(901, project="other")
    stage.run(40)
    told = [one for one in rows(stage, webhook_delivery) if one.project == "acme"]
    assert {("dead", None, None)} == {(one.state, one.due, one.owner) for one in told}
    said = [one for one in logged if one.get("log_format") == "webhooks given up"]
    assert len(said) == len({(one["project"], one["endpoint"]) for one in said})
    assert {WHY} >= {one["reason"] for one in said}
    failed = [one for one in logged if one.get("log_format") == "webhook failed"]
    assert len(told) == sum(one["events"] for one in said) + sum(one["given_up"] for one in failed)
    assert under_way == sum(one["given_up"] for one in failed)
    made = rows(stage, webhook_attempt)
    # And what the other project's was told of.
    assert (tried + under_way + 1, 1) == (len(made), len(other.got))
    assert WHY not in {one.text for one in made}
    assert not {one for one in stage.teller._desks if one[0] == "acme"}


def test_back_in_time(stage: Stage) -> None:
    """
    A project that is back before anybody looked loses nothing.
    """
    hooks = [stage.serve(name, f"8.8.8.{ord(name)}", say=lambda _: None) for name in "ab"]
    for number in range(1, 60):
        stage.world.accept(number)
    stage.run(3)
    config = stage.settings.config
    remove(stage)
    stage.run(0.01, 0.01)
    stage.settings.config = config
    for hook in hooks:
        hook.say = lambda _: 204
    stage.run(120, 1)
    assert {"delivered"} == {one.state for one in rows(stage, webhook_delivery)}
