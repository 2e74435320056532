"""
Identifiers: time-ordered, unguessable enough, readable in a log.

A message id is 26 characters of lower-case base 32 (Crockford's alphabet): 48
bits of milliseconds since the epoch, then 80 random bits.
"""

from __future__ import annotations

from collections.abc import Callable

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = tuple(a + b for a in _ALPHABET for b in _ALPHABET)
_SHIFTS = tuple(range(120, -1, -10))

ID_LENGTH = 26


def make_id(now: float, entropy: Callable[[int], bytes]) -> str:
    """
    A new id at C{now} (seconds since the epoch); C{entropy(n)} gives n random octets.

    Ids sort by time to the millisecond.
    """
    number = int(now * 1000) << 80 | int.from_bytes(entropy(10), "big")
    return "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])


def first_id(now: float) -> str:
    """
    The least id that can be made at C{now}.
    """
    return make_id(max(now, 0.0), bytes)


def read_time(id_: str) -> float:
    """
    When an id was made, to the millisecond.

    @raise ValueError: it is none
    """
    number = 0
    for letter in id_[:10]:
        number = number << 5 | _ALPHABET.index(letter)
    return number / 1000
