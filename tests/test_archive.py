"""
What the status page finds in the store.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorThreads
from twisted.python.failure import Failure
from zope.interface import implementer

from lmrelay.archive import AT_A_TIME, SECONDS, WAITING, StoredArchive
from lmrelay.config.values import Config, Queue, Server
from lmrelay.errors import StoreError
from lmrelay.queue.store import find_url, migrate
from lmrelay.web.sources import Found
from tests.queue.filling import NOW, fill, make_rows


@implementer(IReactorThreads)
class Unthreaded:
    """
    Does at once what is for other threads.
    """

    def getThreadPool(self) -> Any:
        return self

    def callInThreadWithCallback(self, done: Callable[[bool, Any], None], work: Callable[..., Any], *args: Any) -> None:
        try:
            done(True, work(*args))
        except StoreError:
            done(False, Failure())

    def callFromThread(self, work: Callable[..., Any], *args: Any) -> None:
        work(*args)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """
    Of a store that was made.
    """
    made = Config(tmp_path / "lmrelay.toml", Server("relay.example", tmp_path), queue=Queue("sqlite"))
    migrate(find_url(made))
    return made


def find(config: Config, limit: int = 50, wall: Callable[[], float] = lambda: NOW, **fields: str) -> Found:
    """
    What a search gives, which looks at one message after the other.
    """
    archive = StoredArchive(Unthreaded(), SimpleNamespace(config=config), wall, rows=1)  # type: ignore[arg-type]
    found: list[Found] = []
    searching: Deferred[Found] = archive.find(fields, limit)
    searching.addCallback(found.append)
    return found[0]


def test_a_search_ends(config: Config) -> None:
    """
    However much there is, it looks for some seconds alone, and says how far back it came.
    """
    fill(config, *(make_rows(["a@b.example"], at=NOW - number) for number in range(9)))
    seconds = itertools.count(NOW, SECONDS / 2)
    found = find(config, wall=lambda: next(seconds), subject="none")
    assert ([], True, NOW - 1 + 0.001) == (list(found.records), found.more, found.looked_back_to)
    assert (False, None) == ((found := find(config, subject="none")).more, found.looked_back_to)


@pytest.mark.parametrize("telling", [{"recipient": "a@b.example"}, {"sender": "@acme.example"}, {"subject": "x"}])
def test_redacted_messages_do_not_show_in_a_search_that_tells(config: Config, telling: dict[str, str]) -> None:
    """
    By an address or a subject they are not found, nor stand for others, nor is there a word that there were some.
    """
    hidden = [make_rows(["a@b.example"], at=NOW - number) for number in range(5)]
    for one in hidden:
        one.message["redact"] = True
    *_, shown = fill(config, *hidden, make_rows(["a@b.example"], at=NOW - 60))
    found = find(config, 2, **telling)
    assert ([shown], False) == ([one["message"] for one in found.records], found.more)
    assert 6 == len(find(config, project="acme").records)


def test_by_message_id(config: Config) -> None:
    """
    A message is found by its header field, with or without the angle brackets.
    """
    one = make_rows(["a@b.example"])
    one.message["message_id"] = "<7.x@acme.example>"
    fill(config, one, make_rows(["a@b.example"]))
    for text in ("7.x@acme.example", "<7.x@acme.example>"):
        assert [one.message["id"]] == [each["message"] for each in find(config, message_id=text).records]


class Never(Unthreaded):
    """
    Threads that take long.
    """

    def callInThreadWithCallback(self, done: Callable[[bool, Any], None], work: Callable[..., Any], *args: Any) -> None:
        """
        Not yet.
        """


def test_a_crowd(config: Config) -> None:
    """
    What is asked for by far too many is refused, not piled up for when they are gone.
    """
    archive = StoredArchive(Never(), SimpleNamespace(config=config), lambda: NOW)  # type: ignore[arg-type]
    answers: list[Any] = []
    for _ in range(AT_A_TIME + WAITING):
        archive.sites().addBoth(answers.append)
    assert [] == answers
    archive.sites().addBoth(answers.append)
    assert [True] == [bool(one.check(StoreError)) for one in answers]


def test_the_end(config: Config) -> None:
    """
    A relay that stops waits for none of those that wait for their turn.
    """
    archive = StoredArchive(Unthreaded(), SimpleNamespace(config=config), lambda: NOW)  # type: ignore[arg-type]
    archive.stop()
    answers: list[Any] = []
    archive.sites().addBoth(answers.append)
    assert answers[0].check(StoreError)
