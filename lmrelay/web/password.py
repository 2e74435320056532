"""
The password of the status page at rest: C{scrypt$N$r$p$salt$hash} (RFC 7914), salt and hash in base64.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode, b64encode
from collections.abc import Callable
from hashlib import scrypt

COST, BLOCK, LANES = 16384, 8, 1
"""
A twentieth of a second and 16 MiB for each guess.
"""

LENGTH = 32
SALT = 16
MEMORY = 256 * 1024 * 1024
"""
The most that a hash made elsewhere may cost.
"""


def make_hash(password: str, entropy: Callable[[int], bytes]) -> str:
    """
    The hash of a password, with a salt of its own.
    """
    salt = entropy(SALT)
    hashed = scrypt(password.encode(), salt=salt, n=COST, r=BLOCK, p=LANES, dklen=LENGTH)
    return "$".join(["scrypt", str(COST), str(BLOCK), str(LANES), *(b64encode(one).decode() for one in (salt, hashed))])


def is_password(password: bytes, hashed: str) -> bool:
    """
    Is it that of the hash? Takes long on purpose.

    @raise ValueError: that is no hash, or it would cost too much
    """
    try:
        _, cost, block, lanes, salt, expected = hashed.split("$")
        wanted = b64decode(expected, validate=True)
        numbers = {"n": int(cost), "r": int(block), "p": int(lanes)}
        found = scrypt(password, salt=b64decode(salt, validate=True), dklen=len(wanted), maxmem=MEMORY, **numbers)
    except (ValueError, binascii.Error, OverflowError, MemoryError) as error:
        raise ValueError("http.password_hash is none that can be checked") from error
    return hmac.compare_digest(found, wanted)
