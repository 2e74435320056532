"""
Keeping the database small: in small steps, between which everything else has its turn.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

from attrs import define, field
from sqlalchemy import Connection, delete, func, or_, select, tuple_, update
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from lmrelay.errors import StoreError
from lmrelay.interfaces import ISettings
from lmrelay.queue.contents import IReader
from lmrelay.queue.keys import cap_keys, forget_keys
from lmrelay.queue.policies import forget_policies
from lmrelay.queue.quotas import cap_counts, forget_counts
from lmrelay.queue.schedule import latest_retry
from lmrelay.queue.schema import (
    attempt,
    bounce,
    chunk,
    command,
    event,
    is_open,
    message,
    recipient,
    webhook_delivery,
)
from lmrelay.queue.sites import forget_sites
from lmrelay.queue.suppressions import Suppressions
from lmrelay.queue.tellings import bring_hooks_near, cap_hooks, forget_events, forget_told
from lmrelay.queue.tls_counts import forget_days
from lmrelay.queue.writer import IWriter

T = TypeVar("T")

STEP = 200
"""
Messages forgotten in one transaction, at most.
"""

STEP_RECIPIENTS = 2000
"""
Recipients, and tries to tell endpoints, forgotten in one transaction, but for the last message's.
"""

STEP_SUPPRESSIONS = 500
"""
Suppressions that end in one transaction, at most: each makes an event.
"""

STEP_EXPIRED = 2000
"""
Keys, counts, policies and sites deleted in one transaction, at most.
"""

BREATH = 0.05
"""
Seconds between two steps.
"""

VACUUM_STEP = 256
VACUUM_SLACK = 4096
"""
Pages.
"""

ANSWERED_FOR = 3600.0
"""
Seconds for which an order that was carried out is kept, should anybody still want to know.
"""

Place = tuple[float, str]

log = Logger()


def find_over(connection: Connection, before: float, after: Place) -> tuple[list[str], Place | None]:
    """
    Messages whose last recipient has been final since C{before}, and where to go on; None: that is all.

    Those whose webhooks are not all told yet do not count.
    """
    mine = recipient.c.message == message.c.id
    stays = select(recipient.c.number).where(mine, or_(is_open, recipient.c.ended_at >= before)).exists()
    told = event.join(webhook_delivery, webhook_delivery.c.event == event.c.sequence)
    waits = or_(webhook_delivery.c.due.is_not(None), webhook_delivery.c.owner.is_not(None))
    untold = select(event.c.sequence).select_from(told).where(event.c.message == message.c.id, waits).exists()
    tries = func.coalesce(func.sum(webhook_delivery.c.attempts), 0)
    tellings = select(tries).select_from(told).where(event.c.message == message.c.id).scalar_subquery()
    number = select(func.count()).where(mine).scalar_subquery() + tellings
    place = (message.c.received_at, message.c.id)
    query = (
        select(*place, number.label("recipients"))
        .where(message.c.received_at < before, tuple_(*place) > tuple_(*after), ~stays, ~untold)
        .order_by(*place)
        .limit(STEP)
    )
    ids: list[str] = []
    recipients = 0
    for row in connection.execute(query):
        ids.append(row.id)
        recipients += row.recipients
        after = (row.received_at, row.id)
        if recipients >= STEP_RECIPIENTS:
            return ids, after
    return ids, after if len(ids) == STEP else None


def forget_messages(connection: Connection, items: Sequence[Sequence[str]]) -> list[None]:
    """
    Delete messages and all that is known of them.
    """
    ids = [id_ for one in items for id_ in one]
    events = select(event.c.sequence).where(event.c.message.in_(ids))
    bodies = select(message.c.body).where(message.c.id.in_(ids))
    for statement in forget_told(events):
        connection.execute(statement)
    connection.execute(delete(chunk).where(chunk.c.body.in_(bodies)))
    for column in (event.c.message, bounce.c.message, attempt.c.message, recipient.c.message, message.c.id):
        connection.execute(delete(column.table).where(column.in_(ids)))
    return [None] * len(items)


def forget_expired(connection: Connection, items: Sequence[float]) -> list[bool]:
    """
    Delete, as of that time, orders long carried out, keys, counts and policies that mean nothing any more, and sites of
    which nothing was heard for long. Is there more?

    Keys that a clock which was ahead would keep for too long are brought near.
    """
    now = max(items)
    cap_keys(connection, now)
    connection.execute(delete(command).where(command.c.done_at < now - ANSWERED_FOR))
    forgetting = (forget_keys, forget_counts, forget_policies, forget_sites, forget_days)
    gone = [forget(connection, now, STEP_EXPIRED) for forget in forgetting]
    return [STEP_EXPIRED in gone] * len(items)


def bring_counts_near(connection: Connection, items: Sequence[float]) -> list[None]:
    """
    Let nothing count for longer than what is counted then, for a clock that was set back may have been wrong before.
    """
    cap_counts(connection, max(items))
    return [None] * len(items)


def forget_events_before(connection: Connection, items: Sequence[float]) -> list[bool]:
    """
    Delete events of that time and of no message. Is there more?
    """
    return [forget_events(connection, min(items), STEP_EXPIRED) == STEP_EXPIRED] * len(items)


def cap_due(connection: Connection, items: Sequence[tuple[float, float]]) -> list[None]:
    """
    Let no recipient be due later than the first, and nothing that is to be told later than the second.
    """
    latest = min(mail for mail, _ in items)
    late = update(recipient).where(recipient.c.due > latest)
    connection.execute(late.values(due=latest, next_attempt=latest))
    cap_hooks(connection, min(hooks for _, hooks in items))
    return [None] * len(items)


def bring_near_again(connection: Connection, items: Sequence[tuple[float, Sequence[float]]]) -> list[bool]:
    """
    Let nothing that is to be told be due later than that schedule has it as of that time. Is there more?
    """
    changed = [bring_hooks_near(connection, now, retry, STEP_EXPIRED) for now, retry in items]
    return [one == STEP_EXPIRED for one in changed]


def has_slack(connection: Connection) -> bool:
    """
    Are so many pages free that some should go back to the disk?

    A quarter may stay: a busy queue fills them again at once, and moving pages about is work.
    """
    if connection.dialect.name != "sqlite":
        return False
    free: int = connection.exec_driver_sql("PRAGMA freelist_count").scalar_one()
    pages: int = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    return free > max(VACUUM_SLACK, pages // 4)


def give_back(connection: Connection, items: Sequence[None]) -> list[None]:
    """
    Give some free pages back to the disk.
    """
    # One by one: it frees a page whenever it is stepped, and sqlite3 steps what has no columns only once.
    for _ in range(VACUUM_STEP):
        connection.exec_driver_sql("PRAGMA incremental_vacuum(1)")
    return [None] * len(items)


@define(eq=False)
class Upkeep:
    """
    Forgets what is older than the retention, and gives space back. C{sleep} fires after some seconds. C{have_parted}:
    has the wall clock been set lately, so that it may be wrong? Nothing is forgotten then: when the clock is set right
    again keys and counts must be there, else mail is sent twice and limits are lifted. C{was_set_back}: has it been,
    since that was asked?
    """

    _writer: IWriter
    _reader: IReader
    _settings: ISettings
    _wall: Callable[[], float]
    _sleep: Callable[[float], Deferred[None]]
    _have_parted: Callable[[], bool]
    _was_set_back: Callable[[], bool]
    _suppressions: Suppressions
    # Before the start it may have been.
    _is_set_back: bool = field(default=True, init=False)
    _stopped: bool = field(default=False, init=False)

    def stop(self) -> None:
        """
        Begin no further step.
        """
        self._stopped = True

    async def keep_up(self) -> None:
        """
        Once through all there is to do.

        @raise StoreError: not now
        """
        await self.bring_near()
        await self._writer.submit(bring_counts_near, self._wall())
        await self._forget()
        while self._may_forget() and await self._writer.submit(forget_expired, self._wall()):
            await self._sleep(BREATH)
        while self._may_forget() and await self._writer.submit(self._expire, self._wall()):
            await self._sleep(BREATH)
        while not self._stopped and await self._reader.run(has_slack):
            await self._writer.submit(give_back, None)
            await self._sleep(BREATH)

    async def bring_near(self) -> None:
        """
        Bring what is due in a future that no delay leads to, for a clock was wrong then, as near as it can be; and what
        is to be told to where its delay leads, since those delays are between seconds and half a day.

        @raise StoreError: not now
        """
        now, config = self._wall(), self._settings.config
        latest = latest_retry(now, config.delivery.retry), now + max(config.webhooks.retry, default=0.0)
        await self._writer.submit(cap_due, latest)
        self._is_set_back = self._was_set_back() or self._is_set_back
        while self._is_set_back and not self._stopped:
            self._is_set_back = await self._writer.submit(bring_near_again, (self._wall(), config.webhooks.retry))
            if self._is_set_back:
                await self._sleep(BREATH)

    def _may_forget(self) -> bool:
        return not self._stopped and not self._have_parted()

    def _expire(self, connection: Connection, items: Sequence[float]) -> list[bool]:
        """
        Let suppressions end whose time is over. Are there more?
        """
        ended = self._suppressions.expire(connection, max(items), STEP_SUPPRESSIONS)
        return [ended == STEP_SUPPRESSIONS] * len(items)

    async def _forget(self) -> None:
        before = self._wall() - self._settings.config.queue.retention
        after: Place | None = (0.0, "")
        forgotten = 0
        while after is not None and self._may_forget():
            ids, after = await self._reader.run(partial(find_over, before=before, after=after))
            if ids:
                await self._writer.submit(forget_messages, ids)
                forgotten += len(ids)
                await self._sleep(BREATH)
        if forgotten:
            log.info("old messages forgotten", messages=forgotten)
        while self._may_forget() and await self._writer.submit(forget_events_before, before):
            await self._sleep(BREATH)


async def unless_out_of_order(work: Coroutine[Deferred[Any], Any, None]) -> None:
    """
    Do it, unless the store cannot be written now: then there is a line in the log, and it has to wait.
    """
    try:
        await work
    except StoreError as error:
        log.warn("the queue's upkeep has to wait", reason=str(error))
