"""
Contents in one piece, for servers that take them so (CHUNKING, RFC 3030).

By DATA a message waits twice for the server: for 354 and for the end. In one stroke with its commands a small one waits
once, and over a long way that is most of a delivery. A larger one waits as often as by DATA, but leaves as it is: its
octets need not be gone through for dots and line endings.
"""

from __future__ import annotations

from attrs import define, field

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

STALE = 0.5
"""
Seconds of rest after which a server may well be closing the connection: what goes out with the commands then may have
been taken or not, and cannot be sent again at once.
"""

MAX_CHUNKLESS = 1000
"""
Hosts that are remembered to offer CHUNKING in vain.
"""

NEEDED = frozenset({"CHUNKING", "PIPELINING", "ENHANCEDSTATUSCODES"})


def takes_chunk(leased: Leased, extensions: Extensions) -> bool:
    """
    Is the message small enough, and does the server take it in one piece? It also has to say by enhanced codes what it
    answers (RFC 2034): no 354 shows then that its replies are in step with our commands.

    What was tried before goes by DATA: a server, or what stands before it, that offers BDAT and stumbles over it would
    never get the message else.
    """
    if leased.size > MAX_CHUNK or not extensions.keys() >= NEEDED:
        return False
    return not [recipient for recipient in leased.recipients if recipient.attempts]


@define(eq=False)
class Chunkless:
    """
    The hosts that offer CHUNKING in vain, as far as was found out lately.
    """

    _hosts: dict[str, None] = field(factory=dict, init=False)

    def add(self, host: str) -> None:
        """
        Its mail goes by DATA from now on, until that of so many others does.
        """
        self._hosts[host] = None
        if len(self._hosts) > MAX_CHUNKLESS:
            del self._hosts[next(iter(self._hosts))]

    def __contains__(self, host: str) -> bool:
        return host in self._hosts


async def read_whole(content: IContent) -> bytes:
    """
    All of a content.

    It fails with L{lmrelay.errors.StoreError}.
    """
    blocks = []
    while block := await content.read():
        blocks.append(block)
    return b"".join(blocks)
