"""
Inputs where no coverage guides: pieces of the corpus and words of the grammar, changed here and there. Seeded.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from attrs import define

LONGEST = 4096
"""
Octets of an input.
"""

EDGES = (
    b"\0",
    b"\r",
    b"\n",
    b"\r\n",
    b".",
    b"\t",
    b" ",
    b'"',
    b"\\",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\xc3\xa9",
    b"=",
    b";",
)


@define(eq=False)
class Mutator:
    """
    Makes inputs out of C{seeds} and C{words}.
    """

    seeds: Sequence[bytes]
    words: Sequence[bytes]
    chance: Random

    def make(self) -> bytes:
        """
        The next input.
        """
        data = bytearray(self.chance.choice(self.seeds) if self.seeds else b"")
        for _ in range(self.chance.choice((1, 1, 2, 3, 5, 8))):
            self._change(data)
        return bytes(data[:LONGEST])

    def _change(self, data: bytearray) -> None:
        chance = self.chance
        begin = chance.randint(0, len(data))
        end = min(len(data), begin + chance.choice((0, 1, 1, 2, 4, 16, 64)))
        kind = chance.randrange(6)
        if kind == 0:
            data[begin:end] = b""
        elif kind == 1:
            data[begin:end] = bytes(chance.randrange(256) for _ in range(end - begin))
        elif kind == 2:
            data[begin:begin] = data[begin:end] * chance.choice((1, 2, 30))
        elif kind == 3 and self.seeds:
            other = chance.choice(self.seeds)
            at = chance.randint(0, len(other))
            data[begin:end] = other[at : at + chance.choice((1, 8, 64, 512))]
        else:
            data[begin:end] = chance.choice((*self.words, *EDGES))
