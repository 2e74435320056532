"""
One request to an endpoint that a tenant named.

So it goes to public addresses and allowed networks only, as they are looked up when the connection is made; over TLS
that proves the host, where the URL says https; past every proxy and after no redirect; and of the answer only the
beginning is read. Connections are kept for the next request to the same endpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from random import Random
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from attrs import define, field, frozen
from hyperlink import EncodedURL
from OpenSSL import SSL
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorTime
from twisted.web.client import (
    Agent,
    HTTPConnectionPool,
    RequestTransmissionFailed,
    ResponseNeverReceived,
)
from twisted.web.http_headers import Headers

from lmrelay.config import values
from lmrelay.errors import FetchError
from lmrelay.events.wire import MAX_BODY, Beginning, Octets, Taken
from lmrelay.https import Destination, Plain, Way, tell_trouble
from lmrelay.interfaces import IResolver, ISettings, Told
from lmrelay.mail.outcome import Delayed
from lmrelay.reach import find_addresses, is_allowed
from lmrelay.tasks import is_cancelled
from lmrelay.trust import Contexts, StrictHandshake, is_address

MAX_RESPONSE = 64 * 1024
"""
Octets of an answer after which the connection is left.
"""

STATUSES = range(100, 600)
"""
RFC 9110 §15: any other is invalid, and has more digits than a database can hold, if the server likes.
"""

MAX_TEXT = 500
"""
Characters of why there was no answer: it may quote what the server said instead.
"""

PATIENCE = 5.0
"""
Seconds for the body of an answer whose status is known.
"""

KEPT_FOR = 15.0
KEPT = 2
"""
Seconds, and how many, idle connections to a host are kept for.
"""

LOCALHOST = ("127.0.0.1", "::1")
"""
RFC 6761 §6.3: no question for the DNS.
"""

_STALE = (RequestTransmissionFailed, ResponseNeverReceived)


@define(eq=False)
class Post:
    """
    Sends requests, within the timeout of the configuration in force.
    """

    reactor: Any
    clock: IReactorTime
    settings: ISettings
    resolver: IResolver
    random: Random
    wall: Callable[[], float]
    _contexts: Contexts = field(init=False)
    _pool: HTTPConnectionPool | None = field(default=None, init=False)
    _pool_of: values.Webhooks | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._contexts = Contexts(self.settings, lambda config: config.webhooks.ca_file)

    async def send(self, url: str, headers: Mapping[str, str], body: bytes, whose: Hashable = None) -> Told:
        """
        How the endpoint at that URL took the body. Raises nothing but when it is cancelled.

        @param whose: for whom the DNS is asked, as L{IResolver.query} has it
        """
        begun = self.wall()
        timeout = self.settings.config.webhooks.timeout
        try:
            asking: Deferred[_Answer] = Deferred.fromCoroutine(self._ask(url, _Letter(headers, body, whose)))
            answer = await asking.addTimeout(timeout, self.clock)
        except TimeoutError:
            return Told(begun, self.wall(), text=f"no answer within {timeout:g} s")
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever kept it from us, the endpoint did not take it
            return Told(begun, self.wall(), text=tell_trouble(error)[:MAX_TEXT])
        octets = await self._read(answer)
        status, said = answer.response.code, octets.decode("utf-8", "replace")
        if status not in STATUSES:
            return Told(begun, self.wall(), text="it answered with a status that HTTP does not have", body=said)
        return Told(begun, self.wall(), status, body=said)

    async def _ask(self, url: str, letter: _Letter) -> _Answer:
        plain, auth = _take_login(url)
        taken = Taken(self._find_pool(), letter.whose)
        try:
            return await self._try(taken, plain, auth, letter)
        except _STALE:
            if taken.is_fresh:
                raise
        # The server closed a connection that was kept just when it was used again; that says nothing of the endpoint.
        fresh = Taken(HTTPConnectionPool(self.reactor, persistent=False), persistent=False)
        return await self._try(fresh, plain, auth, letter)

    async def _try(self, taken: Taken, url: str, auth: tuple[str, str] | None, letter: _Letter) -> _Answer:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        door = _Door(self, parts.hostname or "", port, parts.scheme, letter.whose)
        agent: Any = Agent.usingEndpointFactory(self.reactor, door, pool=taken)
        try:
            response = await HTTPClient(Plain(agent, refuses=False)).post(
                _Literal.from_text(url),
                data=Octets(letter.body),
                headers=Headers({name: [value] for name, value in letter.headers.items()}),
                auth=auth,
                allow_redirects=False,
                unbuffered=True,
                reactor=self.reactor,
            )
        except BaseException as error:
            taken.abort()
            if is_cancelled(error):
                raise CancelledError from error
            if door.reason:
                raise FetchError(f"{parts.hostname}: {door.reason}") from error
            raise
        return _Answer(response, taken)

    async def _read(self, answer: _Answer) -> bytes:
        """
        The beginning of its body, as far as it comes soon.
        """
        beginning = Beginning()
        answer.response.deliverBody(beginning)
        with suppress(TimeoutError, CancelledError):
            await beginning.done.addTimeout(PATIENCE, self.clock)
        if not beginning.is_whole:
            # Whatever it still has to say, nobody listens.
            answer.taken.abort()
        return bytes(beginning.gathered[:MAX_BODY])

    def _find_pool(self) -> HTTPConnectionPool:
        config = self.settings.config.webhooks
        if self._pool is None or self._pool_of != config:
            # What a kept connection was checked for may not be what is asked now.
            self.close()
            self._pool = pool = HTTPConnectionPool(self.reactor)
            pool.maxPersistentPerHost, pool.cachedConnectionTimeout = KEPT, KEPT_FOR  # type: ignore[assignment]
            pool.retryAutomatically = False
            self._pool_of = config
        return self._pool

    def close(self) -> None:
        """
        Close the connections that are kept.
        """
        if self._pool is not None:
            self._pool.closeCachedConnections()

    async def find_ways(self, host: str, port: int, scheme: str, whose: Hashable) -> list[Way]:
        """
        To where a host's name leads now, as far as that is allowed.

        @raise FetchError: nowhere
        """
        networks = self.settings.config.webhooks.allow_networks
        if is_address(host) or host == "localhost":
            addresses = tuple(
                one for one in ((host,) if host != "localhost" else LOCALHOST) if is_allowed(one, networks)
            )
            is_barred = True
        else:
            found = await find_addresses(self.resolver, self.random, host, networks, whose)
            if isinstance(found, Delayed):
                raise FetchError(found.text)
            addresses, is_barred = found.addresses, found.barred
        if not addresses:
            barred = " that may be connected to ([webhooks] allow_networks has none of them)" if is_barred else ""
            raise FetchError(f"{host} has no address{barred}")
        return [
            Way(self.reactor, self.clock, one, port, self._handshake(host, scheme), MAX_RESPONSE) for one in addresses
        ]

    def _handshake(self, host: str, scheme: str) -> StrictHandshake | None:
        if scheme != "https":
            return None
        try:
            return StrictHandshake(host, self._contexts.get(True))
        except (OSError, SSL.Error) as error:
            raise FetchError(f"the certificate authorities cannot be read: {error}") from error


class _Literal(EncodedURL):
    """
    A URL as it stands: by itself hyperlink takes an IPv6 address for a name, and puts what it reads in a host or path
    in other words.
    """

    def to_uri(self) -> EncodedURL:
        """
        It is one.
        """
        return self


def _take_login(url: str) -> tuple[str, tuple[str, str] | None]:
    """
    The URL without what it has of user and password, and these.
    """
    parts = urlsplit(url)
    if parts.username is None:
        return url, None
    place = parts.netloc.rpartition("@")[2]
    login = unquote(parts.username), unquote(parts.password or "")
    return urlunsplit(parts._replace(netloc=place)), login


@frozen(eq=False)
class _Letter:
    """
    What is to be sent, and for whom.
    """

    headers: Mapping[str, str]
    body: bytes
    whose: Hashable


@define(eq=False)
class _Answer:
    """
    A response whose body is still to come, over a connection.
    """

    response: Any
    taken: Taken


@define(eq=False, repr=False)
class _Door(Destination):
    """
    The way to the host of a request, found when a connection is needed.
    """

    _post: Post
    _host: str
    _port: int
    _scheme: str
    _whose: Hashable
    _handshake: StrictHandshake | None = field(default=None, init=False)

    @property
    def reason(self) -> str:
        """
        Why the host's certificate was not believed.
        """
        return "" if self._handshake is None else self._handshake.reason

    async def reach(self, factory: IProtocolFactory) -> IProtocol:
        """
        See L{Destination}.
        """
        trouble: Exception = FetchError(f"{self._host} has no address")
        for way in await self._post.find_ways(self._host, self._port, self._scheme, self._whose):
            self._handshake = way.handshake
            try:
                return await way.reach(factory)
            except Exception as error:
                if is_cancelled(error):
                    raise CancelledError from error
                # Another address may do.
                trouble = FetchError(f"{self._host} [{way.address}]: {tell_trouble(error)}")
        raise trouble
