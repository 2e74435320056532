"""
Where the rooms meet. Each seam: who offers it, who uses it, what it promises.

Values that cross a seam stand beside it. Nothing here knows a protocol or a table.
Coroutines are driven with Deferreds on the reactor thread; all methods are called there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence

from attrs import field, frozen
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.internet.defer import Deferred
from twisted.mail.interfaces import IMessageDelivery
from zope.interface import Attribute, Interface

from lmrelay.config.values import Config, Kind, Project, TlsPolicy
from lmrelay.mail.address import Address
from lmrelay.mail.envelope import Envelope, Recipient, Ret
from lmrelay.mail.outcome import Attempt
from lmrelay.mail.reports import Report
from lmrelay.mail.tlsrpt import TlsCount

# --- configuration: the roof offers it, every room reads it --------------------------------


class ISettings(Interface):
    """
    The configuration in force. A reload replaces C{config} at one stroke, so read it
    where it is used, once per session, message or attempt, and keep no copy.
    """

    config: Config = Attribute("The configuration in force.")


# --- who may send: projects offer it, inbound uses it --------------------------------------


class ITokenCredentials(IUsernamePassword):
    """
    User name and token as PLAIN or LOGIN gave them; both C{bytes}.
    """

    address: str = Attribute("The client's IP address.")


class ICramCredentials(IUsernameHashedPassword):
    """
    A CRAM-MD5 answer (RFC 2195).
    """

    address: str = Attribute("The client's IP address.")
    challenge: bytes = Attribute("What was sent, base64 undone.")
    response: bytes = Attribute("The keyed digest as 32 lower-case hexadecimal digits.")


class ISubmitter(IMessageDelivery):
    """
    The avatar: a project, as seen by a session that logged in with one of its tokens.

    C{portal.login(credentials, None, ISubmitter)} gives it, or fails with
    L{lmrelay.errors.Refused}, whose reply is for the client: 535, or 421 where the token is right and its project has
    as many sessions as it may have. The logout that comes with it gives the place back.
    Of C{IMessageDelivery}: C{validateFrom} answers whether the project may use that
    sender domain, C{validateTo} and C{receivedHeader} work with stock twisted.mail too.
    """

    token_id: str = Attribute("Which token it was.")
    slug: str = Attribute("The project's slug.")

    def project() -> Project:
        """
        The project as configured now.

        @raise Refused: it is gone, SMTP is off for it (421 4.7.0), or as L{check_token}
        """

    def check_token() -> None:
        """
        Is the token still one that may be used from where the session logged in? To be asked before each command.

        @raise Refused: it was revoked, has expired, or its networks are others now (421 4.7.0)
        """

    def check_sender(domain: str) -> None:
        """
        May the project send as C{domain} (any spelling)?

        @raise Refused: no (550 5.7.1), or the project is gone (451 4.7.0)
        """


class ITokenUse(Interface):
    """
    Remembers when tokens were last used. The queue offers it, projects use it.
    """

    def note(token_id: str) -> None:
        """
        It is being used now. Immediate: the time reaches the store some seconds later, in a write of its own.
        """


# --- the queue, as inbound sees it ----------------------------------------------------------


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

    def accept(submission: Submission, body: IBody) -> Deferred[str]:
        """
        Fires when message, recipients and event are on disk: from then on the message
        is the relay's. The delivery may have begun. The result is the message's id: the
        submission's own, or, where its C{key} was used before for the same message, that of the first; then
        nothing of this one is stored.

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


# --- sites: delivery learns of them, the queue remembers, and tells which are suspended -----


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


# --- the queue and dispatch, as they see each other -----------------------------------------


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
        Forget these if no attempt is under way; the answer is those forgotten.
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


# --- webhooks: the queue remembers who is to be told of what, events tell them ---------------

Endpoint = tuple[str, str]
"""
A project's slug, and the name of one of its endpoints.
"""


