"""
The statements that every message needs: made by SQLAlchemy's compiler once for each database, then run as text.

Rows are mappings by column name. Running a statement through SQLAlchemy prepares each row
anew, which costs more than SQLite needs to store it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    ClauseElement,
    Connection,
    Delete,
    Dialect,
    Select,
    Table,
    Update,
    and_,
    bindparam,
    insert,
    or_,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import psycopg

from lmrelay.interfaces import RecipientKey
from lmrelay.queue.schema import is_open, message, recipient

_DIALECTS: dict[str, Callable[[], Dialect]] = {
    sqlite.dialect.name: lambda: sqlite.dialect(paramstyle="named"),
    postgresql.dialect.name: psycopg.dialect,
}

READ_SIZES = (1, 8, 64, 256)
"""
How many keys one read looks for: few sizes, so few texts.
"""


@cache
def _text(dialect: str, statement: ClauseElement, columns: tuple[str, ...] | None = None) -> str:
    return str(statement.compile(dialect=_DIALECTS[dialect](), column_keys=columns))


@cache
def _insert_text(dialect: str, table: Table) -> str:
    given = tuple(column.name for column in table.columns if column is not table.autoincrement_column)
    return _text(dialect, insert(table).inline(), given)


def insert_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """
    Insert rows that have all columns, but for the number that the database gives.
    """
    if rows:
        connection.exec_driver_sql(_insert_text(connection.dialect.name, table), list(rows))


def run_each(connection: Connection, statement: Update | Delete, rows: Sequence[Mapping[str, Any]]) -> None:
    """
    Run one statement, which lives as long as the process, for each of the rows.
    """
    if rows:
        connection.exec_driver_sql(_text(connection.dialect.name, statement), list(rows))


_OPEN = (
    recipient.c.message,
    recipient.c.number,
    recipient.c.address,
    recipient.c.notify,
    recipient.c.orcpt_type,
    recipient.c.orcpt,
    recipient.c.attempts,
    recipient.c.owner,
    recipient.c.delay_told,
    message.c.project,
    message.c.route,
    message.c.notification,
    message.c.received_at,
    message.c.subject,
    message.c.tags,
    message.c.metadata,
    message.c.body,
)


@cache
def _select_open(size: int) -> Select[Any]:
    keys = [
        and_(recipient.c.message == bindparam(f"of{number}"), recipient.c.number == bindparam(f"which{number}"))
        for number in range(size)
    ]
    both = recipient.join(message, message.c.id == recipient.c.message)
    return select(*_OPEN).select_from(both).where(or_(*keys), is_open)


@cache
def _select_over(size: int) -> Select[Any]:
    mine = select(recipient.c.number).where(recipient.c.message == message.c.id, is_open)
    ids: list[BindParameter[str]] = [bindparam(f"of{number}") for number in range(size)]
    return select(message.c.id).where(message.c.id.in_(ids), ~mine.exists())


def find_open(connection: Connection, keys: Sequence[RecipientKey]) -> dict[RecipientKey, Any]:
    """
    Those recipients that are not final, with what events say of their messages.
    """
    found = {}
    for part in _parts(keys):
        given: dict[str, Any] = {}
        for number, (of, which) in enumerate(part):
            given[f"of{number}"] = of
            given[f"which{number}"] = which
        text = _text(connection.dialect.name, _select_open(len(part)))
        for row in connection.exec_driver_sql(text, given):
            found[row.message, row.number] = row
    return found


def find_over(connection: Connection, ids: Sequence[str]) -> set[str]:
    """
    Those messages that have no recipient left who is not final.
    """
    found: set[str] = set()
    for part in _parts(ids):
        text = _text(connection.dialect.name, _select_over(len(part)))
        given = {f"of{number}": one for number, one in enumerate(part)}
        found.update(row[0] for row in connection.exec_driver_sql(text, given))
    return found


def _parts(keys: Sequence[Any]) -> list[Sequence[Any]]:
    """
    Parts of the sizes that there are texts for, the last filled up with its last key.
    """
    largest = READ_SIZES[-1]
    parts: list[Sequence[Any]] = []
    for start in range(0, len(keys), largest):
        part = list(keys[start : start + largest])
        size = next(size for size in READ_SIZES if size >= len(part))
        parts.append(part + part[-1:] * (size - len(part)))
    return parts
