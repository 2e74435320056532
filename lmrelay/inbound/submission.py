"""
From a transaction to what the queue's door takes: the content's reader, and the finished submission.
"""

from __future__ import annotations

import json
from hashlib import sha256

from attrs import define
from twisted.logger import Logger

from lmrelay.config.project import Project, Route
from lmrelay.config.values import Config
from lmrelay.config.words import Kind, Mode
from lmrelay.errors import Refused
from lmrelay.ids import make_id
from lmrelay.inbound.content import Content
from lmrelay.inbound.controls import read_controls
from lmrelay.inbound.services import Client, Services
from lmrelay.inbound.transaction import Transaction
from lmrelay.interfaces import ISubmitter, Submission
from lmrelay.mail.envelope import Envelope
from lmrelay.mail.head import Field, Head
from lmrelay.mail.prepare import Prepared, prepare
from lmrelay.mail.received import Trace, received_field
from lmrelay.smtp import replies
from lmrelay.smtp.data import ChunkReader, DataReader
from lmrelay.smtp.reply import Reply

SHOWN = 60
"""
Characters of what a client said that its reply repeats.
"""


def open_content(
    services: Services, transaction: Transaction, submitter: ISubmitter, reader: DataReader | ChunkReader
) -> Content:
    """
    Begin the content of a transaction; the message gets its id.
    """
    terms = transaction.terms
    config, now = terms.config, services.wall()
    transaction.received_at, transaction.id = now, make_id(now, services.entropy)

    def check_head(head: Head) -> Prepared:
        transaction.controls, left = read_controls(head, terms.dialects)
        transaction.route = _find_route(terms.project, transaction.controls.route)
        prepared = prepare(
            left,
            id=transaction.id,
            hostname=config.server.hostname,
            now=now,
            require_to=terms.require_to,
            received_limit=config.limits.received_headers,
        )
        for domain in {address.domain for address in prepared.senders}:
            submitter.check_sender(domain)
        return prepared

    transaction.chunked = isinstance(reader, ChunkReader)
    return Content(
        reader,
        terms.size_limit,
        config.submission.bare_newlines,
        check_head,
        services.acceptance.open_body,
        lambda prepared: bool(services.signers.find(prepared.domain)),
        transaction.holding.has_room_for_head,
    )


@define(eq=False)
class Submitting:
    """
    Takes a transaction's content to the queue. See L{lmrelay.inbound.intake.Taker}.
    """

    services: Services
    log: Logger
    client: Client
    submitter: ISubmitter
    transaction: Transaction
    arriving: Content

    @property
    def id(self) -> str:
        """
        The message's.
        """
        return self.transaction.id

    async def commit(self) -> Reply:
        """
        Hand it over.
        """
        content = self.arriving
        if content.prepared is None or content.body is None:
            raise RuntimeError("content without a head")
        submission = make_submission(
            self.services, self.client, self.transaction, self.submitter, content, content.prepared
        )
        size = len(submission.head) + content.body.size
        stored: str = await self.services.acceptance.accept(submission, content.body)
        if stored != submission.id:
            self.log.info(
                "message is a duplicate",
                message=submission.id,
                first=stored,
                project=submission.project,
                peer=self.client.address,
            )
            return replies.duplicate(stored)
        self.log.info(
            "message accepted",
            message=submission.id,
            project=submission.project,
            route=submission.route,
            tags=submission.tags,
            metadata=submission.metadata,
            size=size,
            recipients=len(submission.envelope.recipients),
            peer=self.client.address,
        )
        return replies.accepted(stored)

    def note_refused(self, refusal: Reply) -> None:
        """
        Log it.
        """
        self.log.info(
            "content refused",
            message=self.transaction.id,
            project=self.submitter.slug,
            token=self.submitter.token_id,
            reply=str(refusal),
            peer=self.client.address,
        )


def submit(
    services: Services,
    log: Logger,
    client: Client,
    submitter: ISubmitter,
    transaction: Transaction,
    reader: DataReader | ChunkReader,
) -> Submitting:
    """
    Begin the content of a transaction, and what takes it.
    """
    transaction.content = open_content(services, transaction, submitter, reader)
    return Submitting(services, log, client, submitter, transaction, transaction.content)


