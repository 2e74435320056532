"""
What a submitted head must have, and what the relay makes of it (RFC 6409 §8, RFC 5322 §3.6).
"""

from __future__ import annotations

from attrs import frozen

from lmrelay.errors import Refused, SyntaxRefused
from lmrelay.mail.address import Address
from lmrelay.mail.head import Head, make_field
from lmrelay.mail.mailboxes import Mailbox
from lmrelay.mail.received import format_date
from lmrelay.smtp import replies

BLIND = ("Bcc", "Resent-Bcc")
TEXT_LIMIT = 1000
SENDERS_LIMIT = 32 * 1024
"""
Octets of a From or Sender field; reading one that nobody wrote in good faith would hold up all other sessions.
"""
MAX_SENDERS = 100


@frozen
class Prepared:
    """
    A head that may go on, less the Received field, with what others want to know of it.

    C{senders}: every address in the From and Sender fields, the first in From first, for the policy check.
    C{subject}, C{sender}, C{to}: for people who look. C{message_id}: with its brackets. C{tls_optional}: it says
    C{TLS-Required: No} (RFC 8689 §3).
    """

    head: Head
    senders: tuple[Address, ...]
    message_id: str
    subject: str
    sender: str
    to: str
    tls_optional: bool = False

    @property
    def domain(self) -> str:
        """
        The domain of the first address in From, in A-labels: whose mail it is.
        """
        return self.senders[0].ascii_domain


def prepare(
    head: Head, *, id: str, hostname: str, now: float, require_to: bool = False, received_limit: int = 100
) -> Prepared:
    """
    Check a submitted head and complete it: Bcc goes, Date and Message-ID come where missing.

    @param id: the message's id
    @param now: seconds since the epoch
    @raise Refused: 554 5.4.6 or 554 5.6.0
    """
    if sum(1 for _ in head.all("Received")) > received_limit:
        raise Refused(replies.ROUTING_LOOP)
    senders = _read_senders(head)
    if require_to and head.first("To") is None:
        raise Refused(replies.NO_TO)
    head = head.remove(BLIND)
    if head.first("Date") is None:
        head = head.append(make_field("Date", format_date(now)))
    if head.first("Message-ID") is None:
        head = head.append(make_field("Message-ID", f"<{id}@{hostname}>"))
    return Prepared(
        head,
        senders,
        message_id=_value(head, "Message-ID"),
        subject=_text(head, "Subject"),
        sender=_text(head, "From"),
        to=_text(head, "To"),
        tls_optional=_makes_tls_optional(head),
    )


def _makes_tls_optional(head: Head) -> bool:
    """
    Said once, or said alike: two that differ are no wish of anybody's.
    """
    values = {field.value.strip().lower() for field in head.all("TLS-Required")}
    return values == {"no"}


def _read_senders(head: Head) -> tuple[Address, ...]:
    fields = list(head.all("From"))
    if not fields:
        raise Refused(replies.NO_FROM)
    # Readers differ in which of several they show, so none may be unchecked or ambiguous.
    if len(fields) > 1:
        raise Refused(replies.SEVERAL_FROM)
    if sum(1 for _ in head.all("Sender")) > 1:
        raise Refused(replies.SEVERAL_SENDER)
    authors, senders = _mailboxes(head, "From"), _mailboxes(head, "Sender")
    if not authors:
        raise Refused(replies.bad_header("From", "it has no address"))
    if len(senders) > 1:
        raise Refused(replies.bad_header("Sender", "it has more than one address"))
    # With several authors it must be said who of them sent it (RFC 5322 §3.6.2).
    if len(authors) > 1 and not senders:
        raise Refused(replies.NO_SENDER)
    both = (*authors, *senders)
    return (*(one.address for one in both), *(one.shown for one in both if one.shown is not None))


def _mailboxes(head: Head, name: str) -> list[Mailbox]:
    if sum(len(field.octets) for field in head.all(name)) > SENDERS_LIMIT:
        raise Refused(replies.bad_header(name, f"it is longer than {SENDERS_LIMIT} octets"))
    try:
        found = head.mailboxes(name)
    except SyntaxRefused as error:
        raise Refused(replies.bad_header(name, str(error))) from error
    if len(found) > MAX_SENDERS:
        raise Refused(replies.bad_header(name, f"it has more than {MAX_SENDERS} addresses"))
    return found


def _value(head: Head, name: str) -> str:
    field = head.first(name)
    return field.value[:TEXT_LIMIT] if field else ""


def _text(head: Head, name: str) -> str:
    field = head.first(name)
    return field.text[:TEXT_LIMIT] if field else ""
