"""
What follows from attempts, in the commit that records them: states, events, notifications, the body's end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from attrs import asdict, define, field, frozen
from sqlalchemy import Connection, bindparam, delete, func, insert, select, update
from twisted.logger import Logger

from lmrelay.ids import make_id
from lmrelay.interfaces import ISettings, Submission
from lmrelay.mail.dsn import Action, Original, Subject, carries_body, compose
from lmrelay.mail.envelope import Envelope, Notify, Recipient, Ret
from lmrelay.mail.outcome import Attempt, Delayed, Delivered, Failed, Fault, Outcome
from lmrelay.queue.rows import (
    Entropy,
    Row,
    describe,
    dump,
    event_row,
    message_row,
    read_address,
    read_kind,
    read_recipient,
    recipient_rows,
)
from lmrelay.queue.schedule import delay_after, event_at_expiry, has_expired
from lmrelay.queue.schema import (
    CHUNK,
    DEFERRED,
    DELIVERED,
    FAILED,
    OPEN,
    attempt,
    chunk,
    event,
    message,
    recipient,
)

DELAY_NOTICE_AFTER = 4 * 3600.0

log = Logger()

_NAMES = {Delivered: "delivered", Delayed: "delayed", Failed: "failed"}


@frozen
class Settle:
    """
    The attempts of one message, by recipient number; C{parted}: the clocks have, so nothing expires.
    """

    message: str
    attempts: Mapping[int, Attempt]
    parted: bool = False


@define
class _Rows:
    attempts: list[Row] = field(factory=list)
    states: list[Row] = field(factory=list)
    events: list[Row] = field(factory=list)
    over: list[str] = field(factory=list)


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

    def write(self, connection: Connection, items: Sequence[Settle]) -> list[bool]:
        """
        Record them. The result says whether that was the end of the message.
        """
        ids = [one.message for one in items]
        messages = {row.id: row for row in connection.execute(select(message).where(message.c.id.in_(ids)))}
        found = connection.execute(select(recipient).where(recipient.c.message.in_(ids), recipient.c.state.in_(OPEN)))
        waiting: dict[str, dict[int, Any]] = {}
        for row in found:
            waiting.setdefault(row.message, {})[row.number] = row
        rows = _Rows()
        for one in items:
            if one.message in messages:
                self._settle(connection, one, messages[one.message], waiting.get(one.message, {}), rows)
        _store(connection, rows, messages)
        return [one.message in rows.over for one in items]

    def _settle(self, connection: Connection, one: Settle, about: Any, waiting: dict[int, Any], rows: _Rows) -> None:
        told: dict[Action, list[Subject]] = {}
        for number, made in one.attempts.items():
            row = waiting.get(number)
            if row is None or not (isinstance(made.outcome, Delivered) or row.owner == self._worker):
                log.info("an attempt no longer counts", message=one.message, number=number)
                continue
            state = self._record(about, row, made, one.parted, rows, told)
            if state not in OPEN:
                del waiting[number]
        for action, subjects in told.items():
            self._notify(connection, about, action, subjects)
        if not waiting:
            rows.over.append(one.message)

    def _record(
        self, about: Any, row: Any, made: Attempt, parted: bool, rows: _Rows, told: dict[Action, list[Subject]]
    ) -> str:
        delivery = self._settings.config.delivery
        outcome, count = made.outcome, row.attempts + 1
        expired = isinstance(outcome, Delayed) and not parted
        expired = expired and has_expired(about.received_at, made.ended_at, delivery.expire)
        waits = isinstance(outcome, Delayed) and not expired
        state = DEFERRED if waits else DELIVERED if isinstance(outcome, Delivered) else FAILED
        next_attempt = made.ended_at + delay_after(count, delivery.retry, self._random) if waits else None
        action = _due_notice(outcome, row, waits, made.ended_at - about.received_at)
        subject = Subject(read_recipient(row), outcome, made.host, made.started_at)
        if action is not None and subject.recipient.wants(_WANTS[action]):
            told.setdefault(action, []).append(subject)
        rows.attempts.append(_attempt_row(row, count, made))
        rows.states.append(
            {
                "of": row.message,
                "which": row.number,
                "state": state,
                "attempts": count,
                "next_attempt": next_attempt,
                "due": next_attempt,
                "last": _words(outcome),
                "delay_told": row.delay_told or action is Action.DELAYED,
            }
        )
        if not about.notification:
            rows.events += self._events(about, row, made, count, _event_type(outcome, expired), next_attempt)
        return state

    def _events(
        self, about: Any, row: Any, made: Attempt, count: int, type_: str, next_attempt: float | None
    ) -> list[Row]:
        said = describe(about.id, about.subject, json.loads(about.tags), json.loads(about.metadata))
        said["recipient"] = row.address
        context, key = (about.project, about.route), (row.message, row.number)
        rows = []
        if count == 1:
            rows.append(event_row(self._entropy, "message.sent", made.started_at, context, key, said))
        outcome = made.outcome
        more = {
            **said,
            "response": _response(outcome),
            "mx": made.host,
            "tls": None if made.tls is None else asdict(made.tls),
            "attempt": count,
        }
        if next_attempt is not None:
            more["next_attempt"] = next_attempt
        return [*rows, event_row(self._entropy, type_, made.ended_at, context, key, more)]

    def _notify(self, connection: Connection, about: Any, action: Action, subjects: list[Subject]) -> None:
        config = self._settings.config
        sender = read_address(about.reverse_path)
        project = config.projects.get(about.project)
        if sender is None:
            if about.notification:
                log.warn("a notification could not be delivered", message=about.id, project=about.project)
            return
        if project is not None and not project.route(about.route).dsn:
            return
        now = self._wall()
        id_ = make_id(now, self._entropy)
        ret = None if about.ret is None else Ret(about.ret)
        body = _body(connection, about) if action is Action.FAILED and carries_body(ret, about.size) else None
        head, text = compose(
            action,
            Original(about.id, sender, about.received_at, about.head, body, ret, about.envid),
            subjects,
            id=id_,
            hostname=config.server.hostname,
            bounce_from=config.delivery.bounce_from or f"MAILER-DAEMON@{config.server.hostname}",
            now=now,
            retry_until=about.received_at + config.delivery.expire,
        )
        utf8 = not (head.isascii() and sender.is_ascii)
        submission = Submission(
            about.project,
            about.route,
            read_kind(about.kind),
            Envelope(None, (Recipient(sender, frozenset({Notify.NEVER})),), not text.isascii(), utf8 or about.smtputf8),  # type: ignore[arg-type]
            head,
            now,
            id_,
            not text.isascii(),
            not head.isascii(),
            subject=action.value,
            to=str(sender),
        )
        connection.execute(insert(message), [message_row(submission, len(head) + len(text), id_, notification=True)])
        connection.execute(
            insert(chunk),
            [
                {"body": id_, "number": number, "size": len(block), "octets": block}
                for number, block in enumerate(text[at : at + CHUNK] for at in range(0, len(text), CHUNK))
            ],
        )
        connection.execute(insert(recipient), recipient_rows(submission, {}))


_WANTS = {Action.FAILED: Notify.FAILURE, Action.DELAYED: Notify.DELAY, Action.RELAYED: Notify.SUCCESS}


def _due_notice(outcome: Outcome, row: Any, waits: bool, age: float) -> Action | None:
    if isinstance(outcome, Delivered):
        return Action.RELAYED if outcome.relayed else None
    if not waits:
        return Action.FAILED
    return Action.DELAYED if age >= DELAY_NOTICE_AFTER and not row.delay_told else None


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


def _response(outcome: Outcome) -> Row:
    reply = outcome.reply
    if reply is not None:
        return {"status_code": reply.code, "enhanced_status_code": reply.enhanced, "content": reply.text}
    if isinstance(outcome, Delivered):
        return {}
    return {"status_code": None, "enhanced_status_code": outcome.status, "content": outcome.text}


def _attempt_row(row: Any, count: int, made: Attempt) -> Row:
    outcome = made.outcome
    done = isinstance(outcome, Delivered)
    return {
        "message": row.message,
        "recipient": row.number,
        "number": count,
        "started_at": made.started_at,
        "ended_at": made.ended_at,
        "outcome": _NAMES[type(outcome)],
        "status": outcome.reply.enhanced if isinstance(outcome, Delivered) else outcome.status,
        "text": "" if isinstance(outcome, Delivered) else outcome.text,
        "fault": None if done or isinstance(outcome, Delivered) else outcome.fault.value,
        "reply": None if outcome.reply is None else str(outcome.reply),
        "host": made.host,
        "address": made.address,
        "tls": None if made.tls is None else dump(asdict(made.tls)),
        "tls_failure": made.tls_failure,
    }


def _body(connection: Connection, about: Any) -> bytes:
    rows = connection.execute(select(chunk.c.octets).where(chunk.c.body == about.body).order_by(chunk.c.number))
    return b"".join(rows.scalars())


_UPDATE = (
    update(recipient)
    .where(recipient.c.message == bindparam("of"), recipient.c.number == bindparam("which"))
    .values(
        owner=None,
        **{name: bindparam(name) for name in ("state", "attempts", "next_attempt", "due", "last", "delay_told")},
    )
)


def _store(connection: Connection, rows: _Rows, messages: Mapping[str, Any]) -> None:
    if rows.attempts:
        connection.execute(insert(attempt), rows.attempts)
        connection.execute(_UPDATE, rows.states)
    if rows.events:
        connection.execute(insert(event), rows.events)
    if rows.over:
        connection.execute(delete(chunk).where(chunk.c.body.in_([messages[id_].body for id_ in rows.over])))


def drop_bodies(connection: Connection, ids: Sequence[str]) -> None:
    """
    Delete the bodies of those messages that have no open recipient left.
    """
    still = select(func.count()).where(recipient.c.message == message.c.id, recipient.c.state.in_(OPEN))
    over = select(message.c.body).where(message.c.id.in_(list(ids)), still.scalar_subquery() == 0)
    connection.execute(delete(chunk).where(chunk.c.body.in_(over)))
