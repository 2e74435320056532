"""
Texts run by the database's driver itself: for what every message needs, and nothing else.

SQLAlchemy's way of running a text makes four objects and two dozen calls for it, which costs more than SQLite needs to
store a row. What it adds to errors is added here too, so whoever catches them need not know.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

SQLITE = "sqlite"


def count_changes(connection: Connection) -> int:
    """
    How many rows were changed so far through this connection to SQLite. It is known without a statement.
    """
    database: Any = connection.connection.dbapi_connection
    return database.total_changes  # type: ignore[no-any-return]


def run_text(connection: Connection, text: str, given: tuple[Any, ...] = ()) -> Sequence[Any]:
    """
    Run a text within the connection's transaction; the answer is the rows that it gives, if it is of that kind.

    PostgreSQL's driver stays with SQLAlchemy, which notices there that a connection was lost and opens another.

    @raise DBAPIError: as SQLAlchemy raises it
    """
    if connection.dialect.name != SQLITE:
        result = connection.exec_driver_sql(text, given)
        return result.all() if result.returns_rows else ()
    database: Any = connection.connection.dbapi_connection
    try:
        return database.execute(text, given).fetchall()  # type: ignore[no-any-return]
    except sqlite3.Error as error:
        # Parameters are people's mail: none of it belongs into an error's text.
        raise DBAPIError.instance(
            text, given, error, sqlite3.Error, hide_parameters=True, dialect=connection.dialect
        ) from error
