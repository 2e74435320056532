"""
Events as they are told: the row of an event, and what its message and its recipient say.

The row of an event holds what is new with it alone. A message's metadata may be long, and is told with each event of a
thousand recipients: written so often it would fill the disk.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, and_, select
from twisted.logger import Logger

from lmrelay.queue.rows import dump, format_time
from lmrelay.queue.schema import event, message, recipient

Document = dict[str, Any]

log = Logger()

_told = (
    select(
        event,
        message.c.subject,
        message.c.tags,
        message.c.metadata,
        message.c.redact,
        recipient.c.address,
    )
    .outerjoin(message, message.c.id == event.c.message)
    .outerjoin(recipient, and_(recipient.c.message == event.c.message, recipient.c.number == event.c.recipient))
    .order_by(event.c.sequence)
)


def tell_events(connection: Connection, sequences: Sequence[int]) -> list[Document]:
    """
    These events in the order of their sequence, each as a document for those who want to know.

    Subject and recipient are null where the message's route keeps them out of events.
    """
    return [_tell(row) for row in connection.execute(_told.where(event.c.sequence.in_(list(sequences))))]


def write_documents(connection: Connection, sequences: Sequence[int]) -> dict[int, tuple[str, str, bytes]]:
    """
    Id, type and document of these events by their sequence, as they are sent: JSON as short as it gets. What cannot be
    read is left out.
    """
    found: dict[int, tuple[str, str, bytes]] = {}
    if not sequences:
        return found
    for row in connection.execute(_told.where(event.c.sequence.in_(list(sequences)))):
        try:
            found[row.sequence] = (row.id, row.type, dump(_tell(row)).encode("utf-8", "replace"))
        except Exception:  # noqa: BLE001 - whatever is wrong with a row, it is the only one
            log.failure("an event cannot be read", event=row.id)
    return found


def _tell(row: Row[Any]) -> Document:
    data: Document = {}
    if row.message is not None:
        data["message_id"] = row.message
    if row.recipient is not None:
        data["recipient"] = None if row.redact else row.address
    if row.tags is not None:
        tags = json.loads(row.tags)
        data |= {
            "subject": None if row.redact else row.subject,
            "tag": tags[0] if tags else None,
            "tags": tags,
            "metadata": json.loads(row.metadata),
        }
    return {
        "id": row.id,
        "event": row.type,
        "timestamp": format_time(row.at),
        "sequence": row.sequence,
        "context": {"project": row.project, "route": row.route or None},
        "data": data | json.loads(row.document),
    }
