"""
C{lmrelay queue} and C{lmrelay explain}, over a desk in memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from click.testing import CliRunner, Result

from lmrelay.cli.desk import Desk
from lmrelay.cli.main import Invocation, cli
from lmrelay.cli.queue import STATES
from lmrelay.config.values import Config, Server
from lmrelay.queue.orders import Change, Selector, Verb

NOON = 1795262400.0
FIRST, SECOND = "01jd3k8t5v0000000000000001", "01jd3k8t5v0000000000000002"


def record(message: str, recipient: str, state: str = "deferred", **fields: Any) -> dict[str, Any]:
    return {
        "message": message,
        "number": 0,
        "project": "demo",
        "route": "outgoing",
        "kind": "transactional",
        "tags": ["x"],
        "subject": "Hello",
        "size": 4200,
        "received": NOON - 200,
        "recipient": recipient,
        "domain": recipient.partition("@")[2],
        "state": state,
        "attempts": 1,
        "next_attempt": NOON + 60,
        "last": "450 4.2.0 later",
        **fields,
    }


@define(eq=False)
class MemoryDesk:
    """
    A desk over a list; it keeps what it was asked.
    """

    records: list[dict[str, Any]]
    asked: list[object] = field(factory=list)
    change_is: Change = field(factory=lambda: Change(1))

    def recipients(self, selector: Selector, limit: int | None) -> Sequence[Mapping[str, Any]]:
        self.asked.append(selector)
        return self.records[:limit]

    def count(self, selector: Selector) -> Sequence[Mapping[str, Any]]:
        self.asked.append(selector)
        return [
            {
                "project": one["project"],
                "domain": one["domain"],
                "state": one["state"],
                "recipients": 2,
                "octets": 1024,
                "oldest": one["received"],
            }
            for one in self.records
        ]

    def find(self, beginning: str) -> Sequence[str]:
        return sorted({one["message"] for one in self.records if one["message"].startswith(beginning)})

    def story(self, message: str) -> Mapping[str, Any]:
        mine = [one for one in self.records if one["message"] == message]
        attempt = {
            "started": NOON - 100,
            "ended": NOON - 99,
            "seconds": 1.0,
            "host": "mx.b.example",
            "address": "192.0.2.1",
            "tls": None,
            "tls_failure": "",
            "outcome": "delayed",
            "status": "4.2.0",
            "text": "later\x1b[2J",
            "reply": "450 4.2.0 later\x1b[2J",
        }
        recipients = [
            {"number": 0, "address": one["recipient"], "state": one["state"], "next_attempt": one["next_attempt"],
             "attempts": [attempt]}
            for one in mine
        ]  # fmt: skip
        return {**mine[0], "reverse_path": "a@demo.example", "recipients": recipients}

    def head(self, message: str) -> bytes:
        return b"Subject: Hello\r\nX: \xff\r\n"

    def change(self, verb: Verb, selector: Selector, dry_run: bool) -> Change:
        self.asked.append((verb, selector, dry_run))
        return self.change_is


@pytest.fixture
def desk() -> MemoryDesk:
    return MemoryDesk([record(FIRST, "b@b.example"), record(SECOND, "c@c.example", "held")])


@pytest.fixture
def run(desk: MemoryDesk) -> Callable[..., Result]:
    @contextmanager
    def open_desk(config: Config, wall: Callable[[], float]) -> Iterator[Desk]:
        yield desk

    opener: Callable[[Config, Callable[[], float]], AbstractContextManager[Desk]] = open_desk

    def read(path: Path) -> Config:
        return Config(path, Server("relay.example", Path("/nonexistent")))

    def run(*arguments: str) -> Result:
        invocation = Invocation(wall=lambda: NOON, read=read, desk=opener)
        return CliRunner().invoke(cli, arguments, obj=invocation, catch_exceptions=False)

    return run


def test_list(run: Callable[..., Result]) -> None:
    """
    One line a recipient, whole where there is no terminal: what it waits for, and the last words.
    """
    result = run("queue", "list")
    assert result.exit_code == 0
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["MESSAGE", "AGE", "RECIPIENT", "STATE", "NEXT", "TRIES", "PROJECT", "LAST", "REPLY"],
        [FIRST, "3m", "20s", "b@b.example", "deferred", "1m", "1", "demo", "450", "4.2.0", "later"],
        [SECOND, "3m", "20s", "c@c.example", "held", "-", "1", "demo", "450", "4.2.0", "later"],
    ]


def test_list_json(run: Callable[..., Result]) -> None:
    """
    As JSON the whole records, with ISO times.
    """
    first, second = json.loads(run("queue", "list", "--json").stdout)
    assert (first["message"], first["received"], first["next_attempt"]) == (
        FIRST,
        "2026-11-21T11:56:40.000Z",
        "2026-11-21T12:01:00.000Z",
    )
    assert (second["state"], second["tags"]) == ("held", ["x"])


def test_list_says_that_there_is_more(run: Callable[..., Result]) -> None:
    """
    A listing that was cut off says so.
    """
    lines = run("queue", "list", "--limit", "1").stdout.splitlines()
    assert (len(lines), lines[-1]) == (3, "There is more: the first 1 are shown (--limit).")
    assert len(json.loads(run("queue", "list", "--limit", "1", "--json").stdout)) == 1


@pytest.mark.parametrize(("arguments", "words"), [([], "No mail waits."), (["--tag", "y"], "Nothing fits.")])
def test_nothing_there(run: Callable[..., Result], desk: MemoryDesk, arguments: list[str], words: str) -> None:
    """
    An empty queue is said, and told from a selector that fits nothing.
    """
    desk.records.clear()
    for command in ("list", "stats"):
        assert run("queue", command, *arguments).stdout.splitlines() == [words]
        assert json.loads(run("queue", command, *arguments, "--json").stdout) == []


def test_nothing_of_an_unknown_project(run: Callable[..., Result], desk: MemoryDesk) -> None:
    """
    A project that is not configured may be a typing error, which an empty list would not tell.
    """
    desk.records.clear()
    for command in ("list", "stats"):
        result = run("queue", command, "--project", "dmeo")
        assert (0, "Nothing fits.\n") == (result.exit_code, result.stdout)
        assert result.stderr.startswith("there is no project 'dmeo' (any more)")


@pytest.mark.parametrize(
    ("arguments", "selector"),
    [
        (["--project", "demo", "--project", "acme"], Selector(projects=("demo", "acme"))),
        (["--route", "news", "--tag", "x"], Selector(routes=("news",), tags=("x",))),
        (["--domain", "Bücher.Example."], Selector(domains=("xn--bcher-kva.example",))),
        (["--recipient", "b@b.example"], Selector(recipients=("b@b.example",))),
        (["--older-than", "2h", "--younger-than", "1.5d"], Selector(older_than=7200.0, younger_than=129600.0)),
        (["--id", FIRST, SECOND], Selector(messages=(SECOND, FIRST))),
        (["--state", "held"], Selector(states=("held",))),
        (["--state", "suppressed"], Selector(states=("suppressed",))),
        (["--state", "any"], Selector(states=STATES[:-1])),
    ],
)
def test_selectors(run: Callable[..., Result], desk: MemoryDesk, arguments: list[str], selector: Selector) -> None:
    """
    Each selector reaches the queue as a value, parsed.
    """
    assert run("queue", "list", *arguments).exit_code == 0
    assert desk.asked == [selector]


@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "--older-than", "soon"],
        ["list", "--older-than", "-5m"],
        ["list", "--state", "lost"],
        ["list", "--domain", "a..b"],
        ["list", "--recipient", "jane"],
        ["list", "--limit", "0"],
        ["show"],
        ["burn"],
        ["retry"],
        ["hold", "--dry-run"],
        ["release"],
        ["delete", "--json"],
    ],
)
def test_bad_input(run: Callable[..., Result], desk: MemoryDesk, arguments: list[str]) -> None:
    """
    Bad input, and a change without a word on what to change, is wrong usage, and nothing is done.
    """
    assert run("queue", *arguments).exit_code == 2
    assert desk.asked == []


@pytest.mark.parametrize("verb", list(Verb))
def test_changes(run: Callable[..., Result], desk: MemoryDesk, verb: Verb) -> None:
    """
    A change says what it did, what was too late, and who carried it out.
    """
    desk.change_is = Change(2, in_flight=1, by_daemon=True, late=(SECOND,))
    result = run("queue", verb.value, FIRST)
    assert desk.asked == [(verb, Selector(messages=(FIRST,)), False)]
    first, second, third = result.stdout.splitlines()
    assert first.startswith("2 recipients ")
    assert "by the running daemon" in first
    assert second == "1 recipient was already in flight and cannot be reached: their attempts end first."
    assert f"  {SECOND}" == third
    assert json.loads(run("queue", verb.value, FIRST, "--json").stdout) == {
        "verb": verb.value,
        "dry_run": False,
        "changed": 2,
        "in_flight": 1,
        "in_flight_messages": [SECOND],
        "by_daemon": True,
    }


def test_everything_needs_to_be_said(run: Callable[..., Result], desk: MemoryDesk) -> None:
    """
    --all is the empty selector said aloud.
    """
    assert run("queue", "delete", "--all").stdout == "1 recipient deleted (in the store; no daemon runs).\n"
    assert desk.asked == [(Verb.DELETE, Selector(), False)]


def test_dry_run(run: Callable[..., Result], desk: MemoryDesk) -> None:
    """
    --dry-run is passed on and told as what would be.
    """
    result = run("queue", "hold", "--project", "demo", "--dry-run")
    assert result.stdout == "1 recipient would be held. (Nothing was changed.)\n"
    assert desk.asked == [(Verb.HOLD, Selector(projects=("demo",)), True)]


@pytest.mark.parametrize("command", [["queue", "show"], ["queue", "retry"], ["explain"]])
def test_which_message(run: Callable[..., Result], command: list[str]) -> None:
    """
    The beginning of an id will do if it is one message's; none or several are told in one line.
    """
    assert run(*command, FIRST.upper()).exit_code == 0
    for beginning, words in (
        ("01jd3k", "several messages"),
        ("zz", "no message 'zz'"),
        ("<1.x@acme.example>", "lmrelay messages list --message-id '<1.x@acme.example>'"),
    ):
        result = run(*command, beginning)
        assert result.exit_code == 1
        assert words in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_explain(run: Callable[..., Result]) -> None:
    """
    The story with the remote's words, harmless to the terminal; as JSON with ISO times all the way down.
    """
    text = run("explain", FIRST).stdout
    assert r"delayed: 450 4.2.0 later\x1b[2J" in text
    assert "(in 1m)" in text
    story = json.loads(run("explain", FIRST, "--json").stdout)
    assert story["recipients"][0]["attempts"][0]["started"] == "2026-11-21T11:58:20.000Z"


def test_show(run: Callable[..., Result]) -> None:
    """
    The message's particulars, its recipients and its header, octets that are no text replaced.
    """
    lines = run("queue", "show", FIRST).stdout.splitlines()
    assert lines[0] == f'Message {FIRST}  "Hello"'
    assert lines[-2:] == ["Subject: Hello", "X: \ufffd"]
    assert json.loads(run("queue", "show", FIRST, "--json").stdout)["head"].startswith("Subject: Hello")


def test_stats(run: Callable[..., Result]) -> None:
    """
    A row for each project and domain, and one for all.
    """
    rows = [line.split() for line in run("queue", "stats").stdout.splitlines()]
    assert rows == [
        ["PROJECT", "DOMAIN", "DEFERRED", "HELD", "SIZE", "OLDEST"],
        ["demo", "b.example", "2", "0", "1", "KiB", "3m", "20s"],
        ["demo", "c.example", "0", "2", "1", "KiB", "3m", "20s"],
        ["all", "-", "2", "2", "2", "KiB", "3m", "20s"],
    ]
