"""
Fetching a policy file from its domain's policy host (RFC 8461 §3.3), which anybody's domain may have us do.

So it goes to public addresses only, over TLS that proves the host, to one fixed path, without following anywhere, and
what it takes of time and memory is bounded.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import treq
from attrs import define, field
from OpenSSL import SSL
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.web.client import Agent
from twisted.web.http_headers import Headers

from lmrelay.errors import FetchError
from lmrelay.https import Plain, Way, tell_trouble
from lmrelay.interfaces import ISettings
from lmrelay.mail.outcome import Delayed
from lmrelay.outbound.route import Router
from lmrelay.outbound.sts import MAX_OCTETS
from lmrelay.trust import Contexts, StrictHandshake

PATH = "/.well-known/mta-sts.txt"

TIMEOUT = 60.0
"""
Seconds for all of it (RFC 8461 §3.3).
"""

MAX_HEAD = 32 * 1024
"""
Octets of a response beyond the policy itself.
"""


@define(eq=False)
class PolicyHosts:
    """
    The policy hosts of all domains, on C{port}.
    """

    reactor: Any
    clock: IReactorTime
    settings: ISettings
    router: Router
    port: int = 443
    _contexts: Contexts = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._contexts = Contexts(self.settings)

    async def fetch(self, domain: str, whose: Hashable = None) -> bytes:
        """
        The policy file of C{domain} (A-labels), at most 64 KiB.

        @param whose: for whom the DNS is asked, as L{IResolver.query} has it
        @raise FetchError: it is not to be had
        """
        fetching: Deferred[bytes] = Deferred.fromCoroutine(self._fetch(f"mta-sts.{domain}", whose))
        try:
            return await fetching.addTimeout(TIMEOUT, self.clock)
        except TimeoutError as error:
            raise FetchError(f"it took longer than {TIMEOUT:.0f} s") from error

    async def _fetch(self, host: str, whose: Hashable) -> bytes:
        found = await self.router.find_addresses(host, self.settings.config.delivery.allow_networks, whose)
        if isinstance(found, Delayed):
            raise FetchError(found.text)
        deadline = self.clock.seconds() + TIMEOUT
        trouble = FetchError(f"{host} has no address" + (" that may be connected to" if found.barred else ""))
        for address in found.addresses:
            if self.clock.seconds() >= deadline:
                break
            try:
                return await self._get(host, address)
            except _Unreached as error:
                trouble = error
        raise trouble

    async def _get(self, host: str, address: str) -> bytes:
        try:
            handshake = StrictHandshake(host, self._contexts.get(True))
        except (OSError, SSL.Error) as error:
            raise FetchError(f"the certificate authorities cannot be read: {error}") from error
        way = Way(self.reactor, self.clock, address, self.port, handshake, MAX_OCTETS + MAX_HEAD)
        agent = Plain(Agent.usingEndpointFactory(self.reactor, way))
        port = "" if self.port == 443 else f":{self.port}"
        try:
            response = await HTTPClient(agent).get(
                f"https://{host}{port}{PATH}",
                headers=Headers({"Accept": ["text/plain"]}),
                allow_redirects=False,
                unbuffered=True,
                reactor=self.reactor,
            )
            return await _read(response)
        except (CancelledError, FetchError):
            raise
        except Exception as error:
            kind = FetchError if way.is_connected else _Unreached
            raise kind(f"{host} [{address}]: {handshake.reason or tell_trouble(error)}") from error
        finally:
            # Whatever it still has to say, nobody listens.
            way.abort()


class _Unreached(FetchError):
    """
    There was no connection; another address may do.
    """


async def _read(response: Any) -> bytes:
    if response.code != 200:
        # Redirects are not followed, else a web application's open one would do for an attacker.
        raise FetchError(f"the answer was {response.code}")
    kinds = response.headers.getRawHeaders("content-type", [""])
    if kinds[-1].partition(";")[0].strip().lower() != "text/plain":
        raise FetchError(f"it is {kinds[-1] or 'of no type'}, not text/plain")
    gathered = bytearray()

    def gather(octets: bytes) -> None:
        gathered.extend(octets)
        if len(gathered) > MAX_OCTETS:
            raise FetchError(f"it has more than {MAX_OCTETS} octets")

    await treq.collect(response, gather)
    return bytes(gathered)
