"""
Endpoints of webhooks: which of them wait to be told, and which are told nothing.

One that waits is found by one step down an index, however much waits for it or for others.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from sqlalchemy import ColumnElement, Connection, bindparam, delete, select

from lmrelay.interfaces import Due, Endpoint
from lmrelay.queue.schema import webhook_delivery, webhook_endpoint
from lmrelay.queue.statements import make_insert

ENDPOINTS = 256
"""
Endpoints looked at in one read.
"""

_table = webhook_delivery.c


def find_waiting(connection: Connection, after: Endpoint | None) -> Due:
    """
    The endpoints behind that one to which something is due some time: one step down the index each.
    """
    found = list(islice(find_endpoints(connection, after), ENDPOINTS))
    disabled: set[Endpoint] = set()
    if found:
        projects = sorted({project for (project, _), _ in found})
        query = select(webhook_endpoint.c.project, webhook_endpoint.c.endpoint).where(
            webhook_endpoint.c.disabled_at.is_not(None), webhook_endpoint.c.project.in_(projects)
        )
        disabled = {(row.project, row.endpoint) for row in connection.execute(query)}
    return Due(dict(found), disabled, found[-1][0] if len(found) == ENDPOINTS else None)


def find_endpoints(connection: Connection, after: Endpoint | None) -> Iterator[tuple[Endpoint, float]]:
    """
    The endpoints behind that one that wait, and when the first of it is due.
    """
    while True:
        given = None if after is None else {"of": after[0], "which": after[1]}
        steps = (_FIRST,) if after is None else _BEHIND
        row = next(filter(None, (connection.execute(one, given).first() for one in steps)), None)
        if row is None:
            return
        after = (row.project, row.endpoint)
        yield after, row.due


_ORDER = (_table.project, _table.endpoint, _table.due)
_FIRST = select(*_ORDER).where(_table.due.is_not(None)).order_by(*_ORDER).limit(1)
_BEHIND = (
    # Not compared as pairs: for that SQLite walks through all that waits of the last endpoint to get out of it.
    _FIRST.where(_table.project == bindparam("of"), _table.endpoint > bindparam("which")),
    _FIRST.where(_table.project > bindparam("of")),
)
"""
The first endpoint that waits, and the first one behind another. Looked for every second: to make the statements costs
more than to run them.
"""


def disable(connection: Connection, endpoint: Endpoint, reason: str, now: float) -> bool:
    """
    Tell an endpoint nothing more; was that news?
    """
    if is_disabled(connection, endpoint):
        return False
    row = {"project": endpoint[0], "endpoint": endpoint[1], "disabled_at": now, "reason": reason}
    insert = make_insert(connection.dialect.name, webhook_endpoint).values(row)
    connection.execute(
        insert.on_conflict_do_update(
            index_elements=["project", "endpoint"], set_={"disabled_at": now, "reason": reason}
        )
    )
    return True


def is_disabled(connection: Connection, endpoint: Endpoint) -> bool:
    """
    Is it told nothing?
    """
    return connection.execute(select(webhook_endpoint.c.disabled_at).where(*_named(endpoint))).scalar() is not None


def enable(connection: Connection, endpoint: Endpoint) -> bool:
    """
    Tell an endpoint again what is to come; was that news?
    """
    return bool(connection.execute(delete(webhook_endpoint).where(*_named(endpoint))).rowcount)


def _named(endpoint: Endpoint) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return webhook_endpoint.c.project == endpoint[0], webhook_endpoint.c.endpoint == endpoint[1]
