"""
What a client sent and nobody has read yet (RFC 5321 §2.3.8).

Blocks go in as they arrive; command lines, counted octets or all of it come out.
Only CRLF ends a line. Memory is bounded by what is fed before it is read.
"""

from __future__ import annotations

import enum

from attrs import define, frozen

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

    _octets: bytes = b""
    _at: int = 0
    _scanned: int = 0
    _dropping: bool = False
    _begin: bytes = b""

    def feed(self, block: bytes) -> None:
        """
        Add what arrived.
        """
        # Mostly all that came before was taken, and the block is kept as it is.
        self._octets = self._octets[self._at :] + block if self._at < len(self._octets) else block
        self._scanned = max(self._scanned - self._at, 0)
        self._at = 0

    def next_line(self, limit: int = COMMAND_LIMIT) -> Line | None:
        """
        Take out the next line, or None while it is not whole.

        One of over C{limit} octets, CRLF included, is dropped as it arrives and reported
        once, as C{TOO_LONG}, when its CRLF came.
        """
        # Only what is new is searched, and the one octet before it that may be the CR.
        at = self._at
        end = self._octets.find(b"\r\n", self._scanned - 1 if self._scanned > at else at)
        if end < 0:
            self._wait_for_more(limit)
            return None
        octets = self._octets[at:end]
        if end + 2 == len(self._octets):
            self._octets, self._at, self._scanned = b"", 0, 0
        else:
            self._at = self._scanned = end + 2
        if self._dropping or end + 2 - at > limit:
            begin = self._begin if self._dropping else octets[:VERB]
            self._dropping = False
            return Line(begin, Flaw.TOO_LONG)
        if b"\n" in octets or b"\r" in octets:
            return Line(octets, Flaw.BARE_NEWLINE)
        return Line(octets, Flaw.NUL) if b"\0" in octets else Line(octets)

    def _wait_for_more(self, limit: int) -> None:
        if self._dropping or self.pending >= limit:
            waiting = self.take_all()
            if not self._dropping:
                self._dropping, self._begin = True, waiting[:VERB]
            self._octets = b"\r" if waiting.endswith(b"\r") else b""
        self._scanned = len(self._octets)

    def take(self, count: int) -> bytes:
        """
        Take out the next C{count} octets, or as many as there are.
        """
        if count >= self.pending:
            return self.take_all()
        octets = self._octets[self._at : self._at + count]
        self._at += count
        return octets

    def take_all(self) -> bytes:
        """
        Take out everything.
        """
        octets = self._octets[self._at :]
        self._octets, self._at, self._scanned = b"", 0, 0
        return octets

    def give_back(self, rest: bytes) -> None:
        """
        Put octets in front of all others: the next line begins with them.
        """
        self._octets, self._at, self._scanned = rest + self._octets[self._at :], 0, 0

    def clear(self) -> None:
        """
        Forget everything. To be called before TLS begins, else what was sent in clear
        would be carried out inside it.
        """
        self._octets, self._at, self._scanned = b"", 0, 0
        self._dropping = False

    @property
    def pending(self) -> int:
        """
        How many octets wait.
        """
        return len(self._octets) - self._at
