"""
Telling endpoints, with the real queue and real HTTP, in memory and under one clock.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from attrs import evolve
from sqlalchemy import select

from lmrelay.config.project import Webhook
from lmrelay.config.values import Config
from lmrelay.queue.endpoints import enable
from lmrelay.queue.schema import webhook_attempt, webhook_delivery, webhook_endpoint
from tests.events.bench import DEFAULT, PUBLIC, Got, Stage, is_signed, plain
from tests.queue.filling import writing
from tests.queue.hooks import SECRET, deliveries, with_hooks
from tests.queue.world import LATER, NOW, OK

Begin = Callable[..., Stage]


@pytest.fixture
def begin(config: Config) -> Iterator[Begin]:
    stages: list[Stage] = []

    def make(*hooks: Webhook) -> Stage:
        stages.append(Stage(with_hooks(config, *hooks)))
        stages[0].start()
        return stages[0]

    yield make
    for stage in stages:
        stage.stop()


def states(stage: Stage) -> list[str]:
    return [state for _, _, state in deliveries(stage.config)]


def rows(stage: Stage, table: Any) -> list[Any]:
    with writing(stage.config) as connection:
        return list(connection.execute(select(table).order_by(*table.primary_key)))


def test_told(begin: Begin) -> None:
    """
    What becomes of a message is told, signed and in order, each event once, within a second.
    """
    stage = begin(plain())
    hook = stage.serve()
    stage.world.accept(tags=("x",), metadata={"order_id": "12345"})
    stage.world.settle(1, LATER)
    stage.run(1)
    stage.world.settle(1, OK)
    stage.run(1)
    names = ["message.created", "message.sent", "message.deferred", "message.delivered"]
    assert names == [one.headers["x-lettermint-event"] for one in hook.got]
    assert names == [event["event"] for one in hook.got for event in one.events]
    assert stage.world.told() == [event for one in hook.got for event in one.events]
    assert all(is_signed(one) for one in hook.got)
    assert {("/hook", "application/json", "1")} == {
        (one.path, one.headers["content-type"], one.headers["x-lettermint-attempt"]) for one in hook.got
    }
    assert all(
        f"t={one.headers['x-lettermint-delivery']}," in one.headers["x-lettermint-signature"] for one in hook.got
    )
    assert ["delivered"] * 4 == states(stage)


def test_connections_are_kept(begin: Begin) -> None:
    """
    One connection carries one request after another, until nothing comes for a while; a server that closed it
    meanwhile is connected to again, and that is no failure.
    """
    stage = begin(plain())
    hook = stage.serve()
    for number in range(1, 6):
        stage.world.accept(number)
        stage.run(1)
    assert 1 == len(stage.network.wires)
    stage.network.wires[0].server.loseConnection()
    stage.world.accept(6)
    stage.run(1)
    assert 2 == len(stage.network.wires)
    stage.run(20)
    assert stage.network.wires[1].client.disconnected
    assert [f"{n:026d}" for n in range(1, 7)] == [one.events[0]["data"]["message_id"] for one in hook.got]
    assert {1} == {one.number for one in rows(stage, webhook_attempt)}


def test_compact(begin: Begin) -> None:
    """
    The body is JSON as short as it gets, and what is signed is the very octets.
    """
    stage = begin(plain())
    hook = stage.serve()
    stage.world.accept(subject="Grüße")
    stage.run(1)
    body = hook.got[0].body
    assert json.dumps(json.loads(body), ensure_ascii=False, separators=(",", ":")).encode() == body
    assert "Grüße".encode() in body
    assert not is_signed(evolve(hook.got[0], body=body + b" "))
    assert not is_signed(hook.got[0], SECRET + "x")


def test_schedule(begin: Begin) -> None:
    """
    What an endpoint does not take it is told again after 10 s, 1, 5, 15, 30 min, 1, 2, 4, 6, 12 h, with the same id and
    a time and number of its own, and then no more.
    """
    stage = begin(plain(events=("message.created",)))
    hook = stage.serve(say=lambda _: 503)
    hook.body = b"busy"
    stage.world.accept()
    stage.run(1)
    for delay in (*DEFAULT.retry, 24 * 3600):
        stage.run(4, 0.5)
        stage.run(delay - 4, delay - 4)
    times = [one.at for one in hook.got]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert len(DEFAULT.retry) == len(gaps)
    assert all(0 <= gap - delay <= 4 for gap, delay in zip(gaps, DEFAULT.retry, strict=True))
    assert 1 == len(set(hook.ids))
    assert [str(n + 1) for n in range(11)] == [one.headers["x-lettermint-attempt"] for one in hook.got]
    assert all(is_signed(one) for one in hook.got)
    assert 11 == len({one.headers["x-lettermint-delivery"] for one in hook.got})
    assert ["dead"] == states(stage)
    assert [(n + 1, 503, "", "busy") for n in range(11)] == [
        (one.number, one.status, one.text, one.body) for one in rows(stage, webhook_attempt)
    ]


def test_timeout(begin: Begin) -> None:
    """
    An endpoint that does not answer in time is told again, and says nothing more on that connection.
    """
    stage = begin(plain())
    hook = stage.serve(say=lambda _: None)
    stage.world.accept()
    stage.run(29)
    assert 1 == hook.now
    stage.run(2)
    assert 0 == hook.now
    assert [(None, "no answer within 30 s")] == [(one.status, one.text) for one in rows(stage, webhook_attempt)]
    hook.say = lambda _: 200
    stage.run(12)
    assert ["delivered"] == states(stage)


@pytest.mark.parametrize("status", [300, 301, 302, 307, 308, 400, 401, 404, 429, 500])
def test_not_taken(begin: Begin, status: int) -> None:
    """
    Nothing but 2xx is success, and no redirect is followed.
    """
    stage = begin(plain())
    hook = stage.serve(say=lambda _: status)
    hook.headers["Location"] = "http://shop.example/other"
    stage.world.accept()
    stage.run(5)
    assert ["/hook"] == [one.path for one in hook.got]
    assert ["waiting"] == states(stage)


def test_poison_in_a_batch(begin: Begin) -> None:
    """
    An event that an endpoint cannot take is given up alone: those that went with it are taken without it.
    """
    stage = begin(plain(batch=100))
    hook = stage.serve()
    poison = f"{37:026d}"
    hook.say = lambda got: 500 if any(one["data"]["message_id"] == poison for one in got.events) else 204
    for number in range(1, 101):
        stage.world.accept(number)
    stage.run(1)
    for delay in (*DEFAULT.retry, 24 * 3600):
        stage.run(4, 0.5)
        stage.run(delay - 4, delay - 4)
    dead = [one.event for one in rows(stage, webhook_delivery) if one.state == "dead"]
    assert [37] == dead
    assert 100 == len(states(stage))
    assert 99 == states(stage).count("delivered")


def test_gone(begin: Begin) -> None:
    """
    410 disables the endpoint: what it was to be told is given up, and what comes after is not for it; others go on.
    """
    stage = begin(plain("a"), plain("b"))
    gone, other = stage.serve("a", say=lambda _: 410), stage.serve("b", "8.8.4.4")
    stage.world.accept()
    stage.run(2)
    for number in range(2, 30):
        stage.world.accept(number)
    stage.run(5)
    assert 1 == len(gone.got)
    assert 29 == len(other.got)
    assert [("acme", "a", NOW, "it answered 410 (Gone)")] == [
        (one.project, one.endpoint, int(one.disabled_at), one.reason) for one in rows(stage, webhook_endpoint)
    ]
    assert [("message.created", "a", "dead")] == [one for one in deliveries(stage.config) if one[1] == "a"]


def test_gone_with_much_to_tell(begin: Begin) -> None:
    """
    What waits for an endpoint that is gone is given up without asking it for each.
    """
    stage = begin(plain())
    hook = stage.serve(say=lambda _: 410)
    for number in range(1, 200):
        stage.world.accept(number)
    stage.run(20)
    assert len(hook.got) <= 8
    assert {"dead"} == set(states(stage))


def test_one_stalls(begin: Begin) -> None:
    """
    Of many endpoints one stalls: the others are told at once, and it gets no more requests than it may have.
    """
    stage = begin(*(plain(f"h{n}") for n in range(20)))
    hooks = [stage.serve(f"h{n}", f"8.8.8.{n + 1}") for n in range(20)]
    hooks[7].say = lambda _: None
    for number in range(1, 21):
        stage.world.accept(number)
        stage.run(0.25)
    stage.run(1)
    assert {20} == {len(hook.got) for n, hook in enumerate(hooks) if n != 7}
    assert 8 == hooks[7].most
    hooks[7].say = lambda _: 204
    stage.run(120)
    assert {"delivered"} == set(states(stage))
    assert 20 == len(set(hooks[7].ids))


def test_dead_endpoint_costs_little(begin: Begin) -> None:
    """
    However much waits for an endpoint where nobody listens, it is tried ever more seldom, one request at a time.
    """
    stage = begin(plain())
    stage.zone.addresses("shop.example", PUBLIC)
    for number in range(1, 100):
        stage.world.accept(number)
    stage.run(300, 0.5)
    assert 20 <= len(rows(stage, webhook_attempt)) <= 60
    hook = stage.serve()
    stage.run(1000, 1)
    assert {"delivered"} == set(states(stage))
    assert 99 == len(set(hook.ids)) == len(hook.ids)


def test_failures_at_one_time(begin: Begin) -> None:
    """
    Failures that come together and make a pause longer than it was do not make it endless.
    """
    stage = begin(plain(events=("message.created",)))
    stage.serve(say=lambda _: 503)
    for number in range(1, 30):
        stage.world.accept(number)
    stage.run(30)
    tried = len(rows(stage, webhook_attempt))
    stage.run(60)
    assert tried + 5 <= len(rows(stage, webhook_attempt)) <= tried + 12


def test_much_for_the_dead_ends(begin: Begin) -> None:
    """
    What waited for as long as the whole schedule is given up with what is tried then, so nothing waits for ever.
    """
    stage = begin(plain())
    stage.zone.addresses("shop.example", PUBLIC)
    stage.reconfigure(retry=(10.0, 60.0, 300.0))
    for number in range(1, 300):
        stage.world.accept(number)
    stage.run(3700, 5)
    assert {"dead"} == set(states(stage))
    assert all("Connection was refused" in one.last for one in rows(stage, webhook_delivery))


def test_batch(begin: Begin) -> None:
    """
    With `batch` one request brings up to so many events as an array, in order, which are delivered or not together.
    """
    stage = begin(plain(batch=100))
    hook = stage.serve(say=lambda _: 500)
    for number in range(1, 251):
        stage.world.accept(number)
    stage.run(2)
    assert {"batch"} == {one.headers["x-lettermint-event"] for one in hook.got}
    assert all(isinstance(json.loads(one.body), list) and len(one.events) <= 100 for one in hook.got)
    assert all(is_signed(one) for one in hook.got)
    hook.say = lambda _: 200
    stage.run(200)
    assert {"delivered"} == set(states(stage))
    assert 250 == len(set(hook.ids))
    sequences = [[event["sequence"] for event in one.events] for one in hook.got]
    assert all(sorted(one) == one for one in sequences)
    assert "2" in {one.headers["x-lettermint-attempt"] for one in hook.got}


def test_two_secrets(begin: Begin) -> None:
    """
    While a secret is replaced, requests are signed with both.
    """
    stage = begin(plain(previous_secret="whsec_of_yesterday"))
    hook = stage.serve()
    stage.world.accept()
    stage.run(1)
    assert is_signed(hook.got[0])
    assert is_signed(hook.got[0], "whsec_of_yesterday")
    assert 2 == hook.got[0].headers["x-lettermint-signature"].count("v1=")


def test_header_prefix(begin: Begin) -> None:
    """
    The headers have the name that is configured.
    """
    stage = begin(plain())
    stage.reconfigure(header_prefix="X-Acme")
    hook = stage.serve()
    stage.world.accept()
    stage.run(1)
    assert is_signed(hook.got[0], prefix="x-acme")
    assert not [name for name in hook.got[0].headers if "lettermint" in name]


@pytest.mark.parametrize("hooks", [(), (plain("other"),), (plain(enabled=False),)])
def test_removed(begin: Begin, hooks: tuple[Webhook, ...]) -> None:
    """
    What an endpoint was to be told that is configured no more, or is switched off, is given up and says so.
    """
    stage = begin(plain())
    stage.zone.addresses("shop.example", PUBLIC)
    for number in range(1, 30):
        stage.world.accept(number)
    stage.run(3)
    stage.settings.config = with_hooks(stage.config, *hooks)
    stage.run(15)
    assert {"dead"} == set(states(stage))
    why = "the endpoint is switched off" if hooks == (plain(enabled=False),) else "there is no such endpoint any more"
    assert {why} == {one.last for one in rows(stage, webhook_delivery)}


@pytest.mark.parametrize("how", ["removed", "disabled"])
def test_back_again(begin: Begin, how: str) -> None:
    """
    An endpoint that is back is told of all that happens from then on, however much is still being given up of what
    happened before.
    """
    stage = begin(plain(batch=100))
    hook = stage.serve(say=lambda _: 503)
    for number in range(1, 420):
        stage.world.accept(number)
    stage.run(2)
    if how == "removed":
        stage.settings.config = with_hooks(stage.config)
    else:
        stage.world.queue.hooks.disable(("acme", "shop"), "for a while")
    while "dead" not in states(stage):
        stage.run(0.05, 0.05)
    assert "waiting" in states(stage)
    hook.say = lambda _: 204
    if how == "removed":
        stage.settings.config = stage.config
    else:
        with writing(stage.config) as connection:
            enable(connection, ("acme", "shop"))
    hook.got.clear()
    for number in range(420, 440):
        stage.world.accept(number)
        stage.run(0.05, 0.05)
    stage.run(12)
    told = {event["data"]["message_id"] for one in hook.got for event in one.events}
    assert {f"{number:026d}" for number in range(420, 440)} <= told


def test_stopped(begin: Begin) -> None:
    """
    A relay that ends waits for an endpoint that stalls for a few seconds only, and tells it again.
    """
    stage = begin(plain())
    hook = stage.serve(say=lambda _: None)
    stage.world.accept()
    stage.run(1)
    drained = stage.teller.drain()
    stage.run(4)
    assert 1 == hook.now
    assert not drained.called
    stage.run(2)
    assert 0 == hook.now
    assert drained.called
    stage.world.stop()
    hook.say = lambda _: 200
    stage.start()
    stage.run(2)
    assert ["delivered"] == states(stage)
    assert 1 == len(set(hook.ids))


def test_crash(begin: Begin) -> None:
    """
    What a worker was telling when it died is told again, with the same id; what was delivered is not.
    """
    stage = begin(plain())
    hook = stage.serve(say=lambda got: 200 if got.events[0]["event"] == "message.created" else None)
    stage.world.accept()
    stage.run(1)
    stage.world.settle(1, OK)
    stage.run(1)
    assert ["delivered", "waiting", "waiting"] == states(stage)
    stage.world.crash()
    network = type(stage.network)()
    network.advance(stage.network.seconds())
    stage.network = stage.world.clock = network
    again = stage.serve()
    stage.start()
    stage.run(2)
    assert ["delivered"] * 3 == states(stage)
    assert hook.ids[1:] == again.ids


def test_order_of_a_busy_store(begin: Begin) -> None:
    """
    How it went is recorded when the store can be written again, and nothing is told twice for that.
    """
    stage = begin(plain())
    hook = stage.serve()
    writer = stage.world.queue._writer
    broken: list[int] = []

    def stop_writing(got: Got) -> int:
        engine = writer._engine  # type: ignore[attr-defined]
        broken.append(1)
        with engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE webhook_attempt RENAME TO elsewhere")
        return 200

    hook.say = stop_writing
    stage.world.accept()
    stage.run(3)
    assert [1] == broken
    assert ["waiting"] == states(stage)
    with writing(stage.config) as connection:
        connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO webhook_attempt")
    stage.run(10)
    assert ["delivered"] == states(stage)
    assert 1 == len(hook.got)
