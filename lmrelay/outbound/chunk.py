"""
Small contents in one piece, for servers that take them so (CHUNKING, RFC 3030).

By DATA a message waits twice for the server: for 354 and for the end. In one stroke with its commands it waits once,
and over a long way that is most of a delivery.
"""

from __future__ import annotations

from lmrelay.interfaces import IContent, Leased
from lmrelay.smtp.extensions import Extensions

MAX_CHUNK = 64 * 1024
"""
Octets. More would often be sent in vain, to servers that turn out to refuse the recipients.
"""


NEEDED = frozenset({"CHUNKING", "PIPELINING", "ENHANCEDSTATUSCODES"})


def takes_chunk(leased: Leased, extensions: Extensions) -> bool:
    """
    Is the message small, and does the server take it without waiting in between? It also has to say by enhanced codes
    what it answers (RFC 2034): no 354 shows then that its replies are in step with our commands.

    What was tried before goes by DATA: a server, or what stands before it, that offers BDAT and stumbles over it would
    never get the message else.
    """
    if leased.size > MAX_CHUNK or not extensions.keys() >= NEEDED:
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
