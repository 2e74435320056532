"""
One message under way: what MAIL and RCPT said, and the content as it comes (RFC 5321 §3.3).

It is dropped by RSET, EHLO, STARTTLS and the end of the session; nothing of it stays stored then.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field, frozen

from lmrelay.config.project import Project, Route
from lmrelay.config.values import Config, Limits
from lmrelay.config.words import Dialect
from lmrelay.errors import Refused
from lmrelay.inbound.content import EXCESS, Content, SizeLimit
from lmrelay.inbound.controls import NOTHING, Controls
from lmrelay.inbound.holdings import Holding, Holdings
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


@frozen
class Terms:
    """
    What holds for the messages of a project under a configuration: found once for all that a session sends meanwhile.

    C{testing} is the domain of test addresses.
    """

    config: Config
    project: Project
    size_limit: SizeLimit
    recipient_limit: int
    testing: str
    require_to: bool
    dialects: tuple[Dialect, ...]


def make_terms(project: Project, config: Config) -> Terms:
    """
    By the smaller of the server's limits and the project's.
    """
    most, rules = config.limits.recipients, config.submission
    return Terms(
        config,
        project,
        size_limit(config.limits, project),
        most if project.max_recipients is None else min(most, project.max_recipients),
        parts_domain(config.server.hostname),
        rules.require_to if project.require_to is None else project.require_to,
        rules.dialects if project.dialects is None else project.dialects,
    )


def begin(mail: Mail, terms: Terms, holdings: Holdings) -> Transaction:
    """
    The transaction that MAIL begins.

    @raise Refused: the message is too large as declared (552 5.3.4)
    """
    if mail.size is not None and mail.size > terms.size_limit.octets:
        raise Refused(terms.size_limit.refusal)
    return Transaction(mail, terms, Holding(holdings, terms.project.slug))


@define(eq=False)
class Transaction:
    """
    C{terms} are as they were at MAIL. C{chunked}: its content comes by BDAT. C{controls} and C{route} are what its head
    said, once that was read.
    """

    mail: Mail
    terms: Terms
    holding: Holding
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
        terms, address = self.terms, recipient.address
        if address.ascii_domain == terms.testing and find_part(address) is None:
            raise Refused(replies.unknown_part([part.value for part in Part]))
        key = address.key
        if key not in self.recipients:
            number = len(self.recipients)
            if number >= terms.recipient_limit or not self.holding.has_room_for_recipient(number):
                raise Refused(replies.TOO_MANY_RECIPIENTS)
            self.recipients[key] = recipient
        return replies.RECIPIENT_OK

    def release(self) -> None:
        """
        It is over: what it holds is no longer the session's.
        """
        self.holding.release()

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
