"""
One factory a port: it makes sessions, knows those that are open, and can let them end.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress
from twisted.mail.smtp import SMTPFactory

from lmrelay.config.values import Listener
from lmrelay.inbound.protocol import SubmissionProtocol
from lmrelay.inbound.services import Services


def describe(listener: Listener, port: int | None = None) -> str:
    """
    A listener's name in logs: C{[::]:25 (starttls)}.
    """
    host = f"[{listener.interface}]" if ":" in listener.interface else listener.interface
    return f"{host}:{port or listener.port} ({listener.security.value})"


class SubmissionFactory(SMTPFactory):
    """
    C{listener} may be replaced: connections from then on go by the new one.
    """

    noisy = False

    def __init__(self, services: Services, listener: Listener, port: int | None = None) -> None:
        SMTPFactory.__init__(self, services.portal)
        self.services, self.listener, self.port = services, listener, port
        self.sessions: set[SubmissionProtocol] = set()
        self._draining = False
        self._waiters: list[Deferred[None]] = []

    def buildProtocol(self, addr: IAddress | None) -> SubmissionProtocol | None:
        """
        A session, or None (the connection is closed) when there are to be no more, or too many to be told so.
        """
        if self._draining or self.services.connections.is_swamped:
            return None
        protocol = SubmissionProtocol(self.services, self.listener, describe(self.listener, self.port), self._forget)
        protocol.factory, protocol.portal = self, self.portal
        protocol.host = self.services.config.server.hostname
        self.sessions.add(protocol)
        return protocol

    def drain(self) -> Deferred[None]:
        """
        Let idle sessions end now (421 4.3.2) and busy ones when their message is done. Fires when all are gone.
        """
        self._draining = True
        for session in list(self.sessions):
            session.drain()
        if not self.sessions:
            return succeed(None)
        waiter: Deferred[None] = Deferred()
        self._waiters.append(waiter)
        return waiter

    def abort(self) -> None:
        """
        End all sessions now (421 4.3.2), whatever they are about, but for a commit.
        """
        for session in list(self.sessions):
            session.abort()

    def _forget(self, session: SubmissionProtocol) -> None:
        self.sessions.discard(session)
        if self._draining and not self.sessions:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                waiter.callback(None)
