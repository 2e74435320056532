"""
The queue, as inbound sees it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping

from attrs import field, frozen
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from lmrelay.config.words import Kind
from lmrelay.mail.address import Address
from lmrelay.mail.envelope import Envelope
from lmrelay.mail.reports import Report


@frozen
class Submission:
    """
    A message to be accepted, less its body.

    C{head} is final: what recipients get, from the first field to the line ending of
    the last. C{subject}, C{message_id} (of the Message-ID field), C{sender}, C{to} are for
    people who look. C{client} is what is known of the client, for C{explain}.
    C{eight_bit}: the body has octets beyond ASCII. C{utf8_head}: the head has some.

    C{key} is its Idempotency-Key (empty: none), and C{fingerprint} is equal for what may be sent again under one: 64
    hexadecimal digits. C{unsubscribe} is the template of the link that each recipient gets (empty: none), fixed at
    acceptance. C{redact}: subject and addresses stay out of logs and events.

    C{body_hash} is the SHA-256 of the body for a signature made when sending (RFC 6376, relaxed; empty: none is made
    then), C{return_path} the domain of the signed envelope sender that each recipient gets (empty: the envelope's own
    stays), both fixed at acceptance. C{tls_optional}: its head says C{TLS-Required: No} (RFC 8689 §3).
    C{sandbox}: nothing of it leaves; every recipient is as if delivered.
    """

    project: str
    route: str
    kind: Kind
    envelope: Envelope
    head: bytes
    received_at: float
    id: str
    eight_bit: bool = False
    utf8_head: bool = False
    subject: str = ""
    message_id: str = ""
    sender: str = ""
    to: str = ""
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(factory=dict)
    client: Mapping[str, str] = field(factory=dict)
    token_id: str = ""
    key: str = ""
    fingerprint: str = ""
    unsubscribe: str = ""
    redact: bool = False
    body_hash: bytes = b""
    return_path: str = ""
    tls_optional: bool = False
    sandbox: bool = False


class IBody(Interface):
    """
    The body of one message on its way in; large ones go to the store while they arrive.

    The body is what follows the head, the empty line included: head + body is the content.
    """

    size: int = Attribute("Octets so far.")

    def write(octets: bytes) -> Deferred[None] | None:
        """
        Add a block. A Deferred means: pause input until it fires (never a value).

        It fails with L{lmrelay.errors.StoreError}; the body is then of no more use.
        """

    def discard() -> None:
        """
        Forget it, and what of it reached the store. May be called twice, or after accept.
        """


class IAcceptance(Interface):
    """
    The queue's door.
    """

    def check_room(declared: int | None) -> None:
        """
        Is there room for a message of C{declared} octets and the reserve?

        @raise StoreFull: no
        """

    def open_body() -> IBody:
        """
        A new, empty body.
        """

    def check_quota(project: str) -> None:
        """
        Is the project not known to be over its C{max_messages_per_hour} or C{_per_day}? A look at memory that
        spares client and relay the content; what counts is counted by L{accept}.

        @raise Refused: it is (452 4.7.0)
        """

    def accept(submission: Submission, body: IBody) -> Awaitable[str]:
        """
        To be awaited by a coroutine, which it spares a Deferred of its own; nothing begins before. Over when message,
        recipients and event are on disk: from then on the message is the relay's. The delivery may have begun. The
        result is the message's id: the submission's own, or, where its C{key} was used before for the same message,
        that of the first; then nothing of this one is stored.

        It fails with L{StoreFull} or L{StoreError}, or with L{Refused} where the key is another message's (554 5.5.0),
        or that of one being stored (451 4.5.0), or a limit of messages is reached (452 4.7.0); nothing is stored then.
        """


@frozen
class Awaited:
    """
    A recipient that something may come back for: C{domain} is that of its signed envelope sender. C{redact}: its
    address may not stand in a log.
    """

    message_id: str
    number: int
    address: Address
    domain: str
    project: str
    route: str
    redact: bool = False


class IReturns(Interface):
    """
    What came back, remembered.
    """

    def find(message_id: str, number: int) -> Deferred[Awaited | None]:
        """
        The recipient of that number of a message, if it is remembered and got a signed envelope sender.

        It fails with L{StoreError}.
        """

    def record(awaited: Awaited, report: Report) -> Deferred[bool]:
        """
        Fires when the report is on disk, in one commit with its event. The result: it was news. The same again is
        none, and makes no event; nor is one of a message that was forgotten meanwhile.

        It fails with L{StoreError}; nothing is stored then.
        """
