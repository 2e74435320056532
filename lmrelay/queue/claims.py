"""
Taking leases: what is due in a lane becomes this worker's, and is what delivery is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar

from attrs import define, field
from sqlalchemy import ColumnElement, Connection, Row, select
from twisted.logger import Logger

from lmrelay.interfaces import Lane, Leased, LeasedRecipient, RecipientKey
from lmrelay.queue.releases import Keys
from lmrelay.queue.rows import read_leased, read_recipient
from lmrelay.queue.schema import HELD, message, recipient
from lmrelay.queue.statements import update_rows
from lmrelay.queue.suppressions import Suppressions
from lmrelay.queue.withholding import withhold

T = TypeVar("T")

LaneKey = tuple[str, str, str]
"""
A lane as its rows have it: project, kind and domain.
"""

log = Logger()

_LEASED = tuple(column for column in message.c if column is not message.c.head)
"""
A message without its head, which may be long and is for those who send it.
"""


@define(eq=False)
class Claim:
    """
    So many of each lane that are to be taken. C{tried}: those that were, by a transaction that may have failed since;
    it is only added to, for one whose commit was said to have failed, and that was run again, may be on the disk.
    """

    lanes: Sequence[tuple[Lane, int]]
    tried: set[RecipientKey] = field(factory=set, init=False)


def in_lane(key: LaneKey) -> list[ColumnElement[bool]]:
    """
    The conditions that pick a lane's recipients.
    """
    lane = (recipient.c.project, recipient.c.kind, recipient.c.domain)
    return [column == value for column, value in zip(lane, key, strict=True)]


def find_keys(leased: Iterable[Leased]) -> Keys:
    """
    The recipients of these.
    """
    return tuple((one.message_id, of.number) for one in leased for of in one.recipients)


def claim_lane(
    connection: Connection, suppressions: Suppressions, worker: str, lane: Lane, number: int, now: float
) -> list[Leased]:
    """
    Make up to so many of a lane, of what is due then, the worker's. What is suppressed by now, or cannot be read, is
    not among them any more, and not due.
    """
    rows = connection.execute(
        select(recipient)
        .where(*in_lane((lane.project, lane.kind.value, lane.domain)), recipient.c.due <= now)
        .order_by(recipient.c.due)
        .limit(number)
        .with_for_update(skip_locked=True)
    ).all()
    if not rows:
        return []
    found, unreadable = _read(connection, lane, rows)
    found = withhold(connection, suppressions, found, now)
    _set_each(connection, find_keys(found), worker)
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
        one = unless_unreadable(partial(_read_member, row))
        if one is not None:
            members.setdefault(row.message, []).append(one)
    found = []
    for row in connection.execute(select(*_LEASED).where(message.c.id.in_(list(members)))):
        leased = unless_unreadable(partial(read_leased, row, lane, members[row.id]))
        if leased is not None:
            found.append(leased)
    read = set(find_keys(found))
    return found, [key for row in rows if (key := (row.message, row.number)) not in read]


def _read_member(row: Row[Any]) -> LeasedRecipient:
    return LeasedRecipient(row.number, read_recipient(row), row.attempts)


def unless_unreadable(read: Callable[[], T]) -> T | None:
    """
    What that reads of a row, or None, with a line in the log.
    """
    try:
        return read()
    except Exception:  # noqa: BLE001 - whatever is wrong with a row, it is the only one
        log.failure("a row cannot be read")
        return None


def _set_each(connection: Connection, keys: Sequence[RecipientKey], owner: str | None, **more: Any) -> None:
    update_rows(
        connection,
        recipient,
        [{"message": id_, "number": number, "owner": owner, "due": None, **more} for id_, number in keys],
    )
