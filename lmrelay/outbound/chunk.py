"""
Contents in one piece, for servers that take them so (CHUNKING, RFC 3030).

By DATA a message waits twice for the server: for 354 and for the end. In one stroke with its commands a small one waits
once, and over a long way that is most of a delivery. A larger one waits as often as by DATA, but leaves as it is: its
octets need not be gone through for dots and line endings.
"""

from __future__ import annotations

from attrs import define
from twisted.internet.defer import Deferred, succeed

from lmrelay.interfaces import IContent, Leased
from lmrelay.smtp.extensions import Extensions

MAX_CHUNK = 256 * 1024
"""
Octets. What is larger is read and sent in blocks, as the receiver takes them.
"""

MAX_STROKE = 64 * 1024
"""
Octets that go out with the commands before them. More would often be sent in vain, to servers that turn out to refuse
the recipients.
"""


@define(eq=False)
class Whole:
    """
    A content in one block, to be read as any.
    """

    octets: bytes

    def read(self) -> Deferred[bytes]:
        """
        All of it, and then the end.
        """
        octets, self.octets = self.octets, b""
        return succeed(octets)


def takes_chunk(leased: Leased, extensions: Extensions) -> bool:
    """
    Is the message small enough, and does the server take it in one piece?

    What was tried before goes by DATA: a server, or what stands before it, that offers BDAT and stumbles over it would
    never get the message else.
    """
    if leased.size > MAX_CHUNK or "CHUNKING" not in extensions or "PIPELINING" not in extensions:
        return False
    return not [recipient for recipient in leased.recipients if recipient.attempts]


async def read_whole(content: IContent) -> bytes:
    """
    All of a content.

    It fails with L{lmrelay.errors.StoreError}.
    """
    blocks = []
    while block := await content.read():
        blocks.append(block)
    return b"".join(blocks)
