"""
What came back, on both databases: remembered once, told once, and shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from attrs import define, field
from sqlalchemy import func, select
from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from lmrelay.config.values import Config
from lmrelay.interfaces import Awaited, IReturns
from lmrelay.mail.address import Address
from lmrelay.mail.reports import Kind, Report
from lmrelay.queue.backlog import Backlog, Waiting
from lmrelay.queue.bounces import MOST, Back, Bounces, write_returns
from lmrelay.queue.operations import open_desk
from lmrelay.queue.schema import bounce
from lmrelay.queue.upkeep import forget_messages
from tests.queue.filling import writing
from tests.queue.world import NEVER, OK, World, name, result_of

DOMAIN = "bounce.acme.example"
GONE = Report(Kind.BOUNCE, "5.1.1", "550 5.1.1 no such user <a@b.example>", "mx.b.example")
FULL = Report(Kind.BOUNCE, "4.2.2", "mailbox full", "mx.b.example")
LATE = Report(Kind.DELAY, "4.4.1", "no answer", "mx.b.example")
SPAM = Report(Kind.COMPLAINT, "", "abuse", "Loop/1.0")
OTHER = Report(Kind.NONE, "", "an auto-reply: I am away")


@pytest.fixture
def world(config: Config) -> Iterator[World]:
    """
    A queue that has delivered a message with a return path to two recipients.
    """
    world = World(config)
    world.start()
    result_of(world.accept(1, ["a@b.example", "c@b.example"], return_path=DOMAIN, tags=("t",)))
    world.settle(1, OK, (0, 1))
    yield world
    world.stop()


def awaited(world: World, number: int = 0) -> Awaited:
    found = result_of(world.queue.returns.find(name(1), number))
    assert found is not None
    return found


def bring(world: World, report: Report, number: int = 0) -> bool:
    return result_of(world.queue.returns.record(awaited(world, number), report))


def told(world: World) -> list[tuple[str, dict[str, Any]]]:
    """
    Events since delivery.
    """
    return world.events()[5:]


def story(world: World) -> dict[str, Any]:
    with open_desk(world.config, world.wall) as desk:
        return desk.story(name(1))


def test_find(world: World) -> None:
    """
    A recipient is awaited where it is remembered and its message has a return path, no other.
    """
    returns = world.queue.returns
    verifyObject(IReturns, returns)
    expected = Awaited(name(1), 1, Address("c", "b.example"), DOMAIN, "acme", "outgoing")
    assert expected == awaited(world, 1)
    assert None is result_of(returns.find(name(1), 2))
    assert None is result_of(returns.find(name(2), 0))
    result_of(world.accept(3, ["a@b.example"]))
    assert None is result_of(returns.find(name(3), 0))


def test_bounce(world: World) -> None:
    """
    It is an event in the same commit, stands in the recipient's last words, and leaves its state as it is.
    """
    assert True is bring(world, GONE)
    ((type_, document),) = told(world)
    assert "message.hard_bounced" == type_
    assert ("a@b.example", ["t"], name(1), 1) == (
        document["recipient"],
        document["tags"],
        document["message_id"],
        document["attempt"],
    )
    assert {"status_code": None, "enhanced_status_code": "5.1.1", "content": GONE.text} == document["response"]
    said = {"kind": "bounce", "by": "mx.b.example", "reason": "unknown user", "fault": "recipient"}
    assert said == document["report"]
    first, second = story(world)["recipients"]
    assert ("delivered", f"came back (bounce): 5.1.1 {GONE.text}") == (first["state"], first["last"])
    expected = {"received": world.wall(), "kind": "bounce", "status": "5.1.1", "text": GONE.text, "by": GONE.by}
    assert [expected] == first["returned"]
    assert [] == second["returned"]


@pytest.mark.parametrize(
    ("report", "events"),
    [
        (FULL, ["message.soft_bounced"]),
        (LATE, []),
        (SPAM, ["message.spam_complaint"]),
        (OTHER, []),
    ],
)
def test_kinds(world: World, report: Report, events: list[str]) -> None:
    """
    Given up after a time is a soft bounce; a delay, and what says nothing, are shown but no events.
    """
    assert True is bring(world, report)
    assert events == [type_ for type_, _ in told(world)]
    (shown,) = story(world)["recipients"][0]["returned"]
    assert (report.kind.value, report.status, report.text) == (shown["kind"], shown["status"], shown["text"])


def test_same_again(world: World) -> None:
    """
    The same report twice is one row and one event; another of the same is a row.
    """
    assert [True, False] == [bring(world, GONE), bring(world, GONE)]
    assert True is bring(world, Report(Kind.BOUNCE, "5.1.1", "no such user, once more"))
    assert True is bring(world, SPAM)
    assert True is bring(world, GONE, 1)
    types = [(type_, document["recipient"]) for type_, document in told(world)]
    assert [
        ("message.hard_bounced", "a@b.example"),
        ("message.spam_complaint", "a@b.example"),
        ("message.hard_bounced", "c@b.example"),
    ] == types
    assert [3, 1] == [len(one["returned"]) for one in story(world)["recipients"]]


def test_same_in_one_commit(world: World) -> None:
    """
    So where both come at once.
    """
    back = Back(name(1), 0, GONE, world.wall())
    with writing(world.config) as connection:
        assert [True, False] == write_returns(connection, [back, back], world.random.randbytes)
    assert 1 == len(told(world))


def test_first_in_trouble_then_for_good(world: World) -> None:
    """
    That it was given up, and that it is refused for good, are two events.
    """
    bring(world, FULL)
    bring(world, GONE)
    assert ["message.soft_bounced", "message.hard_bounced"] == [type_ for type_, _ in told(world)]


def test_already_failed(world: World) -> None:
    """
    Of mail that delivery gave up the event was told before.
    """
    result_of(world.accept(2, ["a@b.example"], return_path=DOMAIN, sender=""))
    world.settle(2, NEVER)
    before = len(world.events())
    found = result_of(world.queue.returns.find(name(2), 0))
    assert found is not None
    assert True is result_of(world.queue.returns.record(found, GONE))
    assert before == len(world.events())


def test_bounded(world: World) -> None:
    """
    Whoever has a signed address cannot fill the disk with it.
    """
    news = [bring(world, Report(Kind.NONE, "", f"number {number}")) for number in range(MOST + 5)]
    assert [True] * MOST + [False] * 5 == news


def test_auto_replies_take_no_report_its_place(world: World) -> None:
    """
    A bounce and a complaint are recorded and told behind however many auto-replies, and once.
    """
    for number in range(MOST):
        bring(world, Report(Kind.NONE, "", f"number {number}"))
    more = [Report(Kind.BOUNCE, "5.1.1", f"no such user, said {number} times") for number in range(3)]
    news = [bring(world, report) for report in (GONE, SPAM, FULL, LATE, GONE, *more)]
    assert [True, True, True] + [False] * 5 == news
    expected = ["message.hard_bounced", "message.spam_complaint", "message.soft_bounced"]
    assert expected == [type_ for type_, _ in told(world)]


@pytest.mark.parametrize("redact", [True, False])
def test_redacted(world: World, redact: bool) -> None:
    """
    The event of a redacted message has no address, neither the recipient's nor one in the report.
    """
    result_of(world.accept(2, ["jane@b.example"], return_path=DOMAIN, redact=redact, subject="Your result"))
    found = result_of(world.queue.returns.find(name(2), 0))
    assert found is not None
    assert redact is found.redact
    result_of(world.queue.returns.record(found, Report(Kind.BOUNCE, "5.1.1", "jane is not <jane@b.example>", "j@b")))
    type_, document = world.events()[-1]
    text = json.dumps(document)
    assert "message.hard_bounced" == type_
    for secret in ("jane", "j@b", "Your result"):
        assert redact is (secret not in text)


def test_forgotten(world: World) -> None:
    """
    It goes with its message, and what comes later finds nobody.
    """
    found = awaited(world)
    bring(world, GONE)
    with writing(world.config) as connection:
        forget_messages(connection, [[name(1)]])
    assert False is result_of(world.queue.returns.record(found, SPAM))
    assert None is result_of(world.queue.returns.find(name(1), 0))
    with writing(world.config) as connection:
        assert 0 == connection.execute(select(func.count()).select_from(bounce)).scalar_one()


def test_words_that_no_database_stores(world: World) -> None:
    """
    NUL and halves of characters in a report harm nothing.
    """
    assert True is bring(world, Report(Kind.BOUNCE, "5.1.1", "no\0 \ud800 user"))
    assert 1 == len(told(world))


@define
class Busy:
    """
    A writer whose commit is still under way.
    """

    backlog: Backlog = field(factory=Backlog)

    def submit(self, write: Any, item: Any, *, urgent: bool = False) -> Deferred[Any]:
        one = Waiting(write, item, urgent)
        self.backlog.add(one)
        return one.result


def test_behind_the_outcome(world: World) -> None:
    """
    A report is written behind what waits already: the outcome of the very attempt that it is the answer to may.
    """
    writer = Busy()
    writer.submit(None, "the outcome")
    bounces = Bounces(writer, None, world.wall, None, None)  # type: ignore[arg-type]
    bounces.record(awaited(world), GONE)
    assert ["the outcome", Back(name(1), 0, GONE, world.wall())] == [one.item for one in writer.backlog.take()]
