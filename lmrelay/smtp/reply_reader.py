"""
The replies of a remote server, bounded: octets in, L{Reply}s out (RFC 5321 §4.2.1).

A lone LF ends a line too, as it does for all clients: a reply has nothing to smuggle in.
"""

from __future__ import annotations

from attrs import define

from lmrelay.smtp.reply import Reply

LINE_LIMIT = 4096
LINES_LIMIT = 128


@define(eq=False)
class ReplyReader:
    """
    Reads the replies of one connection.
    """

    def feed(self, block: bytes) -> list[Reply]:
        """
        The replies that are whole with this block.

        @raise SyntaxRefused: this is no SMTP server's talk; the connection is of no more use
        """
        raise NotImplementedError

    @property
    def pending(self) -> bool:
        """
        Has part of a reply been read? After the 220 of STARTTLS it must not (RFC 3207).
        """
        raise NotImplementedError
