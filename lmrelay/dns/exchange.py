"""
One question to one server, over UDP or TCP, and its answer within a time.

Each goes out from a socket of its own, so that the system picks a fresh port, and only
octets from that server reach it (RFC 5452). What is no answer to the question is passed over.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IListeningPort, IReactorTCP, IReactorTime, IReactorUDP
from twisted.internet.protocol import ClientFactory, DatagramProtocol, Protocol, connectionDone
from twisted.python.failure import Failure

from lmrelay.config.values import NameServer
from lmrelay.dns.message import Response
from lmrelay.errors import DnsError

MAX_NONSENSE = 20
"""
Datagrams that answer something else; more of them look like a guessing game.
"""

Reader = Callable[[bytes], "Response | None"]


class DnsReactor(IReactorTCP, IReactorUDP, IReactorTime):
    """
    What the resolver needs of a reactor.
    """


def ask_udp(reactor: DnsReactor, server: NameServer, octets: bytes, read: Reader, timeout: float) -> Deferred[Response]:
    """
    Fires with the response, or fails with L{DnsError}: no answer in C{timeout} seconds, or nothing to ask with.
    """
    exchange = _Datagram(server, octets, read)
    return exchange.start(reactor, timeout)


def ask_tcp(reactor: DnsReactor, server: NameServer, octets: bytes, read: Reader, timeout: float) -> Deferred[Response]:
    """
    As L{ask_udp}, over TCP (RFC 7766); the timeout is for all of it.
    """
    exchange = _Stream(octets, read)
    factory = _StreamFactory(exchange)
    connector = reactor.connectTCP(server.host, server.port, factory, timeout)
    exchange.wait(reactor, timeout, connector.disconnect)
    return exchange.result


class _Exchange:
    """
    A result that comes once: an answer, a failure or the end of the time.
    """

    def __init__(self, read: Reader) -> None:
        self.read = read
        self.result: Deferred[Response] = Deferred()
        self._close: Callable[[], object] | None = None

    def wait(self, reactor: IReactorTime, timeout: float, close: Callable[[], object]) -> None:
        self._close = close
        self._timer = reactor.callLater(timeout, self.end, DnsError("no answer in time"))

    def receive(self, octets: bytes) -> bool:
        """
        Was it the answer?
        """
        try:
            response = self.read(octets)
        except DnsError as error:
            self.end(error)
            return True
        if response is not None:
            self.end(response)
        return response is not None

    def end(self, result: Response | DnsError) -> None:
        if self._close is None:
            return
        close, self._close = self._close, None
        if self._timer.active():
            self._timer.cancel()
        close()
        if isinstance(result, Response):
            self.result.callback(result)
        else:
            self.result.errback(result)


class _Datagram(_Exchange, DatagramProtocol):
    noisy = False

    def __init__(self, server: NameServer, octets: bytes, read: Reader) -> None:
        super().__init__(read)
        self.server = server
        self.octets = octets
        self.nonsense = 0

    def start(self, reactor: DnsReactor, timeout: float) -> Deferred[Response]:
        interface = "::" if ":" in self.server.host else ""
        try:
            port: IListeningPort = reactor.listenUDP(0, self, interface, maxPacketSize=65535)
        except CannotListenError as error:
            # The process has no file left, say: all that it would ask fails then, and not for a fault in it.
            return fail(DnsError(f"there is no socket to ask from: {error.socketError}"))
        self.wait(reactor, timeout, port.stopListening)
        socket: Any = self.transport
        try:
            # Connected, so that the kernel drops what others send and tells of a closed port.
            socket.connect(self.server.host, self.server.port)
            socket.write(self.octets)
        except OSError as error:
            self.end(DnsError(f"the name server cannot be reached: {error.strerror}"))
        return self.result

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        # An IPv6 address can be written in many ways, and the kernel knows one.
        if (ip_address(addr[0]), addr[1]) != (ip_address(self.server.host), self.server.port):
            return
        if not self.receive(datagram):
            self.nonsense += 1
            if self.nonsense > MAX_NONSENSE:
                self.end(DnsError("too many answers to other questions"))

    def connectionRefused(self) -> None:
        self.end(DnsError("nothing listens there"))

    def stopProtocol(self) -> None:
        # Under epoll a refusal comes as the loss of the socket.
        self.end(DnsError("nothing listens there"))


class _Stream(_Exchange, Protocol):
    def __init__(self, octets: bytes, read: Reader) -> None:
        super().__init__(read)
        self.octets = octets
        self.waiting = b""

    def connectionMade(self) -> None:
        if self.transport is not None:
            self.transport.write(struct.pack("!H", len(self.octets)) + self.octets)

    def dataReceived(self, data: bytes) -> None:
        self.waiting += data
        if len(self.waiting) < 2:
            return
        (length,) = struct.unpack("!H", self.waiting[:2])
        if len(self.waiting) >= 2 + length and not self.receive(self.waiting[2 : 2 + length]):
            self.end(DnsError("an answer to another question"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.end(DnsError("the connection was lost"))


class _StreamFactory(ClientFactory):
    noisy = False

    def __init__(self, exchange: _Stream) -> None:
        self.exchange = exchange

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return self.exchange

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        self.exchange.end(DnsError("the connection failed"))
