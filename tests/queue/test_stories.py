"""
The story of a message, as the store tells it, on both databases.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select, update

from lmrelay.config.values import Config
from lmrelay.interfaces import SiteState
from lmrelay.queue import stories
from lmrelay.queue.schema import (
    DEFERRED,
    DELIVERED,
    HELD,
    attempt,
    bounce,
    event,
    message,
    webhook_attempt,
    webhook_delivery,
    webhook_endpoint,
)
from lmrelay.queue.sites import Learnt, write_learnt
from tests.queue.filling import NOW, alter, fill, make_rows, writing


def story(config: Config, id_: str, *living: str) -> Mapping[str, Any]:
    with writing(config) as connection:
        return stories.tell(connection, id_, living)


def test_steps(config: Config) -> None:
    """
    What was done and said in an attempt, step by step; an attempt of an older version has none.
    """
    (id_,) = fill(config, make_rows(["a@a.example"]))
    made = {"message": id_, "recipient": 0, "started_at": NOW, "ended_at": NOW + 1, "outcome": "delayed"}
    with writing(config) as connection:
        for number, trace in ((1, None), (2, '[["mx",1500,"mx.a.example"],["kept",null,"7"],["content",20]]')):
            row = {**made, "number": number, "text": "", "tls_failure": "", "trace": trace}
            connection.execute(insert(attempt).values(**row))
    first, second = story(config, id_)["recipients"][0]["attempts"]
    assert [] == first["steps"]
    assert [
        {"step": "mx", "seconds": 0.0015, "text": "mx.a.example"},
        {"step": "kept", "seconds": None, "text": "7"},
        {"step": "content", "seconds": 0.00002, "text": ""},
    ] == second["steps"]


def test_in_part(config: Config) -> None:
    """
    A story that is to be short tells what was not delivered first, the last attempts, and what is left out.
    """
    (id_,) = fill(config, make_rows([f"{number}@a.example" for number in range(4)]))
    made = {"message": id_, "started_at": NOW, "ended_at": NOW, "outcome": "delayed", "text": "", "tls_failure": ""}
    of_event = {"type": "message.deferred", "at": NOW, "project": "acme", "route": "outgoing", "document": "{}"}
    with writing(config) as connection:
        for recipient in range(4):
            connection.execute(insert(event).values(id=str(recipient), message=id_, recipient=recipient, **of_event))
            for number in (1, 2, 3):
                connection.execute(insert(attempt).values(recipient=recipient, number=number, **made))
        told = connection.execute(
            select(event.c.sequence).where(event.c.message == id_, event.c.recipient == 1)
        ).scalar()
        connection.execute(
            insert(webhook_delivery).values(event=told, endpoint="shop", attempts=1, last="", project="acme")
        )
    for number in range(4):
        alter(config, (id_, number), attempts=3)
    alter(config, (id_, 0), state=DELIVERED, due=None, ended_at=NOW)
    with writing(config) as connection:
        found = stories.tell(connection, id_, (), stories.Bounds(recipients=2, attempts=2))
    assert 2 == found["left_out"]
    assert [(1, 3, [2, 3]), (2, 3, [2, 3])] == [
        (one["number"], one["made"], [each["number"] for each in one["attempts"]]) for one in found["recipients"]
    ]
    assert [(None, []), (1, ["shop"]), (2, [])] == [
        (one["recipient"], [each["endpoint"] for each in one["deliveries"]]) for one in found["events"]
    ]
    whole = story(config, id_)
    assert (0, [3, 3, 3, 3]) == (whole["left_out"], [len(one["attempts"]) for one in whole["recipients"]])


def test_software(config: Config) -> None:
    """
    The client's software, where its header tells of it.
    """
    heads = [b"Subject: x\r\n", b"X-Mailer: a\r\nUser-Agent:\r\n shop 1.2\r\n", b"no head\r\n", b"X-Mailer: \xff\r\n"]
    ids = fill(config, *(make_rows(["a@a.example"]) for _ in heads))
    with writing(config) as connection:
        for id_, head in zip(ids, heads, strict=True):
            connection.execute(update(message).where(message.c.id == id_).values(head=head))
    assert ["", "shop 1.2", "", "�"] == [story(config, id_)["software"] for id_ in ids]


def test_waits(config: Config) -> None:
    """
    One that waits is told with its site's back-off, and with those that are before it and under way.
    """
    rows = [make_rows(["a@a.example", "b@b.example"], at=NOW - 10 + number) for number in range(4)]
    ids = fill(config, *rows, make_rows(["a@a.example"], at=NOW - 60, project="other"))
    alter(config, (ids[0], 0), due=None, owner="w")
    alter(config, (ids[3], 1), state=DELIVERED, due=None, ended_at=NOW)
    lowered = SiteState("mx1.a.example,mx2.a.example;mx3.a.example", 2, NOW - 30, "421 slow down")
    with writing(config) as connection:
        domains = {"a.example": lowered.hosts, "b.example": "mx.b.example"}
        write_learnt(connection, [Learnt({lowered.hosts: lowered}, domains, NOW)])
    found = story(config, ids[3], "w")
    first, second = found["recipients"]
    assert 1 == found["workers"]
    assert {"ahead": 2, "in_flight": 1, "last": None} == first["lane"]
    assert {
        "site": "mx1.a.example",
        "hosts": lowered.hosts,
        "connections": 2,
        "lowered_at": NOW - 30,
        "lowered_for": "421 slow down",
    } == first["site"]
    assert (None, None) == (second["lane"], second["site"])
    assert {"ahead": 2, "in_flight": 0, "last": None} == story(config, ids[2])["recipients"][1]["lane"]
    other = story(config, ids[0], "w")["recipients"]
    assert (True, None) == (other[0]["in_flight"], other[0]["lane"])
    assert ("mx.b.example", None, "") == tuple(other[1]["site"][key] for key in ("site", "connections", "lowered_for"))


def test_held(config: Config) -> None:
    """
    Since when it is held, and by how much its time was extended.
    """
    (id_,) = fill(config, make_rows(["a@a.example", "b@a.example"]))
    alter(config, (id_, 0), state=HELD, held_at=NOW - 5, due=None, extended=60.0)
    alter(config, (id_, 1), state=DEFERRED, held_at=None)
    told = [(one["held"], one["extended"]) for one in story(config, id_)["recipients"]]
    assert [(NOW - 5, 60.0), (None, 0.0)] == told


def test_webhooks(config: Config) -> None:
    """
    Each event with the endpoints that are told of it, how that went, and what it waits for.
    """
    ids = fill(config, make_rows(["a@a.example"]), make_rows(["a@a.example"]))
    with writing(config) as connection:
        (mine,) = connection.execute(select(event.c.sequence).where(event.c.message == ids[0])).scalars()
        common = {"event": mine, "project": "acme"}
        for endpoint, state, due, owner, attempts in (
            ("shop", "delivered", None, None, 2),
            ("gone", "waiting", NOW + 60, None, 1),
            ("slow", "waiting", None, "w", 0),
        ):
            row = {**common, "endpoint": endpoint, "state": state, "due": due, "owner": owner, "attempts": attempts}
            connection.execute(insert(webhook_delivery).values(**row, last="500", ended_at=None))
        for number, status, text in ((1, None, "the connection was refused"), (2, 200, "")):
            made = {"event": mine, "endpoint": "shop", "number": number, "started_at": NOW, "ended_at": NOW + 0.5}
            connection.execute(insert(webhook_attempt).values(**made, status=status, text=text, body="ok"))
        off = {"project": "acme", "endpoint": "gone", "disabled_at": NOW - 5, "reason": "410"}
        connection.execute(insert(webhook_endpoint).values(**off))
        connection.execute(insert(webhook_endpoint).values(**{**off, "project": "other", "endpoint": "shop"}))
    (one,) = story(config, ids[0])["events"]
    assert (mine, "message.created", NOW, None) == tuple(one[key] for key in ("sequence", "event", "at", "recipient"))
    gone, shop, slow = one["deliveries"]
    assert {
        "endpoint": "gone",
        "state": "waiting",
        "next_attempt": NOW + 60,
        "in_flight": False,
        "ended": None,
        "attempts": 1,
        "last": "500",
        "disabled": {"since": NOW - 5, "reason": "410"},
        "trouble": None,
        "tries": [],
    } == gone
    assert (None, "delivered", 2) == (shop["disabled"], shop["state"], shop["attempts"])
    assert [(1, 0.5, None, "the connection was refused"), (2, 0.5, 200, "")] == [
        (each["number"], each["seconds"], each["status"], each["text"]) for each in shop["tries"]
    ]
    assert (True, None) == (slow["in_flight"], slow["next_attempt"])
    assert [] == story(config, ids[1])["events"][0]["deliveries"]


def keys_of(value: object, below: str = "") -> Iterator[str]:
    """
    All keys of a document, but for those that people chose.
    """
    if isinstance(value, list):
        for one in value:
            yield from keys_of(one, below)
    elif isinstance(value, dict) and below not in ("metadata", "client"):
        for key, inner in value.items():
            yield key
            yield from keys_of(inner, key)


def test_the_guide_names_every_key(config: Config) -> None:
    """
    What C{lmrelay explain --json} is made of stands in the guide's table, key by key.
    """
    (id_,) = fill(config, make_rows(["a@a.example"], at=NOW - 10))
    with writing(config) as connection:
        write_learnt(connection, [Learnt({}, {"a.example": "mx.a.example"}, NOW)])
        made = {"message": id_, "recipient": 0, "number": 1, "started_at": NOW, "ended_at": NOW, "outcome": "delayed"}
        tls = '{"version":"TLSv1.3","cipher":"x","verified":true,"reason":"","policy":"dane"}'
        row = {**made, "text": "", "tls_failure": "", "trace": '[["mx",1]]', "tls": tls}
        connection.execute(insert(attempt).values(**row))
        back = {"id": "b", "message": id_, "recipient": 0, "at": NOW, "kind": "bounce", "status": "", "text": ""}
        connection.execute(insert(bounce).values(**back, by=""))
        (mine,) = connection.execute(select(event.c.sequence).where(event.c.message == id_)).scalars()
        to = {"event": mine, "project": "acme", "endpoint": "shop", "attempts": 1, "last": "", "due": NOW}
        connection.execute(insert(webhook_delivery).values(**to))
        tried = {"event": mine, "endpoint": "shop", "number": 1, "started_at": NOW, "ended_at": NOW, "status": 500}
        connection.execute(insert(webhook_attempt).values(**tried, text="", body=""))
        off = {"project": "acme", "endpoint": "shop", "disabled_at": NOW, "reason": "410"}
        connection.execute(insert(webhook_endpoint).values(**off))
    guide = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    section = guide.partition("With `--json` it is one document.")[2].partition("\n## ")[0]
    told = set(re.findall(r"`([a-z0-9_]+)`", section))
    found = set(keys_of(story(config, id_, "w")))
    assert {"tls", "steps", "by", "tries", "lane", "site", "disabled"} <= found
    assert set() == found - told


def test_put_off(config: Config) -> None:
    """
    One that was never tried knows what became of others in its lane; never in the words of a route that keeps them.
    """
    rows = [make_rows(["a@a.example"], at=NOW - 10 + number) for number in range(2)]
    ids = fill(config, *rows, make_rows(["a@a.example"], project="other"))
    alter(config, (ids[0], 0), state=DEFERRED, due=NOW + 60, attempts=1, last="4.4.1 cannot connect")
    alter(config, (ids[1], 0), due=NOW + 30)
    told = [story(config, id_)["recipients"][0]["lane"]["last"] for id_ in ids[1:]]
    assert ["4.4.1 cannot connect", None] == told
    with writing(config) as connection:
        connection.execute(update(message).where(message.c.id == ids[0]).values(redact=True))
    assert None is story(config, ids[1])["recipients"][0]["lane"]["last"]


def test_behind_what_fails(config: Config) -> None:
    """
    What an endpoint was not told of yet says why it does not take what is before it; what was tried has its own words.
    """
    ids = fill(config, make_rows(["a@a.example"]), make_rows(["a@a.example"]))
    with writing(config) as connection:
        for id_, due, attempts in ((ids[0], NOW - 60, 0), (ids[1], NOW + 60, 1)):
            (mine,) = connection.execute(select(event.c.sequence).where(event.c.message == id_)).scalars()
            for endpoint, tried in (("shop", attempts), ("late", 0)):
                row = {"event": mine, "project": "acme", "endpoint": endpoint, "due": due, "attempts": tried}
                connection.execute(insert(webhook_delivery).values(**row, state="waiting", last="503" if tried else ""))
    told = [story(config, id_)["events"][0]["deliveries"] for id_ in ids]
    assert [[("late", None), ("shop", "503")], [("late", None), ("shop", None)]] == [
        [(one["endpoint"], one["trouble"]) for one in each] for each in told
    ]
