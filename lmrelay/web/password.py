"""
The password of the status page: hashed, and compared with its hash.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Callable
from hashlib import scrypt

from lmrelay.config.passwords import read_hash

COST, BLOCK, LANES = 16384, 8, 1
"""
A twentieth of a second and 16 MiB for each guess.
"""

LENGTH = 32
SALT = 16
MEMORY = 512 * 1024 * 1024
"""
More than any hash that is read may cost.
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

    @raise ValueError: that is no hash
    """
    known = read_hash(hashed)
    numbers = {"n": known.cost, "r": known.block, "p": known.lanes}
    found = scrypt(password, salt=known.salt, dklen=len(known.hash), maxmem=MEMORY, **numbers)
    return hmac.compare_digest(found, known.hash)
