"""
Keeping the database small, in small steps.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, select

from lmrelay.queue.schema import OPEN, attempt, chunk, command, event, message, recipient

STEP = 200
PAGES = 500


def run(connection: Connection, oldest: float, items: Sequence[None]) -> list[None]:
    """
    Delete some messages received before C{oldest} that are over, and give free pages back.
    """
    is_open = select(recipient.c.message).where(recipient.c.message == message.c.id, recipient.c.state.in_(OPEN))
    old = select(message.c.id, message.c.body).where(message.c.received_at < oldest, ~is_open.exists()).limit(STEP)
    rows = connection.execute(old).all()
    if rows:
        ids = [row.id for row in rows]
        connection.execute(delete(chunk).where(chunk.c.body.in_([row.body for row in rows])))
        for table, column in (
            (attempt, attempt.c.message),
            (event, event.c.message),
            (recipient, recipient.c.message),
            (message, message.c.id),
        ):
            connection.execute(delete(table).where(column.in_(ids)))
    connection.execute(delete(command).where(command.c.ordered_at < oldest))
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA incremental_vacuum({PAGES})")
    return [None] * len(items)
