"""
Storing messages: what is written of those that are accepted together, and what is found of one later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Union

from attrs import define, evolve, field, frozen
from sqlalchemy import Connection, delete, func, select

from lmrelay.config.words import TlsPolicy
from lmrelay.errors import StoreError
from lmrelay.interfaces import RecipientKey
from lmrelay.queue.keys import Keys, Use
from lmrelay.queue.outbox import WriteEvents, write_untold
from lmrelay.queue.quotas import Count, Limit, Over
from lmrelay.queue.rows import Row
from lmrelay.queue.schema import chunk, message, recipient, upload
from lmrelay.queue.statements import delete_rows, insert_rows
from lmrelay.queue.suppressions import Suppressions
from lmrelay.queue.withholding import Withheld, end_row, find_withheld, read_withheld, tell_withheld


@frozen
class Accept:
    """
    The rows of one message; C{uploaded} is number and size of the chunks that went ahead. C{use} is its idempotency
    key, if it has one, C{limits} are those that it counts for. C{more} are events after the first; C{is_over}: nobody
    gets it. C{tls} is what its sender was promised.
    """

    message: Row
    recipients: list[Row]
    event: Row
    chunks: list[Row]
    uploaded: tuple[int, int] | None = None
    use: Use | None = None
    limits: Sequence[Limit] = ()
    more: Sequence[Row] = ()
    is_over: bool = False
    tls: TlsPolicy | None = None


@define(eq=False)
class Storing:
    """
    A message on its way to the store. C{tried}: a transaction was through with storing it, and may be on the disk even
    where its commit was said to have failed.
    """

    rows: Accept
    tried: bool = field(default=False, init=False)

    @property
    def leased(self) -> list[RecipientKey]:
        """
        Its recipients that are the accepting worker's from the first.
        """
        return [(row["message"], row["number"]) for row in self.rows.recipients if row["owner"] is not None]


@frozen
class Stored:
    """
    A message is stored, but these of its recipients are suppressed.
    """

    withheld: frozenset[int]


Verdict = Union[Use, Over, Stored, None]
"""
Why a message is not stored: its key is that of another, or a limit is reached. None: it is, for all.
"""


def store(
    connection: Connection,
    items: Sequence[Storing],
    now: float,
    write_events: WriteEvents,
    suppressions: Suppressions,
) -> list[Verdict]:
    """
    As L{write_messages}; and what is over its limit by its own count alone is stored: a commit that was said to have
    failed had reached the disk, and is tried again.
    """
    verdicts = write_messages(connection, [one.rows for one in items], now, write_events, suppressions)
    for number, one in enumerate(items):
        verdict = verdicts[number]
        if one.tried and isinstance(verdict, Over):
            # Here and not before: the lock of the count has waited for the end of that commit. And of what was refused
            # the first time nobody looks it up, however often its project tries.
            verdicts[number] = find_stored(connection, [one.rows.message])[0] or verdict
        one.tried = one.tried or not isinstance(verdict, (Use, Over))
    return verdicts


def write_messages(
    connection: Connection,
    items: Sequence[Accept],
    now: float,
    write_events: WriteEvents = write_untold,
    suppressions: Suppressions | None = None,
) -> list[Verdict]:
    """
    Store those messages that may be, with none sent to whom C{suppressions} tells of; None: nobody is suppressed.
    """
    verdicts = _judge(connection, items, now)
    stored = [one for one, verdict in zip(items, verdicts, strict=True) if verdict is None]
    if suppressions is not None:
        found = find_withheld(connection, [(one.message, one.recipients) for one in stored], now)
        stored = [_withhold(suppressions, one, found.get(one.message["id"]), now) for one in stored]
        verdicts = [
            _tell(connection, one.message["id"], verdict, found) for one, verdict in zip(items, verdicts, strict=True)
        ]
    _insert(connection, stored, write_events)
    return verdicts


def find_stored(connection: Connection, items: Sequence[Row]) -> list[Stored | None]:
    """
    Of these messages those that are in the store. One's head has its id in it: nobody else's is taken for it.
    """
    wanted = message.c.id.in_([row["id"] for row in items])
    heads = {row.id: row.head for row in connection.execute(select(message.c.id, message.c.head).where(wanted))}
    return [
        Stored(read_withheld(connection, row["id"])) if heads.get(row["id"]) == row["head"] else None for row in items
    ]


def _tell(connection: Connection, id_: str, verdict: Verdict, found: Mapping[str, Withheld]) -> Verdict:
    """
    What holds for a message, with who of its recipients is suppressed.
    """
    if isinstance(verdict, Use) and verdict.message == id_:
        # Its own: a commit that seemed to fail had reached the disk, and the key tells so when it is tried again.
        return Stored(read_withheld(connection, id_))
    return Stored(frozenset(found[id_])) if verdict is None and id_ in found else verdict


def _withhold(suppressions: Suppressions, one: Accept, withheld: Withheld | None, now: float) -> Accept:
    """
    The same with the end of those recipients, and without a body if that is all of them. A batch may be written
    again, with other ones suppressed, so the rows stay as they are.
    """
    if withheld is None:
        return one
    over = len(withheld) == len(one.recipients)
    rows = [end_row(row, withheld[row["number"]], now) if row["number"] in withheld else row for row in one.recipients]
    events = tell_withheld(suppressions, one.message, rows, withheld, now)
    return evolve(one, recipients=rows, more=events, chunks=[] if over else one.chunks, is_over=over)


def _judge(connection: Connection, items: Sequence[Accept], now: float) -> list[Verdict]:
    """
    What holds for each, in their order; keys and counts are written.
    """
    if not any(one.use or one.limits for one in items):
        return [None] * len(items)
    keys, count = Keys(connection, now), Count(connection, now)
    keys.look_up(one.use.key for one in items if one.use)
    count.lock(one.limits for one in items)
    verdicts: list[Verdict] = []
    for one in items:
        verdict: Verdict = (one.use and keys.find(one.use.key)) or count.find_over(one.limits)
        if isinstance(verdict, Over):
            verdict = evolve(verdict, has_keys=keys.are_known_of(verdict.limit.party[0]))
        if verdict is None:
            count.add(one.limits)
            if one.use:
                keys.take(one.use)
        verdicts.append(verdict)
    lost = {use.key for use in keys.write()}
    for number, one in enumerate(items):
        if one.use is None or one.use.key not in lost or isinstance(verdicts[number], Over):
            continue
        if verdicts[number] is None:
            count.take_back(one.limits)
        verdicts[number] = keys.find(one.use.key)
    count.write()
    return verdicts


def _insert(connection: Connection, items: Sequence[Accept], write_events: WriteEvents) -> None:
    for one in items:
        if one.uploaded is not None:
            _take_over(connection, one.message["body"], one.uploaded)
    insert_rows(connection, message, [one.message for one in items])
    insert_rows(connection, chunk, [row for one in items for row in one.chunks])
    insert_rows(connection, recipient, [row for one in items for row in one.recipients])
    write_events(connection, [row for one in items for row in (one.event, *one.more)])
    delete_rows(connection, chunk.c.body, [one.message["body"] for one in items if one.is_over and one.uploaded])


def _take_over(connection: Connection, body: str, expected: tuple[int, int]) -> None:
    found = connection.execute(
        select(func.count(), func.coalesce(func.sum(chunk.c.size), 0)).where(chunk.c.body == body)
    ).one()
    gone = connection.execute(delete(upload).where(upload.c.body == body)).rowcount
    if gone != 1 or tuple(found) != expected:
        raise StoreError("a part of the body is missing in the store")
