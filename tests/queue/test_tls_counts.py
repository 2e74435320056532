"""
Counts for TLS reports, on both databases: they last, a day ends once, and what is old goes.
"""

from __future__ import annotations

from sqlalchemy import func, select
from zope.interface.verify import verifyObject

from lmrelay.config.words import Kind
from lmrelay.errors import StoreError
from lmrelay.interfaces import ITlsCounts, Submission
from lmrelay.mail.address import parse_address
from lmrelay.mail.envelope import Envelope, Recipient
from lmrelay.mail.tlsrpt import TlsCount, day_of
from lmrelay.queue import tls_counts
from lmrelay.queue.schema import tls_count
from tests.queue.filling import NOW, writing
from tests.queue.world import World, failure_of, name, result_of

DAY = 86_400
TODAY, TOMORROW = day_of(NOW), day_of(NOW + DAY)
POLICY, FAILURE = '{"policy-type":"no-policy-found"}', '{"result-type":"starttls-not-supported"}'
START = ("", "")


def count(world: World, domain: str, result: str = "", sessions: int = 1) -> None:
    for _ in range(sessions):
        world.queue.tls_counts.count(domain, POLICY, result)


def read(world: World, domain: str = "b.example", day: str = TODAY) -> list[tuple[str, int]]:
    return [(one.result, one.sessions) for one in result_of(world.queue.tls_counts.read(day, domain))]


def due(world: World, before: str = TOMORROW, after: tuple[str, str] = START) -> list[tuple[str, str]]:
    return list(result_of(world.queue.tls_counts.find_due(before, after)))


def close(world: World, number: int = 0, domain: str = "b.example", day: str = TODAY) -> bool:
    """
    With a report of that number; 0: with none.
    """
    if not number:
        return result_of(world.queue.tls_counts.close(day, domain))
    recipients = (Recipient(parse_address("tls@b.example")),)
    submission = Submission(
        "", "", Kind.BROADCAST, Envelope(None, recipients), b"Subject: Report\r\n", world.wall(), name(number)
    )
    return result_of(world.queue.tls_counts.close(day, domain, submission, b"\r\nreport\r\n"))


def rows(world: World) -> int:
    with writing(world.config) as connection:
        return connection.execute(select(func.count()).select_from(tls_count)).scalar_one()


def test_counted(world: World) -> None:
    """
    Sessions add up by day, domain, policy and result, those of the most first; they reach the store within seconds.
    """
    verifyObject(ITlsCounts, world.queue.tls_counts)
    count(world, "b.example", FAILURE, 2)
    count(world, "b.example", "", 3)
    count(world, "c.example")
    assert [] == read(world)
    world.run(10)
    assert [("", 3), (FAILURE, 2)] == read(world)
    assert [TlsCount(POLICY, "", 1)] == result_of(world.queue.tls_counts.read(TODAY, "c.example"))
    count(world, "b.example", FAILURE, 4)
    world.run(10)
    assert [(FAILURE, 6), ("", 3)] == read(world)


def test_restart(world: World) -> None:
    """
    What was counted is there after a stop; a crash takes the last seconds alone.
    """
    count(world, "b.example")
    world.stop()
    world.start()
    assert [("", 1)] == read(world)
    count(world, "b.example")
    world.crash()
    world.start()
    assert [("", 1)] == read(world)


def test_days(world: World) -> None:
    """
    Midnight (UTC) parts them; due is what is before a day, in order, and a few at a time.
    """
    count(world, "c.example")
    count(world, "b.example")
    world.skew = DAY
    count(world, "b.example")
    world.run(10)
    assert [] == due(world, TODAY)
    assert [(TODAY, "b.example"), (TODAY, "c.example")] == due(world)
    assert [(TODAY, "c.example"), (TOMORROW, "b.example")] == due(world, day_of(NOW + 2 * DAY), (TODAY, "b.example"))
    for number in range(50):
        count(world, f"d{number}.example")
    world.run(10)
    found, after = [], START
    while some := due(world, day_of(NOW + 2 * DAY), after):
        assert len(some) <= tls_counts.DUE
        found += some
        after = some[-1]
    assert 53 == len(set(found)) == len(found)


def test_closed_once(world: World) -> None:
    """
    Whoever ends a domain's day first has the report sent; what is counted late brings no second one.
    """
    count(world, "b.example")
    count(world, "c.example")
    world.run(10)
    assert [True, False, False] == [close(world, number) for number in (1, 2, 0)]
    assert [(name(1), "tls@b.example")] == [
        (one.message_id, str(one.recipients[0].recipient.address)) for one in taken(world)
    ]
    assert taken(world)[0].notification
    assert b"Subject: Report\r\n\r\nreport\r\n" == world.read(name(1))
    assert [(TODAY, "c.example")] == due(world)
    assert [] == [one for one in read(world) if one[1]]
    count(world, "b.example")
    world.run(10)
    assert [(TODAY, "c.example")] == due(world)
    assert not close(world, 3)
    assert 1 == len(taken(world))


def taken(world: World) -> list[object]:
    world.run(6)
    return world.dispatch.taken


def test_closed_without_report(world: World) -> None:
    """
    A domain that wants none is not asked again.
    """
    count(world, "b.example")
    world.run(10)
    assert close(world)
    assert [] == due(world)
    assert 0 == len(taken(world))


def test_two_at_once(world: World) -> None:
    """
    Of two in one commit one has it.
    """
    count(world, "b.example")
    world.run(10)
    items = [tls_counts.Closing(TODAY, "b.example", None, b"")] * 2
    with writing(world.config) as connection:
        assert [True, False] == tls_counts.close_days(connection, items)


def test_forgotten(world: World) -> None:
    """
    What nobody could report for days goes with the upkeep, and so do the marks of what was.
    """
    count(world, "b.example")
    count(world, "c.example")
    world.run(10)
    close(world, 0)
    for days, left in ((3, 2), (4, 0)):
        # A clock that leaps while the relay runs is not believed at once.
        world.stop()
        world.skew = days * DAY
        world.start()
        world.run(61)
        assert left == rows(world)


def test_bounded(world: World) -> None:
    """
    What is more than can be kept is not counted, and what is known still is; a report has the most frequent.
    """
    for number in range(tls_counts.MAX_COUNTS + 10):
        count(world, "b.example", f'{{"n":{number}}}')
    count(world, "b.example", '{"n":7}', 5)
    world.run(10)
    assert tls_counts.MAX_COUNTS == rows(world)
    told = read(world)
    assert (tls_counts.MAX_READ, ('{"n":7}', 6)) == (len(told), told[0])


def test_store_that_is_out_of_order(world: World) -> None:
    """
    Counts wait for it; those who ask hear of it.
    """
    count(world, "b.example", sessions=2)
    rename(world, "tls_count", "away")
    world.run(10)
    count(world, "b.example")
    asked = (
        world.queue.tls_counts.find_due(TOMORROW, START),
        world.queue.tls_counts.read(TODAY, "b.example"),
        world.queue.tls_counts.close(TODAY, "b.example"),
    )
    for one in asked:
        failure_of(one, StoreError)
    rename(world, "away", "tls_count")
    world.run(10)
    assert [("", 3)] == read(world)


def rename(world: World, old: str, new: str) -> None:
    with writing(world.config) as connection:
        connection.exec_driver_sql(f"ALTER TABLE {old} RENAME TO {new}")
