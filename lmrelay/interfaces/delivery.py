"""
The queue and dispatch, as they see each other; and what the queue remembers for delivery.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from attrs import field, frozen
from twisted.internet.defer import Deferred
from zope.interface import Interface

from lmrelay.config.words import Kind, TlsPolicy
from lmrelay.interfaces.acceptance import Submission
from lmrelay.mail.address import Address
from lmrelay.mail.envelope import Recipient, Ret
from lmrelay.mail.outcome import Attempt
from lmrelay.mail.tlsrpt import TlsCount


@frozen
class SiteState:
    """
    What delivery learnt of a site. C{hosts} are its MX hosts in one word.

    C{connections}: so few at a time since C{since} (seconds since the epoch), because the receiver said C{reason};
    None: as many as are allowed.
    """

    hosts: str
    connections: int | None = None
    since: float | None = None
    reason: str = ""


@frozen
class Lane:
    """
    What is kept apart so that nobody waits for another: whose mail, of which kind, to where.

    C{domain} is the recipient domain in A-labels.
    """

    project: str
    kind: Kind
    domain: str

    @property
    def party(self) -> tuple[str, Kind]:
        """
        Whose share of what is scarce it uses: a newsletter's is not that of the same project's other mail.
        """
        return self.project, self.kind


@frozen(eq=False)
class LeasedRecipient:
    """
    C{number} counts the recipients of a message from 0; C{attempts} were made before.
    """

    number: int
    recipient: Recipient
    attempts: int = 0


@frozen(eq=False)
class Leased:
    """
    Recipients of one message in one lane that this worker owns and is to try now.

    C{size} is that of head and body. C{notification}: it is one of the relay's own (the
    reverse path is then null, and nothing is told of its failure). C{tls} is what project and
    route promised when it was accepted; None: neither said anything. C{tags}, C{metadata}: for logs.
    C{redact}: neither subject nor addresses may stand in a log. C{require_tls}: its sender said REQUIRETLS
    (RFC 8689 §2). C{unsubscribe}, C{body_hash}, C{return_path}, C{tls_optional}, C{sandbox}: see L{Submission}.
    """

    message_id: str
    lane: Lane
    route: str
    reverse_path: Address | None
    recipients: tuple[LeasedRecipient, ...] = field(converter=tuple)
    size: int = 0
    received_at: float = 0.0
    eight_bit: bool = False
    utf8_head: bool = False
    smtputf8: bool = False
    ret: Ret | None = None
    envid: str | None = None
    notification: bool = False
    tls: TlsPolicy | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(factory=dict)
    redact: bool = False
    unsubscribe: str = ""
    body_hash: bytes = b""
    return_path: str = ""
    require_tls: bool = False
    tls_optional: bool = False
    sandbox: bool = False

    @property
    def is_personal(self) -> bool:
        """
        Does each recipient get something of its own, and so a transaction of its own?
        """
        return bool(self.unsubscribe or self.return_path)


RecipientKey = tuple[str, int]
"""
A message's id and a recipient's number.
"""


class IContent(Interface):
    """
    The content of a message, to be read once from the start.
    """

    def read() -> Deferred[bytes]:
        """
        The next block, at most 256 KiB; empty at the end. The first begins with the head.

        It fails with L{lmrelay.errors.StoreError}.
        """

    def read_now() -> bytes | None:
        """
        All of it, at once, if it is at hand and nothing of it was read; None: only L{read} gives it.
        """

    def read_head() -> Deferred[bytes]:
        """
        The head alone, as it was accepted; L{read} goes on as if it had not been asked for.

        It fails with L{lmrelay.errors.StoreError}.
        """


class IQueue(Interface):
    """
    The queue, as delivery sees it.
    """

    def open_content(message_id: str, fields: bytes = b"", above: bytes = b"") -> IContent:
        """
        For reading the content; nothing needs closing.

        @param fields: header fields, with their line endings, that come behind those of the head
        @param above: others, that come before them
        """

    def settle(message_id: str, attempts: Mapping[int, Attempt]) -> Deferred[None]:
        """
        Record how it went, by recipient number, in one commit with what follows from it
        (event, notification, next attempt, the body's end). The lease ends with it.

        Never fails: what cannot be written stays in memory and is tried again, and
        dispatch is paused until it is through.
        """

    def release(keys: Collection[RecipientKey]) -> Deferred[None]:
        """
        End the lease without an attempt: they are due at once, for any worker.
        """

    def postpone(keys: Collection[RecipientKey], seconds: float) -> Deferred[None]:
        """
        End the lease without an attempt: they are due in so many seconds, for any worker.
        """

    def note_site(state: SiteState) -> None:
        """
        This was learnt of a site now. Immediate: it reaches the store some seconds later, in a write of its own.
        """

    def note_domain(domain: str, hosts: str) -> None:
        """
        Mail for C{domain} goes to that site. Immediate, as L{note_site}; to say it again costs next to nothing.
        """


@frozen
class StsRecord:
    """
    A policy that a domain (A-labels) published by MTA-STS (RFC 8461), as it was fetched under C{id}.

    C{mode} and C{mx} are as in the policy; the times are seconds since the epoch.
    """

    domain: str
    id: str
    mode: str
    mx: tuple[str, ...]
    fetched_at: float
    expires_at: float


class IPolicyStore(Interface):
    """
    Remembers what domains published, for all who share the store. The queue offers it, delivery uses it.
    """

    def find_policy(domain: str) -> Deferred[StsRecord | None]:
        """
        The latest of that domain, if it is remembered.

        It fails with L{lmrelay.errors.StoreError}.
        """

    def keep_policy(policy: StsRecord) -> Deferred[None]:
        """
        Remember it until it expires, in place of an earlier one.

        It fails with L{lmrelay.errors.StoreError}.
        """


class ITlsCounts(Interface):
    """
    Counts sessions by day (UTC, C{YYYY-MM-DD}) and recipient domain, for reports (RFC 8460). The queue offers it,
    delivery uses it.
    """

    def count(domain: str, policy: str, result: str) -> None:
        """
        A session for mail to that domain was opened, or was not, with that result; see L{TlsCount}. Immediate: it
        reaches the store some seconds later.
        """

    def find_due(before: str, after: tuple[str, str]) -> Deferred[Sequence[tuple[str, str]]]:
        """
        The next few days and domains with counts that are not closed, in order, of days before that one and behind
        C{after}.

        It fails with L{lmrelay.errors.StoreError}.
        """

    def read(day: str, domain: str) -> Deferred[Sequence[TlsCount]]:
        """
        What was counted, as far as a report has room for it.

        It fails with L{lmrelay.errors.StoreError}.
        """

    def close(day: str, domain: str, report: Submission | None = None, text: bytes = b"") -> Deferred[bool]:
        """
        End the domain's day, and accept C{report} (with the body C{text}) as a message of the relay's own, in one
        commit. False: it was ended before, so somebody else sent it, and nothing is accepted.

        It fails with L{lmrelay.errors.StoreError}.
        """


class IDispatch(Interface):
    """
    Delivery, as the queue sees it. All of it is immediate.
    """

    def reserve(lane: Lane, recipients: int) -> bool:
        """
        Is there room in the lane's window for so many more? True takes the room.
        """

    def cancel(lane: Lane, recipients: int) -> None:
        """
        Give a reservation back.
        """

    def take(leased: Sequence[Leased]) -> None:
        """
        Deliver these, whose room is reserved. Those of one message come in one call.
        """

    def withdraw(keys: Collection[RecipientKey]) -> set[RecipientKey]:
        """
        Forget these if no attempt is under way; the answer is those forgotten. Of the others none waits for another
        turn where a site wants less at a time: it is released.
        """

    def pause() -> None:
        """
        Begin no attempt until L{resume}: outcomes cannot be recorded.
        """

    def resume() -> None:
        """
        Go on.
        """

    def try_anew() -> None:
        """
        An operator wants mail tried now: forget which hosts and domains were lately in trouble.
        """

    def recall(states: Sequence[SiteState]) -> None:
        """
        This was known of sites when the relay last ran. Before the first L{take}.
        """

    def suspend(suspended: Collection[str]) -> bool:
        """
        The sites (by their hosts in one word) that an operator suspended, and no others: no transaction begins there
        until one is named no more. What waits there goes back to the queue. Was any suspended that is no more?
        """

    def count_running(hosts: str) -> int:
        """
        How many transactions are under way at that site.
        """
