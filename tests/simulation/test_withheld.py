"""
Mail that waits in memory for a slow receiver when its recipient is suppressed, over sessions, store and SMTP client.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Connection, func, select

from lmrelay.mail.suppression import Suppression, Why
from lmrelay.queue.outbox import write_untold
from lmrelay.queue.schema import DELIVERED, SUPPRESSED, recipient, suppression_news
from lmrelay.queue.suppressions import Suppressions
from tests.simulation.applications import Letter, To
from tests.simulation.promises import Promises
from tests.simulation.receivers import Receiver
from tests.simulation.withheld import SOON, Withheld
from tests.simulation.world import START, World

WAITING = [f"{number}@b.example" for number in range(5)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """
    Letters to all of these were accepted; one is being sent, and takes its time.
    """
    world = World(tmp_path / "relay", delivery={"connections_per_site": 1})
    world.receiver("b.example", pause=20.0)
    application = world.application("acme")
    world.start()
    for address in WAITING:
        application.send(Letter(f"L{address}", (To(address),)))
    assert world.network.run_until(lambda: len(application.accepted) == len(WAITING), 10)
    world.network.run(1)
    yield world
    world.end()


def suppress(world: World, *addresses: str) -> None:
    def add(connection: Connection) -> None:
        items = [Suppression("acme", one, Why.MANUAL, world.wall()) for one in addresses]
        Suppressions(world.random("test").randbytes, write_untold).add(connection, items, world.wall())

    world.write(add)


def states(world: World) -> dict[str, str]:
    query = select(recipient.c.address, recipient.c.state)
    return {row.address: row.state for row in world.read(lambda connection: connection.execute(query).all())}


def arrived(receiver: Receiver) -> list[str]:
    return [address for one in receiver.arrivals for address in one.message.addresses]


def count_news(world: World) -> int:
    query = select(func.count()).select_from(suppression_news)
    return int(world.read(lambda connection: connection.execute(query).scalar_one()))


def judge(world: World) -> list[str]:
    return Promises(world).find_broken()


def test_waiting(world: World) -> None:
    """
    What waits for its turn is withheld within two seconds; what is being sent goes.
    """
    suppress(world, WAITING[0], *WAITING[3:])
    world.network.run(2)
    assert dict.fromkeys(WAITING[3:], SUPPRESSED).items() <= states(world).items()
    world.network.run(120)
    assert WAITING[:3] == arrived(world.receivers[0])
    assert dict.fromkeys(WAITING[:3], DELIVERED).items() <= states(world).items()
    assert [] == judge(world)


@pytest.mark.parametrize("is_after", [False, True])
@pytest.mark.parametrize("write", ["pass_by", "Releases.free", "note_seen"])
def test_death(world: World, write: str, is_after: bool) -> None:
    """
    The process dies on the way of a recipient from delivery back to the queue: it is not lost there, nor sent to.
    """
    world.fate = lambda names: is_after if write in names and world.lives == 1 else None
    suppress(world, WAITING[4])
    assert world.network.run_until(lambda: world.relay is None, 5)
    world.start()
    world.network.run(120)
    assert SUPPRESSED == states(world)[WAITING[4]]
    assert {*WAITING[:4]} == {*arrived(world.receivers[0])}
    assert 0 == count_news(world)


def read_story(started_at: float, expires_at: str | None, jumped: float = 0.0) -> list[str]:
    """
    A recipient is suppressed while it waits, and its attempt began at that time: what is wrong with it.
    """
    about = SimpleNamespace(id="m", project="acme", subject="L1", notification=False)
    to = SimpleNamespace(number=0, address="a@b.example", domain="b.example")
    attempt = SimpleNamespace(started_at=started_at, outcome="delivered")
    read = Withheld({"m": about}, {"m": [to]}, {("m", 0): [attempt]}, "testing.example", jumped)

    def tell(type_: str, number: int | None, **document: Any) -> None:
        of = None if type_.startswith("suppression.") else "m"
        said = {"type": type_, "at": START, "project": "acme", "route": "outgoing", "message": of}
        read.read(SimpleNamespace(**said, recipient=number, document=json.dumps(document)))

    tell("message.created", None)
    tell("suppression.added", None, scope="project", recipient="a@b.example", expires_at=expires_at)
    tell("message.delivered", 0, attempt=1)
    read.end()
    return read.broken


@pytest.mark.parametrize(
    ("started_at", "expires_at", "jumped", "broken"),
    [
        (START - 60, None, 0.0, False),
        (START + SOON, None, 0.0, False),
        (START + SOON + 1, None, 0.0, True),
        # When it ended is not told by its event, and the clock that was set tells nothing.
        (START + SOON + 1, "2030-01-01T00:00:00.000Z", 0.0, False),
        (START + SOON + 1, None, 10.0, False),
    ],
)
def test_broken_promise_is_found(started_at: float, expires_at: str | None, jumped: float, broken: bool) -> None:
    """
    An attempt that began long after its recipient was suppressed does not go unnoticed.
    """
    assert broken == any("after it was suppressed" in line for line in read_story(started_at, expires_at, jumped))
