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

from lmrelay.queue.rows import format_time
from lmrelay.queue.schema import event, message, recipient

Document = dict[str, Any]

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


def _tell(row: Row[Any]) -> Document:
    data: Document = {}
    if row.message is not None:
        tags = json.loads(row.tags)
        data = {
            "message_id": row.message,
            "subject": None if row.redact else row.subject,
            "tag": tags[0] if tags else None,
            "tags": tags,
            "metadata": json.loads(row.metadata),
        }
    if row.recipient is not None:
        data["recipient"] = None if row.redact else row.address
    return {
        "id": row.id,
        "event": row.type,
        "timestamp": format_time(row.at),
        "sequence": row.sequence,
        "context": {"project": row.project, "route": row.route},
        "data": data | json.loads(row.document),
    }
