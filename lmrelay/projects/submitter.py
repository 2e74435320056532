"""
The avatar: a project as a session sees it, always by the configuration in force.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.mail.interfaces import IMessageDelivery
from twisted.mail.smtp import SMTPBadRcpt, SMTPBadSender
from zope.interface import implementer

from lmrelay.config.project import Project
from lmrelay.errors import Refused, SyntaxRefused
from lmrelay.interfaces import ISubmitter, ITokenUse
from lmrelay.mail.address import ascii_domain
from lmrelay.projects.checkers import Identity
from lmrelay.projects.directory import Directories, Entry
from lmrelay.projects.senders import is_allowed
from lmrelay.smtp import replies


@implementer(ISubmitter, IMessageDelivery)
@define(eq=False)
class Submitter:
    """
    See L{ISubmitter}.
    """

    identity: Identity
    directories: Directories
    wall: Callable[[], float]
    use: ITokenUse
    _checked: Entry | None = field(default=None, init=False)

    @property
    def token_id(self) -> str:
        """
        Which token it was.
        """
        return self.identity.token_id

    @property
    def slug(self) -> str:
        """
        The project's slug.
        """
        return self.identity.slug

    def project(self) -> Project:
        """
        See L{ISubmitter}.
        """
        project: Project | None = self.directories.settings.config.projects.get(self.slug)
        if project is None or not project.smtp:
            raise Refused(replies.smtp_disabled(self.slug))
        self.check_token()
        self.use.note(self.token_id)
        return project

    def check_token(self) -> None:
        """
        See L{ISubmitter}.
        """
        entry = self.directories.current().by_digest.get(self.identity.sha256)
        if entry is not self._checked:
            # It is asked before each command, and an entry changes only by a reload, which makes all of them anew.
            if entry is None or self._is_another(entry) or not entry.is_from(self.identity.address):
                raise Refused(replies.TOKEN_GONE)
            self._checked = entry
        if entry is None or not entry.is_live(self.wall()):
            raise Refused(replies.TOKEN_GONE)

    def _is_another(self, entry: Entry) -> bool:
        return (entry.project.slug, entry.token.id) != (self.slug, self.token_id)

    def check_sender(self, domain: str) -> None:
        """
        See L{ISubmitter}.
        """
        project: Project | None = self.directories.settings.config.projects.get(self.slug)
        if project is None:
            # A configuration that lost its project is a fault of ours: the mail is not to be given up for it.
            raise Refused(replies.project_gone(self.slug))
        try:
            name = ascii_domain(domain)
        except SyntaxRefused:
            name = ""
        if not name or not is_allowed(name, project.domains):
            # In A-labels: only who asked for SMTPUTF8 may hear others (RFC 6531 §3.7.4).
            told = name or domain.encode("ascii", "replace").decode("ascii")
            raise Refused(replies.sender_not_allowed(told, self.slug))

    # Of IMessageDelivery. The session asks check_sender, for its addresses may be what Twisted's cannot hold; a stock
    # twisted.mail factory gets the same policy here, and is told that it has no queue.

    def validateFrom(self, helo: Any, origin: Any) -> Any:
        """
        The origin, if it is null or of a domain that the project may send as.

        @raise SMTPBadSender: it is not
        """
        domain = bytes(origin.domain).decode("utf-8", "replace")
        if domain or origin.local:
            try:
                self.check_sender(domain)
            except Refused as error:
                reply = error.reply
                raise SMTPBadSender(bytes(origin), reply.code, f"{reply.enhanced} {reply.text}") from error
        return origin

    def validateTo(self, user: Any) -> Any:
        """
        @raise SMTPBadRcpt: always, for only a session of lmrelay can submit
        """
        raise SMTPBadRcpt(bytes(user.dest), replies.STORE_FAILED.code, replies.STORE_FAILED.text)

    def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> bytes:
        """
        Nothing: the field is made at the end of the content, when the message has its id.
        """
        return b""
