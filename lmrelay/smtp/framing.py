"""
What a client sent and nobody has read yet (RFC 5321 §2.3.8).

Blocks go in as they arrive; command lines, counted octets or all of it come out.
Only CRLF ends a line. Memory is bounded by what is fed before it is read.
"""

from __future__ import annotations

import enum

from attrs import define, field, frozen

COMMAND_LIMIT = 2048
AUTH_LIMIT = 12288
VERB = 5


class Flaw(enum.Enum):
    """
    What is wrong with a line. C{TOO_LONG}: its octets are lost, but for the first five (they tell the verb).
    """

    TOO_LONG = "too long"
    BARE_NEWLINE = "bare newline"
    NUL = "NUL"


@frozen
class Line:
    """
    A line without its CRLF. One with a flaw is to be refused, never carried out.
    """

    octets: bytes
    flaw: Flaw | None = None


@define(eq=False)
class InputBuffer:
    """
    The octets between the socket and the session.

    While DATA is read, blocks go to its reader directly: L{take_all} at its start
    gives what came early, L{give_back} at its end keeps what came after it.
    """

    _octets: bytearray = field(factory=bytearray)
    _scanned: int = 0
    _dropping: bool = False
    _begin: bytes = b""

    def feed(self, block: bytes) -> None:
        """
        Add what arrived.
        """
        self._octets += block

    def next_line(self, limit: int = COMMAND_LIMIT) -> Line | None:
        """
        Take out the next line, or None while it is not whole.

        One of over C{limit} octets, CRLF included, is dropped as it arrives and reported
        once, as C{TOO_LONG}, when its CRLF came.
        """
        # Only what is new is searched, and the one octet before it that may be the CR.
        end = self._octets.find(b"\r\n", max(self._scanned - 1, 0))
        if end < 0:
            self._wait_for_more(limit)
            return None
        size = end + 2
        too_long = self._dropping or size > limit
        octets = self.take(size)[:-2]
        begin = self._begin if self._dropping else octets[:VERB]
        self._dropping = False
        return Line(begin, Flaw.TOO_LONG) if too_long else Line(octets, _flaw(octets))

    def _wait_for_more(self, limit: int) -> None:
        if self._dropping or len(self._octets) >= limit:
            if not self._dropping:
                self._dropping, self._begin = True, bytes(self._octets[:VERB])
            del self._octets[: len(self._octets) - self._octets.endswith(b"\r")]
        self._scanned = len(self._octets)

    def take(self, count: int) -> bytes:
        """
        Take out the next C{count} octets, or as many as there are.
        """
        octets = bytes(self._octets[:count])
        del self._octets[:count]
        self._scanned = 0
        return octets

    def take_all(self) -> bytes:
        """
        Take out everything.
        """
        return self.take(len(self._octets))

    def give_back(self, rest: bytes) -> None:
        """
        Put octets in front of all others: the next line begins with them.
        """
        self._octets[:0] = rest
        self._scanned = 0

    def clear(self) -> None:
        """
        Forget everything. To be called before TLS begins, else what was sent in clear
        would be carried out inside it.
        """
        self._octets.clear()
        self._scanned = 0
        self._dropping = False

    @property
    def pending(self) -> int:
        """
        How many octets wait.
        """
        return len(self._octets)


def _flaw(octets: bytes) -> Flaw | None:
    if b"\n" in octets or b"\r" in octets:
        return Flaw.BARE_NEWLINE
    return Flaw.NUL if b"\0" in octets else None
