"""
C{lmrelay messages}, over a desk in memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import pytest
from attrs import define, field
from click.testing import CliRunner, Result

from lmrelay.cli.desk import Desk
from lmrelay.cli.main import Invocation, cli
from lmrelay.cli.messages import read_moment, tell_states
from lmrelay.config.values import Config, Server
from lmrelay.queue.orders import Listing, Search

NOON = 1795262400.0
NOON_ISO = "2026-11-21T12:00:00.000Z"
FIRST, SECOND = "01jd3k8t5v0000000000000001", "01jd3k8t5v0000000000000002"


def record(message: str, **fields: Any) -> dict[str, Any]:
    return {
        "message": message,
        "received": NOON - 200,
        "project": "demo",
        "route": "outgoing",
        "kind": "transactional",
        "notification": False,
        "redact": False,
        "reverse_path": "a@demo.example",
        "sender": "Ann <a@demo.example>",
        "to": "b@b.example",
        "subject": "Hello\x1b[2J",
        "message_id": "<1@demo.example>",
        "size": 4200,
        "tags": ["x"],
        "recipient": "b@b.example",
        "recipients": 1,
        "states": {"delivered": 1},
        **fields,
    }


@define(eq=False)
class MemoryDesk:
    """
    Finds what it was given, and keeps what it was asked.
    """

    found: Listing
    asked: list[tuple[Search, int, float]] = field(factory=list)

    def messages(self, search: Search, limit: int, seconds: float) -> Listing:
        self.asked.append((search, limit, seconds))
        return self.found


@pytest.fixture
def desk() -> MemoryDesk:
    more = {"reverse_path": None, "recipients": 3, "states": {"failed": 1, "delivered": 2}}
    return MemoryDesk(Listing((record(SECOND), record(FIRST, **more))))


@pytest.fixture
def run(desk: MemoryDesk) -> Callable[..., Result]:
    @contextmanager
    def open_desk(config: Config, wall: Callable[[], float]) -> Iterator[Desk]:
        yield desk  # type: ignore[misc]

    def run(*arguments: str) -> Result:
        invocation = Invocation(
            wall=lambda: NOON,
            read=lambda path: Config(path, Server("relay.example", Path("/nonexistent"))),
            desk=open_desk,
        )
        return CliRunner().invoke(cli, ["messages", *arguments], obj=invocation, catch_exceptions=False)

    return run


LISTED = f"""\
MESSAGE                     ACCEPTED              PROJECT  ROUTE     FROM            TO                      STATE                  SUBJECT
{SECOND}  2026-11-21T11:56:40Z  demo     outgoing  a@demo.example  b@b.example             delivered              Hello\\x1b[2J
{FIRST}  2026-11-21T11:56:40Z  demo     outgoing  <>              b@b.example and 2 more  2 delivered, 1 failed  Hello\\x1b[2J
"""  # noqa: E501


def test_list(run: Callable[..., Result]) -> None:
    """
    One line a message, whole where there is no terminal, without what a terminal would obey.
    """
    assert LISTED == run("list").stdout


def test_list_json(run: Callable[..., Result], desk: MemoryDesk) -> None:
    """
    As JSON the whole records, and whether there is more.
    """
    desk.found = Listing((record(FIRST),), True, NOON)
    said = json.loads(run("list", "--json").stdout)
    assert (True, "2026-11-21T12:00:00.000Z") == (said["more"], said["looked_back_to"])
    assert [{**record(FIRST), "received": "2026-11-21T11:56:40.000Z"}] == said["messages"]


def test_selectors(run: Callable[..., Result], desk: MemoryDesk) -> None:
    """
    Each selector reaches the search, several times where that means alternatives.
    """
    words = "--project a --project b --route r --tag t --recipient x@y --sender s@z --subject S --message-id m"
    run("list", *words.split(), "--state", "failed", "--since", "2h", "--until", "2026-11-21", "--limit", "7")
    search = Search(
        projects=("a", "b"),
        routes=("r",),
        tags=("t",),
        recipients=("x@y",),
        senders=("s@z",),
        states=("failed",),
        message_ids=("m",),
        subject="S",
        since=NOON - 7200,
        until=NOON - 43200,
    )
    assert [(search, 7, 10.0)] == desk.asked


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (Listing(), "Nothing fits."),
        (Listing((record(FIRST),), True), "There is more: the newest 50 are shown (--limit)."),
        (
            Listing((), True, NOON),
            f"After 10 s the search was back at {NOON_ISO}; for what is older: --until {NOON_ISO}",
        ),
    ],
)  # fmt: skip
def test_ends(run: Callable[..., Result], desk: MemoryDesk, found: Listing, line: str) -> None:
    """
    That there is nothing, or more, or that the search ended before it was through, is said.
    """
    desk.found = found
    assert line == run("list").stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("90", NOON - 90),
        ("1.5h", NOON - 5400),
        ("2026-11-21", NOON - 43200),
        ("2026-11-21T11:00", NOON - 3600),
        ("2026-11-21 11:00", NOON - 3600),
        ("2026-11-21T13:00+02:00", NOON - 3600),
        ("2026-11-21T11:56:40.000Z", NOON - 200),
    ],
)
def test_moments(text: str, moment: float) -> None:
    """
    So long ago, or a time; in UTC where no zone is given.
    """
    assert moment == read_moment(text, NOON)


@pytest.mark.parametrize("text", ["", "soon", "-5m", "2026-13-01", "2026-11-21T25:00", "12:00", "1e9h"])
def test_no_moment(text: str) -> None:
    """
    What is neither is refused in words.
    """
    with pytest.raises(click.BadParameter, match=r"is neither an age|is no time"):
        read_moment(text, NOON)


def test_wrong_moment(run: Callable[..., Result]) -> None:
    """
    On the command line that is wrong usage.
    """
    result = run("list", "--since", "soon")
    assert (2, True) == (result.exit_code, "is neither an age" in result.stderr)


@pytest.mark.parametrize("option", ["--recipient", "--sender"])
def test_part_of_an_address(run: Callable[..., Result], desk: MemoryDesk, option: str) -> None:
    """
    A part of an address would find nothing, as if nothing had been sent; so it is wrong usage.
    """
    result = run("list", option, "jane")
    assert (2, True, []) == (result.exit_code, "'jane' is no whole address" in result.stderr, desk.asked)
    assert 0 == run("list", option, "@b.example").exit_code


@pytest.mark.parametrize(
    ("states", "words"),
    [({"held": 3}, "held"), ({"suppressed": 1, "queued": 2}, "2 queued, 1 suppressed"), ({}, "")],
)
def test_states(states: dict[str, int], words: str) -> None:
    """
    One state as it is, several with how many are in each, in the order of a message's life.
    """
    assert words == tell_states(states)


def test_a_moment_reads_back() -> None:
    """
    What a search says of how far back it came is what --until takes.
    """
    assert datetime.fromisoformat("2026-11-21T12:00:00.001Z").timestamp() == read_moment("2026-11-21T12:00:00.001Z", 0)
