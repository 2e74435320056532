"""
What the log says of a write that no store will take: where and what it was, not whose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from sqlalchemy import Connection
from twisted.logger import LogEvent, globalLogPublisher
from twisted.python.failure import Failure

from lmrelay.config.values import Config
from lmrelay.errors import StoreFault
from lmrelay.lines import format_json, format_text
from lmrelay.queue.backlog import Waiting
from lmrelay.queue.rows import event_row
from lmrelay.queue.schema import event, suppression
from lmrelay.queue.statements import insert_rows
from lmrelay.queue.store import find_url, make_engine
from lmrelay.queue.writer import run_batch

WHO = "secret.person@b.example"
ROW = {
    "project": "acme",
    "route": "",
    "address": WHO,
    "reason": "hard_bounce",
    "added_at": 1.0,
    "expires_at": None,
    "message": None,
    "text": f"no {WHO} here",
    "redact": True,
}


@pytest.fixture
def logged() -> Iterator[list[LogEvent]]:
    events: list[LogEvent] = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


def twice(connection: Connection, items: Sequence[Any]) -> list[None]:
    insert_rows(connection, suppression, [ROW, ROW])
    return [None]


def twice_by_sqlalchemy(connection: Connection, items: Sequence[Any]) -> list[None]:
    connection.execute(suppression.insert(), [ROW, ROW])
    return [None]


def without_a_value(connection: Connection, items: Sequence[Any]) -> list[None]:
    insert_rows(connection, suppression, [{**ROW, "text": None}])
    return [None]


def of_a_strange_type(connection: Connection, items: Sequence[Any]) -> list[None]:
    insert_rows(connection, suppression, [{**ROW, "added_at": [WHO]}])
    return [None]


def many(connection: Connection, items: Sequence[Any]) -> list[None]:
    row = event_row(lambda n: bytes(n), "message.sent", 1.0, ("acme", "outgoing"), (None, None), f'{{"to": "{WHO}"}}')
    insert_rows(connection, event, [{**row, "project": None}] * 500)
    return [None]


def defect(connection: Connection, items: Sequence[Any]) -> list[None]:
    found: dict[str, None] = {}
    return [found[WHO]]


def defect_of_several_lines(connection: Connection, items: Sequence[Any]) -> list[None]:
    raise ValueError(f"{WHO}\nis nobody")


WRITES = [twice, twice_by_sqlalchemy, without_a_value, of_a_strange_type, many, defect, defect_of_several_lines]


@pytest.mark.parametrize("write", WRITES)
def test_short_and_about_nobody(
    config: Config, logged: list[LogEvent], write: Callable[[Connection, Sequence[Any]], list[None]]
) -> None:
    """
    One line names the fault, the place and the beginning of the statement; it is short, and no value is in it, nor in
    what the caller is told.
    """
    engine = make_engine(find_url(config))
    one = Waiting(write, None)
    run_batch(engine, [one], lambda: True)
    engine.dispose()
    assert isinstance(one.answer, Failure)
    assert StoreFault is one.answer.type
    (told,) = [each for each in logged if each.get("log_format") == "a write is wrong"]
    for text in (format_text(told), format_json(told), str(one.answer.value)):
        assert "secret.person" not in text
        assert len(text) < 5000, "a traceback at most"
    line, *traceback = format_text(told).splitlines()
    assert len(line) < 600
    assert any(f"in {write.__name__}" in each for each in traceback)
    assert ("INSERT INTO" in line) is ("defect" not in write.__name__)
