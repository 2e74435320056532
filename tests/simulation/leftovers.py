"""
What may not be left once all mail has come to its end: in memory, and in the rows that only those on their way have.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Select, func, select

from lmrelay.queue.schema import attempt, command, event, message, recipient, suppression_news, upload, usage, worker
from lmrelay.queue.schema import webhook_delivery as delivery
from lmrelay.service import Relay


def find_left(relay: Relay) -> Iterator[str]:
    """
    What a relay still holds though nobody sends and nothing waits.
    """
    courier, queue, dispatch = relay.courier, relay.queue, relay.courier.dispatch
    counts = {
        "places in windows": dispatch.windows.used,
        "recipients": len(dispatch._held),
        "running transactions": dispatch.running.used,
        "kept connections": len(courier.pool._idle),
        "used connections": len(courier.pool._used),
        "connections being made": len(courier.pool._opening),
        "tasks of the courier": len(courier._tasks.running),
        "outcomes that are not sent": len(courier._unsent),
        "outcomes that are not recorded": queue._recorder._unwritten,
        "recipients that are stranded": len(queue._obedience._stranded),
        "recipients in doubt": len(queue._taker._doubted),
        "octets of bodies": queue._acceptance._budget.used + queue._acceptance._budget.leaving,
        "bodies": len(queue._acceptance._budget.holders) + len(queue._acceptance._budget.abandoned),
        "keys in use": len(queue._acceptance._storing),
        "sessions": relay.listeners.services.connections.total,
        "logins that wait": len(relay.listeners.services.failures._waiting),
    }
    yield from (f"{count} {name} are left in memory" for name, count in counts.items() if count)
    if dispatch.paused:
        yield "delivery is paused"


def _stray(table: Any, column: Any, of: Any, **more: Any) -> Select[Any]:
    return select(func.count()).select_from(table).where(column.is_not(None), column.not_in(select(of)))


_STRAYS = {
    "recipients of no message": _stray(recipient, recipient.c.message, message.c.id),
    "attempts of no message": _stray(attempt, attempt.c.message, message.c.id),
    "events of no message": _stray(event, event.c.message, message.c.id),
    "webhooks of no event": _stray(delivery, delivery.c.event, event.c.sequence),
}
_OVER = {
    "uploads": select(func.count()).select_from(upload),
    "news of suppressions": select(func.count()).select_from(suppression_news),
    "orders that wait": select(func.count()).select_from(command).where(command.c.done_at.is_(None)),
    "workers beyond the one that lives": select(func.count()).select_from(worker).having(func.count() > 1),
}


def find_strays(connection: Connection) -> Iterator[str]:
    """
    Rows that belong to nothing, at any time.
    """
    for name, query in _STRAYS.items():
        if count := connection.execute(query).scalar():
            yield f"{count} {name}"
    numbers = (usage.c.project, usage.c.route, func.count(), func.max(usage.c.number), func.min(usage.c.number))
    for project, route, count, last, first in connection.execute(select(*numbers).group_by(*numbers[:2])):
        if count != last - first + 1:
            yield f"{project} {route}: of the numbers {first} to {last} for its limit there are {count}"


def find_undone(connection: Connection) -> Iterator[str]:
    """
    Rows that are gone when nothing is on its way any more.
    """
    for name, query in _OVER.items():
        if count := connection.execute(query).scalar():
            yield f"{count} {name} are left in the store"
