"""
Who may see the status page: those who know the password, under a name that is the relay's own.

The name guards against DNS rebinding: a page of anybody's, open in an operator's browser, can have its own name
resolve to this address, and would be of one origin with what it reads. The password comes by HTTP Basic (RFC 7617).
"""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode
from collections.abc import Callable
from hashlib import sha256
from ipaddress import ip_address

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.server import Request

from lmrelay.config.values import Config
from lmrelay.interfaces import ISettings
from lmrelay.web.door import Answer, read_field, say
from lmrelay.web.metrics import run_apart
from lmrelay.web.password import is_password

GUESSES = 10
REFILL = 6.0
"""
Passwords that may be wrong at once, and seconds until there may be one more.
"""

MAX_PASSWORD = 1024

ASK = 'Basic realm="lmrelay", charset="UTF-8"'

log = Logger()


def is_own_name(host: str, config: Config) -> bool:
    """
    Is what stands in C{Host} this relay: an address, a name without a dot, which nobody else's can be, or its own?
    """
    name = host.lower()
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    elif ":" in name:
        name = name.rpartition(":")[0]
    try:
        ip_address(name)
    except ValueError:
        return bool(name) and ("." not in name or name.rstrip(".") == config.server.hostname.lower())
    return True


def is_foreign(request: Request) -> bool:
    """
    Does another site's page load this one as a part of itself, or in a script? A link to here is no such thing.

    It could not read what comes, but it could have the relay search for as long as it is open, and tell from the time
    that takes what is found. Browsers say so themselves (the Fetch Metadata headers of the W3C).
    """
    site, use = read_field(request, "Sec-Fetch-Site"), read_field(request, "Sec-Fetch-Dest")
    return site in ("cross-site", "same-site") and use != "document"


def read_password(field: str) -> bytes | None:
    """
    The password in an C{Authorization} field; None: there is none. The user name may be any.
    """
    scheme, _, encoded = field.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        _, colon, password = b64decode(encoded.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return None
    return password[:MAX_PASSWORD] if colon else None


@define(eq=False)
class Guard:
    """
    C{check} gives what a stranger is answered. A password that was right is known again without its cost: by a keyed
    digest, so that none lies in memory.
    """

    _reactor: IReactorTime
    _settings: ISettings
    _entropy: Callable[[int], bytes]
    _key: bytes = field(init=False)
    _known: tuple[str, bytes] = field(default=("", b""), init=False)
    _guesses: float = field(default=GUESSES, init=False)
    _refilled_at: float = field(init=False)

    @_key.default
    def _make_key(self) -> bytes:
        return self._entropy(32)

    @_refilled_at.default
    def _start(self) -> float:
        return self._reactor.seconds()

    async def check(self, request: Request) -> Answer | None:
        """
        None: it may be answered.
        """
        config: Config = self._settings.config
        if not is_own_name(read_field(request, "Host"), config):
            return say(f"ask by address, or as {config.server.hostname}", 421)
        if is_foreign(request):
            return say("this page is no part of another", 403)
        hashed = config.http.password_hash
        if not hashed:
            return None
        password = read_password(read_field(request, "Authorization"))
        if password is None:
            return _ask()
        digest = hmac.digest(self._key, password, sha256)
        # Whoever is logged in stays so while somebody else guesses.
        if self._known[0] == hashed and hmac.compare_digest(self._known[1], digest):
            return None
        return await self._weigh(request, password, hashed, digest)

    async def _weigh(self, request: Request, password: bytes, hashed: str, digest: bytes) -> Answer | None:
        if not self._may_guess():
            return say("too many wrong passwords; try again in a minute", 429, **{"Retry-After": "60"})
        if await run_apart(self._reactor, lambda: is_password(password, hashed)):
            self._guesses = min(GUESSES, self._guesses + 1)
            self._known = (hashed, digest)
            return None
        log.warn("wrong password for the status page", peer=getattr(request.getClientAddress(), "host", ""))
        return _ask()

    def _may_guess(self) -> bool:
        # Taken before it is weighed, else many at once would all be weighed.
        now = self._reactor.seconds()
        self._guesses = min(GUESSES, self._guesses + (now - self._refilled_at) / REFILL)
        self._refilled_at = now
        if self._guesses < 1:
            return False
        self._guesses -= 1
        return True


def _ask() -> Answer:
    return say("the status page has a password", 401, **{"WWW-Authenticate": ASK})
