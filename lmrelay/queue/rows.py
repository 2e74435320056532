"""
Values to rows and back, for messages, recipients and events. Pure but for the randomness it is given.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from json.encoder import encode_basestring
from typing import Any

from lmrelay.config.words import Kind, TlsPolicy
from lmrelay.interfaces import Lane, Leased, LeasedRecipient, Submission
from lmrelay.mail.address import Address
from lmrelay.mail.envelope import Notify, Recipient, Ret
from lmrelay.queue.schema import QUEUED

Row = dict[str, Any]
Entropy = Callable[[int], bytes]

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def dump(value: object) -> str:
    """
    JSON as short as it gets.
    """
    return _encode(value)


def message_row(
    submission: Submission, size: int, body: str, *, notification: bool = False, tls: TlsPolicy | None = None
) -> Row:
    """
    The row of a message whose head and body have C{size} octets; its chunks are kept as C{body}. C{tls} is what
    its sender was promised.
    """
    envelope = submission.envelope
    return {
        "id": submission.id,
        "project": submission.project,
        "route": submission.route,
        "kind": submission.kind.value,
        "reverse_path": None if envelope.reverse_path is None else str(envelope.reverse_path),
        "declared_eight_bit": envelope.eight_bit,
        "declared_size": envelope.size,
        "smtputf8": envelope.smtputf8,
        "ret": None if envelope.ret is None else envelope.ret.value,
        "envid": envelope.envid,
        "tls": None if tls is None else tls.value,
        "eight_bit": submission.eight_bit,
        "utf8_head": submission.utf8_head,
        "notification": notification,
        "received_at": submission.received_at,
        "subject": submission.subject,
        "message_id": submission.message_id,
        "sender": submission.sender,
        "to": submission.to,
        "tags": dump(submission.tags) if submission.tags else "[]",
        "metadata": dump(dict(submission.metadata)) if submission.metadata else "{}",
        "client": dump(dict(submission.client)) if submission.client else "{}",
        "token_id": submission.token_id,
        "size": size,
        "body": body,
        "head": submission.head,
        "unsubscribe": submission.unsubscribe or None,
        "redact": submission.redact,
        "body_hash": submission.body_hash or None,
        "return_path": submission.return_path or None,
        "require_tls": envelope.require_tls,
        "tls_optional": submission.tls_optional,
        "sandbox": submission.sandbox,
    }


def recipient_rows(submission: Submission, owners: Mapping[str, str | None]) -> list[Row]:
    """
    A row a recipient; C{owners} goes by domain. What nobody owns is due at once.
    """
    rows = []
    project, kind = submission.project, submission.kind.value
    for number, one in enumerate(submission.envelope.recipients):
        domain = one.address.ascii_domain
        owner = owners.get(domain)
        orcpt_type, orcpt = one.orcpt or (None, None)
        rows.append(
            {
                "message": submission.id,
                "number": number,
                "project": project,
                "kind": kind,
                "domain": domain,
                "address": str(one.address),
                "notify": None if one.notify is None else ",".join(sorted(n.value for n in one.notify)),
                "orcpt_type": orcpt_type,
                "orcpt": orcpt,
                "state": QUEUED,
                "attempts": 0,
                "next_attempt": submission.received_at,
                "due": None if owner else submission.received_at,
                "owner": owner,
                "last": "",
                "delay_told": False,
                "held_at": None,
                "extended": 0.0,
                "ended_at": None,
            }
        )
    return rows


def read_address(text: str | None) -> Address | None:
    """
    The mailbox in a row; None for the null reverse path.
    """
    if text is None:
        return None
    local, _, domain = text.rpartition("@")
    return Address(local, domain)


def read_recipient(row: Any) -> Recipient:
    """
    The recipient of a row.
    """
    local, _, domain = row.address.rpartition("@")
    notify = None if row.notify is None else frozenset(Notify(word) for word in row.notify.split(",") if word)
    orcpt = None if row.orcpt_type is None else (row.orcpt_type, row.orcpt or "")
    return Recipient(Address(local, domain), notify, orcpt)


def read_leased(row: Any, lane: Lane, recipients: Iterable[LeasedRecipient]) -> Leased:
    """
    What is handed to delivery, of a message's row.
    """
    return Leased(
        row.id,
        lane,
        row.route,
        read_address(row.reverse_path),
        recipients,  # type: ignore[arg-type]
        row.size,
        row.received_at,
        row.eight_bit,
        row.utf8_head,
        row.smtputf8,
        None if row.ret is None else Ret(row.ret),
        row.envid,
        row.notification,
        read_tls(row.tls),
        tuple(json.loads(row.tags)) if row.tags != "[]" else (),
        json.loads(row.metadata) if row.metadata != "{}" else {},
        row.redact,
        row.unsubscribe or "",
        row.body_hash or b"",
        row.return_path or "",
        row.require_tls,
        row.tls_optional,
        row.sandbox,
    )


def read_tls(text: str | None) -> TlsPolicy | None:
    """
    The promise in a row.
    """
    return None if text is None else TlsPolicy(text)


def make_leased(
    submission: Submission,
    size: int,
    domains: Iterable[str],
    tls: TlsPolicy | None = None,
    withheld: Collection[int] = (),
) -> list[Leased]:
    """
    The same of a message that was just accepted, without a read, and without the recipients C{withheld}.
    """
    wanted = set(domains)
    lanes: dict[str, list[LeasedRecipient]] = {}
    for number, one in enumerate(submission.envelope.recipients):
        domain = one.address.ascii_domain
        if domain in wanted and number not in withheld:
            lanes.setdefault(domain, []).append(LeasedRecipient(number, one))
    envelope = submission.envelope
    return [
        Leased(
            submission.id,
            Lane(submission.project, submission.kind, domain),
            submission.route,
            envelope.reverse_path,
            members,  # type: ignore[arg-type]
            size,
            submission.received_at,
            submission.eight_bit,
            submission.utf8_head,
            envelope.smtputf8,
            envelope.ret,
            envelope.envid,
            tls=tls,
            tags=submission.tags,
            metadata=submission.metadata,
            redact=submission.redact,
            unsubscribe=submission.unsubscribe,
            body_hash=submission.body_hash,
            return_path=submission.return_path,
            require_tls=envelope.require_tls,
            tls_optional=submission.tls_optional,
            sandbox=submission.sandbox,
        )
        for domain, members in lanes.items()
    ]


def event_row(
    entropy: Entropy,
    type_: str,
    at: float,
    context: tuple[str, str],
    key: tuple[str | None, int | None],
    document: str = "{}",
) -> Row:
    """
    An event; C{context} is project and route, C{key} message and recipient number, if it is about some; C{document} is,
    as JSON, what is new with it.
    """
    digits = entropy(16).hex()
    return {
        # A UUID of version 4 (RFC 9562 §5.4), by hand: the library's class takes longer than the rest of the row.
        "id": f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{_VARIANT[digits[16]]}{digits[17:20]}-{digits[20:]}",
        "type": type_,
        "at": at,
        "project": context[0],
        "route": context[1],
        "message": key[0],
        "recipient": key[1],
        "document": document,
    }


_VARIANT = {digit: "89ab"[number & 3] for number, digit in enumerate("0123456789abcdef")}


def quote(text: str | None) -> str:
    """
    A JSON string, or null.
    """
    return "null" if text is None else encode_basestring(text)


def format_time(at: float) -> str:
    """
    As events give times: ISO 8601, in UTC, to the millisecond.
    """
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_kind(text: str) -> Kind:
    """
    The kind in a row.
    """
    return Kind(text)
