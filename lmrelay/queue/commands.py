"""
The operator's orders, as changes of rows: what a selector means, and what each verb does.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from attrs import asdict
from sqlalchemy import ColumnElement, Connection, and_, bindparam, func, or_, select, update

from lmrelay.interfaces import RecipientKey
from lmrelay.queue.orders import Change, Selector, Verb
from lmrelay.queue.rows import dump
from lmrelay.queue.schema import DEFERRED, DELETED, HELD, OPEN, QUEUED, WAITING, command, message, recipient
from lmrelay.queue.settle import drop_bodies

FROM = {Verb.RETRY: WAITING, Verb.HOLD: WAITING, Verb.RELEASE: (HELD,), Verb.DELETE: OPEN}


def _like(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def conditions(selector: Selector, now: float) -> list[ColumnElement[bool]]:
    """
    What a selector means for C{recipient} joined with C{message}.
    """
    found: list[ColumnElement[bool]] = [recipient.c.state.in_(selector.states or OPEN)]
    if selector.messages:
        found.append(or_(*(message.c.id.like(_like(one) + "%", escape="\\") for one in selector.messages)))
    for column, values in (
        (message.c.project, selector.projects),
        (message.c.route, selector.routes),
        (recipient.c.domain, selector.domains),
    ):
        if values:
            found.append(column.in_(values))
    if selector.recipients:
        wanted = [one.lower() for one in selector.recipients]
        found.append(func.lower(recipient.c.address).in_(wanted))
    if selector.tags:
        quoted = (_like(dump(one)) for one in selector.tags)
        found.append(or_(*(message.c.tags.like(f"%{one}%", escape="\\") for one in quoted)))
    if selector.older_than is not None:
        found.append(message.c.received_at < now - selector.older_than)
    if selector.younger_than is not None:
        found.append(message.c.received_at > now - selector.younger_than)
    return found


def find(connection: Connection, verb: Verb, selector: Selector, now: float) -> list[Any]:
    """
    The recipients that a change would reach: message, number, owner.
    """
    joined = recipient.join(message, message.c.id == recipient.c.message)
    query = select(recipient.c.message, recipient.c.number, recipient.c.owner).select_from(joined)
    return list(connection.execute(query.where(and_(*conditions(selector, now)), recipient.c.state.in_(FROM[verb]))))


def apply(connection: Connection, verb: Verb, keys: Collection[RecipientKey], now: float) -> None:
    """
    Change those recipients, which nobody is trying now.
    """
    if not keys:
        return
    values: dict[Verb, dict[str, Any]] = {
        Verb.RETRY: {"next_attempt": now, "due": now},
        Verb.HOLD: {"state": HELD, "due": None},
        Verb.RELEASE: {"state": QUEUED, "next_attempt": now, "due": now},
        Verb.DELETE: {"state": DELETED, "next_attempt": None, "due": None, "last": "deleted by the operator"},
    }
    change = update(recipient).where(
        recipient.c.message == bindparam("of"),
        recipient.c.number == bindparam("which"),
        recipient.c.state.in_(FROM[verb]),
    )
    named = [{"of": one, "which": number} for one, number in keys]
    connection.execute(change.values(owner=None, **values[verb]), named)
    if verb is Verb.RELEASE:
        tried = update(recipient).where(
            recipient.c.message == bindparam("of"),
            recipient.c.number == bindparam("which"),
            recipient.c.attempts > 0,
            recipient.c.state == QUEUED,
        )
        connection.execute(tried.values(state=DEFERRED), named)
    if verb is Verb.DELETE:
        drop_bodies(connection, sorted({one for one, _ in keys}))


def dump_selector(selector: Selector) -> str:
    """
    A selector for a command's row.
    """
    return dump(asdict(selector))


def pending(connection: Connection, items: Sequence[None]) -> list[list[tuple[str, Verb, Selector]]]:
    """
    The orders that nobody has answered yet.
    """
    rows = connection.execute(select(command).where(command.c.changed.is_(None)).order_by(command.c.id)).all()
    found = [(row.id, Verb(row.verb), Selector(**json.loads(row.selector))) for row in rows]
    return [found for _ in items]


def answer(connection: Connection, id: str, change: Change) -> None:
    """
    Say what became of an order.
    """
    connection.execute(
        update(command).where(command.c.id == id).values(changed=change.changed, in_flight=change.in_flight)
    )