def make_submission(
    services: Services,
    client: Client,
    transaction: Transaction,
    submitter: ISubmitter,
    content: Content,
    prepared: Prepared,
) -> Submission:
    """
    The message as the queue takes it, its signatures and its Received field on top.
    """
    terms, envelope = transaction.terms, transaction.envelope()
    project = terms.project
    controls, route = transaction.controls, transaction.route or project.route()
    unsubscribe, given = _choose_link(route, prepared.head)
    whole, body_hash = given.prepend(_trace(terms.config, client, transaction)), content.body_hash
    # What each recipient gets of its own is to be signed with the rest, and so when it is sent.
    if body_hash and not unsubscribe:
        whole, body_hash = services.signers.sign(whole, prepared.domain, body_hash, transaction.received_at), b""
    head = whole.to_bytes()
    return Submission(
        project=project.slug,
        route=route.slug,
        kind=route.kind,
        envelope=envelope,
        head=head,
        received_at=transaction.received_at,
        id=transaction.id,
        eight_bit=content.body_eight_bit,
        utf8_head=not head.isascii(),
        subject=prepared.subject,
        message_id=prepared.message_id,
        sender=prepared.sender,
        to=prepared.to,
        tags=controls.tags,
        metadata=controls.metadata,
        client=client.facts,
        token_id=submitter.token_id,
        key=controls.key,
        fingerprint=_fingerprint(envelope, route, prepared.head) if controls.key else "",
        unsubscribe=unsubscribe,
        redact=route.redact,
        body_hash=body_hash,
        # What is itself an answer must stay one, else two relays could answer each other for ever (RFC 5321 §4.5.5).
        return_path="" if envelope.reverse_path is None else route.return_path,
        sandbox=project.mode is Mode.SANDBOX,
        # Who says REQUIRETLS too means that (RFC 8689 §4.1).
        tls_optional=prepared.tls_optional and not envelope.require_tls,
    )


def _find_route(project: Project, slug: str | None) -> Route:
    if slug is None:
        return project.route()
    route = project.routes.get(slug)
    if route is None:
        raise Refused(replies.unknown_route(_tell(slug), project.slug))
    return route


def _tell(text: str) -> str:
    """
    What a client said, for its reply: only who asked for SMTPUTF8 may hear other characters (RFC 6531 §3.7.4).
    """
    return text[:SHOWN].encode("ascii", "replace").decode("ascii")


def _choose_link(route: Route, head: Head) -> tuple[str, Head]:
    """
    The template of the link to unsubscribe, unless the message brings its own, and the head that the link fits.
    """
    link = "" if route.kind is not Kind.BROADCAST or head.first("List-Unsubscribe") else route.unsubscribe_url
    # The link brings one of its own, and there is to be exactly one (RFC 8058 §3.1).
    return link, head.remove(["List-Unsubscribe-Post"]) if link else head


def _fingerprint(envelope: Envelope, route: Route, head: Head) -> str:
    """
    Equal for two tries of one message: a client that sends it again may write Date, Message-ID and the
    boundaries of its parts anew.
    """
    recipients = sorted(one.address.key for one in envelope.recipients)
    # Octets that are no UTF-8 all read the same, so two messages would be one, and the second lost.
    shown = [
        [field.unfolded.decode("utf-8", "surrogateescape") for field in head.all(name)]
        for name in ("From", "To", "Subject")
    ]
    sender = "" if envelope.reverse_path is None else envelope.reverse_path.key
    # JSON keeps apart what stands side by side.
    return sha256(json.dumps([sender, recipients, route.slug, *shown]).encode("ascii")).hexdigest()


def _trace(config: Config, client: Client, transaction: Transaction) -> Field:
    hidden = config.submission.hide_client
    recipients = transaction.recipients
    only = str(next(iter(recipients.values())).address) if len(recipients) == 1 else ""
    trace = Trace(
        hostname=config.server.hostname,
        id=transaction.id,
        received_at=transaction.received_at,
        # The name a client gives itself is often its address, so both are hidden together.
        helo="" if hidden else client.helo,
        client=None if hidden else client.address,
        esmtp=client.esmtp,
        tls=client.tls,
        authenticated=True,
        smtputf8=transaction.mail.smtputf8,
        recipient=only,
    )
    return received_field(trace)
