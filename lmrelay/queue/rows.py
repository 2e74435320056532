"""
Values to rows and back, for messages, recipients and events. Pure but for the randomness it is given.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from lmrelay.config.values import Kind
from lmrelay.interfaces import Lane, Leased, LeasedRecipient, Submission
from lmrelay.mail.address import Address
from lmrelay.mail.envelope import Notify, Recipient, Ret
from lmrelay.queue.schema import QUEUED

Row = dict[str, Any]
Entropy = Callable[[int], bytes]


def dump(value: object) -> str:
    """
    JSON as short as it gets.
    """
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def message_row(submission: Submission, size: int, body: str, *, notification: bool = False) -> Row:
    """
    The row of a message whose head and body have C{size} octets; its chunks are kept as C{body}.
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
        "eight_bit": submission.eight_bit,
        "utf8_head": submission.utf8_head,
        "notification": notification,
        "received_at": submission.received_at,
        "subject": submission.subject,
        "message_id": submission.message_id,
        "sender": submission.sender,
        "to": submission.to,
        "tags": dump(submission.tags),
        "metadata": dump(dict(submission.metadata)),
        "client": dump(dict(submission.client)),
        "token_id": submission.token_id,
        "size": size,
        "body": body,
        "head": submission.head,
    }


def recipient_rows(submission: Submission, owners: Mapping[str, str | None]) -> list[Row]:
    """
    A row a recipient; C{owners} goes by domain. What nobody owns is due at once.
    """
    rows = []
    for number, one in enumerate(submission.envelope.recipients):
        domain = one.address.ascii_domain
        owner = owners.get(domain)
        rows.append(
            {
                "message": submission.id,
                "number": number,
                "project": submission.project,
                "kind": submission.kind.value,
                "domain": domain,
                "address": str(one.address),
                "notify": None if one.notify is None else ",".join(sorted(n.value for n in one.notify)),
                "orcpt_type": one.orcpt and one.orcpt[0],
                "orcpt": one.orcpt and one.orcpt[1],
                "state": QUEUED,
                "attempts": 0,
                "next_attempt": submission.received_at,
                "due": None if owner else submission.received_at,
                "owner": owner,
                "last": "",
                "delay_told": False,
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
    )


def make_leased(
    submission: Submission, size: int, domains: Iterable[str], *, notification: bool = False
) -> list[Leased]:
    """
    The same of a message that was just accepted, without a read.
    """
    wanted = set(domains)
    lanes: dict[str, list[LeasedRecipient]] = {}
    for number, one in enumerate(submission.envelope.recipients):
        domain = one.address.ascii_domain
        if domain in wanted:
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
            notification,
        )
        for domain, members in lanes.items()
    ]


def event_row(
    entropy: Entropy,
    type_: str,
    at: float,
    context: tuple[str, str],
    key: tuple[str, int | None],
    document: Mapping[str, Any],
) -> Row:
    """
    An event; C{context} is project and route, C{key} message and recipient number.
    """
    return {
        "id": str(uuid.UUID(bytes=entropy(16), version=4)),
        "type": type_,
        "at": at,
        "project": context[0],
        "route": context[1],
        "message": key[0],
        "recipient": key[1],
        "document": dump(document),
    }


def describe(id: str, subject: str, tags: Sequence[str], metadata: Mapping[str, str]) -> Row:
    """
    What every event of a message says of it.
    """
    return {
        "message_id": id,
        "subject": subject,
        "tag": tags[0] if tags else None,
        "tags": list(tags),
        "metadata": dict(metadata),
    }


def read_kind(text: str) -> Kind:
    """
    The kind in a row.
    """
    return Kind(text)
