"""
The outbox, on both databases: who is to be told of an event is written in its commit.
"""

from __future__ import annotations

from random import Random

import pytest
from attrs import evolve
from sqlalchemy import func, insert, select

from lmrelay.config.project import Webhook
from lmrelay.config.values import Config
from lmrelay.interfaces import Endpoint
from lmrelay.queue.outbox import Outbox
from lmrelay.queue.rows import Row, event_row
from lmrelay.queue.schema import event, webhook_delivery, webhook_endpoint
from lmrelay.queue.statements import PLAIN
from tests.queue.doubles import Settings
from tests.queue.filling import NOW, writing
from tests.queue.hooks import deliveries, hook, with_hooks
from tests.queue.world import NEVER, OK, World

_random = Random(1)


def row(type_: str, project: str = "acme", route: str = "outgoing", message: str = "m") -> Row:
    return event_row(_random.randbytes, type_, NOW, (project, route), (message, None))


def write(config: Config, *rows: Row) -> list[tuple[str, str, str]]:
    with writing(config) as connection:
        Outbox(Settings(config)).write(connection, rows)
    return deliveries(config)


def types(config: Config) -> list[str]:
    with writing(config) as connection:
        return list(connection.execute(select(event.c.type).order_by(event.c.sequence)).scalars())


def test_state_changes(config: Config) -> None:
    """
    What becomes of a message is to be told, each event in the commit that wrote it and due at once.
    """
    world = World(with_hooks(config, hook()))
    world.start()
    world.accept(to=["a@b.example", "b@b.example"])
    expected = [("message.created", "shop", "waiting")]
    assert expected == deliveries(config)
    world.settle(1, OK)
    expected += [("message.sent", "shop", "waiting"), ("message.delivered", "shop", "waiting")]
    assert expected == deliveries(config)
    world.settle(1, NEVER, [1])
    expected += [("message.sent", "shop", "waiting"), ("message.hard_bounced", "shop", "waiting")]
    assert expected == deliveries(config)
    with writing(config) as connection:
        told = connection.execute(select(webhook_delivery)).mappings().all()
    assert {("acme", 0, None, "", None)} == {
        (one["project"], one["attempts"], one["owner"], one["last"], one["ended_at"]) for one in told
    }
    assert all(one["due"] <= world.wall() for one in told)
    world.stop()


@pytest.mark.parametrize(
    ("endpoint", "told"),
    [
        (hook(), ["message.created", "message.delivered"]),
        (hook(events=("*",)), ["message.created", "message.delivered", "suppression.added"]),
        (hook(events=("suppression.*",)), ["suppression.added"]),
        (hook(events=("message.delivered", "message.sent")), ["message.delivered"]),
        (hook(events=("*",), routes=("outgoing",)), ["message.created", "suppression.added"]),
        (hook(events=("*",), routes=("news", "other")), ["message.delivered", "suppression.added"]),
        (hook(events=("message.deliver",)), []),
        (hook(enabled=False), []),
    ],
)
def test_wanted(config: Config, endpoint: Webhook, told: list[str]) -> None:
    """
    An endpoint is told of what fits its patterns and its routes; what is of no route concerns all.
    """
    rows = (row("message.created"), row("message.delivered", route="news"), row("suppression.added", route=""))
    assert [(type_, "shop", "waiting") for type_ in told] == write(with_hooks(config, endpoint), *rows)
    assert ["message.created", "message.delivered", "suppression.added"] == types(config)


def test_each_endpoint(config: Config) -> None:
    """
    Several endpoints of a project are told apart; those of others, and projects that are gone, are not.
    """
    config = with_hooks(with_hooks(config, hook("a"), hook("b")), hook("c"), project="other")
    config = with_hooks(config, project="silent")
    rows = [row("message.sent"), row("message.sent", "silent"), row("message.sent", "gone")]
    assert [("message.sent", name, "waiting") for name in "ab"] == write(config, *rows)
    assert 3 == len(types(config))


