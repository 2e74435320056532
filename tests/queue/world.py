"""
A queue with all around it under one clock: started, fed, crashed and looked into by tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from attrs import define, field
from sqlalchemy import func, select
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lmrelay.config.values import Config
from lmrelay.config.words import Kind
from lmrelay.interfaces import Submission
from lmrelay.mail.address import parse_address
from lmrelay.mail.envelope import Envelope, Notify, Recipient, Ret
from lmrelay.mail.outcome import Attempt, Delayed, Delivered, Failed, Fault, Outcome
from lmrelay.queue.documents import tell_events
from lmrelay.queue.schema import attempt, chunk, event, message, recipient, upload
from lmrelay.queue.service import QueueService
from lmrelay.smtp.reply import reply
from tests.queue.doubles import Dispatch, Settings
from tests.queue.filling import writing

NOW = 1_700_000_000.0
OK = Delivered(reply(250, "2.0.0", "ok"))
RELAYED = Delivered(reply(250, "2.0.0", "ok"), relayed=True)
LATER = Delayed("4.2.0", "greylisted", Fault.RECEIVER, reply(451, "4.2.0", "greylisted"))
NEVER = Failed("5.1.1", "no such user", Fault.RECIPIENT, reply(550, "5.1.1", "no such user"))

_case = SynchronousTestCase()
result_of = _case.successResultOf
failure_of = _case.failureResultOf


def name(number: int) -> str:
    """
    A message's id.
    """
    return f"{number:026d}"


@define(eq=False)
class World:
    """
    One queue at a time over one store, and what delivery got from it.
    """

    config: Config
    dispatch: Dispatch = field(factory=Dispatch)
    clock: Clock = field(factory=Clock)
    random: Random = field(factory=lambda: Random(1))
    skew: float = 0.0
    queue: QueueService = field(init=False)

    def wall(self) -> float:
        return NOW + self.skew + self.clock.seconds()

    def start(self) -> QueueService:
        settings = Settings(self.config)
        self.queue = QueueService(
            settings, self.clock, self.wall, self.random.randbytes, Random(2), self.dispatch, True, lambda: 1 << 40
        )
        result_of(self.queue.start())
        return self.queue

    def crash(self) -> None:
        """
        The process is gone: its lock is free, its memory lost, its clock calls nobody.
        """
        self.queue._lease.drop()
        for part in (self.queue._writer, self.queue._reader, self.queue._checkpoints):
            part._engine.dispose()  # type: ignore[attr-defined]
        seconds, self.clock = self.clock.seconds(), Clock()
        self.clock.advance(seconds)
        self.dispatch = Dispatch()

    def stop(self) -> None:
        result_of(self.queue.stop())

    def run(self, seconds: float, step: float = 1.0) -> None:
        """
        Let time pass; in longer steps where hours must, and what happens within one is not looked at.
        """
        for _ in range(int(seconds / step)):
            self.clock.advance(step)

    def accept(
        self,
        number: int = 1,
        to: Sequence[str | Recipient] = ("a@b.example",),
        body: bytes = b"\r\nhello\r\n",
        **more: Any,
    ) -> Deferred[str]:
        """
        Hand a message over; C{more} are fields of the submission and of the envelope.
        """
        recipients = tuple(one if isinstance(one, Recipient) else Recipient(parse_address(one)) for one in to)
        sender = more.pop("sender", "s@acme.example")
        envelope = Envelope(
            parse_address(sender) if sender else None,
            recipients,
            ret=more.pop("ret", None),
            envid=more.pop("envid", None),
            require_tls=more.pop("require_tls", False),
        )
        into = more.pop("into", None) or self.queue.open_body()
        for start in range(0, len(body), 65536):
            pause = into.write(body[start : start + 65536])
            if pause is not None:
                pause.addErrback(lambda _: None)
        fields = {"subject": "Hi", **more}
        project, kind = fields.pop("project", "acme"), fields.pop("kind", Kind.TRANSACTIONAL)
        route = fields.pop("route", "outgoing")
        submission = Submission(project, route, kind, envelope, b"Subject: Hi\r\n", self.wall(), name(number), **fields)
        return Deferred.fromCoroutine(self.queue.accept(submission, into))

    def read(self, id_: str) -> bytes:
        """
        A message's content.
        """
        content, blocks = self.queue.open_content(id_), []
        while block := result_of(content.read()):
            blocks.append(block)
        return b"".join(blocks)

    def settle(self, number: int | str, outcome: Outcome, which: Sequence[int] = (0,)) -> None:
        """
        An attempt of now ended so.
        """
        id_ = number if isinstance(number, str) else name(number)
        made = Attempt(self.wall(), self.wall(), outcome, "mx.b.example")
        result_of(self.queue.settle(id_, dict.fromkeys(which, made)))

    def count(self) -> Mapping[str, int]:
        """
        The rows of each table.
        """
        tables = (message, recipient, chunk, upload, event, attempt)
        with writing(self.config) as connection:
            return {
                table.name: connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables
            }

    def states(self) -> list[tuple[str, int, str]]:
        """
        Number of the message, number and state of each recipient of a tenant's mail.
        """
        query = (
            select(recipient.c.message, recipient.c.number, recipient.c.state)
            .join(message, message.c.id == recipient.c.message)
            .where(message.c.notification.is_(False))
            .order_by(recipient.c.message, recipient.c.number)
        )
        with writing(self.config) as connection:
            return [(int(row.message), row.number, row.state) for row in connection.execute(query)]

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """
        Type and document of all events of messages, in order of their sequence.
        """
        return [(one["event"], one["data"]) for one in self.told() if one["event"].startswith("message.")]

    def told(self) -> list[dict[str, Any]]:
        """
        All events in order of their sequence, as they are told.
        """
        with writing(self.config) as connection:
            sequences = connection.execute(select(event.c.sequence)).scalars().all()
            return tell_events(connection, sequences)

    def notices(self) -> list[tuple[str, str, bytes]]:
        """
        Recipient, subject and content of the relay's own messages.
        """
        query = select(message).where(message.c.notification).order_by(message.c.id)
        with writing(self.config) as connection:
            rows = connection.execute(query).all()
        return [(row.to, row.subject, self.read(row.id)) for row in rows]


def to(address: str, *notify: Notify) -> Recipient:
    """
    A recipient with that NOTIFY.
    """
    return Recipient(parse_address(address), frozenset(notify) or None)


FULL = Ret.FULL
