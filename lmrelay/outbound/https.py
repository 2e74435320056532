"""
Requests to web servers that anybody's domain may name.

So they go to public addresses only, over TLS that proves the host, without following anywhere, and what they take of
time and memory is bounded.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar

from attrs import define, field
from OpenSSL import SSL
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.web.client import Agent

from lmrelay.errors import FetchError, UnprovedError
from lmrelay.https import Plain, Way, tell_trouble
from lmrelay.interfaces import ISettings
from lmrelay.mail.outcome import Delayed
from lmrelay.outbound.route import Router
from lmrelay.tasks import is_cancelled
from lmrelay.trust import Contexts, StrictHandshake

TIMEOUT = 60.0
"""
Seconds for all of it (RFC 8461 §3.3).
"""

MAX_RESPONSE = 96 * 1024
"""
Octets of a response with its head.
"""

T = TypeVar("T")


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
            handshake = StrictHandshake(host, self._contexts.get(True))
        except (OSError, SSL.Error) as error:
            raise FetchError(f"the certificate authorities cannot be read: {error}") from error
        way = Way(self.reactor, self.clock, address, port, handshake, MAX_RESPONSE)
        try:
            return await talk(HTTPClient(Plain(Agent.usingEndpointFactory(self.reactor, way))))
        except (CancelledError, FetchError):
            raise
        except Exception as error:
            if is_cancelled(error):
                raise CancelledError from error
            kind = FetchError if way.is_connected else _Unreached
            if handshake.reason:
                kind = UnprovedError
            raise kind(f"{host} [{address}]: {handshake.reason or tell_trouble(error)}") from error
        finally:
            # Whatever it still has to say, nobody listens.
            way.abort()


class _Unreached(FetchError):
    """
    There was no connection; another address may do.
    """
