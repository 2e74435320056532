"""
Identifiers: time-ordered, unguessable enough, readable in a log.

A message id is 26 characters of lower-case base 32 (Crockford's alphabet): 48
bits of milliseconds since the epoch, then 80 random bits.
"""

from __future__ import annotations

from collections.abc import Callable

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = tuple(a + b for a in _ALPHABET for b in _ALPHABET)

ID_LENGTH = 26


def make_id(now: float, entropy: Callable[[int], bytes]) -> str:
    """
    A new id at C{now} (seconds since the epoch); C{entropy(n)} gives n random octets.

    Ids sort by time to the millisecond.
    """
    number = int(now * 1000) << 80 | int.from_bytes(entropy(10), "big")
    return "".join(_PAIRS[number >> shift & 1023] for shift in range(120, -1, -10))
