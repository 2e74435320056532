"""
What C{lmrelay explain} tells of a message, boiled down to what the tests ask.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

from sqlalchemy import URL, create_engine

from lmrelay.queue.documents import tell_events
from tests.e2e.daemon import PATIENCE, Relay, pause


def states(relay: Relay, message: str) -> dict[str, dict[str, Any]]:
    """
    By recipient address: its C{state}, how many C{attempts} were made, and the C{last} one.
    """
    story = relay.ask("explain", message)
    found = {}
    for recipient in story["recipients"]:
        attempts = recipient["attempts"]
        last = attempts[-1] if attempts else None
        found[recipient["address"]] = {"state": recipient["state"], "attempts": len(attempts), "last": last}
    return found


def state_of(relay: Relay, message: str, address: str) -> dict[str, Any]:
    """
    The state of one recipient.
    """
    return states(relay, message)[address]


def await_states(relay: Relay, message: str, wanted: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """
    The states, once they are those.
    """
    end = time.monotonic() + PATIENCE
    while True:
        found = states(relay, message)
        if {address: one["state"] for address, one in found.items()} == dict(wanted):
            return found
        if time.monotonic() > end:
            raise AssertionError(f"wanted {dict(wanted)}, found {found}")
        pause(0.05)


def until(condition: Callable[[], Any], what: str, timeout: float = PATIENCE) -> Any:
    """
    What C{condition} gives, once that is true.
    """
    end = time.monotonic() + timeout
    while not (found := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"no {what} in {timeout} s")
        pause()
    return found


def query(relay: Relay, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """
    Rows of the relay's store, while it runs.
    """
    with closing(sqlite3.connect(relay.folder / "state" / "queue.sqlite", timeout=PATIENCE)) as connection:
        return connection.execute(statement, values).fetchall()


def events(relay: Relay, message: str) -> list[tuple[str, str, dict[str, Any]]]:
    """
    Type, route and data of each event of a message, in their order, as they are told.
    """
    rows = query(relay, "SELECT sequence FROM event WHERE message = ?", message)
    engine = create_engine(URL.create("sqlite", database=str(relay.folder / "state" / "queue.sqlite")))
    try:
        with engine.connect() as connection:
            told = tell_events(connection, [sequence for (sequence,) in rows])
    finally:
        engine.dispose()
    return [(one["event"], one["context"]["route"], one["data"]) for one in told]


def stored(relay: Relay, subject: str) -> list[str]:
    """
    The ids of the messages of that subject that the store has, delivered ones included.
    """
    return [id_ for (id_,) in query(relay, "SELECT id FROM message WHERE subject = ? ORDER BY id", subject)]
