"""
Notifications to the sender (RFC 3461), queued as messages of the relay's own in the commit that they tell of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field
from sqlalchemy import Connection, func, select
from twisted.logger import Logger

from lmrelay.config.values import Config
from lmrelay.config.words import TlsPolicy
from lmrelay.ids import make_id
from lmrelay.interfaces import ISettings, Submission
from lmrelay.mail.address import Address, ascii_domain
from lmrelay.mail.dkim import hash_body
from lmrelay.mail.dsn import Action, Original, Subject, carries_body, compose
from lmrelay.mail.envelope import Envelope, Notify, Recipient, Ret
from lmrelay.mail.head import Head
from lmrelay.mail.outcome import Delivered, Outcome
from lmrelay.mail.signing import Signers
from lmrelay.queue.rows import Entropy, message_row, read_address, read_kind, read_tls, recipient_rows
from lmrelay.queue.schema import CHUNK, chunk, message, recipient
from lmrelay.queue.statements import insert_rows

DELAY_NOTICE_AFTER = 4 * 3600.0
"""
Seconds after which a sender is told, once, that it takes longer.
"""

WANTS = {Action.FAILED: Notify.FAILURE, Action.DELAYED: Notify.DELAY, Action.RELAYED: Notify.SUCCESS}

log = Logger()


def due_notice(outcome: Outcome, waits: bool, age: float, delay_told: bool) -> Action | None:
    """
    What of an outcome the sender may want to hear; C{waits}: it is tried again.
    """
    if isinstance(outcome, Delivered):
        return Action.RELAYED if outcome.relayed else None
    if not waits:
        return Action.FAILED
    return Action.DELAYED if age >= DELAY_NOTICE_AFTER and not delay_told else None


@define(eq=False)
class Notices:
    """
    Writes notifications.
    """

    _settings: ISettings
    _wall: Callable[[], float]
    _entropy: Entropy
    _signers: Signers = field(init=False)

    @_signers.default
    def _make_signers(self) -> Signers:
        return Signers(lambda: self._settings.config.dkim)

    def write(self, connection: Connection, id_: str, action: Action, subjects: Sequence[Subject]) -> None:
        """
        Queue the one about those recipients of a message, unless its sender or its route want none.
        """
        config = self._settings.config
        about = connection.execute(select(message).where(message.c.id == id_)).one()
        sender = read_address(about.reverse_path)
        project = config.projects.get(about.project)
        if sender is None:
            if about.notification:
                log.warn("a notification could not be delivered", message=id_, project=about.project)
            return
        if project is not None and not project.route(about.route).dsn:
            return
        body = None
        if action is Action.FAILED and carries_body(_ret(about), about.size):
            body = _read_body(connection, about.body)
        query = select(func.max(recipient.c.extended)).where(recipient.c.message == id_)
        held = connection.execute(query).scalar_one()
        try:
            submission, text = self._compose(config, about, sender, action, subjects, body, held)
        except Exception:  # noqa: BLE001 - else one message that cannot be told of would wedge the outcomes of all
            log.failure("a notification could not be written", message=id_)
            return
        store_own(connection, submission, text, read_tls(about.tls))

    def _compose(
        self,
        config: Config,
        about: Any,
        sender: Address,
        action: Action,
        subjects: Sequence[Subject],
        body: bytes | None,
        held: float,
    ) -> tuple[Submission, bytes]:
        now = self._wall()
        id_ = make_id(now, self._entropy)
        head, text = compose(
            action,
            Original(about.id, sender, about.received_at, about.head, body, _ret(about), about.envid),
            subjects,
            id=id_,
            hostname=config.server.hostname,
            bounce_from=_author(config),
            now=now,
            retry_until=about.received_at + held + config.delivery.expire,
        )
        head = self._sign(head, text, _author(config), now)
        utf8 = not (head.isascii() and sender.is_ascii)
        to = (Recipient(sender, frozenset({Notify.NEVER})),)
        submission = Submission(
            about.project,
            about.route,
            read_kind(about.kind),
            Envelope(
                None,
                to,  # type: ignore[arg-type]
                not text.isascii(),
                utf8 or bool(about.smtputf8),
                require_tls=bool(about.require_tls),
            ),
            head,
            now,
            id_,
            not text.isascii(),
            not head.isascii(),
            subject=action.value,
            to=str(sender),
            redact=bool(about.redact),
            # Nothing of what is in the sandbox leaves, nor what is said of it.
            sandbox=bool(about.sandbox),
        )
        return submission, text

    def _sign(self, head: bytes, text: bytes, author: str, now: float) -> bytes:
        domain = ascii_domain(author.rpartition("@")[2])
        if not self._signers.find(domain):
            return head
        body = text.removeprefix(b"\r\n")
        return self._signers.sign(Head.parse(head), domain, hash_body(body), now).to_bytes()


def store_own(connection: Connection, submission: Submission, text: bytes, tls: TlsPolicy | None = None) -> None:
    """
    Queue a message of the relay's own, of whose failure nobody is told; C{text} is its body.
    """
    size = len(submission.head) + len(text)
    row = message_row(submission, size, submission.id, notification=True, tls=tls)
    insert_rows(connection, message, [row])
    blocks = [text[at : at + CHUNK] for at in range(0, len(text), CHUNK)]
    insert_rows(
        connection,
        chunk,
        [
            {"body": submission.id, "number": number, "size": len(block), "octets": block}
            for number, block in enumerate(blocks)
        ],
    )
    insert_rows(connection, recipient, recipient_rows(submission, {}))


def _author(config: Config) -> str:
    return config.delivery.bounce_from or f"MAILER-DAEMON@{config.server.hostname}"


def _ret(about: Any) -> Ret | None:
    """
    What of the message goes back: of one that was to go by TLS alone never more than its head (RFC 8689 §5).
    """
    if about.require_tls:
        return Ret.HDRS
    return None if about.ret is None else Ret(about.ret)


def _read_body(connection: Connection, body: str) -> bytes:
    rows = connection.execute(select(chunk.c.octets).where(chunk.c.body == body).order_by(chunk.c.number))
    return b"".join(rows.scalars())
