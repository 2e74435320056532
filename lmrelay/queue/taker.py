"""
Taking due work: round robin over the lanes, as much as delivery has room for.

A lane is found by one step down an index, however long its backlog is, so a dead site or a
newsletter costs the others nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from sys import float_info
from typing import Any, TypeVar

from attrs import define, field
from sqlalchemy import ColumnElement, Connection, Row, bindparam, func, select, tuple_, update
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from lmrelay.errors import StoreError
from lmrelay.interfaces import IDispatch, Lane, Leased, LeasedRecipient, RecipientKey
from lmrelay.queue.rows import read_kind, read_leased, read_recipient
from lmrelay.queue.schema import HELD, message, recipient
from lmrelay.queue.writer import IWriter
from lmrelay.tasks import Tasks

T = TypeVar("T")

LANES = 64
"""
Lanes looked at in one pass.
"""

SHARE = 100
"""
Recipients taken from one lane in one pass.
"""

INTERVAL = 5.0
SOON = 0.05

log = Logger()

_lane = (recipient.c.project, recipient.c.kind, recipient.c.domain)
_key = tuple[str, str, str]


def find_lanes(
    connection: Connection, items: Sequence[tuple[_key | None, float]]
) -> list[tuple[list[tuple[Lane, int]], _key | None, float | None]]:
    """
    Lanes after the given one with the number of recipients due (up to C{SHARE}), where to go on (None: from the
    first), and when something is due next.
    """
    return [_find_lanes(connection, after, now) for after, now in items]


def _find_lanes(
    connection: Connection, after: _key | None, now: float
) -> tuple[list[tuple[Lane, int]], _key | None, float | None]:
    found: list[tuple[Lane, int]] = []
    soonest: float | None = connection.execute(
        select(func.min(recipient.c.due)).where(recipient.c.due.is_not(None))
    ).scalar()
    if soonest is None or soonest > now:
        return found, None, soonest
    for _ in range(LANES):
        query = select(*_lane).where(recipient.c.due.is_not(None)).order_by(*_lane).limit(1)
        if after is not None:
            # Past any time, else SQLite walks through all that is due in the lane to get out of it.
            query = query.where(tuple_(*_lane, recipient.c.due) > tuple_(*after, float_info.max))
        row = connection.execute(query).first()
        if row is None:
            return found, None, soonest
        after = (row.project, row.kind, row.domain)
        due = select(recipient.c.number).where(*_in_lane(after), recipient.c.due <= now).limit(SHARE).subquery()
        number = connection.execute(select(func.count()).select_from(due)).scalar_one()
        kind = _unless_unreadable(partial(read_kind, row.kind)) if number else None
        if kind is not None:
            found.append((Lane(row.project, kind, row.domain), number))
        elif number:
            log.error("a lane that cannot be read is held", project=row.project, domain=row.domain)
            lane = update(recipient).where(*_in_lane(after), recipient.c.due.is_not(None))
            connection.execute(lane.values(state=HELD, held_at=now, due=None))
    return found, after, soonest


def _in_lane(key: _key) -> list[ColumnElement[bool]]:
    return [column == value for column, value in zip(_lane, key, strict=True)]


@define(eq=False)
class Taker:
    """
    Takes due work for C{worker}.
    """

    _writer: IWriter
    _dispatch: IDispatch
    _worker: str
    _reactor: IReactorTime
    _wall: Callable[[], float]
    _tasks: Tasks
    _after: _key | None = field(default=None, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)
    _running: bool = field(default=False, init=False)
    _asked: float = field(default=INTERVAL, init=False)
    _backlog: bool = field(default=False, init=False)
    _stopped: bool = field(default=True, init=False)

    def start(self) -> None:
        """
        Begin with what is due.
        """
        self._stopped = False
        self._schedule(0)

    def stop(self) -> None:
        """
        Take no more.
        """
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def wake(self, after: float = SOON) -> None:
        """
        Look again that soon at the latest.
        """
        self._backlog = True
        self._schedule(after)

    def room_was_made(self) -> None:
        """
        An attempt is over: take what delivery had no room for.
        """
        if self._backlog:
            self._schedule(SOON)

    def _schedule(self, after: float) -> None:
        if self._stopped:
            return
        if self._running:
            # What was to be seen may have come after the pass under way looked.
            self._asked = min(self._asked, after)
            return
        if self._timer is not None:
            if self._timer.getTime() <= self._reactor.seconds() + after:
                return
            self._timer.cancel()
        self._timer = self._reactor.callLater(after, self._begin)

    def _begin(self) -> None:
        self._timer = None
        self._running = True
        self._tasks.start(self._pass())

    async def _pass(self) -> None:
        self._backlog = False
        self._asked = after = INTERVAL
        try:
            after = await self._take_due()
        except StoreError as error:
            log.warn("due mail could not be taken", reason=str(error))
        finally:
            self._running = False
            self._schedule(min(after, self._asked))

    async def _take_due(self) -> float:
        """
        One round; the answer is when to look again.
        """
        now = self._wall()
        started_over = self._after is None
        lanes, self._after, soonest = await self._writer.submit(find_lanes, (self._after, now))
        reserved = [(lane, number) for lane, number in lanes if not self._stopped and self._reserve(lane, number)]
        if reserved:
            await self._take(reserved)
        if self._after is not None or (reserved and any(number == SHARE for _, number in reserved)):
            return SOON
        if not started_over:
            return SOON if reserved else INTERVAL
        if soonest is None:
            return INTERVAL
        return min(max(soonest - now, SOON), INTERVAL) if not lanes else INTERVAL

    def _reserve(self, lane: Lane, number: int) -> bool:
        if self._dispatch.reserve(lane, number):
            return True
        self._backlog = True
        return False

    async def _take(self, reserved: list[tuple[Lane, int]]) -> None:
        try:
            taken = await self._writer.submit(self._claim, reserved)
        except BaseException:
            for lane, number in reserved:
                self._dispatch.cancel(lane, number)
            raise
        numbers: dict[Lane, int] = {}
        by_message: dict[str, list[Leased]] = {}
        for one in taken:
            numbers[one.lane] = numbers.get(one.lane, 0) + len(one.recipients)
            by_message.setdefault(one.message_id, []).append(one)
        for lane, number in reserved:
            if number > numbers.get(lane, 0):
                self._dispatch.cancel(lane, number - numbers.get(lane, 0))
        for leased in by_message.values():
            self._dispatch.take(leased)

    def _claim(self, connection: Connection, items: Sequence[list[tuple[Lane, int]]]) -> list[list[Leased]]:
        now = self._wall()
        return [
            [one for lane, number in lanes for one in self._claim_lane(connection, lane, number, now)]
            for lanes in items
        ]

    def _claim_lane(self, connection: Connection, lane: Lane, number: int, now: float) -> list[Leased]:
        rows = connection.execute(
            select(recipient)
            .where(*_in_lane((lane.project, lane.kind.value, lane.domain)), recipient.c.due <= now)
            .order_by(recipient.c.due)
            .limit(number)
            .with_for_update(skip_locked=True)
        ).all()
        if not rows:
            return []
        found, unreadable = _read(connection, lane, rows)
        _set_each(connection, [(one.message_id, of.number) for one in found for of in one.recipients], self._worker)
        if unreadable:
            log.error("recipients that cannot be read are held", recipients=unreadable)
            _set_each(connection, unreadable, None, state=HELD, held_at=now)
        return found


def _read(connection: Connection, lane: Lane, rows: Sequence[Row[Any]]) -> tuple[list[Leased], list[RecipientKey]]:
    """
    What is to be handed to delivery, and what cannot be read: that must not keep back what can.
    """
    members: dict[str, list[LeasedRecipient]] = {}
    for row in rows:
        one = _unless_unreadable(partial(_read_member, row))
        if one is not None:
            members.setdefault(row.message, []).append(one)
    found = []
    for row in connection.execute(select(message).where(message.c.id.in_(list(members)))):
        leased = _unless_unreadable(partial(read_leased, row, lane, members[row.id]))
        if leased is not None:
            found.append(leased)
    read = {(one.message_id, of.number) for one in found for of in one.recipients}
    return found, [key for row in rows if (key := (row.message, row.number)) not in read]


def _read_member(row: Row[Any]) -> LeasedRecipient:
    return LeasedRecipient(row.number, read_recipient(row), row.attempts)


def _unless_unreadable(read: Callable[[], T]) -> T | None:
    try:
        return read()
    except Exception:  # noqa: BLE001 - whatever is wrong with a row, it is the only one
        log.failure("a row cannot be read")
        return None


def _set_each(connection: Connection, keys: Sequence[RecipientKey], owner: str | None, **more: Any) -> None:
    if keys:
        connection.execute(
            update(recipient)
            .where(recipient.c.message == bindparam("of"), recipient.c.number == bindparam("which"))
            .values(owner=owner, due=None, **more),
            [{"of": id_, "which": number} for id_, number in keys],
        )
