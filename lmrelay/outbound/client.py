"""
The SMTP client protocol: one connection, one dialogue at a time, pipelined where offered.

It moves octets, keeps the time and holds back content that the receiver does not take. What
a reply means is decided elsewhere; whatever is out of order ends the connection for good.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Union

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IHandshakeListener, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from lmrelay.config.values import DeliveryTimeouts
from lmrelay.config.words import TlsPolicy
from lmrelay.errors import SyntaxRefused
from lmrelay.interfaces import IContent, Leased
from lmrelay.mail.outcome import Tls
from lmrelay.outbound.chunk import Chunkless, read_whole, takes_chunk
from lmrelay.outbound.exchange import NO_REPLY, Exchange, IClientTransport
from lmrelay.outbound.flow import Flow
from lmrelay.outbound.handshake import Handshake, tell_loss
from lmrelay.outbound.patience import Patience
from lmrelay.outbound.steps import Step
from lmrelay.outbound.tls import Demand, Shown, configured
from lmrelay.outbound.trace import NAMES, Heard, step, words
from lmrelay.outbound.transaction import Transaction
from lmrelay.outbound.verdicts import STOPPING, Cause, Trouble, Verdict
from lmrelay.smtp.extensions import Extensions
from lmrelay.smtp.reply import Reply
from lmrelay.smtp.reply_reader import ReplyReader
from lmrelay.smtp.stuffing import Stuffer

FAREWELL = 10.0
"""
Seconds that a receiver has to take leave; then the connection is dropped.
"""

Dialogue = Union[Transaction, Exchange]

Read = Callable[[], Deferred[bytes]]
"""
Gives a content block by block, and at last nothing.
"""

_CLOSED = Trouble(Cause.LOST, "the connection had been closed")


@implementer(IHandshakeListener)
class Connection(Protocol):
    """
    A connection to one MX host that greeted us and answered EHLO: ready for transactions.

    Made by L{lmrelay.outbound.connect.Connector}. C{host} is the MX's name, C{address} its IP
    address, C{source} the one of ours that was chosen (empty: the system chose). C{shown} is what it showed in the
    handshake, C{tls} what that is to the mail that it carries now, whose C{demand} it meets; both None in clear.
    C{tls_failure} says why TLS that was offered is not used. C{transactions} counts those begun.
    C{words} are the receiver's own that ask for less at a time; to C{chunkless} its host is added if the CHUNKING that
    it offers came to nothing. C{opening} are the steps to here, for the trace of the first message; C{heard} is what
    was said of the last one, which C{began} then.
    """

    log = Logger()
    transport: IClientTransport

    def __init__(self, host: str, address: str, clock: IReactorTime, timeouts: DeliveryTimeouts) -> None:
        self.host = host
        self.address = address
        self.source = ""
        self.tls: Tls | None = None
        self.shown: Shown | None = None
        self.demand: Demand = configured(TlsPolicy.NONE)
        self.tls_failure = ""
        self.words: tuple[str, ...] = ()
        self.chunkless = Chunkless()
        self.extensions: Extensions = {}
        self.transactions = 0
        self.opening: list[str] = []
        self.heard: list[Heard] = []
        self.began = self._rests_since = 0.0
        self._clock = clock
        self._timeouts = timeouts
        self._reader = ReplyReader()
        self._dialogue: Dialogue | None = None
        self._handshake: Handshake | None = None
        self._needs_reset = False
        self._connected = False
        self._over = False
        self._leaving = False
        self._flow = Flow()
        self._turn: Deferred[None] | None = None
        self._patience = Patience(clock, self._time_out)
        self._lost: Callable[[Connection], None] | None = None

    def serve(self, demand: Demand) -> None:
        """
        From now on it carries mail that asks for that, for which it is good enough.
        """
        self.demand = demand
        self.tls = demand.describe(self.shown) if self.shown is not None else None

    @property
    def is_usable(self) -> bool:
        """
        Can it take a transaction now? Once False after a transaction, it stays False.
        """
        return self._connected and not self._over and self._dialogue is None

    async def deliver(self, leased: Leased, content: IContent) -> dict[int, Verdict]:
        """
        One transaction: the message to these recipients (at most 100). Never raises.

        The answer has a verdict for every recipient, by number. The connection is usable
        afterwards only if C{is_usable}; what is not usable has closed itself.
        """
        self.heard = []
        try:
            takes = self.host not in self.chunkless and takes_chunk(leased, self.extensions)
            chunk = (content.read_now() or await read_whole(content)) if takes else None
            transaction = await self._transact(leased, content.read, chunk)
            if transaction.chunk_failed:
                self.chunkless.add(self.host)
            return transaction.verdicts
        except CancelledError:
            trouble = Trouble(Cause.OURS, "the delivery was cancelled")
        except Exception:  # noqa: BLE001 - whatever it is, the message must not leave cut short
            self.log.failure("content could not be read", host=self.host)
            trouble = Trouble(Cause.OURS, "the content could not be read")
        untried = Transaction(leased, self.extensions)
        untried.end(trouble)
        return untried.verdicts

    async def _transact(self, leased: Leased, read: Read, chunk: bytes | None) -> Transaction:
        """
        One transaction, from beginning to end. Never raises.
        """
        rested = self._clock.seconds() - self._rests_since if self.transactions else None
        transaction = Transaction(
            leased,
            self.extensions,
            reset=self._needs_reset,
            rested=rested,
            tls_failure=self.tls_failure,
            words=self.words,
            chunk=chunk,
        )
        if not self.is_usable:
            transaction.end(_CLOSED)
        if transaction.is_over:
            return transaction
        self.transactions += 1
        now = self._clock.seconds()
        if not self.heard:
            self.began = now
        self._begin(transaction, now)
        self.transport.write(transaction.take_octets())
        try:
            await self._until_turn(transaction)
            if transaction.wants_content:
                try:
                    await self._send_content(transaction, read)
                    await self._until_turn(transaction)
                finally:
                    self._flow.stop(connected=self._connected)
        except CancelledError:
            self.abort(Trouble(Cause.OURS, "the delivery was cancelled"))
        self.heard += transaction.heard
        self._needs_reset = transaction.needs_reset
        self._rests_since = self._clock.seconds()
        return transaction

    def notify_lost(self, lost: Callable[[Connection], None]) -> None:
        """
        Call C{lost}, once, when the connection ends or stops being usable while idle
        (the receiver closed it or said something unasked); at once if it already did.
        """
        self._lost = lost
        if self._over:
            self._tell_lost()

    def close(self) -> None:
        """
        Say QUIT and close, without waiting for the answer. For idle connections.
        """
        if self._over:
            return
        if self._dialogue is not None:
            self.abort()
            return
        self.transport.write(b"QUIT\r\n")
        self._leave()

    def abort(self, trouble: Trouble = STOPPING) -> None:
        """
        Drop it at once. A C{deliver} under way ends with what the trouble means for all unanswered.
        """
        self._drop(trouble)

    async def exchange(self, step: Step, command: bytes = b"") -> Reply | Trouble:
        """
        Send one command of the set-up and get its one reply.
        """
        exchange = Exchange(step)
        if not self.is_usable:
            return _CLOSED
        self._begin(exchange, self._clock.seconds())
        if command:
            self.transport.write(command)
        await self._until_over(exchange)
        return exchange.result or _CLOSED

    async def start_tls(self, handshake: Handshake) -> Trouble | None:
        """
        The handshake, after the 220 to STARTTLS. None: the connection is encrypted.
        """
        exchange = Exchange(Step.HANDSHAKE)
        if not self.is_usable:
            return _CLOSED
        self._handshake = handshake
        self._begin(exchange, self._clock.seconds())
        self.transport.startTLS(handshake)
        await self._until_over(exchange)
        return exchange.result if isinstance(exchange.result, Trouble) else None

    async def _until_over(self, exchange: Exchange) -> None:
        began = self._clock.seconds()
        try:
            await self._until_turn(exchange)
        except CancelledError:
            self.abort(Trouble(Cause.OURS, "the connecting was cancelled"))
            raise
        said = words(exchange.result) or (self.shown.words if self.shown else "")
        self.opening.append(step(NAMES[exchange.step], self._clock.seconds() - began, said))

    def _begin(self, dialogue: Dialogue, now: float) -> None:
        self._dialogue = dialogue
        self._await_progress(dialogue, now)

    def _until_turn(self, dialogue: Dialogue) -> Deferred[None]:
        """
        Until it is our turn to act: the content is wanted, or the dialogue is over.
        """
        if dialogue.is_over or (isinstance(dialogue, Transaction) and dialogue.wants_content):
            return succeed(None)
        self._turn = Deferred()
        return self._turn

    def dataReceived(self, data: bytes) -> None:
        dialogue = self._dialogue
        if self._over:
            return
        if dialogue is None:
            self._drop(Trouble(Cause.NONSENSE, "the server said something unasked"))
            return
        now, answered = self._clock.seconds(), False
        try:
            for reply in self._reader.feed(data):
                dialogue.answer(reply, now)
                answered = True
                if dialogue.is_broken:
                    # The rest answers nothing, however much of it there is.
                    break
        except SyntaxRefused as error:
            if dialogue.is_over:
                dialogue.answer(NO_REPLY, now)
            dialogue.end(Trouble(Cause.NONSENSE, f"the server's reply cannot be understood ({error})"), now)
            self._drop(Trouble(Cause.NONSENSE, str(error)))
            return
        # Only whole replies count: one octet now and then would hold us for ever.
        if answered and not dialogue.is_over:
            self._await_progress(dialogue, now)
        self._proceed(dialogue, now)

    def _proceed(self, dialogue: Dialogue, now: float) -> None:
        if dialogue.is_over and not dialogue.is_broken and self._reader.pending:
            dialogue.answer(NO_REPLY, now)
        if dialogue.is_broken:
            self._drop(Trouble(Cause.NONSENSE, "the dialogue is out of order"))
            return
        if dialogue.is_over:
            self._dialogue = None
            self._take_turn()
            return
        if isinstance(dialogue, Transaction):
            if octets := dialogue.take_octets():
                self._await_progress(dialogue, now)
                self.transport.write(octets)
            if dialogue.wants_content:
                self._take_turn()

    def _take_turn(self) -> None:
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.callback(None)

    async def _send_content(self, transaction: Transaction, read: Read) -> None:
        """
        One block ahead, so that the end of a small message leaves with its content.

        A content that cannot be read to its end is never ended: the connection is dropped.
        """
        stuffer = Stuffer()
        try:
            octets = stuffer.stuff(await read())
            while block := await read():
                await self._write_content(octets)
                if transaction.is_over:
                    return
                octets = stuffer.stuff(block)
        except CancelledError:
            raise
        except Exception:  # noqa: BLE001 - whatever it is, the message must not leave cut short
            self.log.failure("content could not be read", host=self.host)
            self._drop(Trouble(Cause.OURS, "the content could not be read"))
            return
        if not transaction.is_over:
            now = self._clock.seconds()
            transaction.content_sent(now)
            self._await_progress(transaction, now)
            self.transport.write(octets + stuffer.finish())

    async def _write_content(self, octets: bytes) -> None:
        if self._over:
            return
        self._flow.write(self.transport, octets)
        if self._flow.is_full and not self._over:
            self._patience.have(self._timeouts.command)
            await self._flow.room()
            self._patience.have(None)

    def _await_progress(self, dialogue: Dialogue, now: float) -> None:
        step = dialogue.step
        self._patience.have(None if step is Step.CONTENT else step.timeout(self._timeouts), now)

    def _time_out(self) -> None:
        if self._leaving:
            self.transport.abortConnection()
        elif self._dialogue is not None:
            self._drop(Trouble(Cause.SILENT, "the server was silent for too long"))

    def connectionMade(self) -> None:
        self._connected = True
        # What belongs together is written together; the end of a content must not wait until its start is acknowledged.
        self.transport.setTcpNoDelay(True)

    def handshakeCompleted(self) -> None:
        """
        Only once: a renegotiation changes nothing of what was decided.
        """
        dialogue, handshake = self._dialogue, self._handshake
        if handshake is not None and isinstance(dialogue, Exchange) and dialogue.step is Step.HANDSHAKE:
            self.shown = handshake.finish()
            dialogue.is_over = True
            self._dialogue = None
            self._take_turn()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._connected = False
        self._finish(Trouble(Cause.LOST, tell_loss(reason.value)))
        self._patience.stop()

    def _leave(self) -> None:
        """
        Close in order, but do not wait for ever.
        """
        self._leaving = True
        self._finish(Trouble(Cause.OURS, "the connection was closed"))
        self._patience.have(FAREWELL)
        self.transport.loseConnection()

    def _drop(self, trouble: Trouble) -> None:
        if not self._over:
            self._finish(trouble)
            self._patience.stop()
            self.transport.abortConnection()

    def _finish(self, trouble: Trouble) -> None:
        """
        From here on nothing is sent, and nothing that comes is believed.
        """
        if self._over:
            return
        self._over = True
        dialogue, self._dialogue = self._dialogue, None
        if dialogue is not None:
            dialogue.end(trouble, self._clock.seconds())
        self._flow.resumeProducing()
        self._take_turn()
        self._tell_lost()

    def _tell_lost(self) -> None:
        lost, self._lost = self._lost, None
        if lost is not None:
            lost(self)
