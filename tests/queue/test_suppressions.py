"""
Suppressions, on both databases: who is put on the list in the commit that tells why, and what that does to mail.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select, update
from twisted.logger import capturedLogs

from lmrelay.config.values import Config
from lmrelay.mail.outcome import Attempt, Failed, Fault, Outcome
from lmrelay.mail.parts import Part
from lmrelay.mail.reports import Kind, Report
from lmrelay.mail.suppression import Listed, Suppression, Why
from lmrelay.queue.outbox import write_untold
from lmrelay.queue.rows import event_row
from lmrelay.queue.schema import event, recipient, suppression
from lmrelay.queue.suppression_list import PAGE, open_list
from lmrelay.queue.suppressions import MANY, Suppressions, find_suppressed, read_suppression
from lmrelay.smtp.reply import reply
from tests.queue.filling import writing
from tests.queue.hooks import deliveries, hook, with_hooks
from tests.queue.world import LATER, NEVER, NOW, OK, World, name, result_of

DOMAIN = "bounce.acme.example"
GONE = Report(Kind.BOUNCE, "5.1.1", "no such user", "mx.b.example")
SPAM = Report(Kind.COMPLAINT, "", "abuse", "Loop/1.0")
POLICY = Failed("5.7.1", "refused", Fault.POLICY, reply(550, "5.7.1", "refused"))

_entropy = Random(3).randbytes


def one(address: str = "a@b.example", **more: Any) -> Suppression:
    return Suppression(**{"project": "acme", "address": address, "why": Why.MANUAL, "added_at": NOW, **more})


def suppressions() -> Suppressions:
    return Suppressions(_entropy, write_untold)


def add(config: Config, *items: Suppression, now: float = NOW) -> list[Suppression]:
    with writing(config) as connection:
        return suppressions().add(connection, items, now)


def listed(config: Config) -> list[Suppression]:
    with writing(config) as connection:
        rows = connection.execute(select(suppression).order_by(suppression.c.address, suppression.c.route))
        return [read_suppression(row) for row in rows]


def told(world: World) -> list[tuple[str, dict[str, Any]]]:
    """
    What is told of suppressions.
    """
    return [(one["event"], one["data"]) for one in world.told() if one["event"].startswith("suppression.")]


def test_hard_bounce(world: World) -> None:
    """
    A mailbox that is refused is suppressed for the project, in the commit of the outcome, with an event and its words.
    """
    result_of(world.accept(1, ["A@B.example"], route="news", tags=("t",)))
    world.settle(1, NEVER)
    expected = one(why=Why.HARD_BOUNCE, message=name(1), text="550 5.1.1 no such user", added_at=world.wall())
    assert [expected] == listed(world.config)
    ((type_, data),) = told(world)
    assert "suppression.added" == type_
    assert {
        "message_id": name(1),
        "subject": "Hi",
        "tag": "t",
        "tags": ["t"],
        "metadata": {},
        "recipient": "a@b.example",
        "reason": "hard_bounce",
        "scope": "project",
        "expires_at": None,
    } == data
    assert ["message.created", "message.sent", "message.hard_bounced"] == [type_ for type_, _ in world.events()]


@pytest.mark.parametrize("outcome", [OK, LATER, POLICY])
def test_other_outcomes(world: World, outcome: Outcome) -> None:
    """
    Nothing else puts anybody on the list.
    """
    result_of(world.accept(1))
    world.settle(1, outcome)
    assert [] == listed(world.config)


def test_own_notifications(world: World) -> None:
    """
    A notification of the relay's own that is refused suppresses nobody, and is sent to who is suppressed.
    """
    add(world.config, one("s@acme.example"))
    result_of(world.accept(1))
    world.settle(1, NEVER)
    world.run(10)
    (notice,) = [one for one in world.dispatch.taken if one.notification]
    world.settle(notice.message_id, NEVER)
    assert ["a@b.example", "s@acme.example"] == [one.address for one in listed(world.config)]


def test_several_in_one_commit(world: World) -> None:
    """
    Of several recipients those are suppressed that were refused, and one mailbox once.
    """
    result_of(world.accept(1, ["a@b.example", "c@b.example", "d@b.example"]))
    result_of(world.accept(2, ["C@b.example"]))
    attempts = {0: NEVER, 1: NEVER, 2: OK}
    made = {number: Attempt(NOW, NOW, outcome, "mx.b.example") for number, outcome in attempts.items()}
    result_of(world.queue.settle(name(1), made))
    world.settle(2, NEVER)
    assert ["a@b.example", "c@b.example"] == [one.address for one in listed(world.config)]
    assert 2 == len(told(world))


def test_accepted_not_sent(world: World) -> None:
    """
    A suppressed recipient is accepted and not sent to, which is told in the commit of the message; others get theirs.
    """
    add(world.config, one("A@b.example".lower(), why=Why.HARD_BOUNCE))
    result_of(world.accept(1, ["c@b.example", "A@b.example", "d@d.example"]))
    assert [(1, 0, "queued"), (1, 1, "suppressed"), (1, 2, "queued")] == world.states()
    assert [(name(1), 0), (name(1), 2)] == world.dispatch.handed()
    (created, (type_, data)) = world.events()
    assert ("message.created", "message.suppressed", "A@b.example") == (created[0], type_, data["recipient"])
    expected = {"reason": "hard_bounce", "scope": "project", "expires_at": None, "added_at": "2023-11-14T22:13:20.000Z"}
    assert expected == data["suppression"]
    world.settle(1, OK, (0, 2))
    assert 0 == world.count()["chunk"]
    assert [] == world.notices()


def test_room_is_given_back(world: World) -> None:
    """
    Who is not sent to takes nobody's room at delivery.
    """
    add(world.config, one(), one("c@d.example"))
    result_of(world.accept(1, ["a@b.example", "e@b.example", "c@d.example"]))
    assert {"b.example": 1, "d.example": 0} == {lane.domain: held for lane, held in world.dispatch.held.items()}
    assert 999 == world.dispatch.room


@pytest.mark.parametrize("size", [10, 600_000])
def test_body_goes_at_once(world: World, size: int) -> None:
    """
    Where nobody is sent to the body is not kept, however it came; message and recipients are remembered.
    """
    add(world.config, one(), one("c@b.example"))
    result_of(world.accept(1, ["a@b.example", "c@b.example"], body=b"\r\n" + bytes(size)))
    count = world.count()
    assert (1, 2, 0, 0, 5) == tuple(count[table] for table in ("message", "recipient", "chunk", "upload", "event"))
    assert [] == world.dispatch.taken
    world.run(90)
    assert [] == world.dispatch.taken


@pytest.mark.parametrize(
    ("listed_one", "suppressed"),
    [
        (one(), True),
        (one(route="news"), True),
        (one(route="outgoing"), False),
        (one(project="other"), False),
        (one("a@c.example"), False),
        (one(expires_at=NOW + 1), True),
        (one(expires_at=NOW), False),
        (one(expires_at=NOW - 1, route="news"), False),
    ],
)
def test_scope(world: World, listed_one: Suppression, suppressed: bool) -> None:
    """
    A suppression holds for its project or for one route of it, until it expires.
    """
    add(world.config, listed_one, now=NOW - 10)
    result_of(world.accept(1, route="news"))
    assert [(1, 0, "suppressed" if suppressed else "queued")] == world.states()


def test_whole_project_goes_before(world: World) -> None:
    """
    Of two that suppress a recipient that for the whole project is told of.
    """
    add(world.config, one(route="outgoing", why=Why.UNSUBSCRIBE), one(why=Why.SPAM_COMPLAINT))
    result_of(world.accept(1))
    assert "spam_complaint" == world.events()[1][1]["suppression"]["reason"]


def test_added_later(world: World) -> None:
    """
    What waits for its next attempt when its recipient is suppressed is not tried again; it ends, and so does its body.
    """
    result_of(world.accept(1))
    world.settle(1, LATER)
    add(world.config, one())
    world.run(90)
    assert [(name(1), 0)] == world.dispatch.handed()
    assert [(1, 0, "suppressed")] == world.states()
    assert "message.suppressed" == world.events()[-1][0]
    assert 0 == world.count()["chunk"]
    assert 1000 == world.dispatch.room + sum(world.dispatch.held.values())
    with writing(world.config) as connection:
        row = connection.execute(select(recipient)).one()
    assert (None, None, None) == (row.due, row.owner, row.next_attempt)
    assert world.wall() - 60 < row.ended_at <= world.wall()


def test_added_later_to_some(world: World) -> None:
    """
    The others of that message go on.
    """
    result_of(world.accept(1, ["a@b.example", "c@b.example"]))
    world.settle(1, LATER, (0, 1))
    add(world.config, one())
    world.run(90)
    assert [(name(1), 0), (name(1), 1), (name(1), 1)] == world.dispatch.handed()
    assert b"Subject: Hi\r\n\r\nhello\r\n" == world.read(name(1))


def test_removed(world: World) -> None:
    """
    Once it is removed mail goes again, which is told once.
    """
    add(world.config, one(route="news", text="asked for it"))
    with writing(world.config) as connection:
        keys = [one(route="news").key, one("z@b.example").key]
        assert [one(route="news", text="asked for it")] == suppressions().remove(connection, keys, NOW)
        assert [] == suppressions().remove(connection, keys, NOW)
    result_of(world.accept(1, route="news"))
    assert [(1, 0, "queued")] == world.states()
    data = {"recipient": "a@b.example", "reason": "manual", "scope": "route", "expires_at": None}
    assert [("suppression.added", data), ("suppression.removed", {**data, "cause": "removed"})] == told(world)


def test_expires(world: World) -> None:
    """
    One whose time is over is told of within a minute, and gone.
    """
    add(world.config, one(expires_at=NOW + 30), one("c@b.example", expires_at=NOW + 3600), one("d@b.example"))
    world.run(61)
    assert ["c@b.example", "d@b.example"] == [one.address for one in listed(world.config)]
    ((type_, data),) = told(world)[3:]
    assert ("suppression.removed", "a@b.example", "expired") == (type_, data["recipient"], data["cause"])


def test_many_expire(world: World) -> None:
    """
    However many end together, each is told of.
    """
    add(world.config, *(one(f"{number}@b.example", expires_at=NOW + 1) for number in range(1100)))
    world.run(65)
    assert [] == listed(world.config)
    assert 1100 == [type_ for type_, _ in told(world)].count("suppression.removed")


@pytest.mark.parametrize(
    ("first", "second", "stays"),
    [
        (None, None, True),
        (None, 10.0, True),
        (10.0, None, False),
        (10.0, 20.0, False),
        (20.0, 10.0, True),
        (10.0, 10.0, True),
        (-5.0, 10.0, False),
    ],
)
def test_already_there(config: Config, first: float | None, second: float | None, stays: bool) -> None:
    """
    Of two for one address the one that lasts longer stays, the first of equals; only news is an event.
    """
    older = one(why=Why.HARD_BOUNCE, expires_at=None if first is None else NOW + first)
    newer = one(why=Why.SPAM_COMPLAINT, expires_at=None if second is None else NOW + second)
    assert [older] == add(config, older, now=NOW - 10)
    assert ([] if stays else [newer]) == add(config, newer)
    assert [older if stays else newer] == listed(config)
    with writing(config) as connection:
        types = list(connection.execute(select(event.c.type).order_by(event.c.sequence)).scalars())
    ended = ["suppression.removed"] if first == -5.0 else []
    assert ["suppression.added", *ended, *([] if stays else ["suppression.added"])] == types


def test_reports(world: World) -> None:
    """
    A complaint and a bounce that come back suppress too, each once, with their event.
    """
    result_of(world.accept(1, ["a@b.example", "c@b.example"], return_path=DOMAIN))
    world.settle(1, OK, (0, 1))
    for number, report in ((0, SPAM), (1, GONE)):
        awaited = result_of(world.queue.returns.find(name(1), number))
        assert awaited is not None
        assert result_of(world.queue.returns.record(awaited, report))
    found = [(one.address, one.why, one.text) for one in listed(world.config)]
    assert [("a@b.example", Why.SPAM_COMPLAINT, "abuse"), ("c@b.example", Why.HARD_BOUNCE, "no such user")] == found
    expected = ["message.spam_complaint", "suppression.added", "message.hard_bounced", "suppression.added"]
    assert expected == [one["event"] for one in world.told()[-4:]]
    add_again = evolve(SPAM, by="Other/1.0")
    with writing(world.config) as connection:
        connection.execute(delete(suppression))
    awaited = result_of(world.queue.returns.find(name(1), 0))
    assert awaited is not None
    assert result_of(world.queue.returns.record(awaited, add_again))
    assert [] == listed(world.config)


def test_report_after_one_that_says_less(world: World) -> None:
    """
    A report that suppressed nobody for its words keeps none of those behind it from doing so.
    """
    result_of(world.accept(1, return_path=DOMAIN))
    world.settle(1, OK)
    awaited = result_of(world.queue.returns.find(name(1), 0))
    result_of(world.queue.returns.record(awaited, Report(Kind.BOUNCE, "5.2.1", "mailbox full", "mx.b.example")))
    assert [] == listed(world.config)
    result_of(world.queue.returns.record(awaited, GONE))
    assert [Why.HARD_BOUNCE] == [one.why for one in listed(world.config)]


def test_sandbox_report(world: World) -> None:
    """
    Whatever comes back for mail in the sandbox suppresses nobody.
    """
    result_of(world.accept(1, return_path=DOMAIN, sandbox=True))
    world.settle(1, OK)
    awaited = result_of(world.queue.returns.find(name(1), 0))
    assert awaited is not None
    assert result_of(world.queue.returns.record(awaited, SPAM))
    assert [] == listed(world.config)


def test_webhooks(config: Config) -> None:
    """
    Endpoints are told of suppressions and of what was not sent, as of all else.
    """
    world = World(with_hooks(config, hook(events=("suppression.*", "message.suppressed"))))
    world.start()
    result_of(world.accept(1))
    world.settle(1, NEVER)
    result_of(world.accept(2))
    expected = [("suppression.added", "shop", "waiting"), ("message.suppressed", "shop", "waiting")]
    assert expected == deliveries(world.config)
    world.stop()


def test_redacted(world: World) -> None:
    """
    Where addresses are to stay out of events they do, also when the message is long forgotten.
    """
    result_of(world.accept(1, redact=True))
    world.settle(1, NEVER)
    result_of(world.accept(2, redact=True))
    with writing(world.config) as connection:
        suppressions().remove(connection, [one().key], NOW)
    types = ["message.suppressed", "suppression.added", "suppression.removed"]
    found = {one["event"]: one["data"]["recipient"] for one in world.told() if one["event"] in types}
    assert dict.fromkeys(types) == found
    assert "a@b.example" not in str(world.told())


def test_words_that_no_database_stores(world: World) -> None:
    """
    A receiver's words with a NUL, or half a character, are remembered without.
    """
    result_of(world.accept(1))
    world.settle(1, Failed("5.1.1", "no", Fault.RECIPIENT, reply(550, "5.1.1", "no\0such \ud800user")))
    assert "\0" not in listed(world.config)[0].text
    assert [(1, 0, "failed")] == world.states()


def test_crash(world: World) -> None:
    """
    What was suppressed at acceptance stays so over a crash.
    """
    add(world.config, one())
    result_of(world.accept(1, ["a@b.example", "c@b.example"]))
    with writing(world.config) as connection:
        suppressions().remove(connection, [one().key], NOW)
    world.crash()
    world.start()
    world.run(30)
    assert [(name(1), 1)] == world.dispatch.handed()
    assert [(1, 0, "suppressed"), (1, 1, "queued")] == world.states()


def test_same_key_again(world: World) -> None:
    """
    A message that is sent again under its key is a duplicate, whoever is suppressed since.
    """
    more = {"key": "k", "fingerprint": "f" * 64}
    result_of(world.accept(1, **more))
    add(world.config, one())
    assert name(1) == result_of(world.accept(2, **more))
    assert [(1, 0, "queued")] == world.states()


def test_reason_of_a_later_version(world: World) -> None:
    """
    A reason that is not known suppresses all the same.
    """
    add(world.config, one())
    with writing(world.config) as connection:
        connection.execute(update(suppression).values(reason="of another kind"))
    result_of(world.accept(1))
    assert [(1, 0, "suppressed")] == world.states()


def test_nobody_is_suppressed(config: Config) -> None:
    """
    Nothing asked finds nothing, and nothing added is nothing.
    """
    with writing(config) as connection:
        assert {} == find_suppressed(connection, [], NOW)
        assert {} == find_suppressed(connection, [one().key], NOW)
    assert [] == add(config)


def test_many_at_once(config: Config) -> None:
    """
    Any number is added, found and removed by statements of bounded size.
    """
    items = [one(f"{number}@b.example", route="news" if number % 3 else "") for number in range(3 * MANY + 7)]
    assert sorted(items, key=lambda one: one.key) == add(config, *items, *items)
    with writing(config) as connection:
        asked = [("acme", "news", one.address) for one in items]
        assert len(items) == len(find_suppressed(connection, asked, NOW))
        assert len(items) == len(suppressions().remove(connection, [one.key for one in items], NOW))
    assert [] == listed(config)


_short = st.one_of(st.none(), st.integers(-3, 3).map(float))
_items = st.lists(
    st.tuples(st.sampled_from(["p", "q"]), st.sampled_from(["", "r", "s"]), st.sampled_from("abc"), _short), max_size=8
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    _items, st.lists(st.tuples(st.sampled_from(["p", "q", "x"]), st.sampled_from(["r", "s"]), st.sampled_from("abc")))
)
def test_found_as_listed(
    config: Config, items: Sequence[tuple[str, str, str, float | None]], asked: Sequence[tuple[str, str, str]]
) -> None:
    """
    What is found is what one would find by reading the whole list.
    """
    made = [
        one(address, project=project, route=route, expires_at=None if life is None else NOW + life)
        for project, route, address, life in items
    ]
    with writing(config) as connection:
        connection.execute(delete(suppression))
        suppressions().add(connection, made, NOW - 10)
        found = find_suppressed(connection, asked, NOW)
    # Of one key's in one call the last counts.
    last = {one.key: one for one in made}
    live = {key for key, one in last.items() if one.expires_at is None or one.expires_at > NOW}
    expected = {key for key in asked if key in live or (key[0], "", key[2]) in live}
    assert expected == set(found)


def test_played_hard_bounce(world: World) -> None:
    """
    A part that was played suppresses nobody, so that it can be played again.
    """
    result_of(world.accept(1, ["hardbounce@testing.relay.example"]))
    made = Attempt(NOW, NOW, NEVER, "testing.relay.example", part=Part.HARD_BOUNCE)
    result_of(world.queue.settle(name(1), {0: made}))
    assert [] == listed(world.config)
    assert "message.hard_bounced" == world.events()[-1][0]


def test_event_without_a_message(config: Config) -> None:
    """
    What is told of no message has nothing of one.
    """
    with writing(config) as connection:
        row = event_row(_entropy, "suppression.added", NOW, ("acme", ""), (None, None))
        write_untold(connection, [row])
    world = World(config)
    assert [{}] == [one["data"] for one in world.told()]


def test_log(world: World) -> None:
    """
    One line a fact, without an address where the route keeps it out of the log.
    """
    told = {"suppression added", "recipient suppressed", "suppression removed"}
    for redact in (False, True):
        with capturedLogs() as logged:
            result_of(world.accept(1 + 2 * redact, redact=redact))
            world.settle(1 + 2 * redact, NEVER)
            result_of(world.accept(2 + 2 * redact, redact=redact))
            with writing(world.config) as connection:
                suppressions().remove(connection, [one().key], NOW)
        lines = {line["log_format"]: line["recipient"] for line in logged if line["log_format"] in told}
        assert dict.fromkeys(told, "" if redact else "a@b.example") == lines
        assert told == {line["log_format"] for line in logged if line.get("reason") == "hard_bounce"}


def test_pages(config: Config) -> None:
    """
    A list of any length is read to its end, each once, whatever order the database has for letters.
    """
    names = [f"{mark}{number}" for number in range(PAGE // 4 + 10) for mark in ("a", "ä", "z-", "_")]
    items = [one(f"{name}@b.example", route=route) for name in names[: PAGE // 2] for route in ("", "news", "a-b")]
    add(config, *items)
    with open_list(config, lambda: NOW, lambda _: None) as opened:
        found = [one.key for one in opened.stream(Listed())]
        assert len(items) == len(found)
        assert {one.key for one in items} == set(found)
        assert len(items) // 3 == len(opened.remove(Listed(routes=("news",))))
        assert 0 == opened.add([one(f"{names[0]}@b.example")])
    assert len(items) * 2 // 3 == len(listed(config))


def test_two_at_once(config: Config) -> None:
    """
    Of two workers that suppress the same addresses at the same time one tells of it.
    """
    items = [one(f"{number}@b.example") for number in range(50)]
    with ThreadPoolExecutor(1) as threads:
        with writing(config) as connection:
            assert 50 == len(suppressions().add(connection, items, NOW))
            waiting = threads.submit(add, config, *reversed(items))
        assert [] == waiting.result(30)
    with writing(config) as connection:
        assert 50 == len(list(connection.execute(select(event.c.sequence))))


def test_two_remove_at_once(config: Config) -> None:
    """
    And of two that remove them one.
    """
    items = [one(f"{number}@b.example") for number in range(50)]
    add(config, *items)

    def remove() -> int:
        with writing(config) as connection:
            return len(suppressions().remove(connection, [one.key for one in reversed(items)], NOW))

    with ThreadPoolExecutor(1) as threads:
        with writing(config) as connection:
            assert 50 == len(suppressions().remove(connection, [one.key for one in items], NOW))
            waiting = threads.submit(remove)
        assert 0 == waiting.result(30)
