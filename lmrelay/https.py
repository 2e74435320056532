"""
What requests to web servers that anybody may name are made over: a connection to an address that was looked up, with
TLS that proves the host, and bounds to what comes back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from ipaddress import ip_address
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorTime, IStreamClientEndpoint
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.web.client import URI, Agent, ResponseFailed, ResponseNeverReceived
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IBodyProducer, IResponse
from zope.interface import implementer

from lmrelay.errors import FetchError
from lmrelay.trust import StrictHandshake

CONNECT_TIMEOUT = 15.0
"""
Seconds for one address to answer.
"""

USER_AGENT = b"lmrelay"


@implementer(IAgentEndpointFactory, IStreamClientEndpoint)
class Destination(ABC):
    """
    Where a request goes, whatever its URL says.

    twisted.web takes the C{repr} of it for each connection: it must be short, so not that of all it holds, which is in
    the end the whole configuration.
    """

    def __repr__(self) -> str:
        # Twisted writes it down for each connection: with what is in its fields, that would be the whole configuration.
        return f"<{type(self).__name__}>"

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """
        Always this.
        """
        return self

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        See L{IStreamClientEndpoint}.
        """
        return Deferred.fromCoroutine(self.reach(protocolFactory))

    @abstractmethod
    async def reach(self, factory: IProtocolFactory) -> IProtocol:
        """
        The same, to be awaited.
        """


@define(eq=False, repr=False)
class Way(Destination):
    """
    A connection to an address that was looked up, whatever the URL's host. C{handshake} None: without TLS. C{limit}:
    a server that sends more octets than that after a request is left.
    """

    reactor: Any
    clock: IReactorTime
    address: str
    port: int
    handshake: StrictHandshake | None
    limit: int
    _connection: Any = field(default=None, init=False)

    @property
    def is_connected(self) -> bool:
        """
        Was there a connection?
        """
        return self._connection is not None

    async def reach(self, factory: IProtocolFactory) -> IProtocol:
        """
        See L{Destination}.
        """
        kind = TCP4ClientEndpoint if ip_address(self.address).version == 4 else TCP6ClientEndpoint
        endpoint = kind(self.reactor, self.address, self.port, timeout=CONNECT_TIMEOUT)
        bounded: Any = _Bounds(factory, self.limit)
        if self.handshake is not None:
            secured = TLSMemoryBIOFactory(self.handshake, True, bounded, clock=self.clock)
            self._connection = await endpoint.connect(secured)
            wrapper = self._connection.wrappedProtocol
        else:
            self._connection = wrapper = await endpoint.connect(bounded)
        http: IProtocol = wrapper.wrappedProtocol
        return http

    def abort(self) -> None:
        """
        Drop it.
        """
        if self._connection is not None:
            self._connection.abortConnection()


@implementer(IAgent)
@define(eq=False)
class Plain:
    """
    Takes responses as they are: a few octets of compressed ones could become gigabytes. C{refuses}: it takes no
    compressed ones at all; else what comes is not unpacked.
    """

    _agent: Agent
    refuses: bool = True

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> Deferred[IResponse]:
        """
        See L{IAgent}.
        """
        plain = Headers() if headers is None else headers.copy()
        plain.removeHeader(b"Accept-Encoding")
        plain.setRawHeaders(b"User-Agent", [USER_AGENT])
        return Deferred.fromCoroutine(self._request(method, uri, plain, bodyProducer))

    async def _request(self, method: bytes, uri: bytes, headers: Headers, body: IBodyProducer | None) -> IResponse:
        response = await self._agent.request(method, uri, headers, body)
        if self.refuses and response.headers.hasHeader(b"content-encoding"):
            raise FetchError("it is compressed, which was not asked for")
        response.headers.removeHeader(b"content-encoding")
        return response


_WRAPPING = (ResponseFailed, ResponseNeverReceived)


def tell_trouble(error: BaseException) -> str:
    """
    Why there was no response, in words.
    """
    if isinstance(error, _WRAPPING) and error.reasons:
        return tell_trouble(error.reasons[0].value)
    if isinstance(error, ConnectionAborted):
        return "it said more than any good answer has"
    return str(error) or type(error).__name__


class _Bounded(ProtocolWrapper):
    """
    Ends a connection that brings more than any good response has.
    """

    transport: Any
    factory: Any
    _left = 0

    def write(self, data: bytes) -> None:
        self._left = self.factory.limit
        ProtocolWrapper.write(self, data)

    def writeSequence(self, data: Any) -> None:
        self._left = self.factory.limit
        ProtocolWrapper.writeSequence(self, data)

    def dataReceived(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self.transport.abortConnection()
        else:
            ProtocolWrapper.dataReceived(self, data)


class _Bounds(WrappingFactory[_Bounded]):
    noisy = False
    protocol = _Bounded

    def __init__(self, factory: Any, limit: int) -> None:
        WrappingFactory.__init__(self, factory)  # type: ignore[arg-type]
        self.limit = limit
