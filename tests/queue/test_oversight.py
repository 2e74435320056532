"""
What monitoring is told of the store: everything that waits, once each, whatever page it was on.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from types import SimpleNamespace

import pytest
from sqlalchemy import insert, select

from lmrelay.config.values import Config
from lmrelay.errors import StoreFull
from lmrelay.interfaces import IOversight, Untold, Waiting
from lmrelay.mail.outcome import Attempt
from lmrelay.queue.oversight import PAUSE, START, count_page, count_untold
from lmrelay.queue.schema import event, webhook_delivery, webhook_endpoint
from lmrelay.queue.store import find_url, make_engine
from tests.queue.filling import NOW, alter, fill, make_rows, writing
from tests.queue.world import OK, World, name, result_of


def total(config: Config, page: int) -> Counter[tuple[str, str, str]]:
    """
    All pages of that size, added up.
    """
    counts: Counter[tuple[str, str, str]] = Counter()
    after, engine = START, make_engine(find_url(config))
    while after is not None:
        with engine.begin() as connection:
            found, after = count_page(connection, after, page)
        for one in found:
            counts[one.project, one.route, one.state] += one.recipients
    engine.dispose()
    return counts


@pytest.mark.parametrize("page", [1, 2, 3, 7, 1000])
def test_pages(config: Config, page: int) -> None:
    """
    Whatever fits a page, and wherever in a message it ends, each recipient that is not final counts once.
    """
    random = Random(page)
    expected: Counter[tuple[str, str, str]] = Counter()
    for number in range(8):
        project, route = random.choice(["acme", "shop"]), random.choice(["outgoing", "news"])
        to = [f"r{one}@b.example" for one in range(random.randint(1, 4))]
        (id_,) = fill(config, make_rows(to, at=NOW - number, project=project, route=route))
        for one in range(len(to)):
            state = random.choice(["queued", "deferred", "held", "delivered", "failed"])
            alter(config, (id_, one), state=state)
            if state in ("queued", "deferred", "held"):
                expected[project, route, state] += 1
    assert expected == total(config, page)


def test_an_empty_queue(config: Config) -> None:
    """
    Nothing waits, and that is one page.
    """
    with writing(config) as connection:
        assert ([], None) == count_page(connection, START, 10)
        assert [] == count_untold(connection)


def test_untold(config: Config) -> None:
    """
    What webhooks wait for counts by endpoint, with the first time it was due; what they were told does not. Disabled
    endpoints are told of, with nothing to wait for too.
    """
    fill(config, *(make_rows(["a@b.example"], at=NOW - one) for one in range(4)))
    with writing(config) as connection:
        sequences = connection.execute(select(event.c.sequence).order_by(event.c.sequence)).scalars().all()
        rows = [("a", NOW + 5), ("a", NOW + 3), ("b", NOW + 9), ("b", None)]
        connection.execute(
            insert(webhook_delivery),
            [
                {"event": one, "endpoint": endpoint, "project": "acme", "attempts": 0, "due": due, "last": ""}
                for one, (endpoint, due) in zip(sequences, rows, strict=True)
            ],
        )
        off = {"project": "acme", "reason": "gone"}
        connection.execute(
            insert(webhook_endpoint),
            [
                {**off, "endpoint": "b", "disabled_at": NOW},
                {**off, "endpoint": "c", "disabled_at": NOW},
                {**off, "endpoint": "d", "disabled_at": None},
            ],
        )
        found = sorted(count_untold(connection), key=lambda one: one.endpoint)
    b = Untold("acme", "b", 1, NOW + 9, NOW, "gone")
    assert [Untold("acme", "a", 2, NOW + 3), b, Untold("acme", "c", 0, None, NOW, "gone")] == found


def test_the_service(config: Config) -> None:
    """
    A long queue is counted in steps with pauses between them, and told as one.
    """
    world = World(config)
    service = world.start()
    service.oversight.page = 2
    assert IOversight.providedBy(service.oversight)
    for number in range(1, 6):
        result_of(world.accept(number))
    world.settle(1, OK)
    counted = service.oversight.count_waiting()
    assert not counted.called
    for _ in range(5):
        world.clock.advance(PAUSE)
    (waiting,) = result_of(counted)
    assert Waiting("acme", "outgoing", "queued", 4, waiting.oldest) == waiting
    world.stop()


def test_troubles(config: Config) -> None:
    """
    There is none; then the disk is full, and an outcome cannot be written; then none again.
    """
    world = World(config)
    service = world.start()
    oversight = service.oversight
    assert [] == oversight.find_troubles()
    result_of(world.accept(1))
    service._free = lambda: 0
    found = [oversight.find_troubles()]
    service._free = lambda: 1 << 40

    def refuse(*_: object) -> None:
        raise StoreFull("no room")

    settler, service._recorder._settler = service._recorder._settler, SimpleNamespace(write=refuse)
    settled = service.settle(name(1), {0: Attempt(world.wall(), world.wall(), OK)})
    found.append(oversight.find_troubles())
    service._recorder._settler = settler
    world.run(60)
    result_of(settled)
    found.append(oversight.find_troubles())
    assert ["less than the reserve is free on the disk"] == found[0]
    assert ["outcomes cannot be recorded, so nothing is sent"] == found[1]
    assert [] == found[2]
    world.stop()
