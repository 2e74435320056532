"""
A wall clock that is set while endpoints are told.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lmrelay.config.values import Config
from tests.events.bench import Stage, plain
from tests.queue.hooks import deliveries, with_hooks

DAY = 24 * 3600.0


@pytest.fixture
def stage(config: Config) -> Iterator[Stage]:
    """
    An endpoint that is to be told of messages, and the relay that tells it.
    """
    stage = Stage(with_hooks(config, plain(events=("message.created",))))
    stage.start()
    yield stage
    stage.stop()


def states(stage: Stage) -> set[str]:
    return {state for _, _, state in deliveries(stage.config)}


def accept(stage: Stage, first: int, last: int) -> None:
    for number in range(first, last):
        stage.world.accept(number)


def test_set_forward(stage: Stage) -> None:
    """
    A clock that jumps ahead gives up nothing: what failed is told again, and so is what waits behind it.
    """
    hook = stage.serve(say=lambda _: 503)
    accept(stage, 1, 20)
    stage.run(2)
    stage.world.skew = 3 * DAY
    stage.run(60)
    assert {"waiting"} == states(stage)
    stage.world.skew = 0.0
    hook.say = lambda _: 204
    stage.run(400, 5)
    assert {"delivered"} == states(stage)


def test_that_stays_forward(stage: Stage) -> None:
    """
    A clock that was set and stays so is trusted after an hour: what is too old by it is given up with the next failure.
    """
    stage.reconfigure(retry=(300.0,) * 30)
    stage.serve(say=lambda _: 503)
    accept(stage, 1, 20)
    stage.run(2)
    stage.world.skew = 3 * DAY
    stage.run(3500, 15)
    assert {"waiting"} == states(stage)
    stage.run(600, 15)
    assert {"dead"} == states(stage)


@pytest.mark.parametrize("restart", [False, True])
def test_set_back(stage: Stage, restart: bool) -> None:
    """
    What was written and what failed while the clock was ahead is told when its own delay is over, not by that clock:
    that is seen within a minute, and at the start.
    """
    stage.run(20)
    stage.world.skew = 5 * 3600.0
    hook = stage.serve(say=lambda _: 503)
    accept(stage, 1, 2)
    stage.run(1)
    assert 1 == len(hook.got)
    accept(stage, 2, 4)
    stage.world.skew = 0.0
    if restart:
        stage.stop()
        stage.world.start()
        stage.begin()
    hook.say = lambda _: 204
    stage.run(20 if restart else 80)
    assert {"delivered"} == states(stage)
