"""
What the operator sees of the queue, on both databases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from attrs import evolve
from sqlalchemy import insert, text

from lmrelay.config.values import Config, Queue, Server
from lmrelay.errors import StoreError
from lmrelay.queue.leases import Lease
from lmrelay.queue.operations import open_desk
from lmrelay.queue.orders import Selector, Verb
from lmrelay.queue.schema import DEFERRED, DELETED, DELIVERED, FAILED, HELD, OPEN, QUEUED, attempt
from lmrelay.queue.store import find_url, migrate
from tests.queue.conftest import make_config
from tests.queue.filling import NOW, alter, fill, make_rows, rows, writing


def wall() -> float:
    return NOW


def found(config: Config, selector: Selector, limit: int | None = None) -> list[str]:
    """
    The recipients that a selector means.
    """
    with open_desk(config, wall) as desk:
        return [one["recipient"] for one in desk.recipients(selector, limit)]


@pytest.fixture
def ids(config: Config) -> list[str]:
    """
    Some mail: three messages of ten, five and one minutes ago, one of them to three recipients.
    """
    ids = fill(
        config,
        make_rows(["a@a.example"], at=NOW - 600, tags=["x", 'say "hi", x', "100%"]),
        make_rows(["B@b.example", "c@c.example", "d@d.example"], at=NOW - 300, route="news", tags=["xy"]),
        make_rows(["e@e.example"], at=NOW - 60, project="other", tags=["X", "a\\b"]),
    )
    alter(config, (ids[1], 1), state=HELD, due=None)
    alter(config, (ids[1], 2), state=DELIVERED, due=None, ended_at=NOW - 100)
    return ids


def test_listing(config: Config, ids: list[str]) -> None:
    """
    Open recipients with all that is said of them, the oldest message first.
    """
    with open_desk(config, wall) as desk:
        records = desk.recipients(Selector(), None)
    assert ["a@a.example", "B@b.example", "c@c.example", "e@e.example"] == [one["recipient"] for one in records]
    assert {
        "message": ids[1],
        "number": 1,
        "project": "acme",
        "route": "news",
        "kind": "transactional",
        "tags": ["xy"],
        "metadata": {},
        "subject": "x",
        "size": 16,
        "received": NOW - 300,
        "recipient": "c@c.example",
        "domain": "c.example",
        "state": "held",
        "attempts": 0,
        "next_attempt": NOW - 300,
        "last": "",
    } == records[2]


@pytest.mark.parametrize("page", [1, 2, 5])
def test_pages(config: Config, ids: list[str], page: int) -> None:
    """
    However it is cut into pages, everyone is listed once, those of one message too.
    """
    everything = Selector(states=(*OPEN, DELIVERED))
    with open_desk(config, wall) as desk:
        records = list(desk.stream(everything, page))
    assert [(ids[0], 0), (ids[1], 0), (ids[1], 1), (ids[1], 2), (ids[2], 0)] == [
        (one["message"], one["number"]) for one in records
    ]


@pytest.mark.parametrize("limit", [1, 4])
def test_limit(config: Config, ids: list[str], limit: int) -> None:
    """
    No more than was asked for.
    """
    assert limit == len(found(config, Selector(), limit))


A, B, C, D, E = "a@a.example", "B@b.example", "c@c.example", "d@d.example", "e@e.example"


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        (Selector(projects=("other",)), [E]),
        (Selector(projects=("other", "acme"), routes=("outgoing",)), [A, E]),
        (Selector(routes=("news",)), [B, C]),
        (Selector(domains=("c.example", "a.example")), [A, C]),
        (Selector(recipients=("b@B.example",)), [B]),
        (Selector(recipients=("_@a.example",)), []),
        (Selector(tags=("x",)), [A]),
        (Selector(tags=("X",)), [E]),
        (Selector(tags=("xy", "100%")), [A, B, C]),
        (Selector(tags=("%",)), []),
        (Selector(tags=("hi",)), []),
        (Selector(tags=('say "hi", x',)), [A]),
        (Selector(tags=("a\\b",)), [E]),
        (Selector(tags=("",)), []),
        (Selector(states=(HELD,)), [C]),
        (Selector(states=(HELD, DELIVERED)), [C, D]),
        (Selector(states=(FAILED,)), []),
        (Selector(older_than=299.0), [A, B, C]),
        (Selector(younger_than=301.0), [B, C, E]),
        (Selector(older_than=200.0, younger_than=400.0, states=(QUEUED,)), [B]),
        (Selector(messages=("",)), []),
        (Selector(messages=("%",)), []),
        (Selector(messages=("_" * 26,)), []),
        (Selector(messages=("0" * 27,)), []),
        (Selector(messages=("0",)), [A, B, C, E]),
        (Selector(messages=("0", "01")), [A, B, C, E]),
        (Selector(messages=("zz", "")), []),
    ],
    ids=repr,
)
def test_selectors(config: Config, ids: list[str], selector: Selector, expected: list[str]) -> None:
    """
    A selector means what it says: exactly, with no pattern in it, and nothing where it says nothing. Counts agree.
    """
    assert expected == found(config, selector)
    with open_desk(config, wall) as desk:
        assert len(expected) == sum(one["recipients"] for one in desk.count(selector))
        assert len(set(expected) - {C, D}) == desk.change(Verb.HOLD, selector, True).changed


@pytest.mark.parametrize("length", [12, 26])
def test_id_prefix(config: Config, ids: list[str], length: int) -> None:
    """
    The beginning of an id, in either case, and both of two.
    """
    first, _, last = (id_[:length] for id_ in ids)
    assert [A] == found(config, Selector(messages=(first.upper(),)))
    assert [A, E] == found(config, Selector(messages=(last, first)))
    with open_desk(config, wall) as desk:
        assert [[ids[0]], [], []] == [desk.find(first), desk.find(""), desk.find("0%")]
        assert ids == desk.find("0")


def test_count(config: Config, ids: list[str]) -> None:
    """
    Recipients, octets and the oldest for each project, domain and state.
    """
    fill(config, make_rows(["a2@a.example"], at=NOW - 10))
    with open_desk(config, wall) as desk:
        records = desk.count(Selector(projects=("acme",)))
    expected = {"project": "acme", "domain": "a.example", "state": QUEUED}
    assert {**expected, "recipients": 2, "octets": 32, "oldest": NOW - 600} == records[0]
    assert ["a.example", "b.example", "c.example"] == [one["domain"] for one in records]


def test_story(config: Config, ids: list[str]) -> None:
    """
    The message, its recipients, and each one's attempts in order with the remote's words and TLS.
    """
    made = {"message": ids[1], "recipient": 0, "outcome": "delayed", "text": "later", "tls_failure": ""}
    tls = '{"version":"TLSv1.3","cipher":"X","verified":false,"reason":"self-signed","policy":"opportunistic"}'
    with writing(config) as connection:
        for number in (2, 1):
            times = {"started_at": NOW - 10 / number, "ended_at": NOW - 5 / number}
            connection.execute(
                insert(attempt),
                [{**made, **times, "number": number, "tls": tls if number == 2 else None, "reply": "450 later"}],
            )
    with open_desk(config, wall) as desk:
        story = desk.story(ids[1])
        assert b"Subject: x\r\n" == desk.head(ids[1])
        assert b"" == desk.head("0")
        with pytest.raises(StoreError, match="no message '0' is known"):
            desk.story("0")
    assert ("s@acme.example", "news", ["xy"], NOW - 300) == tuple(
        story[name] for name in ("reverse_path", "route", "tags", "received")
    )
    assert [(B, QUEUED, None), (C, HELD, None), (D, DELIVERED, NOW - 100)] == [
        (one["address"], one["state"], one["ended"]) for one in story["recipients"]
    ]
    first, second = story["recipients"][0]["attempts"]
    assert (1, NOW - 10, 5.0, "450 later", None) == tuple(
        first[name] for name in ("number", "started", "seconds", "reply", "tls")
    )
    assert (2, "TLSv1.3", False) == (second["number"], second["tls"]["version"], second["tls"]["verified"])


def test_in_flight_is_with_the_living(config: Config, ids: list[str], tmp_path: Path) -> None:
    """
    What a worker owns is in flight while it lives, and what a dead one left behind is not.
    """
    leases = [Lease(name * 26, tmp_path, lambda: NOW) for name in "vw"]
    for lease in leases:
        lease.hold()
        with writing(config) as connection:
            lease.enter(connection, [None])
    for id_, lease in zip((ids[0], ids[2]), leases, strict=True):
        alter(config, (id_, 0), owner=lease.worker, due=None)
    leases[0].drop()
    with open_desk(config, wall) as desk:
        stories = [desk.story(id_)["recipients"][0]["in_flight"] for id_ in ids]
    leases[1].end()
    assert [False, False, True] == stories


CHANGES: list[tuple[Verb, Selector, list[tuple[str, float | None]]]] = [
    (Verb.RETRY, Selector(), [(DEFERRED, NOW), (QUEUED, NOW), (HELD, None), (DELIVERED, None), (QUEUED, NOW)]),
    (
        Verb.HOLD,
        Selector(routes=("news",)),
        [(DEFERRED, NOW + 60), (HELD, None), (HELD, None), (DELIVERED, None), (QUEUED, NOW - 60)],
    ),
    (
        Verb.RELEASE,
        Selector(),
        [(DEFERRED, NOW + 60), (QUEUED, NOW - 300), (QUEUED, NOW), (DELIVERED, None), (QUEUED, NOW - 60)],
    ),
    (
        Verb.DELETE,
        Selector(domains=("a.example", "b.example", "d.example"), states=(*OPEN, DELIVERED)),
        [(DELETED, None), (DELETED, None), (HELD, None), (DELIVERED, None), (QUEUED, NOW - 60)],
    ),
]


@pytest.mark.parametrize(("verb", "selector", "expected"), CHANGES, ids=lambda value: getattr(value, "value", None))
def test_changes_without_a_daemon(
    config: Config, ids: list[str], verb: Verb, selector: Selector, expected: Sequence[tuple[str, float | None]]
) -> None:
    """
    With no daemon the change is made at once, to what it applies to and to nothing else; a dry run makes none.
    """
    alter(config, (ids[0], 0), state=DEFERRED, due=NOW + 60, next_attempt=NOW + 60)
    before = rows(config)
    with open_desk(config, wall) as desk:
        foreseen = desk.change(verb, selector, True)
        assert before == rows(config)
        change = desk.change(verb, selector, False)
    assert expected == [(row.state, row.due) for row in rows(config)]
    different = sum(one != other for one, other in zip(before, rows(config), strict=True))
    assert (different, different) == (foreseen.changed, change.changed)
    assert (0, False, ()) == (change.in_flight, change.by_daemon, change.late)


def test_delete_frees_the_body(config: Config, ids: list[str]) -> None:
    """
    A body goes with the last open recipient, not before; when it was deleted is kept.
    """

    def bodies() -> int:
        with writing(config) as connection:
            count: int = connection.execute(text("SELECT count(*) FROM chunk")).scalar_one()
            return count

    with open_desk(config, wall) as desk:
        desk.change(Verb.DELETE, Selector(recipients=(B,)), False)
        assert 3 == bodies()
        desk.change(Verb.DELETE, Selector(recipients=(C,)), False)
        assert 2 == bodies()
        assert [NOW, NOW, NOW - 100] == [one["ended"] for one in desk.story(ids[1])["recipients"]]


def test_what_the_dead_owned_is_changed(config: Config, ids: list[str]) -> None:
    """
    The leases of a daemon that was killed keep nothing from the operator.
    """
    alter(config, (ids[0], 0), owner="v" * 26, due=None)
    with open_desk(config, wall) as desk:
        assert 1 == desk.change(Verb.HOLD, Selector(messages=(ids[0],)), False).changed
    assert (HELD, None) == (rows(config)[0].state, rows(config)[0].owner)


def _no_database(config: Config) -> Config:
    return evolve(config, server=Server("relay.example", config.server.state_dir / "none"), queue=Queue())


def _no_server(config: Config) -> Config:
    return evolve(config, queue=Queue("postgresql://nobody@127.0.0.1:1/none"))


def _make_copy(config: Config, spoil: str) -> Config:
    copy = make_config(config.server.state_dir)
    migrate(find_url(copy))
    with writing(copy) as connection:
        connection.execute(text(spoil))
    return copy


def _newer(config: Config) -> Config:
    return _make_copy(config, "UPDATE alembic_version SET version_num = '9999'")


def _older(config: Config) -> Config:
    return _make_copy(config, "DELETE FROM alembic_version")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [(_no_database, "there is no queue yet"), (_no_server, "127.0.0.1"), (_newer, "newer"), (_older, "older")],
)
def test_no_usable_store(config: Config, spoil: Callable[[Config], Config], words: str) -> None:
    """
    A store that is missing, out of reach or of another version is told in one line, and none is made.
    """
    spoilt = spoil(config)
    with pytest.raises(StoreError, match=words) as caught, open_desk(spoilt, wall):
        pass
    assert "\n" not in str(caught.value)
    assert not (config.server.state_dir / "none").exists()
