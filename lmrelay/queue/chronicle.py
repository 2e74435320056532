"""
The events of a message, and which endpoints were told of them: how that went, and what is still to be told.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, or_, select

from lmrelay.interfaces import Endpoint
from lmrelay.queue.schema import event, webhook_attempt, webhook_delivery, webhook_endpoint
from lmrelay.queue.tellings import find_trouble

Record = dict[str, Any]

MOST = 5000
"""
Events of one message that are told, the first ones: three are usual for each of up to 1,000 recipients.
"""


def list_events(connection: Connection, id_: str, recipients: Collection[int] | None = None) -> list[Record]:
    """
    The events in their order, of these recipients (None: of all) and of the message itself: C{sequence}, C{id},
    C{event} (its name), C{at}, C{recipient} (its number, or None), and C{deliveries}.

    Of each endpoint that is to be told: C{endpoint}, C{state} (C{waiting}, C{delivered}, C{dead}), C{next_attempt}
    (None: none is due), C{in_flight} (somebody is telling it now), C{ended}, C{attempts} (how many were made), C{last}
    (what was said at last), C{disabled} (None, or that the endpoint gets nothing: a mapping of C{since} and
    C{reason}), C{trouble} (of what waits and was not tried yet: why the endpoint does not take what was before it, or
    None), and C{tries}: C{number}, C{started}, C{ended}, C{seconds}, C{status} (of HTTP, or None), C{text} (why
    there was none), C{body} (of the answer, its beginning).
    """
    mine = event.c.message == id_
    if recipients is not None:
        mine = and_(mine, or_(event.c.recipient.is_(None), event.c.recipient.in_(recipients)))
    rows = connection.execute(select(event).where(mine).order_by(event.c.sequence).limit(MOST)).all()
    deliveries = _list_deliveries(connection, and_(mine, event.c.sequence <= rows[-1].sequence)) if rows else {}
    return [
        {
            "sequence": row.sequence,
            "id": row.id,
            "event": row.type,
            "at": row.at,
            "recipient": row.recipient,
            "deliveries": deliveries.get(row.sequence, []),
        }
        for row in rows
    ]


def _list_deliveries(connection: Connection, mine: ColumnElement[bool]) -> dict[int, list[Record]]:
    tries: dict[tuple[int, str], list[Record]] = defaultdict(list)
    made = webhook_attempt.join(event, event.c.sequence == webhook_attempt.c.event)
    order = (webhook_attempt.c.event, webhook_attempt.c.endpoint, webhook_attempt.c.number)
    query = select(webhook_attempt).select_from(made).where(mine).order_by(*order)
    for row in connection.execute(query):
        tries[row.event, row.endpoint].append(_tell_try(row))
    told = webhook_delivery.join(event, event.c.sequence == webhook_delivery.c.event).outerjoin(
        webhook_endpoint,
        and_(
            webhook_endpoint.c.project == webhook_delivery.c.project,
            webhook_endpoint.c.endpoint == webhook_delivery.c.endpoint,
        ),
    )
    off = (webhook_endpoint.c.disabled_at, webhook_endpoint.c.reason)
    found: dict[int, list[Record]] = defaultdict(list)
    troubles: dict[Endpoint, str | None] = {}
    query = select(webhook_delivery, *off).select_from(told).where(mine)
    for row in connection.execute(query.order_by(webhook_delivery.c.event, webhook_delivery.c.endpoint)):
        endpoint, trouble = (row.project, row.endpoint), None
        if row.due is not None and row.attempts == row.earlier:
            if endpoint not in troubles:
                troubles[endpoint] = find_trouble(connection, endpoint)
            trouble = troubles[endpoint]
        found[row.event].append({**_tell_delivery(row), "trouble": trouble, "tries": tries[row.event, row.endpoint]})
    return found


def _tell_delivery(row: Row[Any]) -> Record:
    off = row.disabled_at is not None
    return {
        "endpoint": row.endpoint,
        "state": row.state,
        "next_attempt": row.due,
        "in_flight": row.owner is not None,
        "ended": row.ended_at,
        "attempts": row.attempts,
        "last": row.last,
        "disabled": {"since": row.disabled_at, "reason": row.reason} if off else None,
    }


def _tell_try(row: Row[Any]) -> Record:
    return {
        "number": row.number,
        "started": row.started_at,
        "ended": row.ended_at,
        "seconds": row.ended_at - row.started_at,
        "status": row.status,
        "text": row.text,
        "body": row.body,
    }
