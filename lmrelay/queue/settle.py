"""
What follows from attempts, in the commit that records them: states, events, notifications, the body's end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random

from attrs import define, field, frozen
from sqlalchemy import Connection, delete, func, select
from twisted.logger import Logger

from lmrelay.interfaces import ISettings
from lmrelay.mail.dsn import Action, Subject
from lmrelay.mail.outcome import Attempt, Delayed, Delivered, Failed, Fault, Outcome, Tls
from lmrelay.mail.parts import Part
from lmrelay.mail.redact import redact
from lmrelay.mail.reports import Kind, Report
from lmrelay.mail.suppression import Suppression, key_of, why_of_outcome
from lmrelay.queue.bounces import Back, write_returns
from lmrelay.queue.notices import WANTS, Notices, due_notice
from lmrelay.queue.outbox import WriteEvents, write_untold
from lmrelay.queue.rows import (
    Entropy,
    Row,
    dump,
    event_row,
    format_time,
    quote,
    read_address,
    read_recipient,
)
from lmrelay.queue.schedule import delay_after, event_at_expiry, has_expired, may_expire
from lmrelay.queue.schema import DEFERRED, DELIVERED, FAILED, attempt, chunk, is_open, message, recipient
from lmrelay.queue.statements import Open, delete_rows, find_open, find_over, insert_rows, update_rows
from lmrelay.queue.suppressions import Suppressions

log = Logger()

PLAYED_AGAIN = 5.0
"""
Seconds until a test address that is delayed is tried again.
"""

_NAMES = {Delivered: "delivered", Delayed: "delayed", Failed: "failed"}


@frozen
class Settle:
    """
    The attempts of one message, by recipient number; C{parted}: the clocks have, so nothing expires.
    """

    message: str
    attempts: Mapping[int, Attempt]
    parted: bool = False


@frozen
class Settled:
    """
    What came of it. C{over}: that was the end of the message; C{waits}: something was left or made that is to be sent
    later.
    """

    over: bool
    waits: bool


@define
class _Rows:
    """
    What is to be written; C{final} are the bodies of messages that may be over, C{told} is for the senders, C{waiting}
    are messages with more to be sent. C{refusing} are no longer to be sent to, C{returned} is what comes back at once,
    by those who play that part.
    """

    attempts: list[Row] = field(factory=list)
    states: list[Row] = field(factory=list)
    events: list[Row] = field(factory=list)
    final: dict[str, str] = field(factory=dict)
    told: dict[tuple[str, Action], list[Subject]] = field(factory=dict)
    waiting: set[str] = field(factory=set)
    refusing: list[Suppression] = field(factory=list)
    returned: list[Back] = field(factory=list)


@define(eq=False)
class Settler:
    """
    Writes L{Settle}s for C{worker}.
    """

    _worker: str
    _settings: ISettings
    _wall: Callable[[], float]
    _entropy: Entropy
    _random: Random
    _write_events: WriteEvents = write_untold
    _notices: Notices = field(init=False)
    _suppressions: Suppressions = field(init=False)

    @_suppressions.default
    def _make_suppressions(self) -> Suppressions:
        return Suppressions(self._entropy, self._write_events)

    @_notices.default
    def _make_notices(self) -> Notices:
        return Notices(self._settings, self._wall, self._entropy)

    def write(self, connection: Connection, items: Sequence[Settle]) -> list[Settled]:
        """
        Record them.
        """
        found = find_open(connection, [(one.message, number) for one in items for number in one.attempts])
        rows = _Rows()
        for one in items:
            for number, made in one.attempts.items():
                # Once only: of two attempts of one recipient in one batch the second finds it settled.
                row = found.pop((one.message, number), None)
                if row is None or not (isinstance(made.outcome, Delivered) or row.owner == self._worker):
                    log.info("an attempt no longer counts", message=one.message, number=number)
                    continue
                self._record(row, made, one.parted, rows)
        insert_rows(connection, attempt, rows.attempts)
        update_rows(connection, recipient, rows.states)
        self._write_events(connection, rows.events)
        if rows.refusing:
            self._suppressions.add(connection, rows.refusing, self._wall())
        if rows.returned:
            write_returns(connection, rows.returned, self._entropy, self._write_events)
        for (id_, action), subjects in rows.told.items():
            self._notices.write(connection, id_, action, subjects)
        over = find_over(connection, list(rows.final)) if rows.final else set()
        delete_rows(connection, chunk.c.body, [rows.final[id_] for id_ in over])
        return [Settled(one.message in over, one.message in rows.waiting) for one in items]

    def _record(self, row: Open, made: Attempt, parted: bool, rows: _Rows) -> None:
        outcome, count = made.outcome, row.attempts + 1
        expired = self._has_expired(row, made, parted)
        waits = isinstance(outcome, Delayed) and not expired
        if waits:
            rows.waiting.add(row.message)
        else:
            rows.final[row.message] = row.body
        next_attempt = made.ended_at + self._delay_after(count, made) if waits else None
        action = due_notice(outcome, waits, made.ended_at - row.received_at, row.delay_told)
        if action is not None:
            self._tell(row, made, action, rows)
        words = _words(outcome)
        rows.attempts.append(_attempt_row(row, count, made, words))
        rows.states.append(
            {
                "message": row.message,
                "number": row.number,
                "owner": None,
                "state": DEFERRED if waits else DELIVERED if isinstance(outcome, Delivered) else FAILED,
                "attempts": count,
                "next_attempt": next_attempt,
                "due": next_attempt,
                "ended_at": None if waits else made.ended_at,
                "last": words,
                "delay_told": bool(row.delay_told) or action is Action.DELAYED,
            }
        )
        if not row.notification:
            self._add_events(row, made, _event_type(outcome, expired), next_attempt, rows)
            _add_consequences(row, made, rows)

    def _has_expired(self, row: Open, made: Attempt, parted: bool) -> bool:
        """
        Was that its last attempt, though it may only be delayed?
        """
        if not isinstance(made.outcome, Delayed):
            return False
        if made.part is not None:
            # Played, so that whoever tests need not wait for two days.
            return row.attempts > 0
        expire = self._settings.config.delivery.expire
        if parted or not has_expired(row.received_at + row.extended, made.ended_at, expire):
            return False
        if not may_expire(made.outcome):
            log.error("a message is kept beyond its time, for the trouble is the relay's own", message=row.message)
            return False
        return True

    def _delay_after(self, count: int, made: Attempt) -> float:
        if made.part is not None:
            return PLAYED_AGAIN
        return delay_after(count, self._settings.config.delivery.retry, self._random)

    def _tell(self, row: Open, made: Attempt, action: Action, rows: _Rows) -> None:
        # Of nearly all mail that was passed on: receivers that tell of the delivery themselves are few.
        if action is Action.RELAYED and row.notify is None:
            return
        about = read_recipient(row)
        if about.wants(WANTS[action]):
            subject = Subject(about, made.outcome, made.host, made.started_at)
            rows.told.setdefault((row.message, action), []).append(subject)
            rows.waiting.add(row.message)

    def _add_events(self, row: Open, made: Attempt, type_: str, next_attempt: float | None, rows: _Rows) -> None:
        context, key, first = (row.project, row.route), (row.message, row.number), not row.attempts
        if first:
            rows.events.append(event_row(self._entropy, "message.sent", made.started_at, context, key))
        tls = "null" if made.tls is None else dump(_tls(made.tls))
        response = _response(made.outcome, row)
        said = f'"response":{response},"mx":{quote(made.host)},"tls":{tls},"attempt":{row.attempts + 1}'
        if next_attempt is not None:
            said += f',"next_attempt":"{format_time(next_attempt)}"'
        rows.events.append(event_row(self._entropy, type_, made.ended_at, context, key, f"{{{said}}}"))


def _add_consequences(row: Open, made: Attempt, rows: _Rows) -> None:
    """
    Of what was played none is left: whoever tests can do so again.
    """
    if made.part is None and isinstance(made.outcome, Delivered):
        return
    if made.part is Part.SPAM_COMPLAINT and isinstance(made.outcome, Delivered):
        report = Report(Kind.COMPLAINT, "", "abuse", made.host or "")
        rows.returned.append(Back(row.message, row.number, report, made.ended_at, played=True))
    why = None if made.part is not None else why_of_outcome(made.outcome)
    if why is None or (address := read_address(row.address)) is None:
        return
    rows.refusing.append(
        Suppression(
            row.project,
            key_of(address),
            why,
            made.ended_at,
            message=row.message,
            number=row.number,
            text=_words(made.outcome),
            redact=bool(row.redact),
        )
    )


def _event_type(outcome: Outcome, expired: bool) -> str:
    if isinstance(outcome, Delivered):
        return "message.delivered"
    if isinstance(outcome, Delayed):
        return event_at_expiry(outcome.fault) if expired else "message.deferred"
    return "message.failed" if outcome.fault is Fault.OURS else "message.hard_bounced"


def _words(outcome: Outcome) -> str:
    if outcome.reply is not None:
        return str(outcome.reply)
    return "" if isinstance(outcome, Delivered) else f"{outcome.status} {outcome.text}"


def _response(outcome: Outcome, row: Open) -> str:
    reply = outcome.reply
    if reply is not None:
        # Where addresses are to stay out, nobody can say what else the receiver's words tell.
        code, enhanced, text = str(reply.code), reply.enhanced, None if row.redact else reply.text
    elif isinstance(outcome, Delivered):
        return "{}"
    else:
        code, enhanced, text = "null", outcome.status, outcome.text
        if row.redact:
            text = redact(text, (read_address(row.address), read_address(row.reverse_path)))
    return f'{{"status_code":{code},"enhanced_status_code":{quote(enhanced)},"content":{quote(text)}}}'


def _tls(tls: Tls) -> Row:
    return {
        "version": tls.version,
        "cipher": tls.cipher,
        "verified": tls.verified,
        "reason": tls.reason,
        "policy": tls.policy,
    }


def _attempt_row(row: Open, count: int, made: Attempt, words: str) -> Row:
    outcome = made.outcome
    if isinstance(outcome, Delivered):
        status, text, fault = outcome.reply.enhanced, "", None
    else:
        status, text, fault = outcome.status, outcome.text, outcome.fault.value
    return {
        "message": row.message,
        "recipient": row.number,
        "number": count,
        "started_at": made.started_at,
        "ended_at": made.ended_at,
        "outcome": _NAMES[type(outcome)],
        "status": status,
        "text": text,
        "fault": fault,
        "reply": None if outcome.reply is None else words,
        "host": made.host,
        "address": made.address,
        "tls": None if made.tls is None else dump(_tls(made.tls)),
        "tls_failure": made.tls_failure,
        "offered": made.offered,
        "source": made.source or None,
        "trace": made.trace or None,
    }


def drop_bodies(connection: Connection, ids: Sequence[str]) -> None:
    """
    Delete the bodies of those messages that have no open recipient left.
    """
    still = select(func.count()).where(recipient.c.message == message.c.id, is_open)
    over = select(message.c.body).where(message.c.id.in_(list(ids)), still.scalar_subquery() == 0)
    connection.execute(delete(chunk).where(chunk.c.body.in_(over)))
