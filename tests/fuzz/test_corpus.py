"""
The corpus, and a look around it: what once broke a promise does not do so again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, seed, settings

from tests.fuzz.catalogue import CORPUS, NAMES, load
from tests.fuzz.hunt import Hunt, shorten

MOST_FILES, MOST_OCTETS, LONGEST = 300, 400 * 1024, 4096

EXAMPLES = settings(max_examples=20, database=None, deadline=None, suppress_health_check=list(HealthCheck))


def files() -> Iterator[tuple[str, Path]]:
    for name in NAMES:
        for path in load(name).files():
            yield name, path


@pytest.mark.parametrize(("name", "path"), list(files()), ids=lambda value: getattr(value, "name", value))
def test_corpus(name: str, path: Path) -> None:
    """
    Each input of the corpus keeps what its target promises.
    """
    load(name).run(path.read_bytes())


@pytest.mark.parametrize("name", NAMES)
def test_examples(name: str) -> None:
    """
    So do some that are drawn from the grammar, the same in every run.
    """
    target = load(name)
    seed(1)(EXAMPLES(given(target.examples)(target.run)))()


def test_size() -> None:
    """
    The corpus stays small: a file an input, each with a target.
    """
    sizes = [path.stat().st_size for _, path in files()]
    assert set(NAMES) == {folder.name for folder in CORPUS.iterdir()}
    assert len(sizes) <= MOST_FILES
    assert sum(sizes) <= MOST_OCTETS
    assert max(sizes) <= LONGEST


def test_shortened() -> None:
    """
    Of a crasher only what it takes is kept.
    """
    assert b"\r\n.\r\n" == shorten(b"x" * 300 + b"\r\n.\r\n" + b"y" * 77, lambda data: b"\r\n.\r\n" in data)


def test_crashers_are_kept(tmp_path: Path) -> None:
    """
    One for each place where a target fails, with the command that plays it again; work that does not end is one too.
    """

    def run(data: bytes) -> None:
        if b"!" in data:
            raise ValueError("!")
        if b"?" in data:
            raise AssertionError("?")

    said: list[str] = []
    ticks = iter(range(1000))
    hunt = Hunt("content", run, tmp_path / "content", said.append, lambda: next(ticks) / 10)
    for data in (b"fine", b"a!b", b"!", b"what?", b"!?", b"?"):
        hunt.attempt(data)
    assert (6, 2) == (hunt.executions, len(said))
    assert {b"!", b"?"} == {path.read_bytes() for path in hunt.crashers.values()}
    assert all(f"python -m tests.fuzz content --replay {tmp_path}" in line for line in said)
    slow = Hunt("content", run, tmp_path / "slow", said.append, lambda: next(ticks) * 10.0)
    slow.attempt(b"fine")
    assert ["slow"] == list(slow.crashers)
