"""
A TCP connection in memory, with real STARTTLS: two ends, each the transport of a protocol.

Nothing moves but in L{Wire.pump}, so a test owns every segment. C{pauseProducing} is
honoured, a reader that pauses makes its peer's buffer fill, and a full buffer pauses the
peer's producer: a client that does not read is as real here as on a network.
TLS is OpenSSL's, through C{startTLS} on either end; time is the given clock's.
"""

from __future__ import annotations

from typing import Any, Union

from attrs import define, field
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionRefusedError
from twisted.internet.interfaces import (
    IConsumer,
    IProducer,
    IProtocol,
    IPushProducer,
    ISSLTransport,
    ITCPTransport,
    ITLSTransport,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer

BUFFER = 64 * 1024
SEGMENT = 64 * 1024

TcpAddress = Union[IPv4Address, IPv6Address]


def make_address(host: str, port: int) -> TcpAddress:
    """
    An address as Twisted's TCP gives them.
    """
    return IPv6Address("TCP", host, port) if ":" in host else IPv4Address("TCP", host, port)


@implementer(IPushProducer, IConsumer)
class _Raw:
    """
    What lies under TLS: writes go to the wire as they are.
    """

    disconnecting = False

    def __init__(self, end: End) -> None:
        self._end = end

    def __getattr__(self, name: str) -> Any:
        return getattr(self._end, name)

    def write(self, octets: bytes) -> None:
        self._end.write_raw(octets)

    def writeSequence(self, blocks: Any) -> None:
        self._end.write_raw(b"".join(blocks))

    def loseConnection(self) -> None:
        self._end.close_raw()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._end.register_raw(producer, streaming)

    def unregisterProducer(self) -> None:
        self._end.unregister_raw()


@implementer(ITCPTransport, ITLSTransport, IPushProducer, IConsumer)
@define(eq=False, slots=False)
class End:
    """
    One end. C{protocol} gets what the other end sends.
    """

    clock: Clock
    host: TcpAddress
    peer: TcpAddress
    is_client: bool
    buffer: int = BUFFER
    outgoing: bytearray = field(factory=bytearray)
    protocol: Any = None
    TLS: bool = False
    paused: bool = False
    disconnecting: bool = False
    disconnected: bool = False
    aborted: bool = False
    _producer: Any = None
    _streaming: bool = True
    _producer_paused: bool = False

    def write(self, octets: bytes) -> None:
        """
        Send, through TLS where it was started.
        """
        if self.TLS:
            self.protocol.write(octets)
        elif not self.disconnecting:
            self.write_raw(octets)

    def writeSequence(self, blocks: Any) -> None:
        """
        Send these as one.
        """
        self.write(b"".join(blocks))

    def write_raw(self, octets: bytes) -> None:
        """
        Put octets on the wire as they are.
        """
        if self.disconnected:
            return
        self.outgoing += octets
        if self._producer is not None and len(self.outgoing) > self.buffer and not self._producer_paused:
            self._producer_paused = True
            if self._streaming:
                self._producer.pauseProducing()

    def drained(self) -> None:
        """
        The peer took everything: the producer may go on.
        """
        if self._producer is None or self.outgoing:
            return
        if not self._streaming:
            self._producer.resumeProducing()
        elif self._producer_paused:
            self._producer_paused = False
            self._producer.resumeProducing()

    def loseConnection(self) -> None:
        """
        Close once everything was sent; under TLS with its goodbye.
        """
        if self.TLS:
            self.protocol.loseConnection()
        else:
            self.close_raw()

    def close_raw(self) -> None:
        """
        Close once everything was sent.
        """
        self.disconnecting = True

    def abortConnection(self) -> None:
        """
        Close at once; what was not sent is lost.
        """
        self.aborted = self.disconnecting = True
        self.outgoing.clear()

    def startTLS(self, contextFactory: Any, normal: bool = True) -> None:
        """
        Put TLS between this end and its protocol; C{normal}: the client's end is TLS's client.
        """
        producer, streaming = self._producer, self._streaming
        if producer is not None:
            self.unregister_raw()
        factory = TLSMemoryBIOFactory(contextFactory, self.is_client == normal, Factory(), clock=self.clock)
        tls = TLSMemoryBIOProtocol(factory, self.protocol, False)
        self.protocol = tls
        self.getHandle = tls.getHandle
        self.getPeerCertificate = tls.getPeerCertificate
        directlyProvides(self, ISSLTransport)
        self.TLS = True
        tls.makeConnection(_Raw(self))
        if producer is not None:
            tls.registerProducer(producer, streaming)

    def pauseProducing(self) -> None:
        """
        Let no more arrive.
        """
        self.paused = True

    def resumeProducing(self) -> None:
        """
        Let more arrive.
        """
        self.paused = False

    def stopProducing(self) -> None:
        """
        Close.
        """
        self.loseConnection()

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """
        Tell C{producer} when the buffer is full and when it is empty.
        """
        if self.TLS:
            self.protocol.registerProducer(producer, streaming)
        else:
            self.register_raw(producer, streaming)

    def unregisterProducer(self) -> None:
        """
        Tell it no more.
        """
        if self.TLS:
            self.protocol.unregisterProducer()
        else:
            self.unregister_raw()

    def register_raw(self, producer: Any, streaming: bool) -> None:
        """
        As L{registerProducer}, under TLS.
        """
        if self._producer is not None:
            raise RuntimeError("a producer is registered already")
        self._producer, self._streaming, self._producer_paused = producer, streaming, False
        if not streaming:
            producer.resumeProducing()

    def unregister_raw(self) -> None:
        """
        As L{unregisterProducer}, under TLS.
        """
        self._producer = None

    def getHost(self) -> TcpAddress:
        """
        This end's address.
        """
        return self.host

    def getPeer(self) -> TcpAddress:
        """
        The other end's.
        """
        return self.peer

    def setTcpNoDelay(self, enabled: bool) -> None:
        """
        Segments are the test's affair here.
        """

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """
        There is nothing to keep alive.
        """

    def getTcpNoDelay(self) -> bool:
        """
        Always.
        """
        return True

    def getTcpKeepAlive(self) -> bool:
        """
        Never.
        """
        return False

    def loseWriteConnection(self) -> None:
        """
        Half-closing is not played: it closes.
        """
        self.loseConnection()

    def lost(self, reason: BaseException) -> None:
        """
        The connection ended; the protocol is told once.
        """
        if not self.disconnected:
            self.disconnected = True
            self.protocol.connectionLost(Failure(reason))


@define(eq=False)
class Wire:
    """
    A connection between C{client} and C{server}.
    """

    clock: Clock
    client: End
    server: End

    def pump(self, segment: int = SEGMENT) -> bool:
        """
        Carry one segment each way, and close what is to be closed. Did anything happen?
        """
        return self._carry(self.client, self.server, segment) | self._carry(self.server, self.client, segment)

    def flush(self, segment: int = SEGMENT) -> None:
        """
        Pump until nothing moves, calls that are due now included.
        """
        moved = True
        while moved:
            moved = self.pump(segment)
            self.clock.advance(0)
            moved = moved or bool(self._is_movable())

    def _is_movable(self) -> bool:
        pairs = ((self.client, self.server), (self.server, self.client))
        return any(a.outgoing and not b.paused and not b.disconnected for a, b in pairs)

    def _carry(self, source: End, sink: End, segment: int) -> bool:
        moved = False
        if source.outgoing and not sink.paused and not sink.disconnected:
            block = bytes(source.outgoing[:segment])
            del source.outgoing[:segment]
            sink.protocol.dataReceived(block)
            source.drained()
            moved = True
        if source.disconnecting and not source.outgoing and not source.disconnected:
            moved = True
            source.lost(ConnectionAborted() if source.aborted else ConnectionDone())
            sink.outgoing.clear()
            sink.lost(ConnectionAborted() if source.aborted else ConnectionDone())
        return moved


def connect(
    clock: Clock,
    server: Any,
    client: Protocol | IProtocol,
    *,
    client_host: str = "192.0.2.7",
    server_host: str = "192.0.2.1",
    server_port: int = 587,
    buffer: int = BUFFER,
) -> Wire:
    """
    Connect a client protocol to a server factory. The server's C{connectionMade} comes first.

    @raise ConnectionRefusedError: the factory gave no protocol
    """
    near, far = make_address(client_host, 40000), make_address(server_host, server_port)
    ends = (End(clock, near, far, True, buffer), End(clock, far, near, False, buffer))
    protocol = server.buildProtocol(near)
    if protocol is None:
        raise ConnectionRefusedError(f"{server!r} takes no connection")
    ends[0].protocol, ends[1].protocol = client, protocol
    protocol.makeConnection(ends[1])
    client.makeConnection(ends[0])
    return Wire(clock, *ends)
