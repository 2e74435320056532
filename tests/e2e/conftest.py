"""
What the live tests share: one world, and one relay that runs through all of them.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.daemon import Relay
from tests.e2e.world import World, open_world


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "e2e" in item.path.parts:
            item.add_marker("live")


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """
    A name server and receivers.
    """
    made = open_world(tmp_path_factory.mktemp("world"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def running(world: World) -> Iterator[Relay]:
    """
    The relay that most tests share; it ends as an operator ends it, and cleanly.
    """
    relay = world.relay().start()
    yield relay
    assert relay.stop() == 0


@pytest.fixture
def relay(running: Relay) -> Iterator[Relay]:
    """
    The shared relay; pytest shows what it logged during a test that fails.
    """
    start = len(running.log())
    yield running
    print(running.log()[start:])  # captured, and shown only on failure
