"""
From a transaction to what the queue's door takes: the content's reader, and the finished submission.
"""

from __future__ import annotations

from lmrelay.ids import make_id
from lmrelay.inbound.content import Content
from lmrelay.inbound.services import Client, Services
from lmrelay.inbound.transaction import Transaction
from lmrelay.interfaces import ISubmitter, Submission
from lmrelay.mail.head import Field, Head
from lmrelay.mail.prepare import Prepared, prepare
from lmrelay.mail.received import Trace, received_field
from lmrelay.smtp.data import ChunkReader, DataReader


def open_content(
    services: Services, transaction: Transaction, submitter: ISubmitter, reader: DataReader | ChunkReader
) -> Content:
    """
    Begin the content of a transaction; the message gets its id.
    """
    config, project = services.config, transaction.project
    now = services.wall()
    transaction.received_at, transaction.id = now, make_id(now, services.entropy)
    require_to = config.submission.require_to if project.require_to is None else project.require_to

    def check_head(head: Head) -> Prepared:
        prepared = prepare(
            head,
            id=transaction.id,
            hostname=config.server.hostname,
            now=now,
            require_to=require_to,
            received_limit=config.limits.received_headers,
        )
        for domain in {address.domain for address in prepared.senders}:
            submitter.check_sender(domain)
        return prepared

    transaction.chunked = isinstance(reader, ChunkReader)
    return Content(
        reader,
        transaction.size_limit,
        config.submission.bare_newlines,
        check_head,
        services.acceptance.open_body,
    )


def make_submission(
    services: Services,
    client: Client,
    transaction: Transaction,
    submitter: ISubmitter,
    content: Content,
    prepared: Prepared,
) -> Submission:
    """
    The message as the queue takes it, its Received field on top.
    """
    project, envelope = transaction.project, transaction.envelope()
    route = project.route()
    head = prepared.head.prepend(_trace(services, client, transaction)).to_bytes()
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
        client=client.facts(),
        token_id=submitter.token_id,
    )


def _trace(services: Services, client: Client, transaction: Transaction) -> Field:
    config = services.config
    hidden = config.submission.hide_client
    recipients = list(transaction.recipients.values())
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
        recipient=str(recipients[0].address) if len(recipients) == 1 else "",
    )
    return received_field(trace)
