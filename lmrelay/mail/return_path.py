"""
Signed envelope senders, one for each recipient: C{bounces+ID.NUMBER.SIGNATURE@DOMAIN}.

What comes back to such an address tells by it which recipient it is about, whatever the sender of a report wrote.
Nobody can make one for mail that was not sent. Upper and lower case are the same, for some servers change it.
"""

from __future__ import annotations

import hmac
import re
from base64 import b32encode
from hashlib import sha256

from attrs import frozen

from lmrelay.errors import SyntaxRefused
from lmrelay.ids import ID_LENGTH
from lmrelay.mail.address import MAX_LOCAL, Address

PREFIX = "bounces+"

MAX_NUMBER = 0xFFFFF
"""
The highest number of a recipient that leaves room for a whole signature.
"""

_SIGNATURE_OCTETS = 14
"""
Of the 32 that HMAC-SHA256 gives: 112 bits, over the least of RFC 2104 §5 (80), and what a local part has room for.
"""

_LABEL = b"lmrelay return path 1"
_LOCAL = re.compile(rf"{re.escape(PREFIX)}([0-9a-hjkmnp-tv-z]{{{ID_LENGTH}}})\.([0-9a-f]{{1,5}})\.([a-z2-7]{{23}})")


@frozen
class Origin:
    """
    Whom a signed address is about: a recipient, by its number in a message.
    """

    message_id: str
    number: int


def derive_key(server_key: bytes) -> bytes:
    """
    The key that addresses are signed with, from which the server's own cannot be found.
    """
    return hmac.new(server_key, _LABEL, sha256).digest()


def make_return_path(server_key: bytes, domain: str, message_id: str, number: int) -> Address:
    """
    The envelope sender of one recipient of a message; the same for each of its attempts.

    @param domain: in A-labels and lower case, as the configuration has it
    @raise SyntaxRefused: the id or the number is none that an address has room for
    """
    local = f"{PREFIX}{message_id}.{number:x}.{_sign(server_key, domain, message_id, number)}"
    if len(local) > MAX_LOCAL or not _LOCAL.fullmatch(local):
        raise SyntaxRefused("no recipient that an address can be signed for")
    return Address(local, domain)


def read_return_path(server_key: bytes, address: Address) -> Origin:
    """
    Whom an address is about, in whatever case it came back.

    Whether that recipient is still remembered, its message may be long forgotten, the store knows.

    @raise SyntaxRefused: it was not made with this key for this domain, or is none of these
    """
    match = _LOCAL.fullmatch(address.local.lower()) if address.is_ascii else None
    if match is None or not server_key:
        raise SyntaxRefused("no signed address")
    message_id, number, signature = match[1], int(match[2], 16), match[3]
    expected = _sign(server_key, address.ascii_domain, message_id, number)
    # One number is one address: leading zeros would be others, with the same signature.
    if not hmac.compare_digest(expected, signature) or match[2] != f"{number:x}":
        raise SyntaxRefused("the address was not signed with this key")
    return Origin(message_id, number)


def _sign(server_key: bytes, domain: str, message_id: str, number: int) -> str:
    # No id and no domain has a NUL, so no two of these are the same octets.
    said = "\0".join((domain, message_id, str(number))).encode()
    digest = hmac.new(derive_key(server_key), said, sha256).digest()
    return b32encode(digest[:_SIGNATURE_OCTETS]).decode("ascii").rstrip("=").lower()
