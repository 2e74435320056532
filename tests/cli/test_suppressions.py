"""
C{lmrelay suppressions} on a real store, with no daemon.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from lmrelay.cli.main import Invocation, cli
from lmrelay.cli.suppression_csv import Bad, read, write, write_head
from lmrelay.config.project import Project, Route
from lmrelay.config.values import Config, Server
from lmrelay.mail.suppression import Suppression, Why
from lmrelay.queue import suppression_list
from lmrelay.queue.schema import event
from lmrelay.queue.store import find_url, migrate
from lmrelay.queue.suppression_list import PAGE, STEP, open_list
from tests.queue.filling import NOW, writing
from tests.queue.hooks import deliveries, hook

NOON = 1795262400.0
LAST = "9999-12-31T23:59:59-14:00"

Run = Callable[..., Result]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    routes = {"outgoing": Route("outgoing"), "news": Route("news"), "quiet": Route("quiet", redact=True)}
    projects = {"acme": Project("acme", routes=routes, webhooks=(hook(events=("suppression.*",)),))}
    config = Config(tmp_path / "lmrelay.toml", Server("relay.example", tmp_path), projects=projects)
    migrate(find_url(config))
    return config


@pytest.fixture
def run(config: Config) -> Run:
    def run(*arguments: str, stdin: str | bytes = "") -> Result:
        invocation = Invocation(wall=lambda: NOW, read=lambda path: evolve(config, path=path))
        return CliRunner().invoke(cli, arguments, obj=invocation, input=stdin, catch_exceptions=False)

    return run


def listed(run: Run, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run("suppressions", "list", "--json", *arguments).stdout)
    return found


def test_add_list_remove(run: Run, config: Config) -> None:
    """
    What is added is listed, with why and until when, and told; and so is what is removed.
    """
    assert "Nobody is suppressed.\n" == run("suppressions", "list").stdout
    done = run("suppressions", "add", "A@B.example", "c@b.example", "--project", "acme", "--note", "asked us")
    assert "2 addresses suppressed for project acme.\n" == done.stdout
    ends = ("--expires", "30d", "--reason", "unsubscribe")
    done = run("suppressions", "add", "a@b.example", "--project", "acme", "--route", "news", *ends)
    assert "1 address suppressed for route news of acme.\n" == done.stdout
    expected = {
        "project": "acme",
        "route": None,
        "address": "a@b.example",
        "reason": "manual",
        "added": "2023-11-14T22:13:20.000Z",
        "expires": None,
        "message": None,
        "text": "asked us",
        "redact": False,
    }
    assert expected == listed(run)[0]
    assert [("c@b.example", None), ("a@b.example", "news")] == [
        (one["address"], one["route"]) for one in listed(run)[1:]
    ]
    rows = [line.split() for line in run("suppressions", "list", "--route", "news").stdout.splitlines()]
    assert ["a@b.example", "acme", "news", "unsubscribe", "0ms", "in", "30d", "-"] == rows[1]
    done = run("suppressions", "remove", "a@b.example", "--project", "acme")
    assert [
        "a@b.example is no longer suppressed for project acme (manual).",
        "a@b.example is no longer suppressed for route news of acme (unsubscribe).",
    ] == done.stdout.splitlines()
    assert ["c@b.example"] == [one["address"] for one in listed(run)]
    types = ["suppression.added"] * 3 + ["suppression.removed"] * 2
    assert [(type_, "shop", "waiting") for type_ in types] == deliveries(config)


def test_add_again(run: Run) -> None:
    """
    What is there already stays, and that is said.
    """
    run("suppressions", "add", "a@b.example", "--project", "acme")
    done = run("suppressions", "add", "a@b.example", "b@b.example", "--project", "acme", "--expires", "2030-01-01")
    assert "1 address suppressed for project acme; 1 was so already.\n" == done.stdout
    again = run("suppressions", "add", "a@b.example", "--project", "acme", "--json")
    assert {"project": "acme", "route": None, "added": 0, "already": 1} == json.loads(again.stdout)
    assert [None, "2030-01-01T00:00:00.000Z"] == [one["expires"] for one in listed(run)]


def test_remove_of_one_route(run: Run) -> None:
    """
    With a route only what holds for it alone goes.
    """
    for more in ((), ("--route", "news")):
        run("suppressions", "add", "a@b.example", "--project", "acme", *more)
    run("suppressions", "remove", "a@b.example", "--project", "acme", "--route", "news")
    assert [None] == [one["route"] for one in listed(run)]
    nothing = run("suppressions", "remove", "z@b.example", "--project", "acme")
    assert (0, "Nothing was removed: none of them is suppressed.\n") == (nothing.exit_code, nothing.stdout)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("add", "a@b.example"), 2, "Missing option '--project'"),
        (("add", "--project", "acme"), 2, "Missing argument"),
        (("add", "nobody", "--project", "acme"), 2, "the address needs a local part"),
        (("add", "a@b.example", "--project", "gone"), 1, "there is no project 'gone'"),
        (("add", "a@b.example", "--project", "acme", "--route", "x"), 1, "project acme has no route 'x'"),
        (("add", "a@b.example", "--project", "acme", "--reason", "x"), 2, "'x' is not one of"),
        (("add", "a@b.example", "--project", "acme", "--expires", "soon"), 2, "'soon' is no time"),
        (("add", "a@b.example", "--project", "acme", "--expires", "2020-01-01"), 2, "is over already"),
        (("add", "a@b.example", "--project", "acme", "--expires", LAST), 2, "is beyond the year 9999"),
        (("add", "a@b.example", "--project", "acme", "--expires", "9999999d"), 2, "is beyond the year 9999"),
        (("import", "nowhere.csv", "--project", "acme"), 2, "No such file"),
    ],
)
def test_wrong_usage(run: Run, arguments: tuple[str, ...], code: int, said: str) -> None:
    """
    What cannot be meant is said in a line, and changes nothing.
    """
    done = run("suppressions", *arguments)
    assert (code, True) == (done.exit_code, said in done.output)
    assert [] == listed(run)


def test_filters(run: Run) -> None:
    """
    A list of those that are meant, and no longer than asked for.
    """
    for address, reason in (("a@b.example", "manual"), ("b@b.example", "hard_bounce"), ("c@b.example", "manual")):
        run("suppressions", "add", address, "--project", "acme", "--reason", reason)
    assert ["b@b.example"] == [one["address"] for one in listed(run, "--reason", "hard_bounce")]
    assert ["c@b.example"] == [one["address"] for one in listed(run, "--address", "C@b.example")]
    assert [] == listed(run, "--project", "other")
    assert "Nothing fits.\n" == run("suppressions", "list", "--project", "other").stdout
    assert "There is more: the first 2 are shown (--limit)." in run("suppressions", "list", "--limit", "2").stdout


def test_round_trip(run: Run, tmp_path: Path) -> None:
    """
    What is exported can be imported, and is the same.
    """
    run("suppressions", "add", "a@b.example", "--project", "acme", "--note", 'a "b", c')
    run("suppressions", "add", "b@b.example", "--project", "acme", "--route", "news", "--expires", "2030-01-01")
    run("suppressions", "add", '"c d"@b.example', "é@bücher.example", "--project", "acme", "--route", "quiet")
    before = listed(run)
    exported = run("suppressions", "export").stdout
    assert before == json.loads(run("suppressions", "export", "--json").stdout)
    run("suppressions", "remove", *(one["address"] for one in before), "--project", "acme")
    assert [] == listed(run)
    file = tmp_path / "list.csv"
    file.write_text(exported)
    assert "4 addresses suppressed for their projects.\n" == run("suppressions", "import", str(file)).stdout
    assert before == listed(run)


def test_import_of_others(run: Run) -> None:
    """
    A list of another service: its names of columns and reasons, its separators, and a mark that some files begin with.
    """
    stdin = (
        "\ufeffEmail Address;Suppression Reason;Created At;Whatever\r\n"
        "A@B.example;HardBounce;2024-05-06;x\r\n"
        "c@b.example;SpamComplaint;2024-05-06T07:08:09Z;\r\n"
        "\r\n"
        "d@b.example;;;\r\n"
    )
    done = run("suppressions", "import", "-", "--project", "acme", "--reason", "unsubscribe", stdin=stdin)
    assert "3 addresses suppressed for project acme.\n" == done.stdout
    assert [
        ("a@b.example", "hard_bounce", "2024-05-06T00:00:00.000Z"),
        ("c@b.example", "spam_complaint", "2024-05-06T07:08:09.000Z"),
        ("d@b.example", "unsubscribe", "2023-11-14T22:13:20.000Z"),
    ] == [(one["address"], one["reason"], one["added"]) for one in listed(run)]


def test_import_of_bad_lines(run: Run) -> None:
    """
    Lines that cannot be read are told with their numbers, and the others are taken.
    """
    stdin = (
        "address,reason,expires\na@b.example,,\nnobody,,\nb@b.example,because,\nc@b.example,,never\n\nd@b.example,,\n"
    )
    done = run("suppressions", "import", "-", "--project", "acme", stdin=stdin)
    assert 1 == done.exit_code
    assert [
        "2 addresses suppressed for project acme.",
        "lmrelay: 3 lines left out",
        "lmrelay: line 3: 'nobody' is no address: the address needs a local part, an @ and a domain",
        "lmrelay: line 4: 'because' is no reason; there are hard_bounce, spam_complaint, unsubscribe, manual",
        "lmrelay: line 5: 'never' is no time; write 2027-01-01 or 2027-01-01T12:00:00Z",
    ] == done.output.splitlines()
    assert ["a@b.example", "d@b.example"] == [one["address"] for one in listed(run)]
    other = run("suppressions", "import", "-", "--json", stdin="project,email\nacme,e@b.example\ngone,e@b.example\n")
    bad = [{"line": 3, "reason": "there is no project 'gone'"}]
    assert {"added": 1, "already": 0, "expired": 0, "bad": bad} == json.loads(other.stdout)
    assert "of which project? Say --project" in run("suppressions", "import", "-", stdin="x@b.example").output


@pytest.mark.parametrize("column", ["added", "expires"])
@pytest.mark.parametrize("time", [LAST, "0001-01-01T00:00:00+14:00"])
def test_import_of_times_without_a_year(run: Run, column: str, time: str) -> None:
    """
    A time that in UTC is of no year that a calendar has could be stored, and the list would never be shown again.
    """
    done = run("suppressions", "import", "-", "--project", "acme", stdin=f"email,{column}\na@b.example,{time}\n")
    assert (1, True) == (done.exit_code, f"line 2: '{time}' is no time" in done.output)
    assert [] == listed(run)


def test_import_of_another_encoding(run: Run) -> None:
    """
    An address in another encoding than UTF-8 would be taken for somebody else's, so its line is left out.
    """
    stdin = "email,text\nmüller@b.example,\na@b.example,für immer\n".encode("latin-1")
    done = run("suppressions", "import", "-", "--project", "acme", stdin=stdin)
    assert (1, True) == (
        done.exit_code,
        "line 2: 'm\ufffdller@b.example' is no address: it is not in UTF-8" in done.output,
    )
    assert ["a@b.example"] == [one["address"] for one in listed(run)]


def test_import_of_what_is_over(run: Run) -> None:
    """
    What has expired is not put on the list, nor said to be on it.
    """
    stdin = "email,expires\na@b.example,2020-01-01\nb@b.example,\n"
    done = run("suppressions", "import", "-", "--project", "acme", stdin=stdin)
    assert "1 address suppressed for project acme.\n1 line had expired before.\n" == done.output
    assert ["b@b.example"] == [one["address"] for one in listed(run)]


def test_redacted(run: Run, config: Config) -> None:
    """
    What is added for a route that keeps addresses out of events is told without, however it is added.
    """
    run("suppressions", "add", "a@b.example", "--project", "acme", "--route", "quiet")
    run("suppressions", "import", "-", "--project", "acme", stdin="email,route\nb@b.example,quiet\nc@b.example,news\n")
    run("suppressions", "remove", "b@b.example", "--project", "acme")
    with writing(config) as connection:
        documents = connection.execute(select(event.c.document).order_by(event.c.sequence)).scalars()
        assert [None, "c@b.example", None, None] == [json.loads(one)["recipient"] for one in documents]


@pytest.mark.parametrize(
    "stdin", ["", "\n\n", "\ufeff", b"\xff\xfe\x00", 'address\n"', "a@b.example\n" + "x" * 300_000]
)
def test_import_of_rubbish(run: Run, stdin: str | bytes) -> None:
    """
    Whatever a file is, it is read to its end.
    """
    done = run("suppressions", "import", "-", "--project", "acme", stdin=stdin)
    assert done.exit_code in (0, 1)
    assert len(listed(run)) <= 1


def test_long_list(run: Run, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A long list is imported in steps, others have their turn between them, and read in pages.
    """
    number = max(PAGE, 2 * STEP) + 1
    sleeps: list[float] = []
    lines = [f"{one}@b.example\n" for one in range(number)]
    like = Suppression("acme", "", Why.MANUAL, NOW)
    with open_list(config, lambda: NOW, sleeps.append) as opened:
        found = read(lines, like, lambda project, route: "")
        assert number == opened.add(one for one in found if isinstance(one, Suppression))
    assert number // STEP + 1 == len(sleeps)
    assert number == len(run("suppressions", "export").stdout.splitlines()) - 1
    with writing(config) as connection:
        assert number == len(list(connection.execute(select(event.c.sequence))))
    monkeypatch.setattr(suppression_list, "MOST", number)
    done = run("suppressions", "add", "one@more.example", "--project", "acme")
    assert (1, f"lmrelay: project acme would have over {number} suppressions\n") == (done.exit_code, done.output)
    assert number == len(run("suppressions", "export").stdout.splitlines()) - 1


