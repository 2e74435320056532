"""
Any message that is kept is found, on both databases.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from attrs import evolve

from lmrelay.config.values import Config
from lmrelay.errors import StoreError
from lmrelay.ids import first_id, make_id, read_time
from lmrelay.queue.operations import open_desk
from lmrelay.queue.orders import Listing, Search
from lmrelay.queue.schema import DEFERRED, DELIVERED, FAILED, HELD
from lmrelay.queue.search import WINDOW, find_messages, find_window
from tests.queue.filling import NOW, alter, fill, make_rows, writing


def wall() -> float:
    return NOW


def search(config: Config, limit: int = 100, **fields: Any) -> Listing:
    with open_desk(config, wall) as desk:
        return desk.messages(Search(**fields), limit, 10.0)


@pytest.fixture
def ids(config: Config) -> list[str]:
    """
    Four messages of an hour, ten, five and one minutes ago, in several states.
    """
    first, second, third, fourth = (
        make_rows(["a@a.example"], at=NOW - 3600, tags=["x", "100%"]),
        make_rows(["B@b.example", "c@c.example", "d@c.example"], at=NOW - 600, route="news", tags=["xy"]),
        make_rows(["a@a.example"], at=NOW - 300, project="other"),
        make_rows(["e@xn--mller-kva.example"], at=NOW - 60),
    )
    second.message.update(subject="Order 100% CONFIRMED", sender="Ann <ann@news.example>", reverse_path=None)
    third.message.update(message_id="<7.x@acme.example>", subject="Über ÄPFEL")
    fourth.message.update(sender="Örtlich@shop.example", redact=True)
    ids = fill(config, first, second, third, fourth)
    alter(config, (ids[0], 0), state=DELIVERED, due=None, ended_at=NOW - 3500)
    alter(config, (ids[1], 0), state=FAILED, due=None, ended_at=NOW - 500)
    alter(config, (ids[1], 1), state=DEFERRED)
    alter(config, (ids[1], 2), state=DELIVERED, due=None, ended_at=NOW - 500)
    alter(config, (ids[3], 0), state=HELD, due=None)
    return ids


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, [3, 2, 1, 0]),
        ({"projects": ("other", "nobody")}, [2]),
        ({"routes": ("news",)}, [1]),
        ({"tags": ("x",)}, [0]),
        ({"tags": ("xy", "100%")}, [1, 0]),
        ({"tags": ("%",)}, []),
        ({"recipients": ("A@a.example",)}, [2, 0]),
        ({"recipients": ("b@b.example",)}, [1]),
        ({"recipients": ("@c.example",)}, [1]),
        ({"recipients": ("@müller.example",)}, [3]),
        ({"recipients": ("%@a.example",)}, []),
        ({"recipients": ("@a.example", "B@B.example")}, [2, 1, 0]),
        ({"recipients": ("E@Müller.example",)}, [3]),
        ({"recipients": ("e@xn--mller-kva.example", "nonsense")}, [3]),
        ({"recipients": ("a@a.example",), "projects": ("acme",)}, [0]),
        ({"recipients": ("a@a.example",), "tags": ("x",)}, [0]),
        ({"senders": ("S@acme.example",)}, [3, 2, 0]),
        ({"senders": ("ann@news.example",)}, [1]),
        ({"senders": ("@news.example",)}, [1]),
        ({"senders": ("@acme.example",)}, [3, 2, 0]),
        ({"subject": "100% conf"}, [1]),
        ({"subject": "_"}, []),
        ({"subject": "Über ÄPFEL"}, [2]),
        ({"subject": "BER ÄpfeL"}, [2]),
        ({"senders": ("@Shop.example",)}, [3]),
        ({"senders": ("@op.example",)}, []),
        ({"senders": ("ÖRTLICH@shop.example",)}, [3]),
        ({"recipients": ("@a.example", "@xn--mller-kva.example"), "redacted": False}, [2, 0]),
        ({"redacted": False}, [2, 1, 0]),
        ({"message_ids": ("7.x@acme.example",)}, [2]),
        ({"message_ids": ("<7.x@acme.example>",)}, [2]),
        ({"states": (FAILED,)}, [1]),
        ({"states": (DEFERRED, HELD)}, [3, 1]),
        ({"states": (DEFERRED, DELIVERED)}, [1, 0]),
        ({"states": (HELD,), "projects": ("other",)}, []),
        ({"since": NOW - 600}, [3, 2, 1]),
        ({"until": NOW - 300}, [1, 0]),
        ({"since": NOW - 600, "until": NOW - 60, "recipients": ("a@a.example",)}, [2]),
        ({"since": NOW}, []),
    ],
)  # fmt: skip
def test_selectors(config: Config, ids: list[str], fields: dict[str, Any], expected: list[int]) -> None:
    """
    Values of one selector are alternatives, selectors narrow down; a message of many recipients is found once.
    """
    found = search(config, **fields)
    assert [ids[number] for number in expected] == [one["message"] for one in found.records]
    assert (False, None) == (found.more, found.looked_back_to)


def test_record(config: Config, ids: list[str]) -> None:
    """
    What is said of a message, with how many of its recipients are in which state.
    """
    (one,) = search(config, routes=("news",)).records
    assert {
        "message": ids[1],
        "received": NOW - 600,
        "project": "acme",
        "route": "news",
        "kind": "transactional",
        "notification": False,
        "redact": False,
        "reverse_path": None,
        "sender": "Ann <ann@news.example>",
        "to": "",
        "subject": "Order 100% CONFIRMED",
        "message_id": "",
        "size": 16,
        "tags": ["xy"],
        "recipient": "B@b.example",
        "recipients": 3,
        "states": {DEFERRED: 1, DELIVERED: 1, FAILED: 1},
    } == one


def test_limit(config: Config, ids: list[str]) -> None:
    """
    No more than were asked for, and it is said whether there is more.
    """
    assert ([ids[3]], True) == _short(search(config, limit=1))
    assert (ids[::-1], False) == _short(search(config, limit=4))


def _short(found: Listing) -> tuple[list[str], bool]:
    return [one["message"] for one in found.records], found.more


@pytest.mark.parametrize("fields", [{"subject": "none"}, {"recipients": ("none@b.example",)}, {"states": (DEFERRED,)}])
def test_bound(config: Config, fields: dict[str, Any]) -> None:
    """
    A search that looked for as long as it may says how far back it came, and goes on from there.
    """
    moments = itertools.count(NOW)
    accepts = [make_rows(["a@a.example"], at=NOW - number) for number in range(5)]
    ids = fill(config, *accepts)
    if "states" in fields:
        for id_ in ids:
            alter(config, (id_, 0), state=DEFERRED)
    with open_desk(config, lambda: next(moments)) as desk:
        found = desk.messages(Search(**fields), 100, 3.0, rows=1)
        assert (True, NOW - 2 + 0.001) == (found.more, found.looked_back_to)
        later = desk.messages(Search(**fields, until=found.looked_back_to), 100, 10.0, rows=1)
    assert (False, None) == (later.more, later.looked_back_to)
    seen = {one["message"] for one in (*found.records, *later.records)}
    assert (set(ids) if "states" in fields else set()) == seen


@pytest.mark.parametrize("rows", [1, 2, 3, WINDOW])
def test_windows(config: Config, ids: list[str], rows: int) -> None:
    """
    However it is cut into windows, each message is found once, in order.
    """
    for fields in ({}, {"recipients": ("@a.example", "@b.example", "@c.example", "@xn--mller-kva.example")}):
        wanted, before, found, last = Search(**fields), "z" * 26, [], False  # type: ignore[arg-type]
        with writing(config) as connection:
            while not last:
                window = find_window(connection, wanted, before, rows)
                found += [one["message"] for one in find_messages(connection, wanted, window, 100)]
                before, last = window.first, window.is_last
        assert ids[::-1] == found


def test_notifications(config: Config) -> None:
    """
    A message from nobody to somebody is listed as any.
    """
    accept = make_rows(["a@a.example"])
    fill(config, evolve(accept, message={**accept.message, "notification": True, "reverse_path": None}))
    (one,) = search(config).records
    assert (True, None) == (one["notification"], one["reverse_path"])


def test_time_of_an_id() -> None:
    """
    An id tells when it was made, and the least of a moment is before all of it.
    """
    id_ = make_id(NOW + 0.123, lambda number: b"\xff" * number)
    assert NOW + 0.123 == read_time(id_)
    assert first_id(NOW + 0.123) <= id_ < first_id(NOW + 0.124)
    assert first_id(-5.0) == "0" * 26


@pytest.mark.parametrize("fields", [{"subject": "\udcff"}, {"recipients": ("\udcff@b.example",)}])
def test_no_text(config: Config, fields: dict[str, Any]) -> None:
    """
    What a shell hands over that is no text is a mistake that is told, not a fault.
    """
    with pytest.raises(StoreError, match="nothing in the store can be like that"):
        search(config, **fields)
