"""
C{lmrelay sites}, over a desk in memory: what is told, and what is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import define, evolve, field
from click.testing import CliRunner, Result

from lmrelay.cli.desk import Desk
from lmrelay.cli.main import Invocation, cli
from lmrelay.config.values import Config, Delivery, Receiver, Server
from lmrelay.queue.orders import Change, SiteVerb

NOON = 1795262400.0
SITE, OTHER, QUIET = "mx1.b.example,mx2.b.example;mx3.b.example", "mx.d.example", "mx.q.example"


def row(hosts: str, **more: Any) -> dict[str, Any]:
    return {
        "hosts": hosts,
        "domains": 1,
        "waiting": 0,
        "connections": None,
        "lowered_at": None,
        "lowered_for": "",
        "suspended_at": None,
        "reason": "",
        "changed_at": NOON - 60,
        **more,
    }


ROWS = [
    row(QUIET),
    row(OTHER, waiting=7, domains=2),
    row(SITE, connections=3, lowered_at=NOON - 750, lowered_for="421 slow\x1b[2J down"),
]


@define(eq=False)
class MemoryDesk:
    """
    A desk that knows three sites; it keeps what it was asked.
    """

    rows: list[dict[str, Any]] = field(factory=lambda: [dict(one) for one in ROWS])
    named: Mapping[str, Sequence[str]] = field(factory=lambda: {"b.example": [SITE], "mx.d.example": [OTHER]})
    asked: list[object] = field(factory=list)
    change_is: Change = field(factory=lambda: Change(1))

    def sites(self) -> Sequence[Mapping[str, Any]]:
        return self.rows

    def domains_of(self, hosts: str) -> Sequence[Mapping[str, Any]]:
        many = [{"domain": f"d{number}.example", "waiting": 0, "seen_at": NOON - 5} for number in range(60)]
        return many if hosts == OTHER else [{"domain": "b.example", "waiting": 4, "seen_at": NOON - 3600}]

    def find_sites(self, text: str) -> Sequence[str]:
        self.asked.append(text)
        return self.named.get(text, [])

    def change_site(self, verb: SiteVerb, hosts: str, reason: str) -> Change:
        self.asked.append((verb, hosts, reason))
        return self.change_is


@pytest.fixture
def desk() -> MemoryDesk:
    return MemoryDesk()


@pytest.fixture
def run(desk: MemoryDesk, tmp_path: Path) -> Callable[..., Result]:
    """
    The command under a configuration with a rule for one of the sites.
    """
    rule = Receiver("b", ("*.b.example",), connections=8, messages_per_connection=20, rate=0.5)
    config = Config(tmp_path / "x", Server("relay.example", tmp_path), delivery=Delivery(), receivers=(rule,))

    @contextmanager
    def open_desk(config: Config, wall: Callable[[], float]) -> Iterator[Desk]:
        yield desk  # type: ignore[misc]

    def run(*arguments: str) -> Result:
        invocation = Invocation(read=lambda path: config, wall=lambda: NOON, desk=open_desk)
        return CliRunner().invoke(cli, ["sites", *arguments], obj=invocation, catch_exceptions=False)

    return run


def test_list(run: Callable[..., Result]) -> None:
    """
    Where mail waits and where less is borne, the latter in the receiver's words, which reach no terminal as they are.
    """
    lines = run("list").stdout.splitlines()
    assert ["SITE", "DOMAINS", "WAITING", "CONNECTIONS", "RATE", "BACK-OFF", "SUSPENDED"] == lines[0].split()
    assert ["mx.d.example", "2", "7", "20/20", "-", "-", "-"] == lines[1].split()
    assert r"mx1.b.example  1        0        3/8          0.5/s  for 12m 30s: 421 slow\x1b[2J down  -" == lines[2]
    assert 3 == len(lines)
    assert 4 == len(run("list", "--all").stdout.splitlines())


def test_suspended_first(run: Callable[..., Result], desk: MemoryDesk) -> None:
    """
    What is suspended stands first, with how long and why.
    """
    desk.rows[0].update(suspended_at=NOON - 7200, reason="a talk with them")
    (first, *_) = run("list").stdout.splitlines()[1:]
    assert first.startswith(QUIET)
    assert first.endswith("for 2h: a talk with them")
    assert "There is more: the first 1 are shown" in run("list", "--limit", "1").stdout


def test_list_as_json(run: Callable[..., Result], desk: MemoryDesk) -> None:
    """
    Programs get all there is, times as ISO texts, with the limits in force.
    """
    told = json.loads(run("list", "--json").stdout)
    assert [OTHER, SITE] == [one["hosts"] for one in told]
    expected = {"site": "mx1.b.example", "connections": 3, "ceiling": 8, "messages_per_connection": 20, "rate": 0.5}
    assert expected == {key: told[1][key] for key in expected}
    assert (["b"], "2026-11-21T11:47:30.000Z", False) == (
        told[1]["rules"],
        told[1]["lowered_at"],
        told[1]["suspended"],
    )
    desk.rows.clear()
    assert [] == json.loads(run("list", "--json").stdout)


def test_ceiling_that_was_lowered(run: Callable[..., Result], desk: MemoryDesk) -> None:
    """
    More than is allowed now is not told.
    """
    desk.rows[2]["connections"] = 15
    assert "8/8" in run("list").stdout


@pytest.mark.parametrize(("options", "words"), [([], "No site has mail waiting"), (["--all"], "No site is known.")])
def test_nothing(run: Callable[..., Result], desk: MemoryDesk, options: list[str], words: str) -> None:
    """
    Where there is nothing to tell, that is told.
    """
    desk.rows.clear()
    assert words in run("list", *options).stdout


def test_show(run: Callable[..., Result], desk: MemoryDesk) -> None:
    """
    Hosts in their order, limits and their rules, the back-off, the domains.
    """
    desk.rows[2].update(suspended_at=NOON - 30, reason="")
    told = run("show", "B.example")
    assert ["b.example"] == desk.asked
    assert [
        "Site mx1.b.example",
        "  hosts        mx1.b.example, mx2.b.example, then mx3.b.example",
        "  waiting      0 recipients",
        "  connections  3 of 8, 20 messages each",
        "  rate         0.5 messages a second",
        "  rules        b",
        r"  back-off     for 12m 30s: 421 slow\x1b[2J down",
        "  suspended    for 30s",
        "",
        "DOMAIN     WAITING  LAST SEEN",
        "b.example  4        1h",
    ] == told.stdout.splitlines()
    assert "… and 10 more (--json has all)" == run("show", "mx.d.example").stdout.splitlines()[-1]
    assert 60 == len(json.loads(run("show", "mx.d.example", "--json").stdout)["domains"])


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        (Change(1, 2, True), ["mx1.b.example is suspended (the running daemon knows).",
                              "2 transactions are under way there and will end."]),
        (Change(1, 1, True), ["mx1.b.example is suspended (the running daemon knows).",
                              "1 transaction is under way there and will end."]),
        (Change(1), ["mx1.b.example is suspended (in the store; no daemon runs)."]),
    ],
)  # fmt: skip
def test_suspend(run: Callable[..., Result], desk: MemoryDesk, change: Change, lines: list[str]) -> None:
    """
    What was done, by whom, and what is still under way.
    """
    desk.change_is = change
    told = run("suspend", "b.example", "--reason", "a talk with them")
    assert lines == told.stdout.splitlines()
    assert (SiteVerb.SUSPEND, SITE, "a talk with them") == desk.asked[-1]


def test_resume(run: Callable[..., Result], desk: MemoryDesk) -> None:
    """
    It goes on; where it was not suspended, that is told.
    """
    assert "mx.d.example goes on (in the store; no daemon runs).\n" == run("resume", "mx.d.example").stdout
    assert (SiteVerb.RESUME, OTHER, "") == desk.asked[-1]
    desk.change_is = Change(0)
    assert "mx.d.example was not suspended.\n" == run("resume", "mx.d.example").stdout
    desk.change_is = evolve(Change(1), by_daemon=True, in_flight=3)
    told = json.loads(run("resume", "mx.d.example", "--json").stdout)
    assert (True, 3, True, OTHER) == (told["changed"], told["in_flight"], told["by_daemon"], told["hosts"])


@pytest.mark.parametrize("command", ["show", "suspend", "resume"])
def test_not_one_site(run: Callable[..., Result], desk: MemoryDesk, command: str) -> None:
    """
    A name that means none, or several, changes nothing, and says what to do.
    """
    desk.named = {"mx2.b.example": [SITE, "mx2.b.example;x"]}
    unknown, several = run(command, "nowhere.example"), run(command, "mx2.b.example")
    assert (1, 1) == (unknown.exit_code, several.exit_code)
    assert "no site of 'nowhere.example' is known" in unknown.stderr
    assert f"several sites have the host 'mx2.b.example' ({SITE}, mx2.b.example;x); name a domain" in several.stderr
    assert ["nowhere.example", "mx2.b.example"] == desk.asked


@pytest.mark.parametrize(
    ("text", "asked"), [("BÜCHER.example", "xn--bcher-kva.example"), (" MX.d.example. ", "mx.d.example"), (SITE, SITE)]
)
def test_spellings(run: Callable[..., Result], desk: MemoryDesk, text: str, asked: str) -> None:
    """
    A domain in any spelling, or all hosts as they are shown.
    """
    run("show", text)
    assert [asked] == desk.asked


def test_reason_that_is_no_text(run: Callable[..., Result], desk: MemoryDesk) -> None:
    """
    What a terminal made of other octets is stored as text, and at most so much of it.
    """
    run("suspend", "b.example", "--reason", "a\udcff" + "b" * 2000)
    assert (SiteVerb.SUSPEND, SITE, "a?" + "b" * 998) == desk.asked[-1]
