"""
The statements that meet a long queue find their rows by an index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from attrs import evolve
from sqlalchemy import Connection

from lmrelay.config.values import Config, Server
from lmrelay.interfaces import Telling, Told, Want
from lmrelay.mail.reports import Kind, Report
from lmrelay.mail.suppression import Listed, Suppression, Why
from lmrelay.queue import bounces, endpoints, stories, tellings, upkeep
from lmrelay.queue.ahead import read_whole
from lmrelay.queue.changes import (
    Order,
    Slice,
    claim_orders,
    find_slice,
    find_undone,
    take_back,
    write_order,
    write_slices,
)
from lmrelay.queue.keys import Use, cap_keys, forget_keys
from lmrelay.queue.orders import Search, Selector, Verb
from lmrelay.queue.outbox import write_untold
from lmrelay.queue.oversight import count_page, count_untold
from lmrelay.queue.quotas import WHOLE, Limit, cap_counts, forget_counts
from lmrelay.queue.schema import HELD, recipient
from lmrelay.queue.search import end_of, find_messages, find_window
from lmrelay.queue.sites import find_suspended, find_suspensions, forget_sites, list_domains
from lmrelay.queue.statements import find_open, update_first, update_rows
from lmrelay.queue.store import find_url, make_engine, migrate
from lmrelay.queue.storing import write_messages
from lmrelay.queue.suppression_list import read_page
from lmrelay.queue.suppression_watch import News, find_leased, find_news, find_still_leased, note_seen
from lmrelay.queue.suppressions import Suppressions, find_having, find_suppressed
from tests.queue.filling import NOW, fill, make_rows

AFTER = ("0" * 26, 1)
SHOP = ("acme", "shop")
ORDER = Order("0" * 26, Verb.DELETE, Selector(), NOW, AFTER)
WORK = ("INDEX ix_recipient_open", "INDEX ix_command_id", "INDEX ix_webhook_delivery_project")
GIVEN = ("CONSTANT ROW", "CONSTANT ROWS")
SMALL = ("worker", "webhook_endpoint", "alembic_version", "given", "counted")
"""
Rows that a statement brings along, and tables that have a few rows however long the queue is.
"""


@contextmanager
def explained(connection: Connection) -> Iterator[list[str]]:
    """
    The plans of what is executed, a line a step.
    """
    plans: list[str] = []
    database: Any = connection.connection.dbapi_connection
    said: list[str] = []
    database.set_trace_callback(said.append)
    yield plans
    database.set_trace_callback(None)
    for statement in said:
        if not statement.startswith(("PRAGMA", "EXPLAIN")):
            plans.extend(step[3] for step in database.execute(f"EXPLAIN QUERY PLAN {statement}"))


CHECKED = evolve(
    make_rows(["a@b.example"]),
    use=Use(("acme", "k"), "0" * 26, "a" * 64),
    limits=(Limit(("acme", WHOLE), 1, 3600.0, "hour"), Limit(("acme", "outgoing"), 1, 3600.0, "hour")),
)

SELECTORS = [
    Selector(),
    Selector(states=(HELD,)),
    Selector(messages=("01", "02")),
    Selector(projects=("acme",), routes=("outgoing",), tags=("x",), domains=("b.example",)),
    Selector(recipients=("a@b.example",), older_than=60.0, younger_than=86400.0),
]

SEARCHES = [
    Search(),
    Search(projects=("acme",), routes=("outgoing",), tags=("x",), subject="x", message_ids=("x",), senders=("a@b",)),
    Search(recipients=("a@b.example", "@c.example"), since=NOW - 90, until=NOW),
    Search(recipients=("a@b.example",), projects=("acme",), tags=("x",)),
    Search(states=("delivered", "failed")),
    Search(states=(HELD,), routes=("outgoing",)),
]


def search(connection: Connection, wanted: Search) -> object:
    return find_messages(connection, wanted, find_window(connection, wanted, end_of(wanted)), 100)


SUPPRESSIONS = Suppressions(Random(1).randbytes, write_untold)
SUPPRESSED = Suppression("acme", "a@b.example", Why.MANUAL, NOW, expires_at=NOW + 60)


STATEMENTS: dict[str, Callable[[Connection], object]] = {
    **{
        f"list {number}": lambda connection, one=one: stories.list_page(connection, one, NOW, AFTER, 100)  # type: ignore[misc]
        for number, one in enumerate(SELECTORS)
    },
    **{
        f"count {number}": lambda connection, one=one: stories.count(connection, one, NOW)  # type: ignore[misc]
        for number, one in enumerate(SELECTORS)
    },
    **{
        f"search {number}": lambda connection, one=one: search(connection, one)  # type: ignore[misc]
        for number, one in enumerate(SEARCHES)
    },
    "list first": lambda connection: stories.list_page(connection, Selector(), NOW, None, 100),
    "story": lambda connection: stories.tell(connection, stories.find_ids(connection, "0", 1)[0], ()),
    "story in part": lambda connection: stories.tell(
        connection, stories.find_ids(connection, "0", 1)[0], (), stories.Bounds(2, 2)
    ),
    "suspended": find_suspended,
    "old sites": lambda connection: forget_sites(connection, NOW, 10),
    "domains of a site": lambda connection: list_domains(connection, "mx.b.example"),
    "suspensions": lambda connection: find_suspensions(connection, ["b.example"]),
    "census": lambda connection: count_page(connection, AFTER, 1),
    "untold": count_untold,
    "head": lambda connection: stories.read_head(connection, "0"),
    "undone": find_undone,
    "claim": lambda connection: claim_orders(connection, [("0", "w")]),
    "take back": lambda connection: take_back(connection, "0"),
    **{
        f"slice {verb.value}": lambda connection, verb=verb: write_slices(  # type: ignore[misc]
            connection,
            [
                Slice(
                    Order("0" * 26, verb, Selector(), NOW),
                    find_slice(connection, Order("0" * 26, verb, Selector(), NOW, AFTER)),
                    NOW,
                )
            ],
        )
        for verb in Verb
    },
    "over": lambda connection: upkeep.find_over(connection, NOW + 1, (0.0, "")),
    "old keys": lambda connection: forget_keys(connection, NOW, 10),
    "early keys": lambda connection: cap_keys(connection, NOW),
    "old counts": lambda connection: forget_counts(connection, NOW, 10),
    "early counts": lambda connection: cap_counts(connection, NOW),
    "states": lambda connection: update_rows(
        connection,
        recipient,
        [{"message": "0" * 26, "number": number, "owner": None, "last": ""} for number in range(3)],
    ),
    "judge": lambda connection: write_messages(connection, [CHECKED], NOW),
    "waiting hooks": lambda connection: endpoints.find_waiting(connection, ("acme", "a")),
    "what fails": lambda connection: tellings.find_trouble(connection, SHOP),
    "due hooks": lambda connection: tellings.find_due(connection, {SHOP: Want(5, 9999)}, NOW),
    "claimed hooks": lambda connection: tellings.claim(
        connection, tellings.Claim({SHOP: [Telling(n, "", "", b"") for n in range(9)]}, {SHOP: [1, 2]}, NOW), "w"
    ),
    "told": lambda connection: tellings.write_told(
        connection, [tellings.Record(SHOP, Told(NOW, NOW, 500), dict.fromkeys(range(9)), NOW)], "w"
    ),
    "ended hooks": lambda connection: tellings.give_up(connection, SHOP, tellings.is_due(SHOP), "", NOW),
    "hooks of the dead": lambda connection: tellings.free_owned(connection, ["w"], NOW),
    "early hooks": lambda connection: tellings.cap_hooks(connection, NOW),
    "hooks given back": lambda connection: tellings.release(connection, SHOP, [1, 2], "w", NOW),
    "hooks after the clock": lambda connection: tellings.bring_hooks_near(connection, NOW, (10.0, 60.0), 10),
    "old events": lambda connection: tellings.forget_events(connection, NOW, 10),
    "who has suppressions": lambda connection: find_having(connection, ["acme", "other"]),
    "suppressed": lambda connection: find_suppressed(
        connection, [("acme", "outgoing", f"{one}@b.example") for one in "abc"], NOW
    ),
    "suppress": lambda connection: SUPPRESSIONS.add(connection, [SUPPRESSED], NOW),
    "remove suppressions": lambda connection: SUPPRESSIONS.remove(
        connection, [("acme", "", f"{one}@b.example") for one in "abc"], NOW
    ),
    "expired suppressions": lambda connection: SUPPRESSIONS.expire(connection, NOW + 3600, 10),
    "settle fresh": lambda connection: update_first(
        connection,
        "0" * 26,
        [{"message": "0" * 26, "number": number, "owner": None, "last": ""} for number in range(3)],
    ),
    "news": lambda connection: find_news(connection, "w"),
    "leased in ignorance": lambda connection: find_leased(
        connection, "w", [News(1, "acme", route, "a@b.example") for route in ("", "news")]
    ),
    "still leased": lambda connection: find_still_leased(connection, "w", [("0" * 26, number) for number in range(9)]),
    "news that were looked at": lambda connection: note_seen(connection, [[News(1, "acme", "", "a@b.example")]]),
    "returned": lambda connection: bounces._lock(
        connection,
        [bounces.Back("0" * 26, n, Report(Kind.BOUNCE), NOW) for n in range(3)],
    ),
    "open": lambda connection: find_open(connection, [("0" * 26, number) for number in range(9)]),
    "read ahead": lambda connection: read_whole(connection, ["0", "1", "2"]),
    "forget": lambda connection: upkeep.forget_messages(connection, [["0", "1"]]),
}


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    folder = tmp_path_factory.mktemp("plans")
    config = Config(Path(folder) / "lmrelay.toml", Server("relay.example", folder))
    migrate(find_url(config))
    fill(config, *(make_rows([f"{name}@b.example"], at=NOW - 60) for name in "ab"))
    engine = make_engine(find_url(config))
    with engine.connect() as connection:
        write_order(connection, ORDER)
        SUPPRESSIONS.add(connection, [SUPPRESSED], NOW)
        yield connection
    engine.dispose()


@pytest.mark.parametrize("name", STATEMENTS)
def test_no_full_scan(connection: Connection, name: str) -> None:
    """
    No table that grows with the queue is read from end to end, nor is an index of all there ever was: the
    indexes of what is open, and of orders that wait, are the work itself.
    """
    with connection.begin_nested(), explained(connection) as plans:
        STATEMENTS[name](connection)
    assert plans
    scans = [step for step in plans if step.startswith("SCAN ") and not step.endswith((*WORK, *GIVEN))]
    assert [] == [step for step in scans if step.split()[1] not in SMALL]


def test_settling_reads_no_backlog(connection: Connection) -> None:
    """
    Recipients whose attempt is over are found by their keys, however many wait.
    """
    with connection.begin_nested(), explained(connection) as plans:
        STATEMENTS["open"](connection)
    assert [] == [step for step in plans if step.startswith("SCAN recipient")]


@pytest.mark.parametrize(
    ("name", "walks"), [("claimed hooks", 0), ("hooks given back", 0), ("ended hooks", 1), ("told", 1)]
)
def test_telling_reads_no_backlog(connection: Connection, name: str, walks: int) -> None:
    """
    What is told is found by its events, however much else waits for the same endpoint: along that goes only what looks
    for the first of it.
    """
    with connection.begin_nested(), explained(connection) as plans:
        STATEMENTS[name](connection)
    mine = [step for step in plans if "webhook_delivery" in step]
    assert mine
    assert walks == len([step for step in mine if "(event=? AND endpoint=?)" not in step])


PAGES = [f"list {number}" for number in range(len(SELECTORS))] + [f"search {n}" for n in range(len(SEARCHES))]


@pytest.mark.parametrize("name", PAGES)
def test_pages_come_in_order(connection: Connection, name: str) -> None:
    """
    A page of a listing is read in the order it is shown, not sorted out of everything.
    """
    with connection.begin_nested(), explained(connection) as plans:
        STATEMENTS[name](connection)
    # Recipients are counted of those messages alone that are shown.
    counted = "USE TEMP B-TREE FOR GROUP BY"
    assert [] == [step for step in plans if "TEMP B-TREE" in step and step != counted]


@pytest.mark.parametrize("listed", [Listed(), Listed(("acme",)), Listed(("acme", "other"), reasons=(Why.MANUAL,))])
def test_pages_of_suppressions(connection: Connection, listed: Listed) -> None:
    """
    The next page of a list of suppressions begins where the last one ended, not anew with its project.
    """
    with explained(connection) as plans:
        read_page(connection, listed, NOW, ("acme", "", "a@b.example"))
    assert "(project=? AND route=? AND address>?)" in plans[0]
    assert "(project=? AND route>?)" in plans[1]
    assert [] == [step for step in plans if step.startswith("SCAN ") or "TEMP B-TREE" in step]
