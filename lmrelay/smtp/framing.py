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


class Flaw(enum.Enum):
    """
    What is wrong with a line. C{TOO_LONG}: its octets are lost.
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
    """

    def feed(self, block: bytes) -> None:
        """
        Add what arrived.
        """
        raise NotImplementedError

    def next_line(self, limit: int = COMMAND_LIMIT) -> Line | None:
        """
        Take out the next line, or None while it is not whole.

        One of over C{limit} octets, CRLF included, is dropped as it arrives and reported
        once, empty and C{TOO_LONG}, when its CRLF came.
        """
        raise NotImplementedError

    def take(self, count: int) -> bytes:
        """
        Take out the next C{count} octets, or as many as there are.
        """
        raise NotImplementedError

    def take_all(self) -> bytes:
        """
        Take out everything, uncopied where it is one block: for the reader of DATA, whose C{rest} then goes to L{give_back}.
        """
        raise NotImplementedError

    def give_back(self, rest: bytes) -> None:
        """
        Put octets in front of all others: the next line begins with them.
        """
        raise NotImplementedError

    def clear(self) -> None:
        """
        Forget everything. To be called before TLS begins, else what was sent in clear would be carried out inside it.
        """
        raise NotImplementedError

    @property
    def pending(self) -> int:
        """
        How many octets wait.
        """
        raise NotImplementedError
