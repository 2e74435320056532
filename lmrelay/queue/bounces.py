"""
What came back by mail: recorded in one commit with the event that follows from it.

The same report twice is one row and one event. The state of a recipient stays what delivery made it: that the receiver
took the message, and returned it later, are two facts.
"""

from __future__ import annotations

from base64 import b32encode
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

from attrs import define, frozen
from sqlalchemy import Connection, select, tuple_
from twisted.internet.defer import Deferred
from zope.interface import implementer

from lmrelay.interfaces import Awaited, IReturns
from lmrelay.mail.reports import Kind, Report
from lmrelay.mail.suppression import Suppression, Why, key_of, why_of_report
from lmrelay.queue.contents import IReader
from lmrelay.queue.outbox import WriteEvents, write_untold
from lmrelay.queue.rows import Entropy, Row, dump, event_row, read_address
from lmrelay.queue.schema import FAILED, bounce, message, recipient
from lmrelay.queue.statements import insert_rows, update_rows
from lmrelay.queue.suppressions import Suppressions
from lmrelay.queue.writer import IWriter

MOST = 20
"""
Reports that are kept for a recipient, and the first of each event beyond them: whoever has its signed address can send
as many as they like.
"""

_PLACE = (recipient.c.message, recipient.c.number)


@frozen
class Back:
    """
    A report for a recipient of a message, as it came at that time; C{played}: it never came, but a test address plays
    its part.
    """

    message: str
    number: int
    report: Report
    at: float
    played: bool = False


@implementer(IReturns)
@define(eq=False)
class Bounces:
    """
    See L{IReturns}.
    """

    _writer: IWriter
    _reader: IReader
    _wall: Callable[[], float]
    _entropy: Entropy
    _write_events: WriteEvents

    def find(self, message_id: str, number: int) -> Deferred[Awaited | None]:
        """
        See L{IReturns}.
        """
        return self._reader.run(lambda connection: _find(connection, message_id, number))

    def record(self, awaited: Awaited, report: Report) -> Deferred[bool]:
        """
        See L{IReturns}.
        """
        back = Back(awaited.message_id, awaited.number, report, self._wall())
        # Not urgent: it would overtake the outcome of the very attempt that it is the answer to.
        return self._writer.submit(self._write, back)

    def _write(self, connection: Connection, items: Sequence[Back]) -> list[bool]:
        return write_returns(connection, items, self._entropy, self._write_events)


def _find(connection: Connection, message_id: str, number: int) -> Awaited | None:
    query = (
        select(recipient.c.address, message.c.return_path, message.c.project, message.c.route, message.c.redact)
        .join(message, message.c.id == recipient.c.message)
        .where(recipient.c.message == message_id, recipient.c.number == number)
    )
    row = connection.execute(query).first()
    address = None if row is None else read_address(row.address)
    if row is None or address is None or not row.return_path:
        return None
    return Awaited(message_id, number, address, row.return_path, row.project, row.route, row.redact)


def write_returns(
    connection: Connection, items: Sequence[Back], entropy: Entropy, write_events: WriteEvents = write_untold
) -> list[bool]:
    """
    Record those that are news.
    """
    rows = _lock(connection, items) if items else {}
    refusing: list[Suppression] = []
    news = []
    for one in items:
        row = rows.get((one.message, one.number))
        known = _find_known(connection, one)
        news.append(row is not None and _write_one(connection, one, row, known, entropy, write_events))
        if news[-1] and (why := _why_suppressed(one, row, known)) is not None:
            refusing.append(_make_suppression(row, one, why))
    if refusing:
        Suppressions(entropy, write_events).add(connection, refusing, max(one.added_at for one in refusing))
    return news


def _find_known(connection: Connection, back: Back) -> Sequence[Any]:
    """
    What came back for the recipient before.
    """
    mine = (bounce.c.message == back.message, bounce.c.recipient == back.number)
    return connection.execute(select(bounce.c.id, bounce.c.kind, bounce.c.status, bounce.c.text).where(*mine)).all()


def _lock(connection: Connection, items: Sequence[Back]) -> dict[tuple[str, int], Any]:
    """
    The recipients, which until the commit only this one touches: of two nodes with the same report one waits.
    """
    query = (
        select(
            *_PLACE,
            recipient.c.state,
            recipient.c.attempts,
            recipient.c.address,
            message.c.project,
            message.c.route,
            message.c.redact,
            message.c.sandbox,
        )
        .join(message, message.c.id == recipient.c.message)
        # Of pairs alone SQLite compares every recipient there is with them.
        .where(recipient.c.message.in_({one.message for one in items}))
        .where(tuple_(*_PLACE).in_({(one.message, one.number) for one in items}))
        # In order, so that two nodes with the same recipients wait for each other in one direction.
        .order_by(*_PLACE)
        .with_for_update(of=recipient)
    )
    return {(row.message, row.number): row for row in connection.execute(query)}


