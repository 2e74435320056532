"""
What a submitted head must have, and what the relay makes of it (RFC 6409 §8, RFC 5322 §3.6).
"""

from __future__ import annotations

from attrs import frozen

from lmrelay.mail.address import Address
from lmrelay.mail.head import Head


@frozen
class Prepared:
    """
    A head that may go on, less the Received field, with what others want to know of it.

    C{senders}: every mailbox of the From and Sender fields, for the policy check.
    C{subject}, C{sender}, C{to}: for people who look. C{message_id}: with its brackets.
    """

    head: Head
    senders: tuple[Address, ...]
    message_id: str
    subject: str
    sender: str
    to: str


def prepare(
    head: Head, *, id: str, hostname: str, now: float, require_to: bool = False, received_limit: int = 100
) -> Prepared:
    """
    Check a submitted head and complete it: Bcc goes, Date and Message-ID come where missing.

    @param id: the message's id
    @param now: seconds since the epoch
    @raise Refused: 554 5.4.6 or 554 5.6.0
    """
    raise NotImplementedError
