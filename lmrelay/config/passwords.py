"""
The form of a password at rest: C{scrypt$N$r$p$salt$hash} (RFC 7914), salt and hash in base64.
"""

from __future__ import annotations

import re
from base64 import b64decode

from attrs import frozen

MOST_WORK = 1 << 21
"""
N times r times p: a second of a processor, and 256 MiB, for each guess.
"""

LEAST_HASH = 16
"""
Octets: less is guessed, or was cut off when it was copied.
"""

_NUMBER = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)


@frozen
class PasswordHash:
    """
    What scrypt was given, and what came of it.
    """

    cost: int
    block: int
    lanes: int
    salt: bytes
    hash: bytes


def read_hash(text: str) -> PasswordHash:
    """
    A hash of that form that can be checked.

    @raise ValueError: it is none, and why
    """
    words = text.split("$")
    if len(words) != 6 or words[0] != "scrypt":
        raise ValueError("expected what `lmrelay status password` makes, scrypt$…")
    if not all(map(_NUMBER.fullmatch, words[1:4])):
        raise ValueError("expected three numbers behind scrypt$, as `lmrelay status password` makes them")
    cost, block, lanes = map(int, words[1:4])
    if cost < 2 or cost & (cost - 1) or cost.bit_length() > 16 * block:
        raise ValueError("expected a power of two behind scrypt$, more than 1 (RFC 7914)")
    if cost * block * lanes > MOST_WORK:
        raise ValueError(f"would take too long to check: the three numbers make {MOST_WORK} at most, multiplied")
    try:
        salt, hashed = (b64decode(word, validate=True) for word in words[4:])
    except ValueError as error:
        raise ValueError("expected salt and hash in base64, as `lmrelay status password` makes them") from error
    if not salt or len(hashed) < LEAST_HASH:
        raise ValueError(f"expected a salt, and a hash of {LEAST_HASH} octets at least: was some of it cut off?")
    return PasswordHash(cost, block, lanes, salt, hashed)
