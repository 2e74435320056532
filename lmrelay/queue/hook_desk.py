"""
Webhooks as the operator's command sees them: who is to be told what, how it went, and telling it again.

What is changed here are rows alone; the daemon, if it runs, goes by them within a second.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from attrs import define, frozen
from sqlalchemy import URL, Column, ColumnElement, Connection, Engine, Select, and_, func, or_, select, true

from lmrelay.config.project import Webhook
from lmrelay.interfaces import Endpoint
from lmrelay.queue.endpoints import disable, enable
from lmrelay.queue.orders import Listing
from lmrelay.queue.outbox import DEAD, WAITING, delivery_row, write_told
from lmrelay.queue.rows import dump, event_row
from lmrelay.queue.schema import event, message, recipient, webhook_attempt, webhook_delivery, webhook_endpoint
from lmrelay.queue.search import WINDOW
from lmrelay.queue.statements import make_insert
from lmrelay.queue.store import make_engine
from lmrelay.queue.tellings import find_trouble

PAGE = 500
"""
Events begun with again in one transaction.
"""

SLACK = 3600.0
"""
Seconds by which an event may be written after it happened: for so much longer they are looked through.
"""

TEST = "webhook.test"

T = TypeVar("T")

_table = webhook_delivery.c


@frozen
class Replay:
    """
    What is to be told again: events since then, of those given up alone or all.
    """

    endpoint: Endpoint
    wants: Callable[[str, str], bool]
    since: float
    dead: bool = False

    @classmethod
    def of(cls, project: str, webhook: Webhook, since: float, *, dead: bool = False) -> Replay:
        """
        For an endpoint as it is configured.
        """
        return cls((project, webhook.name), webhook.wants, since, dead)


@define(eq=False)
class HookDesk:
    """
    The webhooks in an open store. Records are plain values, times in seconds since the epoch.
    """

    _engine: Engine
    _url: URL
    _wall: Callable[[], float]

    def endpoints(self) -> Mapping[Endpoint, Mapping[str, Any]]:
        """
        Those of which anything is known: C{waiting} (how many events), C{next} (when the first of them is due; None:
        it is being told), C{since} (when the one that waits longest was begun with), C{trouble} (why it did not take
        some of it, or None), C{disabled_at} and C{reason}.
        """
        waits = or_(_table.due.is_not(None), _table.owner.is_not(None))
        query = (
            select(
                _table.project,
                _table.endpoint,
                func.count().label("waiting"),
                func.min(_table.due).label("next"),
                func.min(_table.begun_at).label("since"),
            )
            .where(waits)
            .group_by(_table.project, _table.endpoint)
        )
        known: dict[Endpoint, dict[str, Any]] = {}
        with self._engine.begin() as connection:
            for row in connection.execute(query):
                trouble = find_trouble(connection, (row.project, row.endpoint))
                facts = {"waiting": row.waiting, "next": row.next, "since": row.since, "trouble": trouble}
                known[row.project, row.endpoint] = facts
            for row in connection.execute(select(webhook_endpoint)):
                told = {"disabled_at": row.disabled_at, "reason": row.reason}
                known.setdefault((row.project, row.endpoint), {}).update(told)
        nothing = {"waiting": 0, "next": None, "since": None, "trouble": None, "disabled_at": None, "reason": ""}
        return {one: {**nothing, **facts} for one, facts in known.items()}

    def attempts(
        self,
        endpoint: Endpoint,
        limit: int,
        seconds: float,
        *,
        failed: bool = False,
        event_id: str = "",
        rows: int = WINDOW,
    ) -> Listing:
        """
        The latest attempts at an endpoint, the last event's first. The search ends after so many seconds, with what it
        has by then; C{rows} are looked at in one transaction.
        """
        ends, query = self._wall() + seconds, _tried(endpoint, failed)
        if event_id:
            sequence, looked_back_to = self._find_event(event_id, ends, rows)
            if sequence is None:
                return Listing(more=looked_back_to is not None, looked_back_to=looked_back_to)
            query = query.where(webhook_attempt.c.event == sequence)
        records: list[dict[str, Any]] = []
        for connection, first, window in self._walk(webhook_attempt.c.event, rows):
            limited = query.limit(limit + 1 - len(records))
            records += map(_describe, connection.execute(limited if event_id else limited.where(window)))
            if len(records) > limit or event_id:
                break
            if first and self._wall() >= ends:
                return Listing(tuple(records), True, _find_time(connection, first))
        return Listing(tuple(records[:limit]), len(records) > limit)

    def _find_event(self, event_id: str, ends: float, rows: int) -> tuple[int | None, float | None]:
        """
        The sequence of an event, or None and, if the time was over before all were looked at, how far back that was.
        """
        for connection, first, window in self._walk(event.c.sequence, rows):
            query = select(event.c.sequence).where(window, event.c.id == event_id).order_by(event.c.sequence.desc())
            sequence = connection.execute(query.limit(1)).scalar()
            if sequence is not None:
                return sequence, None
            if first and self._wall() >= ends:
                return None, _find_time(connection, first)
        return None, None

    def _walk(self, sequence: Column[int], rows: int) -> Iterator[tuple[Connection, int, ColumnElement[bool]]]:
        """
        So many rows at a time, going back by the sequence of their events: each time in a transaction of its own, with
        the sequence that this goes back to (0: all there is) and what says so.
        """
        reach: ColumnElement[bool] = true()
        first: int | None = None
        while first != 0:
            with self._engine.begin() as connection:
                query = select(sequence).where(reach).order_by(sequence.desc()).offset(rows - 1).limit(1)
                first = connection.execute(query).scalar() or 0
                yield connection, first, and_(reach, sequence >= first)
            reach = sequence < first

    def replay(self, wanted: Replay, *, dry_run: bool = False) -> int:
        """
        Have an endpoint told again, from a first attempt on, of what it wants of the events since then: how many.
        What is being told now is left as it is.
        """
        writing = make_engine(self._url)
        try:
            with writing.begin() as connection:
                after: int | None = _find_place(connection, wanted.since - SLACK)
            total = 0
            while after is not None:
                with writing.begin() as connection:
                    rows, after = _find_page(connection, wanted, after)
                    if not dry_run:
                        _begin_again(connection, wanted.endpoint[1], rows, self._wall())
                total += len(rows)
            return total
        finally:
            writing.dispose()

    def test(self, endpoint: Endpoint) -> str:
        """
        Have an endpoint told of C{webhook.test}, whatever it is told otherwise: the event's id.
        """
        now = self._wall()
        row = event_row(os.urandom, TEST, now, (endpoint[0], ""), (None, None), dump({"endpoint": endpoint[1]}))
        self._write(lambda connection: write_told(connection, [row], {row["id"]: [endpoint[1]]}))
        return str(row["id"])

    def fate(self, endpoint: Endpoint, event_id: str) -> Mapping[str, Any]:
        """
        What became of an event for an endpoint: C{state}, C{attempts} and C{last}.
        """
        told = select(_table.state, _table.attempts, _table.last).join(event, event.c.sequence == _table.event)
        # No index leads to an id, but what is asked for was written lately.
        query = told.where(event.c.id == event_id, _table.endpoint == endpoint[1]).order_by(event.c.sequence.desc())
        with self._engine.begin() as connection:
            return dict(connection.execute(query.limit(1)).one()._mapping)

    def disable(self, endpoint: Endpoint, reason: str) -> bool:
        """
        Have an endpoint told nothing; was that news?
        """
        return self._write(lambda connection: disable(connection, endpoint, reason, self._wall()))

    def enable(self, endpoint: Endpoint) -> bool:
        """
        Have an endpoint told again what is to come; was that news?
        """
        return self._write(lambda connection: enable(connection, endpoint))

    def _write(self, work: Callable[[Connection], T]) -> T:
        writing = make_engine(self._url)
        try:
            with writing.begin() as connection:
                return work(connection)
        finally:
            writing.dispose()


def _tried(endpoint: Endpoint, failed: bool) -> Select[Any]:
    tried = webhook_attempt.c
    query = (
        select(
            event.c.id,
            event.c.sequence,
            event.c.type,
            event.c.message,
            recipient.c.address,
            message.c.redact,
            tried.number,
            tried.started_at,
            tried.ended_at,
            tried.status,
            tried.text,
            tried.body,
            _table.state,
            _table.due,
        )
        .select_from(webhook_attempt)
        .join(event, event.c.sequence == tried.event)
        .join(webhook_delivery, and_(_table.event == tried.event, _table.endpoint == tried.endpoint))
        .outerjoin(message, message.c.id == event.c.message)
        .outerjoin(recipient, and_(recipient.c.message == event.c.message, recipient.c.number == event.c.recipient))
        .where(tried.endpoint == endpoint[1], event.c.project == endpoint[0])
        .order_by(tried.event.desc(), tried.number.desc())
    )
    if failed:
        query = query.where(or_(tried.status.is_(None), tried.status < 200, tried.status >= 300))
    return query


def _find_time(connection: Connection, sequence: int) -> float | None:
    return connection.execute(select(event.c.at).where(event.c.sequence == sequence)).scalar()


def _describe(row: Any) -> dict[str, Any]:
    return {
        "event": row.id,
        "sequence": row.sequence,
        "type": row.type,
        "message": row.message,
        "recipient": None if row.redact else row.address,
        "attempt": row.number,
        "started": row.started_at,
        "seconds": row.ended_at - row.started_at,
        "status": row.status,
        "text": row.text,
        "body": row.body,
        "state": row.state,
        "next": row.due,
    }


def _find_place(connection: Connection, since: float) -> int:
    """
    A sequence before all of what was written since then: events are written in the order of time, more or less.
    """
    low, high = 0, connection.execute(select(func.max(event.c.sequence))).scalar() or 0
    while low < high:
        middle = (low + high) // 2
        query = select(event.c.sequence, event.c.at).where(event.c.sequence > middle).order_by(event.c.sequence)
        row = connection.execute(query.limit(1)).first()
        if row is None or row.at >= since:
            high = middle
        else:
            low = row.sequence
    return low


def _find_page(connection: Connection, wanted: Replay, after: int) -> tuple[list[Any], int | None]:
    """
    The next events to be told again, and where to go on; None: that is all.
    """
    query = select(event.c.sequence, event.c.project, event.c.route, event.c.type, event.c.at, event.c.id).where(
        event.c.sequence > after
    )
    rows = connection.execute(query.order_by(event.c.sequence).limit(PAGE)).all()
    project = wanted.endpoint[0]
    chosen = [
        row for row in rows if row.project == project and row.at >= wanted.since and wanted.wants(row.type, row.route)
    ]
    # A test is meant for one endpoint, whatever others want.
    chosen = [row for row in chosen if row.type != TEST or _is_told(connection, row.sequence, wanted.endpoint[1])]
    busy = _find_busy(connection, wanted, [row.sequence for row in chosen])
    found = [row for row in chosen if (row.sequence not in busy if not wanted.dead else busy.get(row.sequence) == DEAD)]
    return found, rows[-1].sequence if len(rows) == PAGE else None


def _is_told(connection: Connection, sequence: int, endpoint: str) -> bool:
    """
    Was that endpoint to be told of it from the first?
    """
    query = select(_table.event).where(_table.event == sequence, _table.endpoint == endpoint)
    return connection.execute(query).first() is not None


def _find_busy(connection: Connection, wanted: Replay, sequences: Sequence[int]) -> Mapping[int, str]:
    """
    What is being told now, or, where the dead are wanted, the states of all.
    """
    query = select(_table.event, _table.state).where(_table.event.in_(sequences), _table.endpoint == wanted.endpoint[1])
    if not wanted.dead:
        query = query.where(_table.owner.is_not(None))
    return {row.event: row.state for row in connection.execute(query)} if sequences else {}


def _begin_again(connection: Connection, endpoint: str, rows: Sequence[Any], now: float) -> None:
    if not rows:
        return
    given = [
        delivery_row(row.sequence, {"at": row.at, "project": row.project}, endpoint) | {"begun_at": now} for row in rows
    ]
    insert = make_insert(connection.dialect.name, webhook_delivery)
    again = {
        "due": insert.excluded.due,
        "state": WAITING,
        "begun_at": now,
        "earlier": _table.attempts,
        "ended_at": None,
    }
    keys = ["event", "endpoint"]
    connection.execute(
        insert.on_conflict_do_update(index_elements=keys, set_=again, where=_table.owner.is_(None)), given
    )
