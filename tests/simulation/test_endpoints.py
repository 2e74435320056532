"""
Endpoints in every temper, one after the other and all at once; and every promise of webhooks kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from pathlib import Path
from types import SimpleNamespace

import pytest
from attrs import evolve
from sqlalchemy import Connection, delete, update

from lmrelay.config.project import Webhook
from lmrelay.config.values import Webhooks
from lmrelay.queue.outbox import DEAD, DELIVERED, WAITING
from lmrelay.queue.schema import event, webhook_attempt, webhook_delivery
from tests.simulation.applications import Letter, To
from tests.simulation.endpoints import ELSEWHERE, PORT, SAYS_YES, Endpoint, Taken, Temper, Trap, set_traps
from tests.simulation.tellings import Tellings, find_written
from tests.simulation.world import World

RETRY = (4.0, 8.0, 8.0)


class Town:
    """
    A relay whose project has an endpoint in each temper, and one that took its place among the good.
    """

    def __init__(self, folder: Path) -> None:
        self.world = world = World(folder / "relay", projects=("acme", "beta"))
        world.receiver("b.example")
        hooks = {
            temper: Webhook(temper.name, f"http://{temper.name}.example/in", f"whsec_{temper.name}")
            for temper in Temper
        }
        acme = evolve(world.config.projects["acme"], webhooks=tuple(hooks.values()))
        world.config = evolve(
            world.config, webhooks=Webhooks(retry=RETRY, timeout=10), projects={**world.config.projects, "acme": acme}
        )
        self.trap: Trap = set_traps(world.network, PORT, 25)
        world.network.servers[ELSEWHERE, PORT] = self.trap
        self.endpoints = {
            temper: Endpoint(
                world.network,
                world.zone,
                f"8.9.0.{number}",
                f"{temper.name}.example".lower(),
                "acme",
                hooks[temper],
                world.random(temper.name),
                always=True,
            )
            for number, temper in enumerate(Temper, 1)
        }
        for temper, endpoint in self.endpoints.items():
            endpoint.feel(temper)
        self.tellings = Tellings(world, list(self.endpoints.values()), self.trap)

    def send(self) -> None:
        application = self.world.application("acme")
        application.send(Letter("L1", (To("a@b.example"),)))
        assert self.world.network.run_until(lambda: bool(application.accepted), 60)


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    town = Town(tmp_path)
    town.world.start()
    yield town
    town.world.end()


def test_tempers(town: Town) -> None:
    """
    An endpoint that says yes has taken it, whatever else it does; the others get it again until the schedule is over,
    or take it once they are well. None keeps another, or mail, waiting; and nothing leads inside.
    """
    town.send()
    town.world.network.run(8)
    took = {temper for temper, one in town.endpoints.items() if any(taken.said_yes for taken in one.taken)}
    assert SAYS_YES == took
    town.world.network.run(10)
    for temper in Temper:
        if temper not in (Temper.CLOSED, Temper.NAMELESS, Temper.GONE):
            town.endpoints[temper].feel(Temper.WELL)
    town.world.network.run(120)
    assert 0 == town.tellings.find_open()
    assert [] == list(town.tellings.find_broken())


@pytest.mark.parametrize(("is_after", "times"), [(False, 2), (True, 1)])
def test_death(town: Town, is_after: bool, times: int) -> None:
    """
    Who dies before it is recorded that an endpoint took an event tells it again, and only then.
    """
    endpoint = town.endpoints[Temper.WELL]
    for other in town.endpoints.values():
        other.feel(Temper.WELL)
    town.world.fate = lambda names: is_after if "Hooks._record" in names and town.world.lives == 1 else None
    town.world.died = town.tellings.note_end
    town.send()
    town.world.network.run(10)
    assert town.world.relay is None
    town.world.start()
    town.world.network.run(10)
    created = [one["event"] for taken in endpoint.taken for one in taken.events].count("message.created")
    assert times == created
    assert [] == list(town.tellings.find_broken())


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Town:
    """
    One where all is told.
    """
    town = Town(tmp_path_factory.mktemp("told"))
    town.world.start()
    town.send()
    town.world.network.run(120)
    town.world.halt()
    assert [] == list(town.tellings.find_broken())
    return town


def lose_delivery(connection: Connection) -> None:
    connection.execute(delete(webhook_delivery).where(webhook_delivery.c.endpoint == "WELL"))


def lose_attempts(connection: Connection) -> None:
    connection.execute(delete(webhook_attempt).where(webhook_attempt.c.endpoint == "WELL"))


def dream(connection: Connection) -> None:
    connection.execute(update(webhook_delivery).where(webhook_delivery.c.endpoint == "MUTE").values(state=DELIVERED))


def despair(connection: Connection) -> None:
    connection.execute(update(webhook_delivery).where(webhook_delivery.c.state == DELIVERED).values(state=DEAD))


def leave(connection: Connection) -> None:
    connection.execute(update(webhook_delivery).where(webhook_delivery.c.endpoint == "WELL").values(state=WAITING))


def lose_events(connection: Connection) -> None:
    connection.execute(delete(event).where(event.c.type == "message.sent"))


def move(connection: Connection) -> None:
    connection.execute(update(event).values(project="beta"))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lose_delivery, "is told to nobody"),
        (lose_delivery, "which is not for it"),
        (lose_attempts, "was tried 1 times, recorded are 0"),
        (dream, "is recorded as delivered, and was not taken"),
        (despair, "was given up after 1 attempts"),
        (leave, "still waits after 1 attempts"),
        (lose_events, "deliveries are of no event"),
        (move, "is to be told, and was never wanted"),
        (move, "was told as"),
    ],
)
def test_broken_promises_are_found(told: Town, harm: Callable[[Connection], None], words: str) -> None:
    """
    What goes wrong in the store does not go unnoticed.
    """
    with told.world.harmed(harm):
        assert [line for line in told.tellings.find_broken() if words in line]


def come_again(endpoint: Endpoint) -> None:
    endpoint.taken += endpoint.taken[:1]


def forge(endpoint: Endpoint) -> None:
    endpoint.taken[0].is_signed = False


def change_words(endpoint: Endpoint) -> None:
    endpoint.taken.append(Taken(0, {}, endpoint.taken[0].body.replace(b"L1", b"L2"), True))


def come_after_its_end(endpoint: Endpoint) -> None:
    first = endpoint.taken[0]
    first.said_gone = True
    endpoint.taken.append(Taken(first.at + 100, {}, first.body, True))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (come_again, "came again, 0.0 s after it was taken"),
        (forge, "was not signed"),
        (change_words, "in other words"),
        (come_after_its_end, "100 s after its 410"),
    ],
)
def test_broken_requests_are_found(told: Town, harm: Callable[[Endpoint], None], words: str) -> None:
    """
    Nor does what an endpoint should never have got.
    """
    endpoint = told.endpoints[Temper.WELL]
    good = endpoint.taken
    endpoint.taken = [copy(one) for one in good]
    harm(endpoint)
    try:
        assert [line for line in told.tellings.find_broken() if words in line]
    finally:
        endpoint.taken = good


def test_traps_are_seen(told: Town) -> None:
    """
    Nor that somebody was led inside.
    """
    told.trap.caught.append("10.0.0.5")
    try:
        assert ["the relay connected to 10.0.0.5"] == list(told.tellings.find_broken())
    finally:
        told.trap.caught.clear()


def test_when_events_were_written() -> None:
    """
    Not all were when they say that they happened: an attempt is when it has ended, and a message when all of it came.
    """
    rows = [
        ("message.created", "m", None, 1.0),
        ("message.deferred", "other", 0, 8.0),
        ("message.created", "slow", None, 3.0),
        ("message.sent", "m", 0, 2.0),
        ("message.delivered", "m", 0, 9.0),
    ]
    names = ("type", "message", "recipient", "at")
    events = [SimpleNamespace(id=number, **dict(zip(names, row, strict=True))) for number, row in enumerate(rows)]
    assert [1.0, 8.0, 8.0, 9.0, 9.0] == list(find_written(events).values())
