"""
What the store knows of messages, as records for people: plain values, times in seconds since the epoch.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from attrs import frozen
from sqlalchemy import Connection, Row, and_, func, select

from lmrelay.errors import StoreError, SyntaxRefused
from lmrelay.interfaces import RecipientKey
from lmrelay.mail.head import Head
from lmrelay.queue.bounces import list_returned
from lmrelay.queue.chronicle import list_events
from lmrelay.queue.orders import Selector
from lmrelay.queue.schema import DELIVERED, HELD, WAITING, attempt, message, recipient
from lmrelay.queue.selection import conditions, find_page, find_ranges, joined, within_ranges
from lmrelay.queue.sites import find_suspensions
from lmrelay.queue.waits import find_ahead, find_sites_of

Record = dict[str, Any]

MAX_SOFTWARE = 200
"""
Characters.
"""

_LISTED = (
    recipient.c.message,
    recipient.c.number,
    recipient.c.project,
    message.c.route,
    recipient.c.kind,
    message.c.tags,
    message.c.metadata,
    message.c.subject,
    message.c.size,
    message.c.received_at.label("received"),
    recipient.c.address.label("recipient"),
    recipient.c.domain,
    recipient.c.state,
    recipient.c.attempts,
    recipient.c.next_attempt,
    recipient.c.last,
)


def list_page(
    connection: Connection, selector: Selector, now: float, after: RecipientKey | None, limit: int
) -> list[Record]:
    """
    At most C{limit} recipients behind C{after}, the oldest message first.
    """
    rows = find_page(connection, _LISTED, selector, now, after, limit)  # type: ignore[arg-type]
    return [{**row._mapping, "tags": json.loads(row.tags), "metadata": json.loads(row.metadata)} for row in rows]


def count(connection: Connection, selector: Selector, now: float) -> list[Record]:
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
        .select_from(joined)
        .where(*conditions(selector, now), within_ranges(selector))
        .group_by(*by)
        .order_by(*by)
    )
    return [{**row._mapping, "octets": int(row.octets)} for row in connection.execute(query)]


def find_ids(connection: Connection, beginning: str, limit: int) -> list[str]:
    """
    At most C{limit} ids of messages that begin so.
    """
    found: list[str] = []
    for first, last in find_ranges(Selector(messages=(beginning,))):
        query = select(message.c.id).where(message.c.id.between(first, last)).order_by(message.c.id).limit(limit)
        found += connection.execute(query).scalars()
    return found


def read_head(connection: Connection, id_: str) -> bytes:
    """
    The header block of a message; empty where it is not kept.
    """
    found: bytes | None = connection.execute(select(message.c.head).where(message.c.id == id_)).scalar()
    return found or b""


@frozen
class Bounds:
    """
    What is told of a message at most: so many recipients, those that were not delivered first, and so many attempts of
    each, the last ones.
    """

    recipients: int
    attempts: int


def tell(connection: Connection, id_: str, living: Collection[str], bounds: Bounds | None = None) -> Mapping[str, Any]:
    """
    A message with its recipients and their attempts, all of them without C{bounds}; C{living} are the workers that are.

    @raise StoreError: there is no such message
    """
    row = connection.execute(select(message).where(message.c.id == id_)).first()
    if row is None:
        raise StoreError(f"no message {id_!r} is known")
    to = _find_recipients(connection, id_, bounds)
    attempts = _list_attempts(connection, id_, to, bounds)
    returned = list_returned(connection, id_)
    told = [
        {
            **_tell_recipient(one, living),
            "attempts": attempts.get(one.number, []),
            "returned": returned.get(one.number, []),
        }
        for one in to
    ]
    _add_waits(connection, to, told, living)
    return {
        **dict(_tell_message(row)),
        "workers": len(living),
        "recipients": told,
        "left_out": _count_recipients(connection, id_) - len(told),
        "events": list_events(connection, id_, None if bounds is None else [one.number for one in to]),
    }


def _find_recipients(connection: Connection, id_: str, bounds: Bounds | None) -> Sequence[Row[Any]]:
    query = select(recipient).where(recipient.c.message == id_)
    if bounds is None:
        return connection.execute(query.order_by(recipient.c.number)).all()
    query = query.order_by(recipient.c.state == DELIVERED, recipient.c.number).limit(bounds.recipients)
    return connection.execute(query).all()


def _count_recipients(connection: Connection, id_: str) -> int:
    counted: int = connection.execute(
        select(func.count()).select_from(recipient).where(recipient.c.message == id_)
    ).scalar_one()
    return counted


def _list_attempts(
    connection: Connection, id_: str, to: Sequence[Row[Any]], bounds: Bounds | None
) -> dict[int, list[Record]]:
    found: dict[int, list[Record]] = defaultdict(list)
    query = select(attempt).where(attempt.c.message == id_).order_by(attempt.c.recipient, attempt.c.number)
    if bounds is not None:
        same = and_(recipient.c.message == attempt.c.message, recipient.c.number == attempt.c.recipient)
        late = attempt.c.number > recipient.c.attempts - bounds.attempts
        query = query.join(recipient, same).where(late, attempt.c.recipient.in_([one.number for one in to]))
    for row in connection.execute(query):
        found[row.recipient].append(_tell_attempt(row))
    return found


_TOLD = (
    *("project", "route", "kind", "reverse_path", "notification", "subject", "message_id", "sender", "to"),
    *("size", "eight_bit", "utf8_head", "smtputf8", "ret", "envid", "redact", "sandbox", "return_path", "require_tls"),
)

_SOFTWARE = ("User-Agent", "X-Mailer")


def _tell_message(row: Row[Any]) -> Iterator[tuple[str, Any]]:
    yield "message", row.id
    yield "received", row.received_at
    for name in _TOLD:
        yield name, row._mapping[name]
    yield "token", row.token_id
    for name in ("tags", "metadata", "client"):
        yield name, json.loads(row._mapping[name])
    yield "software", _find_software(row.head)


def _find_software(head: bytes) -> str:
    """
    What the client says it is (RFC 5322 knows no such field, but these two are usual); empty: it does not.
    """
    try:
        fields = Head.parse(head)
    except SyntaxRefused:
        return ""
    found = next((field for name in _SOFTWARE if (field := fields.first(name)) is not None), None)
    return "" if found is None else found.unfolded.decode("utf-8", "replace").strip()[:MAX_SOFTWARE]


def _tell_recipient(row: Row[Any], living: Collection[str]) -> Record:
    return {
        "number": row.number,
        "address": row.address,
        "domain": row.domain,
        "state": row.state,
        "made": row.attempts,
        "next_attempt": row.next_attempt,
        "in_flight": row.owner in living,
        "held": row.held_at if row.state == HELD else None,
        "extended": row.extended,
        "ended": row.ended_at,
        "last": row.last,
    }


def _add_waits(
    connection: Connection, rows: Sequence[Row[Any]], told: Sequence[Record], living: Collection[str]
) -> None:
    """
    To those that wait, for what; what is final waits for nothing.
    """
    waiting = {row.domain for row in rows if row.state in WAITING}
    suspended, found = find_suspensions(connection, waiting), find_sites_of(connection, waiting)
    ahead = find_ahead(connection, rows, living)
    for row, one in zip(rows, told, strict=True):
        waits = row.state in WAITING
        one["suspended"] = suspended.get(row.domain) if waits else None
        one["site"] = found.get(row.domain) if waits else None
        one["lane"] = ahead.get(row.domain) if waits and row.due is not None else None


def _tell_attempt(row: Row[Any]) -> Record:
    names = (
        "number",
        "outcome",
        "status",
        "text",
        "fault",
        "reply",
        "host",
        "address",
        "source",
        "tls_failure",
        "offered",
    )
    return {
        **{name: row._mapping[name] for name in names},
        "started": row.started_at,
        "ended": row.ended_at,
        "seconds": row.ended_at - row.started_at,
        # Whoever says something has an address, unless the relay played that part itself.
        "played": row.reply is not None and row.address is None,
        "tls": None if row.tls is None else json.loads(row.tls),
        "steps": [_tell_step(*one) for one in json.loads(row.trace or "[]")],
    }


def _tell_step(name: str, micros: int | None, text: str = "") -> Record:
    return {"step": name, "seconds": None if micros is None else micros / 1e6, "text": text}
