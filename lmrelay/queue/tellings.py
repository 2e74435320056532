"""
What an endpoint is to be told: how rows say it, and how they change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from attrs import define, evolve, field, frozen
from sqlalchemy import ColumnElement, Connection, Delete, Select, and_, bindparam, case, delete, select, update

from lmrelay.interfaces import Endpoint, Telling, Told, Want
from lmrelay.queue.documents import write_documents
from lmrelay.queue.endpoints import find_endpoints
from lmrelay.queue.outbox import DEAD, DELIVERED, WAITING
from lmrelay.queue.rows import Row
from lmrelay.queue.schema import event, webhook_attempt, webhook_delivery
from lmrelay.queue.statements import find_rows, insert_rows, name_given, update_rows

STEP = 200
"""
Deliveries given up in one transaction, at most.
"""

UNRECORDED = "how a webhook went cannot be recorded"
"""
What is said of an attempt of which nothing else can be written.
"""

_table = webhook_delivery.c


Key = tuple[Endpoint, int]
"""
To whom, and the sequence of the event.
"""


@define(eq=False)
class Claim:
    """
    What was found to be due at that time, and what of it cannot be told. C{tried}: what was taken, by a transaction
    that may have failed since; it is only added to, for one whose commit was said to have failed may be on the disk.
    """

    found: Mapping[Endpoint, Sequence[Telling]]
    unreadable: Mapping[Endpoint, Sequence[int]]
    now: float
    tried: set[Key] = field(factory=set, init=False)


@frozen
class Record:
    """
    How an endpoint took events; see L{lmrelay.interfaces.IHooks.record}.
    """

    endpoint: Endpoint
    told: Told
    due: Mapping[int, float | None]
    stale: float = 0.0
    wordless: bool = False


def _of(endpoint: Endpoint) -> ColumnElement[bool]:
    return and_(_table.project == endpoint[0], _table.endpoint == endpoint[1])


def is_due(endpoint: Endpoint) -> ColumnElement[bool]:
    """
    Is it to be told to that endpoint some time, by whoever takes it?
    """
    # As the index says it: what is owned is not due.
    return and_(_of(endpoint), _table.due.is_not(None))


def _waiting(endpoint: Endpoint, events: Select[Any] | Sequence[int]) -> tuple[ColumnElement[bool], ...]:
    """
    Of these events of its project, what the endpoint is to be told some time.
    """
    # Not the project as well: with it SQLite goes through all that waits of the endpoint to find these.
    return _table.event.in_(events), _table.endpoint == endpoint[1], _table.due.is_not(None)


def find_trouble(connection: Connection, endpoint: Endpoint) -> str | None:
    """
    Why the endpoint did not take what it is to be told again; None: there is nothing of the kind.
    """
    # Of all that waits, what was tried is due last: what was not yet, since it was written. One step down the index.
    query = select(_table.attempts, _table.earlier, _table.last).where(is_due(endpoint))
    row = connection.execute(query.order_by(_table.due.desc()).limit(1)).first()
    return row.last if row is not None and row.attempts > row.earlier else None


def find_due(
    connection: Connection, wants: Mapping[Endpoint, Want], now: float
) -> tuple[dict[Endpoint, list[Telling]], dict[Endpoint, list[int]]]:
    """
    What is due at that time, the longest due first, as it would be told; and what of it cannot be read.
    """
    rows = {
        (of, which): connection.execute(_DUE, {"of": of, "which": which, "now": now, "most": want.number}).all()
        for (of, which), want in wants.items()
    }
    documents = write_documents(connection, sorted({row.event for found in rows.values() for row in found}))
    due: dict[Endpoint, list[Telling]] = {}
    unreadable: dict[Endpoint, list[int]] = {}
    for one, found in rows.items():
        left = wants[one].octets
        for row in found:
            if row.event not in documents:
                unreadable.setdefault(one, []).append(row.event)
                continue
            id_, type_, document = documents[row.event]
            left -= len(document)
            if left < 0 and one in due:
                break
            telling = Telling(row.event, id_, type_, document, row.attempts, row.earlier, row.begun_at)
            due.setdefault(one, []).append(telling)
    return due, unreadable


_DUE = (
    select(_table.event, _table.attempts, _table.earlier, _table.begun_at)
    .where(_table.project == bindparam("of"), _table.endpoint == bindparam("which"))
    .where(_table.due.is_not(None), _table.due <= bindparam("now"))
    .order_by(_table.due)
    .limit(bindparam("most"))
)


def claim(connection: Connection, wanted: Claim, worker: str) -> Mapping[Endpoint, Sequence[Telling]]:
    """
    Make what was found the worker's, as far as nobody else was faster.
    """
    taken = {}
    for one, tellings in wanted.found.items():
        sequences = [telling.sequence for telling in tellings]
        # Another worker may have been faster, and an order may have ended it.
        query = (
            update(webhook_delivery)
            .where(*_waiting(one, sequences), _table.due <= wanted.now)
            .values(owner=worker, due=None)
            .returning(_table.event, _table.attempts, _table.earlier, _table.begun_at)
        )
        got = {row.event: row for row in connection.execute(query)}
        mine = [_renew(telling, got[telling.sequence]) for telling in tellings if telling.sequence in got]
        if mine:
            taken[one] = sorted(mine, key=lambda telling: telling.sequence)
    for one, events in wanted.unreadable.items():
        give_up(connection, one, and_(*_waiting(one, events)), "the event cannot be read", wanted.now)
    return taken


def find_keys(taken: Mapping[Endpoint, Sequence[Telling]]) -> Iterator[Key]:
    """
    What of whom that is.
    """
    return ((one, telling.sequence) for one, tellings in taken.items() for telling in tellings)


def _renew(telling: Telling, row: Any) -> Telling:
    return evolve(telling, attempts=row.attempts, earlier=row.earlier, begun_at=row.begun_at)


def write_told(connection: Connection, items: Sequence[Record], worker: str) -> None:
    """
    Record how endpoints took what they were told. That it was delivered counts whoever owns it; that it was not, only
    from its owner.
    """
    keys = sorted({(sequence, one.endpoint[1]) for one in items for sequence in one.due})
    found = map(_Kept._make, find_rows(connection, _select_kept, keys))
    rows = {(row.event, row.endpoint): row for row in found}
    attempts: list[Row] = []
    changed: list[Row] = []
    for one in items:
        for sequence, due in one.due.items():
            row = rows.pop((sequence, one.endpoint[1]), None)
            mine = row is not None and row.owner == worker
            if row is None or not (mine or (one.told.is_success and row.state != DELIVERED)):
                continue
            number = row.attempts + 1
            if not one.wordless:
                attempts.append(_attempt_row(sequence, one, number))
            changed.append(_changed_row(sequence, one, number, due))
    insert_rows(connection, webhook_attempt, attempts)
    update_rows(connection, webhook_delivery, changed)
    for one in items:
        if one.stale:
            _give_up_stale(connection, one)


class _Kept(NamedTuple):
    """
    What is asked of a delivery when it was told.
    """

    event: int
    endpoint: str
    attempts: int
    owner: str | None
    state: str


@cache
def _select_kept(size: int) -> Select[Any]:
    given = name_given(size, _table.event, _table.endpoint)
    both = given.join(webhook_delivery, and_(_table.event == given.c.event, _table.endpoint == given.c.endpoint))
    query = select(*(_table[name] for name in _Kept._fields)).select_from(both)
    # Locked in one order by all, else two that record the same wait for each other.
    return query.order_by(_table.event, _table.endpoint).with_for_update(of=webhook_delivery)


def _attempt_row(sequence: int, record: Record, number: int) -> Row:
    told = record.told
    return {
        "event": sequence,
        "endpoint": record.endpoint[1],
        "number": number,
        "started_at": told.started_at,
        "ended_at": told.ended_at,
        "status": told.status,
        "text": told.text,
        "body": told.body,
    }


def _changed_row(sequence: int, record: Record, number: int, due: float | None) -> Row:
    told = record.told
    state = DELIVERED if told.is_success else WAITING if due is not None else DEAD
    return {
        "event": sequence,
        "endpoint": record.endpoint[1],
        "attempts": number,
        "due": due,
        "owner": None,
        "last": UNRECORDED if record.wordless else told.text or str(told.status),
        "state": state,
        "ended_at": None if due is not None else told.ended_at,
    }


def _give_up_stale(connection: Connection, record: Record) -> None:
    one, told = record.endpoint, record.told
    # Only the first of what is due is looked at: the oldest is there.
    query = (
        select(_table.event, _table.begun_at)
        .where(is_due(one), _table.due <= told.ended_at)
        .order_by(_table.due)
        .limit(STEP)
    )
    stale = [row.event for row in connection.execute(query) if row.begun_at < record.stale]
    if stale:
        give_up(connection, one, and_(*_waiting(one, stale)), told.text or str(told.status), told.ended_at)


def give_up(connection: Connection, endpoint: Endpoint, where: ColumnElement[bool], reason: str, now: float) -> int:
    """
    Give up some of what is due: how much.
    """
    chosen = select(_table.event).where(where).limit(STEP)
    change = update(webhook_delivery).where(*_waiting(endpoint, chosen))
    return connection.execute(change.values(state=DEAD, due=None, owner=None, last=reason, ended_at=now)).rowcount


def release(connection: Connection, endpoint: Endpoint, sequences: Sequence[int], worker: str, now: float) -> None:
    """
    Let what a worker took and did not tell be due.
    """
    # Found by its events: an index of what waits knows nothing of what is with somebody.
    mine = (_table.event.in_(sequences), _table.endpoint == endpoint[1], _table.owner == worker)
    connection.execute(update(webhook_delivery).where(*mine).values(owner=None, due=now))


def free_owned(connection: Connection, living: object, now: float) -> None:
    """
    Let what workers owned that are not among C{living} (a query of their ids) be due.
    """
    dead = and_(_table.owner.is_not(None), _table.owner.not_in(living))  # type: ignore[arg-type]
    connection.execute(update(webhook_delivery).where(dead).values(owner=None, due=now))


def forget_told(events: object) -> list[Delete]:
    """
    What deletes all there is about the telling of events (a query of their sequences).
    """
    return [
        delete(webhook_attempt).where(webhook_attempt.c.event.in_(events)),  # type: ignore[arg-type]
        delete(webhook_delivery).where(_table.event.in_(events)),  # type: ignore[arg-type]
    ]


def forget_events(connection: Connection, before: float, limit: int) -> int:
    """
    Delete events of that time and of no message, whose webhooks are all told; how many.
    """
    waits = select(_table.event).where(
        _table.event == event.c.sequence, (_table.due.is_not(None)) | (_table.owner.is_not(None))
    )
    old = select(event.c.sequence).where(event.c.message.is_(None), event.c.at < before, ~waits.exists()).limit(limit)
    sequences = list(connection.execute(old).scalars())
    if not sequences:
        return 0
    for statement in forget_told(sequences):
        connection.execute(statement)
    return connection.execute(delete(event).where(event.c.sequence.in_(sequences))).rowcount


def bring_hooks_near(connection: Connection, now: float, retry: Sequence[float], limit: int) -> int:
    """
    Let nothing be due later than its own delay leads to from now, nor have begun later than now: a clock that was ahead
    when it was written has been set back. How much was changed for the endpoint that had most, C{limit} at most.
    """
    made = _table.attempts - _table.earlier
    delays = {0: now, **{number: now + delay for number, delay in enumerate(retry, 1)}}
    latest = case(delays, value=made, else_=now + max(retry, default=0.0))
    begun_at = case((_table.begun_at > now, now), else_=_table.begun_at)
    most = 0
    for one, _ in list(find_endpoints(connection, None)):
        # What is due by now is passed over by the index; of the rest each row has to be looked at.
        late = select(_table.event).where(is_due(one), _table.due > now, _table.due > latest).limit(limit)
        change = update(webhook_delivery).where(*_waiting(one, late))
        most = max(most, connection.execute(change.values(due=latest, begun_at=begun_at)).rowcount)
    return most


def cap_hooks(connection: Connection, latest: float) -> None:
    """
    Let nothing be due later than then.
    """
    for one, _ in list(find_endpoints(connection, None)):
        late = update(webhook_delivery).where(is_due(one), _table.due > latest)
        connection.execute(late.values(due=latest))
