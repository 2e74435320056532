"""
Limits of messages, on both databases: never one more than may pass, and the one that may does.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from attrs import evolve
from sqlalchemy import func, insert, select

from lmrelay.config.project import Project, Route
from lmrelay.config.values import DAY, HOUR, Config
from lmrelay.errors import Refused
from lmrelay.mail.outcome import Failed, Fault
from lmrelay.queue.quotas import Over, find_limits
from lmrelay.queue.schema import idempotency, usage
from lmrelay.queue.storing import Accept, write_messages
from lmrelay.queue.upkeep import STEP_EXPIRED, forget_expired
from lmrelay.smtp.replies import over_quota
from tests.queue.filling import NOW, make_rows, writing
from tests.queue.test_claims import Losing
from tests.queue.world import World, failure_of, name, result_of

PATIENCE = 30.0
"""
Seconds after which a thread is taken to hang.
"""


def limited(config: Config, route: Route | None = None, **limits: int) -> Config:
    """
    That configuration with a project acme of these limits.
    """
    routes = {"outgoing": Route("outgoing"), **({} if route is None else {route.slug: route})}
    return evolve(config, projects={"acme": Project("acme", routes=routes, **limits)})


def configure(world: World, route: Route | None = None, **limits: int) -> None:
    """
    Reload with these limits.
    """
    world.config = limited(world.config, route, **limits)
    world.queue._settings.config = world.config


def passes(world: World, number: int, **more: Any) -> bool:
    """
    Is a message accepted? One that is not leaves nothing behind.
    """
    before, room = world.count(), world.dispatch.room
    done = world.accept(number, **more)
    if isinstance(done.result, str):
        return bool(name(number) == result_of(done))
    assert 452 == failure_of(done, Refused).value.reply.code
    assert (before, room, 0) == (world.count(), world.dispatch.room, world.queue._acceptance._budget.used)
    return False


def refusal_of(world: World, number: int = 99, **more: Any) -> object:
    """
    The reply to a message that is over a limit.
    """
    return failure_of(world.accept(number, **more), Refused).value.reply


def checked(world: World, project: str = "acme") -> object:
    """
    What MAIL hears.
    """
    try:
        world.queue.check_quota(project)
    except Refused as refused:
        return refused.reply
    return None


def usages(config: Config) -> int:
    """
    The messages that are counted.
    """
    with writing(config) as connection:
        return connection.execute(select(func.count()).select_from(usage)).scalar_one()


def test_no_limit_counts_nothing(world: World) -> None:
    """
    Without a limit nothing is written that would have to be swept.
    """
    assert passes(world, 1)
    configure(world)
    assert passes(world, 2)
    assert 0 == usages(world.config)


@pytest.mark.parametrize(
    ("limit", "seconds", "period"), [("max_messages_per_hour", HOUR, "hour"), ("max_messages_per_day", DAY, "day")]
)
def test_window_slides(world: World, limit: str, seconds: float, period: str) -> None:
    """
    Three pass in any such period, wherever it begins; the reply tells when the next one will, and then it does.
    """
    configure(world, **{limit: 3})
    for number, at in enumerate((0.0, 600.0, 900.0), 1):
        world.skew = at
        assert passes(world, number)
    lifts_at = "2023-11-14T23:13:20Z" if period == "hour" else "2023-11-15T22:13:20Z"
    expected = over_quota(3, period, "project acme", lifts_at)
    assert expected == refusal_of(world)
    world.skew = seconds - 1
    assert expected == refusal_of(world)
    world.skew = seconds
    assert [True, False] == [passes(world, 4), passes(world, 5)]
    world.skew = seconds + 600
    assert [True, False] == [passes(world, 6), passes(world, 7)]


def test_never_more_in_any_hour(world: World) -> None:
    """
    However a client hammers, no hour of any beginning has more than the limit, and refusals count for nothing.
    """
    configure(world, max_messages_per_hour=5)
    passed = []
    for number in range(1, 125):
        world.skew += 61.0
        if passes(world, number):
            passed.append(world.skew)
    assert 5 < len(passed)
    assert [] == [at for at, later in zip(passed, passed[5:], strict=False) if later - at < HOUR]


def test_route(world: World) -> None:
    """
    A route has limits of its own within its project's, and says so.
    """
    configure(world, Route("newsletter", max_messages_per_hour=1), max_messages_per_hour=3)
    assert [True, False] == [passes(world, number, route="newsletter") for number in (1, 2)]
    expected = over_quota(1, "hour", "route newsletter of project acme", "2023-11-14T23:13:20Z")
    assert expected == refusal_of(world, route="newsletter")
    assert None is checked(world)
    assert [True, True, False] == [passes(world, number) for number in (3, 4, 5)]


def test_longest_is_told(world: World) -> None:
    """
    Of several limits that are reached the one that lifts last is named.
    """
    configure(world, Route("news", max_messages_per_day=1), max_messages_per_hour=1, max_messages_per_day=2)
    assert passes(world, 1, route="news")
    expected = over_quota(1, "day", "route news of project acme", "2023-11-15T22:13:20Z")
    assert expected == refusal_of(world, route="news")
    assert over_quota(1, "hour", "project acme", "2023-11-14T23:13:20Z") == refusal_of(world)


def test_restart_and_crash(world: World) -> None:
    """
    What was counted stays counted.
    """
    configure(world, max_messages_per_hour=2)
    assert passes(world, 1)
    world.crash()
    world.start()
    assert passes(world, 2)
    world.stop()
    world.start()
    assert not passes(world, 3)


def test_notifications_and_duplicates_do_not_count(world: World) -> None:
    """
    The relay's own messages, and what is sent again under its key, are free; the latter above the limit too.
    """
    configure(world, max_messages_per_hour=2)
    key = {"key": "k", "fingerprint": "a" * 64}
    assert name(1) == result_of(world.accept(1, **key))
    assert name(1) == result_of(world.accept(2, **key))
    world.settle(1, Failed("5.1.1", "no", Fault.RECIPIENT))
    assert 1 == len(world.notices())
    assert [True, False] == [passes(world, 3), passes(world, 4)]
    assert name(1) == result_of(world.accept(5, **key))


def test_refused_key_is_free(world: World) -> None:
    """
    A message that is refused for a limit leaves its key to be used.
    """
    configure(world, max_messages_per_hour=1)
    assert passes(world, 1)
    assert not passes(world, 2, key="k", fingerprint="a" * 64)
    with writing(world.config) as connection:
        assert 0 == connection.execute(select(func.count()).select_from(idempotency)).scalar_one()
    world.skew = HOUR
    assert passes(world, 3, key="k", fingerprint="b" * 64)


def test_check(world: World) -> None:
    """
    After a refusal MAIL hears the same until the limit lifts, or is another.
    """
    configure(world, max_messages_per_hour=1)
    assert passes(world, 1)
    assert None is checked(world)
    expected = refusal_of(world)
    assert [expected, None] == [checked(world), checked(world, "other")]
    world.skew = HOUR - 1
    assert expected == checked(world)
    world.skew = HOUR
    assert None is checked(world)
    assert passes(world, 2)


def test_check_leaves_duplicates_alone(world: World) -> None:
    """
    A project that has keys hears of its limit behind the content alone: what is sent again under one is a duplicate,
    limit or not. Keys of others, and those that have expired, change nothing.
    """
    configure(world, max_messages_per_day=2)
    key = {"key": "k", "fingerprint": "a" * 64}
    assert name(1) == result_of(world.accept(1, **key))
    assert [True, False] == [passes(world, 2), passes(world, 3)]
    assert None is checked(world)
    assert name(1) == result_of(world.accept(4, **key))
    world.skew = DAY
    assert name(5) == result_of(world.accept(5, project="other", **key))
    assert [True, True, False] == [passes(world, number) for number in (6, 7, 8)]
    assert None is not checked(world)


@pytest.mark.parametrize("limits", [{}, {"max_messages_per_hour": 2}, {"max_messages_per_day": 1}])
def test_check_under_other_limits(world: World, limits: dict[str, int]) -> None:
    """
    What was learnt under one configuration is forgotten under another, or without the project.
    """
    configure(world, max_messages_per_hour=1)
    assert [True, False] == [passes(world, 1), passes(world, 2)]
    configure(world, **limits)
    assert None is checked(world)
    world.queue._settings.config = evolve(world.config, projects={})
    assert None is checked(world)


def test_clock_set_back(world: World) -> None:
    """
    Setting the clock back neither lifts a limit nor locks a project out beyond its period.
    """
    configure(world, max_messages_per_hour=2)
    world.skew = 365 * DAY
    assert [True, True, False] == [passes(world, number) for number in (1, 2, 3)]
    world.skew = 0.0
    assert None is checked(world)
    assert not passes(world, 4)
    world.run(61)
    assert not passes(world, 5)
    world.skew = HOUR + 61
    assert [True, True, False] == [passes(world, number) for number in (6, 7, 8)]


def test_clock_is_ahead_for_a_while(world: World) -> None:
    """
    What was counted before the clock was set two days ahead counts when it is right again.
    """
    configure(world, max_messages_per_hour=2)
    assert [True, True, False] == [passes(world, number) for number in (1, 2, 3)]
    world.skew = 2 * DAY
    world.run(2 * 60)
    world.skew = 0.0
    world.run(2 * 60)
    assert not passes(world, 4)


def make(project: str = "acme", route: str = "outgoing", config: Config | None = None) -> Accept:
    """
    The rows of a message that counts.
    """
    rows = make_rows(["a@b.example"], project=project, route=route)
    return evolve(rows, limits=find_limits(config, project, route) if config else ())


def test_one_batch(config: Config) -> None:
    """
    Within a batch the counts add up in order, each project's for itself.
    """
    config = limited(config, Route("news", max_messages_per_hour=1), max_messages_per_hour=3)
    routes = ["news", "news", "outgoing", "outgoing", "outgoing"]
    with writing(config) as connection:
        verdicts = write_messages(
            connection, [*(make(route=route, config=config) for route in routes), make("other", config=config)], NOW
        )
    assert [None, "news", None, None, "", None] == [
        one.limit.party[1] if isinstance(one, Over) else one for one in verdicts
    ]


def test_many_workers(config: Config) -> None:
    """
    Four workers that each store ten at once get exactly fifteen through together.
    """
    config = limited(config, max_messages_per_day=15)
    with ThreadPoolExecutor(4) as threads:
        batches = [[make(config=config) for _ in range(5)] for _ in range(8)]
        running = [threads.submit(write_alone, config, batch) for batch in batches]
        assert 15 == sum(one.result(PATIENCE) for one in running)
    with writing(config) as connection:
        assert 15 == len(connection.exec_driver_sql("SELECT id FROM message").all())
        assert list(range(1, 16)) == sorted(connection.execute(select(usage.c.number)).scalars())


def write_alone(config: Config, batch: list[Accept]) -> int:
    """
    In a transaction of its own; how many passed.
    """
    with writing(config) as connection:
        return write_messages(connection, batch, NOW).count(None)


def test_sweep(config: Config) -> None:
    """
    Counts go when they have been of no use for a day, some thousand at a time.
    """
    rows = [{"project": "acme", "route": "", "number": n, "at": NOW + n} for n in range(STEP_EXPIRED + 10)]
    with writing(config) as connection:
        connection.execute(insert(usage), rows)
    with writing(config) as connection:
        assert [False] == forget_expired(connection, [NOW + DAY])
    with writing(config) as connection:
        until = NOW + STEP_EXPIRED + DAY + 65
        assert [[True], [False]] == [forget_expired(connection, [until]) for _ in range(2)]
    assert 5 == usages(config)


@pytest.mark.parametrize("others", [0, 1])
def test_a_commit_that_only_seemed_to_fail(world: World, others: int) -> None:
    """
    A message is not refused for the limit that it reached itself: stored by a commit whose answer was lost it is
    accepted, also where others shared that commit, so that it was tried again on its own. The next one is refused.
    """
    configure(world, max_messages_per_hour=1)
    writer = Losing(world.queue._writer, others, "_write")  # type: ignore[arg-type]
    world.queue._acceptance._writer = writer
    assert (name(1), 1) == (result_of(world.accept(1)), writer.lost)
    assert [(name(1), 0)] == world.dispatch.handed()
    assert not passes(world, 2)
    assert 1 == world.count()["message"]
    world.run(3700)
    assert passes(world, 3)
