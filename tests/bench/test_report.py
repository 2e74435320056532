"""
The arithmetic of the suite's report: a wrong ratio would praise or blame without reason.
"""

from __future__ import annotations

from typing import Any

import pytest

from bench.report import Spread, ahead, aims, counts, in_order, load_section, merge, ratio, render, spread

EMPTY: dict[str, Any] = {"machine": {}, "date": "2026-11-21", "seconds": 60}


def row(server: str, number: int, load: str = "4k", **figures: Any) -> dict[str, Any]:
    """
    A round of a server.
    """
    sent = {"accepted": 10, "missing": 0, "duplicates": 0}
    return {"server": server, "load": load, "round": number, **sent, **figures}


def run_of(*rows: dict[str, Any], **more: Any) -> dict[str, Any]:
    """
    What one run of the suite writes.
    """
    defaults = {"commands": ["python -m bench"], "versions": {}, "easier": {}, "left_out": [], "loads": {}}
    return {**EMPTY, **defaults, "runs": list(rows), **more}


@pytest.mark.parametrize(
    ("values", "digits", "shown"),
    [
        ([3.0], 0, "3"),
        ([3.0, 1.0, 2.0], 1, "2.0 (1.0-3.0)"),
        ([1.0, 2.0], 1, "1.5 (1.0-2.0)"),
        ([1234.5, 1234.5], 0, "1,234"),
    ],
)
def test_spread(values: list[float], digits: int, shown: str) -> None:
    """
    A cell is the median with the least and the most, and the median alone where they are the same.
    """
    found = spread(values)
    assert found is not None
    assert shown == found.show(digits)


def test_no_figures() -> None:
    """
    What nobody measured has no median.
    """
    assert spread([]) is None


def test_ratio_pairs_rounds() -> None:
    """
    Each round is compared with itself: what slowed both down in one does not show.
    """
    rates = {"lmrelay": (300.0, 30.0, 400.0), "postfix": (100.0, 10.0, 100.0)}
    rows = [row(name, number, cpu_ms=rate) for name, each in rates.items() for number, rate in enumerate(each)]
    assert Spread(3.0, 3.0, 4.0) == ratio(rows, "4k", "postfix", "cpu_ms")


@pytest.mark.parametrize(
    "theirs", [[], [row("postfix", 1, cpu_ms=1.0)], [row("postfix", 0, cpu_ms=0.0)], [row("postfix", 0, cpu_ms=-1.0)]]
)
def test_no_ratio(theirs: list[dict[str, Any]]) -> None:
    """
    A peer without a figure in the same round, or with nothing to divide by, is not compared.
    """
    assert ratio([row("lmrelay", 0, cpu_ms=1.0), *theirs], "4k", "postfix", "cpu_ms") is None


def test_ours_first() -> None:
    """
    Servers come in the order in which they were measured, lmrelay before them.
    """
    assert ["lmrelay", "exim", "postfix"] == in_order(["exim", "postfix", "lmrelay", "exim"])


def test_merge_keeps_rounds_apart() -> None:
    """
    Round 0 of two runs is two rounds, or what ran hours apart would be compared.
    """
    one = run_of(row("lmrelay", 0, cpu_ms=2.0), row("postfix", 0, cpu_ms=1.0), loads={"4k": "small"})
    other = run_of(row("lmrelay", 0, cpu_ms=9.0), loads={"100k": "large"}, commands=["python -m bench --loads 100k"])
    merged = merge([one, other])
    assert Spread(2.0, 2.0, 2.0) == ratio(merged["runs"], "4k", "postfix", "cpu_ms")
    assert {"4k": "small", "100k": "large"} == merged["loads"]
    assert 120 == merged["seconds"]
    assert ["python -m bench", "python -m bench --loads 100k"] == merged["commands"]


def test_merge_counts_what_was_left_out_once() -> None:
    """
    The same peer left out of two runs for the same reason is one line.
    """
    left = {"server": "exim", "load": "all", "reason": "exim4 is not installed"}
    assert [left] == merge([run_of(left_out=[left]), run_of(left_out=[left])])["left_out"]


