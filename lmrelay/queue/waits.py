"""
What recipients wait for besides the time: their site, and those that are before them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, func, select

from lmrelay.queue.schema import WAITING, message, recipient, site, site_domain
from lmrelay.queue.sites import split_hosts

Record = dict[str, Any]

LANES = 20
"""
Lanes of one message that are looked at; a message to more domains waits for the like in all of them.
"""

COUNTED = 10_000
"""
Recipients that are counted at most: more is as good as many.
"""


def find_sites_of(connection: Connection, domains: Iterable[str]) -> dict[str, Record]:
    """
    At which site the mail of these domains is, as far as that is known: C{site} (its best host), C{hosts},
    C{connections} (so few at a time; None: as many as are allowed), C{lowered_at}, C{lowered_for} (its words).
    """
    query = (
        select(site_domain.c.domain, site_domain.c.hosts, site.c.connections, site.c.lowered_at, site.c.lowered_for)
        .outerjoin(site, site.c.hosts == site_domain.c.hosts)
        .where(site_domain.c.domain.in_(sorted(set(domains))))
    )
    return {
        row.domain: {
            "site": split_hosts(row.hosts)[0],
            "hosts": row.hosts,
            "connections": row.connections,
            "lowered_at": row.lowered_at,
            "lowered_for": row.lowered_for or "",
        }
        for row in connection.execute(query)
    }


def find_ahead(connection: Connection, rows: Sequence[Row[Any]], living: Collection[str]) -> dict[str, Record]:
    """
    By recipient domain, of those in C{rows} that wait without an owner, what of the same project and kind goes there:
    C{ahead} are due before, C{in_flight} are with a living worker, each L{COUNTED} at most; C{last} is what became of
    the last attempt for one of those that wait (None: none was tried).
    """
    first: dict[str, Row[Any]] = {}
    for row in rows:
        if row.state in WAITING and row.due is not None and len(first) < LANES:
            first.setdefault(row.domain, row)
    return {
        domain: {
            "ahead": _count_ahead(connection, row),
            "in_flight": _count_in_flight(connection, row, living),
            "last": _find_last(connection, row),
        }
        for domain, row in first.items()
    }


def _lane(row: Row[Any]) -> ColumnElement[bool]:
    same = (recipient.c.project == row.project, recipient.c.kind == row.kind, recipient.c.domain == row.domain)
    return and_(*same, recipient.c.due.is_not(None))


def _find_last(connection: Connection, row: Row[Any]) -> str | None:
    # What was tried in vain is due later than what was only put off. What its route keeps to itself stays there.
    latest = select(recipient.c.message, recipient.c.attempts, recipient.c.last).where(_lane(row))
    latest = latest.order_by(recipient.c.due.desc()).limit(1)
    found = connection.execute(latest).first()
    if found is None or not found.attempts:
        return None
    redact = connection.execute(select(message.c.redact).where(message.c.id == found.message)).scalar()
    return None if redact else found.last


def _count_ahead(connection: Connection, row: Row[Any]) -> int:
    return _count(connection, select(recipient.c.number).where(_lane(row), recipient.c.due < row.due))


def _count_in_flight(connection: Connection, row: Row[Any], living: Collection[str]) -> int:
    if not living:
        return 0
    # By the owner, of which there are few: no index leads to what of a lane is with somebody.
    mine = (recipient.c.owner.is_not(None), recipient.c.owner.in_(sorted(living)), recipient.c.domain == row.domain)
    same = (recipient.c.project == row.project, recipient.c.kind == row.kind)
    return _count(connection, select(recipient.c.number).where(*mine, *same))


def _count(connection: Connection, query: Any) -> int:
    counted: int = connection.execute(
        select(func.count()).select_from(query.limit(COUNTED).subquery("counted"))
    ).scalar_one()
    return counted