@frozen
class Telling:
    """
    An event that this worker is to tell an endpoint now.

    C{sequence} names it in the store, C{id} to the endpoint; C{document} is its JSON. C{attempts} were made before, of
    them C{earlier} before it was last begun with, at C{begun_at}.
    """

    sequence: int
    id: str
    type: str
    document: bytes
    attempts: int = 0
    earlier: int = 0
    begun_at: float = 0.0


@frozen
class Told:
    """
    How an endpoint took it: the HTTP C{status}, or in C{text} why there was none; C{body} is the beginning of what it
    said.
    """

    started_at: float
    ended_at: float
    status: int | None = None
    text: str = ""
    body: str = ""

    @property
    def is_success(self) -> bool:
        """
        Did it take it?
        """
        return self.status is not None and 200 <= self.status < 300


@frozen
class Want:
    """
    How much one endpoint is to be told next: so many events at most, and, but for the first, so many octets.
    """

    number: int
    octets: int


@frozen
class Waiting:
    """
    Endpoints that are to be told something, and when the first of it is due; C{disabled} are those that are told
    nothing. C{after}: where to go on; None: that is all.
    """

    soonest: Mapping[Endpoint, float]
    disabled: Collection[Endpoint] = ()
    after: Endpoint | None = None


class IHooks(Interface):
    """
    What endpoints are to be told. All of it but L{listen} fails with L{lmrelay.errors.StoreError}.
    """

    def listen(hint: Callable[[Collection[Endpoint]], None]) -> None:
        """
        C{hint} is called soon after something was written that these are to be told, if by this worker. No more than
        a hint: it may come before the commit, and what others write has none.
        """

    def find_waiting(after: Endpoint | None) -> Deferred[Waiting]:
        """
        Who waits, some endpoints at a time, in their order.
        """

    def take(wants: Mapping[Endpoint, Want]) -> Deferred[Mapping[Endpoint, Sequence[Telling]]]:
        """
        What is due, and this worker's from now on: the longest due first.
        """

    def record(endpoint: Endpoint, told: Told, due: Mapping[int, float | None], stale: float = 0.0) -> Deferred[None]:
        """
        Record it for these events (by sequence): when each is due again; None: never, it was delivered or is given up.

        @param stale: what else is due there and was begun with before this is given up too
        """

    def end(endpoint: Endpoint, reason: str) -> Deferred[int]:
        """
        Give up some of what that endpoint is to be told: how much. To be asked until it is none.
        """

    def disable(endpoint: Endpoint, reason: str) -> Deferred[bool]:
        """
        Tell that endpoint nothing more. The result: it was not so before.
        """


# --- DNS: the dns room offers it, outbound uses it ------------------------------------------


@frozen
class MxRecord:
    """
    C{host} in lower case, without the final dot; empty for the null MX (RFC 7505).
    """

    preference: int
    host: str


@frozen
class Answer:
    """
    What a name server said of a name and a type.

    C{records} are of the asked type at the end of any CNAME chain: L{MxRecord}s, IP addresses as text, or
    the raw RDATA octets of other types. Empty and C{exists}: the name has none of
    the type; not C{exists}: NXDOMAIN. C{authenticated} is the AD bit, where it may be believed.
    C{ttl} is in seconds. C{name} is where a CNAME chain ended; empty: there was none.
    """

    records: tuple[object, ...] = ()
    exists: bool = True
    authenticated: bool = False
    ttl: float = 0.0
    name: str = ""


class IResolver(Interface):
    """
    Questions to the DNS, answered from a bounded cache where it may be.
    """

    def query(name: str, type: int, whose: Hashable = None) -> Deferred[Answer]:
        """
        @param name: in A-labels
        @param type: the number of the record type (15 MX, 1 A, 28 AAAA, 52 TLSA …)
        @param whose: for whom it is asked: nobody's questions wait for those of another

        It fails with L{lmrelay.errors.DnsError} where there was no usable answer.
        """
