"""
The protocol of a submission port: moves bytes, owns the timers, and holds input while a reply is pending.

It keeps the frame of C{twisted.mail.smtp.ESMTP} (factory, portal, C{timeoutConnection}) and
replaces its door: framing, commands, AUTH, STARTTLS and content are the L{Session}'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IPushProducer

# Importing it asks the system for this host's full name, which may wait for the DNS; Twisted knows no way around. It is
# done once, before a port is open, and the name is not used: ours is [server] hostname.
from twisted.mail.smtp import ESMTP
from twisted.python.failure import Failure
from zope.interface import implementer

from lmrelay.busy import BusyLogger
from lmrelay.config.values import Listener
from lmrelay.config.words import Security
from lmrelay.inbound.auto import PATIENCE, is_tls, waits_for_client
from lmrelay.inbound.clock import LINGER, SHORT_LINGER, Patience
from lmrelay.inbound.limits import unmap
from lmrelay.inbound.services import Client, Services
from lmrelay.inbound.session import Session
from lmrelay.inbound.table import NO_TLS, TLS_FIRST, TOO_EARLY
from lmrelay.inbound.tls import Tls
from lmrelay.inbound.turns import EARLY_WATER, HIGH_WATER, Next
from lmrelay.smtp import replies
from lmrelay.smtp.reply import Reply
from lmrelay.tasks import carry_out


@implementer(IPushProducer)
class SubmissionProtocol(ESMTP):
    """
    One connection.
    """

    log = BusyLogger()
    transport: Any

    def __init__(self, services: Services, listener: Listener, name: str, gone: Callable[[SubmissionProtocol], None]):
        ESMTP.__init__(self)
        self._services, self._listener, self._name, self._gone = services, listener, name, gone
        self._out: list[bytes] = []
        self._counted = self._refused = self._greeted = self._handshaking = self._lost = False
        self._advancing = self._waiting = self._full = self._paused = self._closing = False
        self._tls: Tls | None = None
        self._opening: IDelayedCall | None = None
        self._timer: IDelayedCall | None = None

    # --- the connection begins and ends --------------------------------------------------

    def connectionMade(self) -> None:
        """
        Count the connection, and begin as the port's security says.
        """
        services, security = self._services, self._listener.security
        address = unmap(self.transport.getPeer().host)
        client = Client(address, self._name, security, self._listener.takes_bounces)
        # The class's logger: one of its own would hold this, and all that it holds, until the collector comes.
        self.session = Session(services, client, SubmissionProtocol.log)
        self._patience = Patience(services.reactor.seconds)
        self._counted = services.connections.enter(address)
        if not self._counted:
            self._refused = True
            self.log.info("connection refused", reason="too many connections", peer=address, listener=self._name)
            self._end(replies.TOO_MANY_CONNECTIONS if security is not Security.IMPLICIT else None)
            return
        self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, True)
        self._check_time()
        if security is Security.IMPLICIT:
            self._start_tls()
        elif waits_for_client(security):
            self._opening = services.reactor.callLater(PATIENCE, self._greet)
        else:
            self._greet()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """
        Give back all that the session held.
        """
        self._closing = self._lost = True
        for call in (self._opening, self._timer):
            if call is not None and call.active():
                call.cancel()
        self.session.lost()
        if not self._waiting:
            self._leave()

    def _leave(self) -> None:
        """
        Nothing of the session is left: a connection that is lost while the relay works for it counts until then.
        """
        if self._counted:
            self._counted = False
            self._services.connections.leave(self.session.client.address)
        elif self._refused:
            self._refused = False
            self._services.connections.close_refused()
        self._gone(self)

    def drain(self) -> None:
        """
        End when the message that is under way is done, at once if there is none.
        """
        self.session.drain()
        if self._closing:
            if not self._lost:
                self._schedule(SHORT_LINGER)
            return
        if not self._greeted:
            self._end(None)
        elif not self._waiting:
            self._advance()

    def abort(self) -> None:
        """
        End now: what is not accepted is the client's to send again. While a message is being committed nothing is
        said, for whether to send it again is not known yet.
        """
        if not (self._closing or self.session.is_committing):
            self._break_off(replies.SHUTTING_DOWN)

    def _greet(self) -> None:
        self._opening, self._greeted = None, True
        self._patience.greet()
        self._out.append(self.session.greet().to_wire())
        self._flush()

    # --- TLS -----------------------------------------------------------------------------

    def _start_tls(self) -> None:
        context = self._services.context()
        if context is None:
            self.log.warn("no certificate for TLS", listener=self._name)
            self._end(None)
            return
        self._handshaking = True
        self._tls = Tls(context)

    def _unseal(self, tls: Tls, block: bytes) -> None:
        """
        TLS records arrived.
        """
        if tls.is_over:
            return
        said = tls.feed(block)
        if due := tls.take():
            self.transport.write(due)
        if self._handshaking and tls.is_up:
            self._secure(tls)
        elif tls.fault:
            peer = self.session.client.address
            self.log.info("TLS handshake failed", peer=peer, listener=self._name, reason=tls.fault)
        if said:
            self._hear(said)
        if tls.is_over and (self._closing or not (self._waiting or self._full)):
            self._leave_tls(tls)

    def _secure(self, tls: Tls) -> None:
        self._handshaking = False
        self.session.secured(tls.version, tls.cipher)
        self._patience.greet()
        if not self._greeted:
            self._greet()
        elif self.session.draining:
            self._advance()

    def _leave_tls(self, tls: Tls) -> None:
        """
        The client said goodbye, or nonsense. It may still listen (RFC 8446 §6.1): what it said before was answered.
        """
        self._closing = True
        self.transport.write(tls.end())
        self.transport.unregisterProducer()
        self.transport.loseConnection()
        self._schedule(SHORT_LINGER if self.session.draining else LINGER)

    def _open_with(self, block: bytes) -> bool:
        """
        The client's first octets, before the banner or right behind it. Was that all that is to be done with them?
        """
        if not is_tls(block):
            if self._opening is not None:
                self._opening.cancel()
                self._greet()
            return False
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
            self._start_tls()
            # The record that was read belongs to TLS, which now lies between the transport and this.
            if self._tls is not None:
                self._unseal(self._tls, block)
        else:
            self.log.info("TLS on a port that begins in clear", peer=self.session.client.address)
            self._end(NO_TLS if self._listener.security is Security.PLAIN else TLS_FIRST)
        return True

    # --- input ---------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """
        Carry out what arrived, or hold it while a reply is pending.
        """
        if self._tls is None:
            self._hear(data)
        else:
            # Also when it closes: the client's goodbye ends it.
            self._unseal(self._tls, data)

    def _hear(self, data: bytes) -> None:
        if self._closing:
            return
        patience, session = self._patience, self.session
        if not patience.heard and self._tls is None:
            patience.heard = True
            if self._open_with(data):
                return
        session.buffer.feed(data)
        patience.hear(len(data))
        if not (self._waiting or self._full):
            self._advance()
        if (self._waiting or self._full) and not self._closing:
            self._hold()

    def _hold(self) -> None:
        """
        Let what arrives meanwhile be bounded. Before login nobody needs much of it, and a client that is
        not read from could leave unnoticed.
        """
        pending = self.session.buffer.pending
        if pending <= EARLY_WATER:
            return
        if not (self.session.is_known or self.session.transaction):
            self.log.info("too much sent before login", peer=self.session.client.address)
            self._break_off(TOO_EARLY)
        elif pending > HIGH_WATER and not self._paused:
            self._paused = True
            self.transport.pauseProducing()

    def _advance(self) -> None:
        if self._advancing:
            return
        self._advancing, said = True, False
        try:
            while not (self._waiting or self._full or self._closing or self._handshaking):
                step = self.session.step()
                if step is None:
                    break
                said = True
                if isinstance(step, Reply):
                    self._answer(step)
                else:
                    self._wait_for(step)
        finally:
            self._advancing = False
        patience, session = self._patience, self.session
        if said:
            patience.note_line()
        # Who is known once stays so.
        patience.known = patience.known or session.is_known
        patience.note_content(session.is_in_content)
        self._flush()
        if self._waiting or self._full or self._closing:
            return
        if self._tls is not None and self._tls.is_over:
            self._leave_tls(self._tls)
        elif self._paused:
            self._paused = False
            self.transport.resumeProducing()

    def _wait_for(self, step: Any) -> None:
        self._waiting = True
        self._patience.begin_work()
        carry_out(step, self._resume, self._fail)

    def _resume(self, reply: Reply | None) -> None:
        self._waiting = False
        self._patience.end_work()
        if self._lost:
            self._leave()
        if self._closing:
            return
        if reply is not None:
            self._answer(reply)
        self._advance()

    def _fail(self, failure: Failure) -> None:
        self.log.failure("fault in a session", failure, peer=self.session.client.address)
        self._waiting = False
        if self._lost:
            self._leave()
        self._end(replies.STORE_FAILED)

    # --- output --------------------------------------------------------------------------

    def _answer(self, reply: Reply) -> None:
        self._out.append(reply.to_wire())
        following = self.session.next
        if following is Next.GO_ON:
            if len(self._out) > 100:
                self._flush()
        elif following is Next.START_TLS:
            self._flush()
            self._start_tls()
        else:
            self._end(None)

    def _flush(self) -> None:
        if self._out:
            block = b"".join(self._out)
            self._out.clear()
            self.transport.write(block if self._tls is None else self._tls.seal(block))

    def _end(self, last: Reply | None) -> None:
        if self._closing:
            return
        if last is not None:
            self._out.append(last.to_wire())
        self._flush()
        self._closing = True
        self.transport.unregisterProducer()
        if self._handshaking:
            self.transport.abortConnection()
        elif self._tls is not None and self._tls.is_over:
            self._leave_tls(self._tls)
        elif self._tls is None and self.session.next is not Next.LINGER:
            self.transport.loseConnection()
        else:
            # Closed on what is still on its way, the connection would be reset, and the reply lost with it.
            self.transport.write(self._tls.end() if self._tls is not None else b"")
            self.transport.resumeProducing()
        self._schedule(SHORT_LINGER if self.session.draining else LINGER)

    def pauseProducing(self) -> None:
        """
        The client does not read its replies: carry out no more commands.
        """
        self._full = self._paused = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """
        It reads again.
        """
        self._full = False
        if self._closing:
            return
        if self._paused and not self._waiting:
            self._paused = False
            self.transport.resumeProducing()
        self._advance()

    def stopProducing(self) -> None:
        """
        The connection is lost; L{connectionLost} says so too.
        """

    # --- time ----------------------------------------------------------------------------

    def _schedule(self, seconds: float) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self._services.reactor.callLater(seconds, self._check_time)

    def _check_time(self) -> None:
        if self._closing:
            self.transport.abortConnection()
            return
        verdict = self._patience.judge(self._services.config.timeouts, crowded=self._services.connections.is_crowded)
        if isinstance(verdict, Reply):
            self.timeoutConnection(verdict)
        else:
            self._schedule(verdict)

    def timeoutConnection(self, reply: Reply = replies.TIMEOUT) -> None:
        """
        Say so and close.
        """
        self.log.info("timeout", peer=self.session.client.address, reply=str(reply))
        self._break_off(reply)

    def _break_off(self, reply: Reply) -> None:
        """
        End it whatever is under way, with a last word if the client can take one.
        """
        if self._full or self._handshaking:
            self._closing = True
            self.transport.abortConnection()
        else:
            self._end(reply if self._greeted else None)
        # Only now, else what it interrupts would still be answered.
        self.session.lost()
