"""
The server's side of PLAIN, LOGIN and CRAM-MD5 (RFC 4616, RFC 2195) without I/O.

Responses go in with their base64 undone; a challenge or credentials for the portal come out.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Callable
from typing import Protocol, Union

from attrs import define, field, frozen
from zope.interface import implementer

from lmrelay.errors import Refused
from lmrelay.interfaces import ICramCredentials, ITokenCredentials
from lmrelay.smtp import replies

RESPONSE_LIMIT = 12288

_BASE64 = re.compile(rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_DIGEST = re.compile(rb"[0-9a-f]{32}")


@implementer(ITokenCredentials)
@frozen
class TokenCredentials:
    """
    User name and token, as PLAIN or LOGIN gave them.
    """

    username: bytes
    password: bytes = field(repr=False)
    address: str = ""

    def checkPassword(self, password: bytes) -> bool:
        """
        Is it that token?
        """
        return hmac.compare_digest(self.password, password)


@implementer(ICramCredentials)
@frozen
class CramCredentials:
    """
    A CRAM-MD5 answer and the challenge it answers.
    """

    username: bytes
    challenge: bytes
    response: bytes = field(repr=False)
    address: str = ""

    def checkPassword(self, password: bytes) -> bool:
        """
        Was the digest keyed with that token?
        """
        digest = hmac.new(password, self.challenge, "md5").hexdigest().encode("ascii")
        return hmac.compare_digest(digest, self.response)


Credentials = Union[TokenCredentials, CramCredentials]


@frozen
class Challenge:
    """
    What the client is to answer next; base64 is not yet done.
    """

    octets: bytes


Step = Union[Challenge, Credentials]


class Exchange(Protocol):
    """
    One run of a mechanism.
    """

    def begin(self, initial: bytes | None) -> Step:
        """
        The first step; C{initial} is the initial response, None without one.

        @raise Refused: it is not valid (501, 535)
        """

    def respond(self, response: bytes) -> Step:
        """
        The step after a response.

        @raise Refused: it is not valid (501, 535)
        """


@define(eq=False)
class Plain:
    """
    RFC 4616: all in one response.
    """

    address: str

    def begin(self, initial: bytes | None) -> Step:
        return Challenge(b"") if initial is None else self.respond(initial)

    def respond(self, response: bytes) -> Step:
        parts = response.split(b"\0")
        if len(parts) != 3:
            raise Refused(replies.AUTH_NOT_BASE64, "PLAIN needs three parts")
        authzid, username, password = parts
        # A token stands for its own project only: acting for somebody else is never granted.
        if authzid not in (b"", username) or not username or not password:
            raise Refused(replies.AUTH_INVALID, "authorization identity or an empty part")
        return TokenCredentials(username, password, self.address)


@define(eq=False)
class Login:
    """
    The mechanism without an RFC: user name, then password, each asked for.
    """

    address: str
    _username: bytes | None = None

    def begin(self, initial: bytes | None) -> Step:
        return Challenge(b"Username:") if initial is None else self.respond(initial)

    def respond(self, response: bytes) -> Step:
        if self._username is None:
            self._username = response
            return Challenge(b"Password:")
        if not self._username or not response:
            raise Refused(replies.AUTH_INVALID, "an empty part")
        return TokenCredentials(self._username, response, self.address)


@define(eq=False)
class CramMd5:
    """
    RFC 2195: a challenge, and a digest of it keyed with the token.
    """

    address: str
    challenge: bytes

    def begin(self, initial: bytes | None) -> Step:
        # The server speaks first in this one (RFC 4954 §4): nothing can answer an unknown challenge.
        if initial is not None:
            raise Refused(replies.BAD_ARGUMENT, "CRAM-MD5 takes no initial response")
        return Challenge(self.challenge)

    def respond(self, response: bytes) -> Step:
        username, _, digest = response.rpartition(b" ")
        digest = digest.lower()
        if not username or not _DIGEST.fullmatch(digest):
            raise Refused(replies.AUTH_INVALID, "not a user name and a digest")
        return CramCredentials(username, self.challenge, digest, self.address)


def make_challenge(hostname: str, now: float, entropy: Callable[[int], bytes]) -> bytes:
    """
    A challenge that never comes twice (RFC 2195 §2), in the form of a message id.
    """
    return f"<{entropy(12).hex()}.{int(now)}@{hostname}>".encode("ascii", "replace")


def encode(octets: bytes) -> str:
    """
    Base64 for the wire.
    """
    return base64.b64encode(octets).decode("ascii")


def decode(response: bytes) -> bytes:
    """
    Strict base64 undone (RFC 4648 §4): junk, missing padding and spaces are errors.

    @raise Refused: it is C{*} (501 5.7.0), too long (500 5.5.6), or no base64 (501 5.5.2)
    """
    if response == b"*":
        raise Refused(replies.AUTH_CANCELLED)
    if len(response) > RESPONSE_LIMIT:
        raise Refused(replies.AUTH_LINE_TOO_LONG)
    if not _BASE64.fullmatch(response):
        raise Refused(replies.AUTH_NOT_BASE64)
    try:
        return binascii.a2b_base64(response)
    except binascii.Error as error:
        raise Refused(replies.AUTH_NOT_BASE64) from error


def decode_initial(initial: str | None) -> bytes | None:
    """
    The initial response of AUTH; C{=} is an empty one (RFC 4954 §4).

    @raise Refused: as L{decode}
    """
    if initial is None:
        return None
    return b"" if initial == "=" else decode(initial.encode("utf-8"))
