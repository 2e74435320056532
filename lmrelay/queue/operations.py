"""
The queue as the operator's command sees it: synchronous, without a reactor.

Reading never makes a database. A change is asked of the daemon that runs, or made here if none does.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import define, evolve, fields_dict
from sqlalchemy import URL, Engine, func, insert, select
from sqlalchemy.exc import SQLAlchemyError

from lmrelay.config.values import Config
from lmrelay.errors import StoreError
from lmrelay.ids import make_id
from lmrelay.queue import commands
from lmrelay.queue.leases import any_lives, free_dead
from lmrelay.queue.orders import Change, Selector, Verb
from lmrelay.queue.schema import attempt, command, message, recipient
from lmrelay.queue.store import check_version, explain, find_url, make_engine, make_reading_engine

PATIENCE = 10.0
"""
Seconds for which an answer of the daemon is waited for.
"""

INTERVAL = 0.05

_joined = recipient.join(message, message.c.id == recipient.c.message)


@contextmanager
def open_desk(config: Config, wall: Callable[[], float]) -> Iterator[Desk]:
    """
    The store of a configuration, to look at and change.

    @raise StoreError: there is none yet, or it is of another version
    """
    url = find_url(config)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        raise StoreError(f"{url.database}: there is no queue yet; it is made when the daemon starts")
    engine = make_reading_engine(url, connections=1)
    try:
        with engine.begin() as connection:
            check_version(connection, current=True)
        yield Desk(engine, url, config.server.state_dir, wall)
    except SQLAlchemyError as error:
        raise explain(error) from error
    finally:
        engine.dispose()


@define(eq=False)
class Desk:
    """
    An open store. Records are plain values, times in seconds since the epoch.
    """

    _engine: Engine
    _url: URL
    _state_dir: Path
    _wall: Callable[[], float]
    _sleep: Callable[[float], None] = time.sleep

    def recipients(self, selector: Selector, limit: int | None) -> Sequence[Mapping[str, Any]]:
        """
        One record a recipient, oldest message first.
        """
        query = (
            select(recipient, message.c.route, message.c.tags, message.c.subject, message.c.size, message.c.received_at)
            .select_from(_joined)
            .where(*commands.conditions(selector, self._wall()))
            .order_by(recipient.c.message, recipient.c.number)
            .limit(limit)
        )
        with self._engine.begin() as connection:
            rows = connection.execute(query).all()
        names = ("message", "number", "project", "kind", "route", "subject", "size", "domain", "state", "attempts")
        return [
            {
                **{name: getattr(row, name) for name in names},
                "tags": json.loads(row.tags),
                "received": row.received_at,
                "recipient": row.address,
                "next_attempt": row.next_attempt,
                "last": row.last,
            }
            for row in rows
        ]

    def count(self, selector: Selector) -> Sequence[Mapping[str, Any]]:
        """
        Recipients counted by project, domain and state.
        """
        by = (recipient.c.project, recipient.c.domain, recipient.c.state)
        query = (
            select(
                *by,
                func.count().label("recipients"),
                func.sum(message.c.size).label("octets"),
                func.min(message.c.received_at).label("oldest"),
            )
            .select_from(_joined)
            .where(*commands.conditions(selector, self._wall()))
            .group_by(*by)
            .order_by(*by)
        )
        with self._engine.begin() as connection:
            return [{**row._mapping, "octets": int(row.octets)} for row in connection.execute(query)]

    def find(self, beginning: str) -> Sequence[str]:
        """
        At most ten ids of messages, of any state, that begin so.
        """
        query = select(message.c.id).where(message.c.id.startswith(beginning, autoescape=True))
        with self._engine.begin() as connection:
            return list(connection.execute(query.order_by(message.c.id).limit(10)).scalars())

    def story(self, message: str) -> Mapping[str, Any]:
        """
        A message with its recipients and all their attempts.

        @raise StoreError: there is no such message
        """
        return _tell(self._engine, message)

    def head(self, message: str) -> bytes:
        """
        The header block as recipients get it.
        """
        return _head(self._engine, message)

    def change(self, verb: Verb, selector: Selector, dry_run: bool) -> Change:
        """
        Do it, or with C{dry_run} count what it would change.

        @raise StoreError: the daemon runs but does not answer; the order stands
        """
        # Whoever calls may have values of its own of the same shape.
        verb = Verb(verb.value)
        selector = evolve(Selector(), **{name: getattr(selector, name) for name in fields_dict(Selector)})
        if dry_run:
            with self._engine.begin() as connection:
                found = commands.find(connection, verb, selector, self._wall())
            held = sum(row.owner is not None for row in found)
            return Change(len(found) - held, held, any_lives(self._state_dir))
        writing = make_engine(self._url)
        try:
            if any_lives(self._state_dir):
                return self._ask(writing, verb, selector)
            return self._apply(writing, verb, selector)
        finally:
            writing.dispose()

    def _apply(self, writing: Engine, verb: Verb, selector: Selector) -> Change:
        now = self._wall()
        with writing.begin() as connection:
            free_dead(connection, self._state_dir, now)
            found = commands.find(connection, verb, selector, now)
            free = [(row.message, row.number) for row in found if row.owner is None]
            commands.apply(connection, verb, free, now)
        return Change(len(free), len(found) - len(free))

    def _ask(self, writing: Engine, verb: Verb, selector: Selector) -> Change:
        now = self._wall()
        id_ = make_id(now, os.urandom)
        row = {"id": id_, "verb": verb.value, "selector": commands.dump_selector(selector), "ordered_at": now}
        with writing.begin() as connection:
            connection.execute(insert(command), [row])
        for _ in range(int(PATIENCE / INTERVAL)):
            with self._engine.begin() as connection:
                answered = connection.execute(select(command).where(command.c.id == id_)).one()
            if answered.changed is not None:
                return Change(answered.changed, answered.in_flight, by_daemon=True)
            self._sleep(INTERVAL)
        raise StoreError(
            f"the daemon runs but has not answered for {PATIENCE:.0f} s; it will carry the order out later"
        )


def _head(engine: Engine, id_: str) -> bytes:
    with engine.begin() as connection:
        found: bytes | None = connection.execute(select(message.c.head).where(message.c.id == id_)).scalar()
    return found or b""


def _tell(engine: Engine, id_: str) -> Mapping[str, Any]:
    with engine.begin() as connection:
        row = connection.execute(select(message).where(message.c.id == id_)).first()
        if row is None:
            raise StoreError(f"no message {id_!r} is known")
        recipients = connection.execute(
            select(recipient).where(recipient.c.message == id_).order_by(recipient.c.number)
        ).all()
        attempts = connection.execute(
            select(attempt).where(attempt.c.message == id_).order_by(attempt.c.recipient, attempt.c.number)
        ).all()
    names = (
        "project",
        "route",
        "kind",
        "reverse_path",
        "notification",
        "subject",
        "message_id",
        "sender",
        "to",
        "size",
    )
    return {
        "message": row.id,
        **{name: row._mapping[name] for name in names},
        "received": row.received_at,
        "token": row.token_id,
        **{name: json.loads(row._mapping[name]) for name in ("tags", "metadata", "client")},
        "recipients": [
            {
                "number": one.number,
                "address": one.address,
                "domain": one.domain,
                "state": one.state,
                "next_attempt": one.next_attempt,
                "in_flight": one.owner is not None,
                "last": one.last,
                "attempts": [_tell_attempt(made) for made in attempts if made.recipient == one.number],
            }
            for one in recipients
        ],
    }


def _tell_attempt(made: Any) -> dict[str, Any]:
    names = ("number", "outcome", "status", "text", "fault", "reply", "host", "address", "tls_failure")
    return {
        **{name: made._mapping[name] for name in names},
        "started": made.started_at,
        "ended": made.ended_at,
        "seconds": made.ended_at - made.started_at,
        "tls": None if made.tls is None else json.loads(made.tls),
    }