def test_counts() -> None:
    """
    What is missing or came twice is added up over the rounds, never averaged away.
    """
    rows = [row("exim", 0, missing=1), row("exim", 1, accepted=2000, duplicates=2)]
    assert ["10-2,000", "1", "2"] == counts(rows, "4k", "exim")


def test_sessions_that_could_not_be_opened() -> None:
    """
    The least number of idle sessions that were up in a round, for each kind there is.
    """
    rows = [row("exim", n, "idle", plain_up=up, starttls_up=0) for n, up in enumerate((1000, 998))]
    assert ["998 and 0"] == counts(rows, "idle", "exim")


def test_ahead() -> None:
    """
    More is better of a rate and less of a cost; what is equal, or neither good nor bad, puts nobody ahead.
    """
    ours = row("lmrelay", 0, accept_rate=100.0, end_to_end_rate=100.0, cpu_ms=1.0, syncs=9.0, final_p99_ms=5.0)
    theirs = row("postfix", 0, accept_rate=200.0, end_to_end_rate=50.0, cpu_ms=0.5, syncs=1.0, final_p99_ms=5.0)
    assert [
        "`4k`, accepted/s: postfix (lmrelay has 0.50x of it)",
        "`4k`, CPU ms/message: postfix (lmrelay has 2.00x of it)",
    ] == ahead([ours, theirs], {"4k": ""})


@pytest.mark.parametrize(
    ("rate", "cpu", "reached"), [(300.0, 1.0, ["yes", "yes"]), (299.0, 1.01, ["no", "no"])], ids=["just", "almost"]
)
def test_aims(rate: float, cpu: float, reached: list[str]) -> None:
    """
    An aim is reached at its figure, from the side that is good.
    """
    rows = [
        row("lmrelay", 0, end_to_end_rate=rate, cpu_ms=cpu),
        row("postfix", 0, end_to_end_rate=100.0, cpu_ms=3.0),
    ]
    assert reached == [line[-1] for line in aims(rows)]


def test_section() -> None:
    """
    A table of the figures and one of the ratios; a column that nobody has a figure for is not there.
    """
    rows = [row("postfix", 0, accept_rate=50.0), row("lmrelay", 0, accept_rate=200.0, missing=3)]
    assert [
        "## `4k`: small\n",
        "| server | accepted/s | messages | missing | twice | rounds |",
        "|---|---|---|---|---|---|",
        "| lmrelay | 200 | 10 | 3 | 0 | 1 |",
        "| postfix | 50 | 10 | 0 | 0 | 1 |",
        "",
        "| lmrelay to | accepted/s |",
        "|---|---|",
        "| postfix | 4.00x |",
        "",
    ] == list(load_section(rows, "4k", "small"))


def test_report_tells_what_is_missing() -> None:
    """
    Whom a row does without stands in the report, and notes at its end.
    """
    left = {"server": "opensmtpd", "load": "connect", "reason": "it took no message"}
    report = render(run_of(row("lmrelay", 0), left_out=[left], loads={"4k": "small"}), "A reason.\n")
    assert "* opensmtpd, connect: it took no message\n" in report
    assert "* nowhere\n" in report
    assert report.endswith("\n\nA reason.\n")


def test_a_row_tells_for_whom_it_is_easier() -> None:
    """
    Who has the easier task in a row is named under it, also after runs were merged; who was not in it is not.
    """
    easier = {"4k": {"lmrelay": [], "postfix": ["no DNS", "no AUTH"], "exim": ["no DNS"]}}
    one = run_of(row("lmrelay", 0), loads={"4k": "small"}, easier=easier)
    other = run_of(row("postfix", 0), easier={"4k": {"postfix": ["no DNS", "no AUTH"]}})
    assert "\nEasier than for lmrelay: postfix: no DNS, no AUTH.\n" in render(merge([one, other]))
