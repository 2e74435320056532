"""
Tokens: made, told apart from mistyped ones, and digested.

C{lmr_<id>_<secret>}: 12 and 40 of C{[A-Za-z0-9]}; the last 6 of the secret are the
CRC-32 of everything before them in base 62.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import zlib
from collections.abc import Callable

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SHAPE = re.compile(r"([A-Za-z0-9]{12})_[A-Za-z0-9]{40}", re.ASCII)
_FOREIGN = re.compile(r"[!-~]{16,}", re.ASCII)
_ID, _RANDOM, _CHECK = 12, 34, 6

Entropy = Callable[[int], bytes]


def _letters(count: int, entropy: Entropy) -> str:
    found = ""
    while len(found) < count:
        # 248 is 4 * 62: the octets above it would make some letters likelier.
        found += "".join(_ALPHABET[octet % 62] for octet in entropy(count) if octet < 248)
    return found[:count]


def _checksum(text: str) -> str:
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(_CHECK):
        number, digit = divmod(number, 62)
        digits = _ALPHABET[digit] + digits
    return digits


def make_token(prefix: str, entropy: Entropy) -> tuple[str, str]:
    """
    A new token and its id; C{entropy(n)} gives n random octets.
    """
    token_id = _letters(_ID, entropy)
    body = f"{prefix}{token_id}_{_letters(_RANDOM, entropy)}"
    return body + _checksum(body), token_id


def is_mistyped(token: str, prefix: str) -> bool:
    """
    Whether C{token} begins as our own do and cannot be one: cut, longer, or altered.
    """
    if not prefix or not token.startswith(prefix):
        return False
    if not _SHAPE.fullmatch(token[len(prefix) :]):
        return True
    return not hmac.compare_digest(_checksum(token[:-_CHECK]), token[-_CHECK:])


def is_foreign(token: str) -> bool:
    """
    Whether C{token} can be imported: at least 16 printable characters, no space.
    """
    return _FOREIGN.fullmatch(token) is not None


def digest(token: str) -> str:
    """
    The SHA-256 that the project's file keeps, as 64 hexadecimal digits.
    """
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
