"""
Mail that was accepted before the story begins: rows, as they would be after so many sessions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from sqlalchemy import Connection

from lmrelay.config.words import Kind
from lmrelay.ids import make_id
from lmrelay.interfaces import Submission
from lmrelay.mail.address import parse_address
from lmrelay.mail.envelope import Envelope, Recipient
from lmrelay.queue.rows import event_row, message_row, recipient_rows
from lmrelay.queue.storing import Accept, write_messages

BODY = b"\r\nHello.\r\n"
BATCH = 500

Writing = Callable[[Callable[[Connection], object]], object]
"""
Does this to the store, in a transaction.
"""


def fill(
    write: Writing,
    project: str,
    recipients: Iterable[str],
    *,
    kind: Kind = Kind.BROADCAST,
    now: float,
    entropy: Callable[[int], bytes],
) -> None:
    """
    A message for each recipient, due at once. Its subject is the project, and from which number it is on.
    """
    route = "news" if kind is Kind.BROADCAST else "outgoing"
    made = (
        _make(project, route, kind, f"{project} {number}", address, now, entropy)
        for number, address in enumerate(recipients)
    )
    for batch in _batches(made):
        write(lambda connection, batch=batch: write_messages(connection, batch, now))  # type: ignore[misc]


def _batches(made: Iterator[Accept]) -> Iterator[list[Accept]]:
    while batch := list(islice(made, BATCH)):
        yield batch


def _make(
    project: str, route: str, kind: Kind, subject: str, address: str, now: float, entropy: Callable[[int], bytes]
) -> Accept:
    id_ = make_id(now, entropy)
    envelope = Envelope(parse_address(f"app@{project}.example"), (Recipient(parse_address(address)),))
    head = f"From: app@{project}.example\r\nSubject: {subject}\r\n".encode()
    submission = Submission(project, route, kind, envelope, head, now, id_, subject=subject)
    created = event_row(entropy, "message.created", now, (project, route), (id_, None))
    body = {"body": id_, "number": 0, "size": len(BODY), "octets": BODY}
    return Accept(message_row(submission, len(head) + len(BODY), id_), recipient_rows(submission, {}), created, [body])
