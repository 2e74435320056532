"""
Requests to web servers that anybody's domain may name.

So they go to public addresses only, over TLS that proves the host, without following anywhere, and what they take of
time and memory is bounded.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from ipaddress import ip_address
from typing import Any, TypeVar

from attrs import define, field
from OpenSSL import SSL
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorTime, IStreamClientEndpoint
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.web.client import URI, Agent, ResponseFailed, ResponseNeverReceived
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IBodyProducer, IResponse
from zope.interface import implementer

from lmrelay.errors import FetchError, UnprovedError
from lmrelay.interfaces import ISettings
from lmrelay.mail.outcome import Delayed
from lmrelay.outbound.handshake import Contexts, StrictHandshake
from lmrelay.outbound.route import Router

TIMEOUT = 60.0
CONNECT_TIMEOUT = 15.0
"""
Seconds for all of it (RFC 8461 §3.3), and for one address to answer.
"""

MAX_RESPONSE = 96 * 1024
"""
Octets of a response with its head.
"""

T = TypeVar("T")

_WRAPPING = (ResponseFailed, ResponseNeverReceived)


@define(eq=False)
class Https:
    """
    Web servers, at the addresses that the DNS has for them.
    """

    reactor: Any
    clock: IReactorTime
    settings: ISettings
    router: Router
    _contexts: Contexts = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._contexts = Contexts(self.settings)

    async def ask(self, host: str, port: int, talk: Callable[[HTTPClient], Awaitable[T]], whose: Hashable = None) -> T:
        """
        What C{talk} makes of one connection to C{host}, which ends with it. Whatever the URL of its request says, the
        request goes there.

        @param whose: for whom the DNS is asked, as L{IResolver.query} has it
        @raise FetchError: there is no such connection, or C{talk} said so; L{UnprovedError}: the host is another
        """
        asking: Deferred[T] = Deferred.fromCoroutine(self._ask(host, port, talk, whose))
        try:
            return await asking.addTimeout(TIMEOUT, self.clock)
        except TimeoutError as error:
            raise FetchError(f"it took longer than {TIMEOUT:.0f} s") from error

    async def _ask(self, host: str, port: int, talk: Callable[[HTTPClient], Awaitable[T]], whose: Hashable) -> T:
        found = await self.router.find_addresses(host, self.settings.config.delivery.allow_networks, whose)
        if isinstance(found, Delayed):
            raise FetchError(found.text)
        deadline = self.clock.seconds() + TIMEOUT
        trouble = FetchError(f"{host} has no address" + (" that may be connected to" if found.barred else ""))
        for address in found.addresses:
            if self.clock.seconds() >= deadline:
                break
            try:
                return await self._talk(host, address, port, talk)
            except _Unreached as error:
                trouble = error
        raise trouble

    async def _talk(self, host: str, address: str, port: int, talk: Callable[[HTTPClient], Awaitable[T]]) -> T:
        try:
            way = _Way(self.reactor, self.clock, address, port, StrictHandshake(host, self._contexts.get(True)))
        except (OSError, SSL.Error) as error:
            raise FetchError(f"the certificate authorities cannot be read: {error}") from error
        try:
            return await talk(HTTPClient(_Plain(Agent.usingEndpointFactory(self.reactor, way))))
        except (CancelledError, FetchError):
            raise
        except Exception as error:
            if _is_cancelled(error):
                raise CancelledError from error
            kind = FetchError if way.is_connected else _Unreached
            if way.handshake.reason:
                kind = UnprovedError
            raise kind(f"{host} [{address}]: {way.handshake.reason or _tell(error)}") from error
        finally:
            # Whatever it still has to say, nobody listens.
            way.abort()


class _Unreached(FetchError):
    """
    There was no connection; another address may do.
    """


def _is_cancelled(error: BaseException) -> bool:
    return isinstance(error, _WRAPPING) and any(reason.check(CancelledError) for reason in error.reasons)


def _tell(error: BaseException) -> str:
    if isinstance(error, _WRAPPING) and error.reasons:
        return _tell(error.reasons[0].value)
    return str(error) or type(error).__name__


@implementer(IAgent)
@define(eq=False)
class _Plain:
    """
    Takes responses as they are: a few octets of compressed ones could become gigabytes.
    """

    _agent: Agent

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> Deferred[IResponse]:
        plain = Headers() if headers is None else headers.copy()
        plain.removeHeader(b"Accept-Encoding")
        plain.setRawHeaders(b"User-Agent", [b"lmrelay"])
        return Deferred.fromCoroutine(self._request(method, uri, plain, bodyProducer))

    async def _request(self, method: bytes, uri: bytes, headers: Headers, body: IBodyProducer | None) -> IResponse:
        response = await self._agent.request(method, uri, headers, body)
        if response.headers.hasHeader(b"content-encoding"):
            raise FetchError("it is compressed, which was not asked for")
        return response


@implementer(IAgentEndpointFactory, IStreamClientEndpoint)
@define(eq=False)
class _Way:
    """
    The one connection of a request: to an address that was looked up, whatever the URL's host.
    """

    reactor: Any
    clock: IReactorTime
    address: str
    port: int
    handshake: StrictHandshake
    _tls: TLSMemoryBIOProtocol | None = field(default=None, init=False)

    @property
    def is_connected(self) -> bool:
        """
        Was there a connection?
        """
        return self._tls is not None

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """
        Always this.
        """
        return self

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        With TLS.
        """
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: Any) -> IProtocol:
        kind = TCP4ClientEndpoint if ip_address(self.address).version == 4 else TCP6ClientEndpoint
        endpoint = kind(self.reactor, self.address, self.port, timeout=CONNECT_TIMEOUT)
        bounded = _Bounds(factory)  # type: ignore[no-untyped-call]
        tls: Any = await endpoint.connect(TLSMemoryBIOFactory(self.handshake, True, bounded, clock=self.clock))
        self._tls = tls
        http: IProtocol = tls.wrappedProtocol.wrappedProtocol
        return http

    def abort(self) -> None:
        """
        Drop it.
        """
        if self._tls is not None:
            self._tls.abortConnection()


class _Bounded(ProtocolWrapper):
    """
    Ends a connection that brings more than any good response has.
    """

    transport: Any
    _left = MAX_RESPONSE

    def dataReceived(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self.transport.abortConnection()
        else:
            ProtocolWrapper.dataReceived(self, data)


class _Bounds(WrappingFactory[_Bounded]):
    noisy = False
    protocol = _Bounded
