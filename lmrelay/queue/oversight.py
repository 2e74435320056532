"""
Looks into the store for monitoring: what waits, what is still to be told, and what is out of order.

A long queue is counted page by page, each in a short transaction with a pause behind it: a reader left open for long
would keep SQLite's log from being emptied, and one that never rests would cost delivery a processor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import define, evolve
from sqlalchemy import Connection, func, select, tuple_
from twisted.internet.defer import Deferred
from zope.interface import implementer

from lmrelay.errors import StoreFull
from lmrelay.interfaces import IOversight, RecipientKey, Untold, Waiting
from lmrelay.queue.acceptance import Acceptance
from lmrelay.queue.contents import IReader
from lmrelay.queue.recorder import Recorder
from lmrelay.queue.schema import is_open, message, recipient, webhook_delivery, webhook_endpoint

PAGE = 5_000
PAUSE = 0.02
"""
Recipients that are counted in one transaction (some 20 ms of the database's work), and seconds to the next.
"""

_KEY = (recipient.c.message, recipient.c.number)
START: RecipientKey = ("", 0)


def count_page(connection: Connection, after: RecipientKey, limit: int) -> tuple[list[Waiting], RecipientKey | None]:
    """
    The next C{limit} open recipients behind C{after}, counted; and the last of them, None if there are no more.
    """
    open_ = select(*_KEY).where(is_open, tuple_(*_KEY) > tuple_(*after)).order_by(*_KEY)
    last = connection.execute(open_.offset(limit - 1).limit(1)).first()
    by = (recipient.c.project, message.c.route, recipient.c.state)
    counted = (
        select(*by, func.count().label("recipients"), func.min(message.c.received_at).label("oldest"))
        .select_from(recipient.join(message, message.c.id == recipient.c.message))
        .where(is_open, tuple_(*_KEY) > tuple_(*after))
        .group_by(*by)
    )
    if last is not None:
        counted = counted.where(tuple_(*_KEY) <= tuple_(*last))
    found = [Waiting(*row) for row in connection.execute(counted)]
    return found, None if last is None else (last.message, last.number)


def count_untold(connection: Connection) -> list[Untold]:
    """
    What each endpoint is still to be told, from the index alone; and those that are disabled.
    """
    by = (webhook_delivery.c.project, webhook_delivery.c.endpoint)
    due = webhook_delivery.c.due
    query = select(*by, func.count(), func.min(due)).where(due.is_not(None)).group_by(*by)
    found = {(row[0], row[1]): Untold(*row) for row in connection.execute(query)}
    for row in connection.execute(select(webhook_endpoint).where(webhook_endpoint.c.disabled_at.is_not(None))):
        key = (row.project, row.endpoint)
        found[key] = evolve(found.get(key, Untold(*key)), disabled_at=row.disabled_at, reason=row.reason)
    return list(found.values())


def _add(total: Waiting | None, more: Waiting) -> Waiting:
    if total is None:
        return more
    return evolve(total, recipients=total.recipients + more.recipients, oldest=min(total.oldest, more.oldest))


@implementer(IOversight)
@define(eq=False)
class Oversight:
    """
    See L{IOversight}. C{reader} is nobody else's; C{lives}: did the worker tell lately that it lives?
    """

    _reader: IReader
    _sleep: Callable[[float], Deferred[None]]
    _lives: Callable[[], bool]
    _acceptance: Acceptance
    _recorder: Recorder
    page: int = PAGE

    def start(self) -> None:
        """
        Begin.
        """
        self._reader.start()

    def stop(self) -> None:
        """
        End.
        """
        self._reader.stop()

    def count_waiting(self) -> Deferred[Sequence[Waiting]]:
        """
        See L{IOversight}.
        """
        return Deferred.fromCoroutine(self._count())

    async def _count(self) -> Sequence[Waiting]:
        totals: dict[tuple[str, str, str], Waiting] = {}
        after: RecipientKey | None = START
        while after is not None:
            page, after = await self._count_page(after)
            for one in page:
                key = (one.project, one.route, one.state)
                totals[key] = _add(totals.get(key), one)
            if after is not None:
                await self._sleep(PAUSE)
        return tuple(totals.values())

    def _count_page(self, after: RecipientKey) -> Deferred[tuple[list[Waiting], RecipientKey | None]]:
        return self._reader.run(lambda connection: count_page(connection, after, self.page))

    def count_untold(self) -> Deferred[Sequence[Untold]]:
        """
        See L{IOversight}.
        """
        return self._reader.run(count_untold)

    def find_troubles(self) -> Sequence[str]:
        """
        See L{IOversight}.
        """
        troubles = []
        if not self._lives():
            troubles.append("the store was not written to for long, so others may take this worker for dead")
        if self._recorder.is_behind:
            troubles.append("outcomes cannot be recorded, so nothing is sent")
        try:
            self._acceptance.check_room(None)
        except StoreFull as error:
            troubles.append(str(error))
        except OSError as error:
            troubles.append(f"the disk of the store cannot be looked at: {error.strerror}")
        return troubles
