"""
One message under way: what MAIL and RCPT said, and the content as it comes (RFC 5321 §3.3).

It is dropped by RSET, EHLO, STARTTLS and the end of the session; nothing of it stays stored then.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field

from lmrelay.config.project import Project, Route
from lmrelay.config.values import Config, Limits
from lmrelay.errors import Refused
from lmrelay.inbound.content import EXCESS, Content, SizeLimit
from lmrelay.inbound.controls import NOTHING, Controls
from lmrelay.mail.envelope import Envelope, Recipient
from lmrelay.mail.parts import Part, find_part, parts_domain
from lmrelay.smtp import replies
from lmrelay.smtp.commands import Mail
from lmrelay.smtp.reply import Reply


def size_limit(limits: Limits, project: Project | None) -> SizeLimit:
    """
    The server's, or the project's where that is smaller.

    A client is cut off by the server's alone: a message that only its project may not send is read to its end, else
    the client would see a broken connection, not why, and try for ever.
    """
    borne = EXCESS * limits.message_size
    if project is None or project.max_size is None or project.max_size >= limits.message_size:
        return SizeLimit(limits.message_size, replies.TOO_LARGE, borne)
    return SizeLimit(project.max_size, replies.too_large_for(project.slug, project.max_size), borne)


def begin(mail: Mail, project: Project, config: Config) -> Transaction:
    """
    The transaction that MAIL begins, by the smaller of the server's limits and the project's.

    @raise Refused: the message is too large as declared (552 5.3.4)
    """
    limits = config.limits
    size = size_limit(limits, project)
    if mail.size is not None and mail.size > size.octets:
        raise Refused(size.refusal)
    recipients = limits.recipients
    if project.max_recipients is not None:
        recipients = min(recipients, project.max_recipients)
    return Transaction(mail, project, recipients, size, parts_domain(config.server.hostname))


@define(eq=False)
class Transaction:
    """
    C{project} and its limits are as they were configured at MAIL, C{testing} is the domain of test addresses.
    C{chunked}: its content comes by BDAT. C{controls} and C{route} are what its head said, once that was read.
    """

    mail: Mail
    project: Project
    recipient_limit: int
    size_limit: SizeLimit
    testing: str
    recipients: dict[str, Recipient] = field(factory=dict)
    content: Content | None = None
    chunked: bool = False
    controls: Controls = NOTHING
    route: Route | None = None
    id: str = ""
    received_at: float = 0.0

    def add(self, recipient: Recipient) -> Reply:
        """
        Add a recipient. A mailbox named twice gets the message once, as it was named first.

        @raise Refused: there are too many (452 4.5.3), or it is a test address that plays no part (550 5.1.1)
        """
        if recipient.address.ascii_domain == self.testing and find_part(recipient.address) is None:
            raise Refused(replies.unknown_part([part.value for part in Part]))
        key = recipient.address.key
        if key not in self.recipients:
            if len(self.recipients) >= self.recipient_limit:
                raise Refused(replies.TOO_MANY_RECIPIENTS)
            self.recipients[key] = recipient
        return replies.RECIPIENT_OK

    def envelope(self) -> Envelope:
        """
        What was said so far.
        """
        mail = self.mail
        # Any: mypy cannot see through a field whose converter is the class tuple.
        recipients: Any = self.recipients.values()
        return Envelope(
            mail.reverse_path,
            recipients,
            eight_bit=mail.eight_bit,
            smtputf8=mail.smtputf8,
            size=mail.size,
            ret=mail.ret,
            envid=mail.envid,
            require_tls=mail.require_tls,
        )
