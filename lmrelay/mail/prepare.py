"""
What a submitted head must have, and what the relay makes of it (RFC 6409 §8, RFC 5322 §3.6).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from attrs import frozen

from lmrelay.errors import Refused, SyntaxRefused
from lmrelay.mail.address import Address
from lmrelay.mail.encoded_words import decode_words, make_printable
from lmrelay.mail.head import Head, make_field
from lmrelay.mail.mailboxes import SHORT, Mailbox, parse_mailboxes
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
    values = head.values
    if len(values.get("received", ())) > received_limit:
        raise Refused(replies.ROUTING_LOOP)
    senders = _read_senders(head)
    if require_to and "to" not in values:
        raise Refused(replies.NO_TO)
    if "bcc" in values or "resent-bcc" in values:
        head = head.remove(BLIND)
    if "date" not in values:
        head = head.append(make_field("Date", format_date(now)))
    message_id = values.get("message-id", ("",))[0]
    if "message-id" not in values:
        message_id = f"<{id}@{hostname}>"
        head = head.append(make_field("Message-ID", message_id))
    return Prepared(
        head,
        senders,
        message_id=make_printable(message_id[:TEXT_LIMIT]),
        subject=_text(values, "subject"),
        sender=_text(values, "from"),
        to=_text(values, "to"),
        tls_optional="tls-required" in values and _makes_tls_optional(values["tls-required"]),
    )


def _makes_tls_optional(values: Sequence[str]) -> bool:
    """
    Said once, or said alike: two that differ are no wish of anybody's.
    """
    return {value.strip().lower() for value in values} == {"no"}


def _read_senders(head: Head) -> tuple[Address, ...]:
    authors, senders = head.values.get("from", ()), head.values.get("sender", ())
    if not authors:
        raise Refused(replies.NO_FROM)
    # Readers differ in which of several they show, so none may be unchecked or ambiguous.
    if len(authors) > 1:
        raise Refused(replies.SEVERAL_FROM)
    if len(senders) > 1:
        raise Refused(replies.SEVERAL_SENDER)
    if not senders and len(authors[0]) <= SHORT and len(head.octets) <= SENDERS_LIMIT:
        return _read_author(authors[0])
    _check_length(head, "From")
    _check_length(head, "Sender")
    return _find_senders(authors[0], senders[0] if senders else None)


@lru_cache(maxsize=512)
def _read_author(author: str) -> tuple[Address, ...]:
    # An application writes the same few over and over.
    return _find_senders(author, None)


def _find_senders(author: str, sender: str | None) -> tuple[Address, ...]:
    """
    Every address in a From field and in a Sender field, if there is one.
    """
    authors, senders = _mailboxes("From", author), [] if sender is None else _mailboxes("Sender", sender)
    if not authors:
        raise Refused(replies.bad_header("From", "it has no address"))
    if len(senders) > 1:
        raise Refused(replies.bad_header("Sender", "it has more than one address"))
    # With several authors it must be said who of them sent it (RFC 5322 §3.6.2).
    if len(authors) > 1 and not senders:
        raise Refused(replies.NO_SENDER)
    both = (*authors, *senders)
    return (*(one.address for one in both), *(one.shown for one in both if one.shown is not None))


def _check_length(head: Head, name: str) -> None:
    if sum(len(field.octets) for field in head.all(name)) > SENDERS_LIMIT:
        raise Refused(replies.bad_header(name, f"it is longer than {SENDERS_LIMIT} octets"))


def _mailboxes(name: str, value: str) -> list[Mailbox]:
    try:
        found = parse_mailboxes(value)
    except SyntaxRefused as error:
        raise Refused(replies.bad_header(name, str(error))) from error
    if len(found) > MAX_SENDERS:
        raise Refused(replies.bad_header(name, f"it has more than {MAX_SENDERS} addresses"))
    return found


def _text(values: Mapping[str, Sequence[str]], name: str) -> str:
    """
    What the first field of that name says, for people.
    """
    return decode_words(values[name][0])[:TEXT_LIMIT] if name in values else ""