def test_disabled(config: Config) -> None:
    """
    An endpoint that was disabled is told nothing, one of that name elsewhere is.
    """
    config = with_hooks(with_hooks(config, hook("a"), hook("b")), hook("a"), project="other")
    with writing(config) as connection:
        connection.execute(
            insert(webhook_endpoint),
            [
                {"project": "acme", "endpoint": "a", "disabled_at": NOW, "reason": "410"},
                {"project": "acme", "endpoint": "b", "disabled_at": None, "reason": ""},
            ],
        )
    told = [("message.sent", "b", "waiting"), ("message.created", "a", "waiting")]
    assert told == write(config, row("message.sent"), row("message.created", "other"))


def test_configuration_in_force(config: Config) -> None:
    """
    A reload that adds or takes an endpoint holds for the next event.
    """
    settings = Settings(config)
    outbox = Outbox(settings)
    for hooks in ((), (hook("a"),), (hook("b"),), ()):
        settings.config = with_hooks(config, *hooks)
        with writing(config) as connection:
            outbox.write(connection, [row("message.sent")])
    assert [("message.sent", "a", "waiting"), ("message.sent", "b", "waiting")] == deliveries(config)


def test_order(config: Config) -> None:
    """
    Sequences rise in the order of the rows of a project, whichever of them are told, in batches of every size.
    """
    config = with_hooks(config, hook(events=("message.delivered",)))
    told = 0
    for size in (1, 2, 3, 31, 32, 33, 75):
        rows = [row(("message.sent", "message.delivered")[n % 2], message=f"{size}-{n}") for n in range(size)]
        told += size // 2
        write(config, *rows)
        with writing(config) as connection:
            found = connection.execute(
                select(event.c.message).where(event.c.message.like(f"{size}-%")).order_by(event.c.sequence)
            ).scalars()
            assert [one["message"] for one in rows] == list(found)
    assert [("message.delivered", "shop", "waiting")] * told == deliveries(config)


def test_nothing_to_write(config: Config) -> None:
    """
    No events are written as no events.
    """
    assert [] == write(with_hooks(config, hook()))


def test_words_no_database_stores(config: Config) -> None:
    """
    What had to be made storable first is told too.
    """
    config = with_hooks(config, hook())
    bad = row("message.deferred") | {"document": '{"a":"\ud800"}'}
    with writing(config) as connection:
        Outbox(Settings(config)).write(connection.execution_options(**{PLAIN: True}), [bad])
    assert [("message.deferred", "shop", "waiting")] == deliveries(config)


def test_nothing_without_commit(config: Config) -> None:
    """
    Where the commit fails, neither the event nor that somebody is to be told of it is stored.
    """
    world = World(with_hooks(config, hook()))
    world.start()
    world.accept()
    with writing(config) as connection:
        Outbox(Settings(world.config)).write(connection, [row("message.sent")])
        assert 2 == connection.execute(select(func.count()).select_from(webhook_delivery)).scalar_one()
        connection.rollback()
    assert ["message.created"] == types(config)
    assert [("message.created", "shop", "waiting")] == deliveries(config)
    world.stop()


def test_hint(config: Config) -> None:
    """
    Who tells is woken where there is something to tell, and only there.
    """
    woken: list[list[Endpoint]] = []
    outbox = Outbox(Settings(with_hooks(config, hook(events=("message.sent",)))), lambda told: woken.append([*told]))
    with writing(config) as connection:
        outbox.write(connection, [row("message.created"), row("message.sent", "other")])
        assert [] == woken
        outbox.write(connection, [row("message.sent"), row("message.sent")])
        assert [[("acme", "shop")]] == woken


def test_secrets_stay_out_of_logs() -> None:
    """
    The words for an endpoint do not say its secrets.
    """
    words = repr(evolve(hook(), previous_secret="whsec_9876543210"))
    assert "0123456789" not in words
    assert "9876543210" not in words