def test_no_store(tmp_path: Path) -> None:
    """
    Before the daemon first ran there is nothing to look at, and that is said.
    """
    config = Config(tmp_path / "lmrelay.toml", Server("relay.example", tmp_path))
    invocation = Invocation(wall=lambda: NOW, read=lambda path: config)
    done = CliRunner().invoke(cli, ["suppressions", "list"], obj=invocation, catch_exceptions=False)
    assert (1, True) == (done.exit_code, "there is no queue yet" in done.output)


_texts = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp", "Cf", "Co", "Cn")), max_size=30)


@pytest.mark.parametrize("text", ['=HYPERLINK("https://evil.example")', "+1", "-1", "@SUM(A1)", "'=1", "''@x"])
def test_formulas(text: str) -> None:
    """
    What receivers say is shown by a spreadsheet, never calculated, and read again as it was.
    """
    written = Suppression("acme", "a@b.example", Why.HARD_BOUNCE, 1e9, text=text)
    lines = [write_head(), write(written)]
    [row] = csv.DictReader(lines)
    assert f"'{text}" == row["text"]
    assert [written] == list(read(lines, Suppression("", "", Why.MANUAL, 0.0), lambda project, route: ""))


@given(st.lists(st.tuples(st.sampled_from(["a", "b,", 'q"', ";x"]), st.sampled_from(list(Why)), _texts), max_size=5))
def test_written_is_read(items: list[tuple[str, Why, str]]) -> None:
    """
    Whatever is written is read as it was, words of others included.
    """
    written = [
        Suppression(
            "acme", f"{number}@b.example", why, 1e9, route, 2e9 if number % 2 else None, text=" ".join(text.split())
        )
        for number, (route, why, text) in enumerate(items)
    ]
    lines = [write_head(), *(write(one) for one in written)]
    assert written == list(read(lines, Suppression("", "", Why.MANUAL, 0.0), lambda project, route: ""))


@given(st.lists(st.text(max_size=40), max_size=6))
def test_any_lines(lines: list[str]) -> None:
    """
    No line is too strange to be answered, and none is answered twice.
    """
    found = list(read(lines, Suppression("acme", "", Why.MANUAL, 0.0), lambda project, route: ""))
    assert len(found) <= len(lines)
    assert all(1 <= one.line <= len(lines) for one in found if isinstance(one, Bad))
