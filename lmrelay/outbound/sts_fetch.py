"""
Fetching a policy file from its domain's policy host (RFC 8461 §3.3): from one fixed path, and not too much of it.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import treq
from attrs import define
from treq.client import HTTPClient
from twisted.web.http_headers import Headers

from lmrelay.errors import FetchError
from lmrelay.outbound.https import Https
from lmrelay.outbound.sts import MAX_OCTETS

PATH = "/.well-known/mta-sts.txt"


@define(eq=False)
class PolicyHosts:
    """
    The policy hosts of all domains, on C{port}.
    """

    https: Https
    port: int = 443

    async def fetch(self, domain: str, whose: Hashable = None) -> bytes:
        """
        The policy file of C{domain} (A-labels), at most 64 KiB.

        @param whose: for whom the DNS is asked, as L{IResolver.query} has it
        @raise FetchError: it is not to be had; L{UnprovedError}: for the host's certificate
        """
        host = f"mta-sts.{domain}"

        async def get(client: HTTPClient) -> bytes:
            port = "" if self.port == 443 else f":{self.port}"
            return await _read(
                await client.get(
                    f"https://{host}{port}{PATH}",
                    headers=Headers({"Accept": ["text/plain"]}),
                    allow_redirects=False,
                    unbuffered=True,
                    reactor=self.https.reactor,
                )
            )

        return await self.https.ask(host, self.port, get, whose)


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
