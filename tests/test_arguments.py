"""
The commands that people run to see for themselves: what is asked wrongly is refused in a line that says what was
expected, never by a traceback, and never taken for a run in which all was well.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from bench import __main__ as bench
from bench import crowd, memory, report, sink, webhooks
from bench.peers import __main__ as peers
from bench.peers.install import install
from tests.e2e import kill
from tests.fuzz import __main__ as fuzz
from tests.fuzz import growth
from tests.simulation import __main__ as simulation

COUNTS = ("0", "-3", "1.5", "many", "")

COMMANDS: Sequence[tuple[Callable[[], object], list[str], str]] = [
    *(
        (simulation.main, [f"--{name}", text], "no whole number from 1 on")
        for name in ("seeds", "jobs", "letters", "fairness")
        for text in COUNTS
    ),
    (simulation.main, ["--seed", "x"], "'x' is no whole number"),
    (simulation.main, ["--storm", "-5"], "'-5' is no number over 0"),
    (simulation.main, ["--profile", "nothing"], "'everything'"),
    (fuzz.main, ["nothing"], "there is no target nothing; there are authors,"),
    (fuzz.main, ["content", "--seconds", "nan"], "'nan' is no number over 0"),
    (fuzz.main, ["content", "--replay", "no/such"], "there is no file no/such"),
    (fuzz.main, ["--replay", __file__], "--replay goes with one target"),
    (growth.main, ["nothing"], "there is no reader nothing; there are head,"),
    (kill.main, ["--rounds", "0"], "no whole number from 1 on"),
    (bench.main, ["--loads", "nothing"], "there is no nothing; there are 4k,"),
    (bench.main, ["--servers", "nothing"], "there is no nothing; there are lmrelay,"),
    (bench.main, ["--rounds", "0"], "no whole number from 1 on"),
    (bench.main, ["--scale", "inf"], "'inf' is no number over 0"),
    (bench.main, ["--state", "no/such"], "there is no folder no/such"),
    (bench.main, ["--json", "no/such/file"], "there can be no file no/such/file"),
    (report.main, ["no/such"], "there is no file no/such"),
    (report.main, [__file__], "is not what python -m bench --json writes"),
    (crowd.main, ["--rounds", "0"], "no whole number from 1 on"),
    (crowd.main, ["--state", "no/such"], "there is no folder no/such"),
    (peers.main, ["remove"], "'install'"),
    (memory.main, ["no/such"], "there is no folder no/such"),
    (webhooks.main, ["--rounds", "x"], "no whole number from 1 on"),
]


@pytest.mark.parametrize(("main", "arguments", "words"), COMMANDS)
def test_refused(
    main: Callable[[], object],
    arguments: list[str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """
    In words that say what was expected.
    """
    monkeypatch.setattr(sys, "argv", ["command", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert 2 == ended.value.code
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("main", dict.fromkeys(one[0] for one in COMMANDS), ids=lambda main: main.__module__)
def test_help(main: Callable[[], object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """
    It is for people: none of the marks that docstrings have is in it, and it names the command.
    """
    monkeypatch.setattr(sys, "argv", ["command", "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr().out
    assert not ended.value.code
    assert told.startswith("usage: python -m ")
    assert "{" not in told


def test_no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """
    What has to be installed is said, where make is missing and where it fails.
    """
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="apt-get install gcc make libssl-dev"):
        sink.build()
    (tmp_path / "make").write_text("#!/bin/sh\nexit 2\n")
    (tmp_path / "make").chmod(0o755)
    with pytest.raises(SystemExit, match="apt-get install gcc make libssl-dev"):
        sink.build()


def test_no_registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """
    A peer that cannot be fetched, be it for want of the program that fetches it, is named with the reason.
    """
    monkeypatch.setenv("PATH", str(tmp_path))
    failed = install(tmp_path / "peers")
    assert {"exim", "opensmtpd", "saslpasswd2", "haraka"} == set(failed)
    assert all("No such file" in why for why in failed.values())