def _write_one(
    connection: Connection,
    back: Back,
    row: Any,
    known: Sequence[Any],
    entropy: Entropy,
    write_events: WriteEvents,
) -> bool:
    report, id_ = back.report, _name(back)
    type_ = _event_type(report.kind, report.status)
    # The next report of the same is no other fact; nor is that mail bounced which delivery gave up.
    told = any(_event_type(Kind(one.kind), one.status) == type_ for one in known)
    # Of the few kinds of event the first is kept, however many auto-replies came before.
    if any(one.id == id_ for one in known) or (len(known) >= MOST and (told or type_ is None)):
        return False
    insert_rows(connection, bounce, [_bounce_row(id_, back)])
    if report.kind is not Kind.NONE:
        changed = {"message": back.message, "number": back.number, "last": _words(report)}
        update_rows(connection, recipient, [changed])
    if type_ is not None and not told and not (report.kind is Kind.BOUNCE and row.state == FAILED):
        context, key = (row.project, row.route), (back.message, back.number)
        write_events(connection, [event_row(entropy, type_, back.at, context, key, _document(row, report))])
    return True


def _why_suppressed(back: Back, row: Any, known: Sequence[Any]) -> Why | None:
    """
    Why the recipient is to be suppressed; not again for what was known: by then somebody may have removed it.
    """
    why = None if back.played or row.sandbox else why_of_report(back.report)
    return None if why in {why_of_report(Report(Kind(one.kind), one.status, one.text)) for one in known} else why


def _make_suppression(row: Any, back: Back, why: Why) -> Suppression:
    # An address that was accepted can be read.
    address = read_address(row.address)
    key = "" if address is None else key_of(address)
    return Suppression(
        row.project,
        key,
        why,
        back.at,
        message=back.message,
        number=back.number,
        text=back.report.text,
        redact=bool(row.redact),
    )


def _name(back: Back) -> str:
    """
    The same for the same report of a recipient, whenever it comes.
    """
    report = back.report
    said = "\0".join((back.message, str(back.number), report.kind.value, report.status, report.text, report.by))
    return b32encode(sha256(said.encode("utf-8", "replace")).digest()).decode("ascii")[:26].lower()


def _bounce_row(id_: str, back: Back) -> Row:
    report = back.report
    return {
        "id": id_,
        "message": back.message,
        "recipient": back.number,
        "at": back.at,
        "kind": report.kind.value,
        "status": report.status,
        "text": report.text,
        "by": report.by,
    }


def _words(report: Report) -> str:
    told = f"{report.status} {report.text}".strip()
    return f"came back ({report.kind.value}): {told}"


def _event_type(kind: Kind, status: str) -> str | None:
    if kind is Kind.COMPLAINT:
        return "message.spam_complaint"
    if kind is Kind.BOUNCE:
        # Given up after a time of trouble, there as it would be here (RFC 3463 §3.1).
        return "message.soft_bounced" if status.startswith("4.") else "message.hard_bounced"
    return None


def _document(row: Any, report: Report) -> str:
    # Where addresses are to stay out, nobody can say what else the words of others tell.
    text, by = (None, None) if row.redact else (report.text, report.by or None)
    reason = "complaint" if report.kind is Kind.COMPLAINT else str(report.reason)
    fault = "recipient" if report.kind is Kind.COMPLAINT else report.reason.fault.value
    return dump(
        {
            "response": {"status_code": None, "enhanced_status_code": report.status or None, "content": text},
            "mx": None,
            "tls": None,
            "attempt": row.attempts,
            "report": {"kind": report.kind.value, "by": by, "reason": reason, "fault": fault},
        }
    )


def list_returned(connection: Connection, id_: str) -> dict[int, list[Row]]:
    """
    What came back for a message, by recipient, the oldest first.
    """
    found: dict[int, list[Row]] = {}
    for row in connection.execute(select(bounce).where(bounce.c.message == id_).order_by(bounce.c.at, bounce.c.id)):
        told = {"received": row.at, "kind": row.kind, "status": row.status, "text": row.text, "by": row.by}
        found.setdefault(row.recipient, []).append(told)
    return found
