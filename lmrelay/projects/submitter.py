"""
The avatar: a project as a session sees it, always by the configuration in force.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define
from twisted.mail.interfaces import IMessageDelivery
from zope.interface import implementer

from lmrelay.config.values import Project
from lmrelay.errors import Refused, SyntaxRefused
from lmrelay.interfaces import ISubmitter
from lmrelay.mail.address import ascii_domain
from lmrelay.projects.checkers import Identity
from lmrelay.projects.directory import Directories, Entry
from lmrelay.smtp import replies


def is_allowed(domain: str, allowed: tuple[str, ...]) -> bool:
    """
    Is C{domain} (A-labels, lower case) one of those allowed? An entry that begins with a dot
    allows the subdomains and not the domain itself; C{*} allows any.
    """
    return any(
        entry == "*" or domain == entry or (entry.startswith(".") and domain.endswith(entry) and domain != entry[1:])
        for entry in allowed
    )


@implementer(ISubmitter, IMessageDelivery)
@define(eq=False)
class Submitter:
    """
    See L{ISubmitter}.
    """

    identity: Identity
    directories: Directories
    wall: Callable[[], float]

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
        entry = self.directories.current().by_digest.get(self.identity.sha256)
        if entry is None or self._is_another(entry) or not entry.is_live(self.wall()):
            raise Refused(replies.TOKEN_GONE)
        return project

    def _is_another(self, entry: Entry) -> bool:
        return (entry.project.slug, entry.token.id) != (self.slug, self.token_id)

    def check_sender(self, domain: str) -> None:
        """
        See L{ISubmitter}.
        """
        project: Project | None = self.directories.settings.config.projects.get(self.slug)
        try:
            name = ascii_domain(domain)
        except SyntaxRefused:
            name = ""
        if not name or project is None or not is_allowed(name, project.domains):
            raise Refused(replies.sender_not_allowed(domain, self.slug))

    # Of IMessageDelivery, for a stock twisted.mail factory.

    def validateFrom(self, helo: Any, origin: Any) -> Any:
        """
        The origin, if the project may send as its domain or it is null.
        """
        domain = bytes(origin.domain).decode("utf-8", "replace")
        if domain or origin.local:
            self.check_sender(domain)
        return origin

    def validateTo(self, user: Any) -> Any:
        """
        Refused: a stock factory has no queue to put the message into.
        """
        raise Refused(replies.STORE_FAILED)

    def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> bytes:
        """
        None: the session writes it.
        """
        return b""
