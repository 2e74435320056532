"""
What the operator's command prints.
"""

from __future__ import annotations

import json

import pytest

from lmrelay.cli.output import Output, cell, human_duration, human_size, iso_time, printable

COLUMNS = {"id": "ID", "subject": "SUBJECT", "size": "SIZE"}
RECORDS = [
    {"id": "01a", "subject": "Hello", "size": 12, "extra": [1]},
    {"id": "01b", "subject": "A subject that is a good deal longer than the terminal is wide", "size": None},
]


def test_json_is_the_whole_record(capsys: pytest.CaptureFixture[str]) -> None:
    """
    With JSON there is one document, which has also what the table leaves out, and no other word.
    """
    output = Output(json=True)
    output.line("for people")
    output.listing(COLUMNS, RECORDS)
    assert json.loads(capsys.readouterr().out) == RECORDS


@pytest.mark.parametrize("records", [[], RECORDS[:1], RECORDS])
def test_a_stream_is_the_same_document(records: list[dict[str, object]], capsys: pytest.CaptureFixture[str]) -> None:
    """
    What is printed one by one reads as if it had been printed at once, and to people it is nothing.
    """
    Output(json=True).document(records)
    expected = capsys.readouterr().out
    Output(json=True).stream(iter(records))
    Output().stream(iter(records))
    assert expected == capsys.readouterr().out


def test_empty_listing(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Nothing is said in words to people, and as an empty list to programs.
    """
    Output(terminal=False).listing(COLUMNS, [], "No mail waits.")
    Output(json=True).listing(COLUMNS, [], "No mail waits.")
    assert capsys.readouterr().out == "No mail waits.\n[]\n"


def test_plain_table_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Where there is no terminal, nothing is cut and nothing is drawn.
    """
    Output(terminal=False).listing({"id": "ID", "size": "SIZE"}, RECORDS)
    assert capsys.readouterr().out == "ID   SIZE\n01a  12\n01b  -\n"
    Output(terminal=False).listing(COLUMNS, RECORDS)
    assert str(RECORDS[1]["subject"]) in capsys.readouterr().out


@pytest.mark.parametrize("width", [40, 60, 200])
def test_terminal_table_fits(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    """
    On a terminal no line is longer than it is wide, and each record is one line.
    """
    Output(terminal=True, width=width).listing(COLUMNS, RECORDS)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("width", [20, 80, 120])
def test_ids_stay_whole(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    """
    On any terminal an id can be pasted into the next command, and each column is there, if cut.
    """
    id_, long = "01m7z8s7krfvwsf7dakdptrze6", "words " * 20
    columns = {"at": "TIME", "message": "MESSAGE", "said": "ANSWER", "by": "BY", "state": "STATE"}
    record = {"at": "12:00", "message": id_, "said": long, "by": long, "state": "delivered"}
    Output(terminal=True, width=width).listing(columns, [record])
    titles, line = capsys.readouterr().out.splitlines()
    assert f"12:00  {id_}  wor" in line
    assert ["TIME", "MESSAGE", 5] == [*titles.split()[:2], len(titles.split())]
    assert len(line.rstrip()) <= max(width, len("12:00") + len(id_) + 3 * 4 + 4 * 2)


@pytest.mark.parametrize("terminal", [True, False])
def test_strangers_cannot_write_to_the_terminal(terminal: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Control characters and markup in a subject are shown, not obeyed.
    """
    evil = [{"id": "01a", "subject": "[red]\x1b[2Jx\ny\u202e"}]
    Output(terminal=terminal, width=100).listing({"id": "ID", "subject": "SUBJECT"}, evil)
    assert r"[red]\x1b[2Jx\ny\u202e" in capsys.readouterr().out


def test_strangers_cannot_write_to_the_terminal_by_json(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Nor where it is JSON, which says the same for all that.
    """
    words = "Grüße\x1b[31m\x9b31m\x7f\u202e\U000e0041\n"
    for tell in (Output.document, Output.stream):
        tell(Output(json=True), [{"body": words}])
        told = capsys.readouterr().out
        assert "Grüße" in told
        assert told.replace("\n", "").isprintable()
        assert [{"body": words}] == json.loads(told)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0ms"),
        (0.35, "350ms"),
        (4.24, "4.2s"),
        (59.6, "1m"),
        (200, "3m 20s"),
        (3600, "1h"),
        (3605, "1h"),
        (100000, "1d 3h"),
        (-200, "-3m 20s"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    """
    A time span has at most two units.
    """
    assert human_duration(seconds) == text


@pytest.mark.parametrize(
    ("octets", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (4200, "4.1 KiB"), (50 * 2**20, "50 MiB"), (2**50, "1024 TiB")],
)
def test_sizes(octets: int, text: str) -> None:
    """
    A size has the unit that keeps it short.
    """
    assert human_size(octets) == text


def test_times() -> None:
    """
    Times are in UTC to the millisecond, rounded.
    """
    assert iso_time(1795262400.3) == "2026-11-21T12:00:00.300Z"
    assert iso_time(1795262399.9996) == "2026-11-21T12:00:00.000Z"
    assert iso_time(-62135596800.0) == "0001-01-01T00:00:00.000Z"
    assert iso_time(None) is None


def test_cells() -> None:
    """
    Values read as people write them.
    """
    assert [cell(value) for value in (None, "", True, False, 0, ["a", "b"], ())] == [
        "-",
        "-",
        "yes",
        "no",
        "0",
        "a, b",
        "-",
    ]


def test_printable_leaves_text_alone() -> None:
    """
    What prints is not touched, whatever its script.
    """
    assert printable("Grüße, 你好 \\n") == "Grüße, 你好 \\n"
