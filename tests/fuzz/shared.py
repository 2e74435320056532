"""
What targets share: octets in pieces, and sentences out of words.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator, Sequence

from hypothesis import strategies as st

OCTET_BY_OCTET = 600
"""
Octets up to which data is mostly cut between all of them too.
"""


def cuts(data: bytes, octet_by_octet: int = OCTET_BY_OCTET) -> Iterator[list[bytes]]:
    """
    The data in pieces: octet by octet where it is no longer than so many, and at places that hang on the data alone, so
    that a failure comes again.
    """
    if len(data) <= octet_by_octet:
        yield [data[at : at + 1] for at in range(len(data))]
    chance = random.Random(zlib.crc32(data))
    for longest in (3, 40):
        pieces = []
        at = 0
        while at < len(data):
            size = chance.randint(1, longest)
            pieces.append(data[at : at + size])
            at += size
        yield pieces


def take_octets(data: bytes, count: int) -> tuple[bytes, bytes]:
    """
    The first so many octets (padded with zeros), by which a target chooses what it does, and the rest.
    """
    return data[:count].ljust(count, b"\0"), data[count:]


def sentences(
    words: Sequence[bytes], most: int = 12, prefix: st.SearchStrategy[bytes] | None = None
) -> st.SearchStrategy[bytes]:
    """
    Words of a grammar in any order, with octets of any kind among them.
    """
    pieces = st.lists(st.one_of(st.sampled_from(list(words)), st.binary(max_size=4)), max_size=most).map(b"".join)
    return pieces if prefix is None else st.tuples(prefix, pieces).map(b"".join)


def choices(count: int) -> st.SearchStrategy[bytes]:
    """
    The octets that L{take_octets} takes.
    """
    return st.binary(min_size=count, max_size=count)
