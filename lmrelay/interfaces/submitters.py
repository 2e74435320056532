"""
Who may send: projects offer it, inbound uses it.
"""

from __future__ import annotations

from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.mail.interfaces import IMessageDelivery
from zope.interface import Attribute, Interface

from lmrelay.config.project import Project


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
