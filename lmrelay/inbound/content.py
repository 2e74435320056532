"""
The content of one message on its way in: octets of DATA or BDAT become a prepared head and a body.

What is wrong with it is found as early as can be, and from then on nothing of it is kept;
but it is told only at the end, else the rest of the content would become commands.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field, frozen
from twisted.internet.defer import Deferred

from lmrelay.config.words import BareNewlines
from lmrelay.errors import Refused
from lmrelay.interfaces import IBody
from lmrelay.mail.dkim import BodyHash
from lmrelay.mail.head import Head, HeadReader
from lmrelay.mail.prepare import Prepared
from lmrelay.smtp import replies
from lmrelay.smtp.data import ChunkReader, DataReader
from lmrelay.smtp.reply import Reply

EXCESS = 2
"""
A client that goes on after so many times the server's limit is cut off.
"""


@frozen
class SizeLimit:
    """
    C{octets} of content may come; C{refusal} is what is said of more. Who goes on beyond C{borne} octets is cut off.
    """

    octets: int
    refusal: Reply
    borne: int


@define(eq=False)
class Content:
    """
    C{prepare} checks and completes a head, or raises Refused, and is gone once it has. C{is_signed} tells of a prepared
    one whether the body's hash is wanted. C{size} counts content octets. C{refusal} is the first thing that was wrong.
    C{body_eight_bit}: the body has octets beyond ASCII.
    """

    reader: DataReader | ChunkReader
    limit: SizeLimit
    bare_newlines: BareNewlines
    prepare: Callable[[Head], Prepared] | None
    open_body: Callable[[], IBody]
    is_signed: Callable[[Prepared], bool] = lambda prepared: False
    has_room: Callable[[int], bool] = lambda size: True
    """
    May the head be of so many octets?
    """
    size: int = 0
    refusal: Reply | None = None
    prepared: Prepared | None = None
    body: IBody | None = None
    body_eight_bit: bool = False
    _head: HeadReader = field(factory=HeadReader)
    _hash: BodyHash | None = None
    # The empty line that ends the head is stored with the body, and no part of what is signed.
    _between: int = len(b"\r\n")

    @property
    def body_hash(self) -> bytes:
        """
        The relaxed hash of the body so far (RFC 6376 §3.4.4); empty where it is not wanted.
        """
        return b"" if self._hash is None else self._hash.digest()

    @property
    def is_excessive(self) -> bool:
        """
        So far over the limit that reading on is no use?
        """
        return self.size > self.limit.borne

    def feed(self, block: bytes) -> Deferred[None] | None:
        """
        Take a block from the wire. A Deferred: wait for it before the next.
        """
        octets = self.reader.read(block)
        self.size += len(octets)
        if self.size > self.limit.octets:
            self.refuse(self.limit.refusal)
        elif self.reader.nul:
            self.refuse(replies.NUL_IN_CONTENT)
        elif self.reader.bare_newline and self.bare_newlines is BareNewlines.REJECT:
            self.refuse(replies.BARE_NEWLINES)
        return self._keep(octets) if octets and self.refusal is None else None

    def finish(self) -> Deferred[None] | None:
        """
        The content ended: C{refusal}, or C{prepared} and C{body}, are there. A Deferred as in L{feed}.
        """
        wait = None
        if isinstance(self.reader, ChunkReader):
            octets = self.reader.finish()
            self.size += len(octets)
            if octets and self.refusal is None:
                wait = self._keep(octets)
        if self.refusal is None and self.prepared is None:
            # Nothing was written before the head was there, so there was nothing to wait for.
            wait = self._read_head(self._head.finish)
        return wait

    def refuse(self, reply: Reply) -> None:
        """
        The message will not be taken, for this reason unless there is one already.
        """
        if self.refusal is None:
            self.refusal = reply
            self.discard()

    def discard(self) -> None:
        """
        Keep nothing.
        """
        body, self.body = self.body, None
        self._head, self.prepare = HeadReader(), None
        if body is not None:
            body.discard()

    def _keep(self, octets: bytes) -> Deferred[None] | None:
        if self.body is not None:
            return self._write(self.body, octets)
        return self._read_head(self._gather, octets)

    def _gather(self, octets: bytes) -> bytes:
        rest = self._head.feed(octets)
        if not self.has_room(self._head.size):
            raise Refused(replies.TOO_MANY_HEADS)
        return rest

    def _read_head(self, read: Callable[..., bytes], *octets: bytes) -> Deferred[None] | None:
        try:
            rest = read(*octets)
            # It holds the transaction, and that holds this: kept, each message with its body would stay in memory
            # until the collector comes for a few hundred of them.
            prepare = self.prepare
            if self._head.head is None or prepare is None:
                return None
            self.prepare = None
            # What the reader parted from the body is fields, from the first octet to the last.
            self.prepared = prepare(Head(self._head.head))
        except Refused as error:
            self.refuse(error.reply)
            return None
        self.body = self.open_body()
        if self.is_signed(self.prepared):
            self._hash = BodyHash()
        return self._write(self.body, rest) if rest else None

    def _write(self, body: IBody, octets: bytes) -> Deferred[None] | None:
        # The reader's flag is of the head too, of which fields may have been removed since.
        if self.reader.eight_bit and not self.body_eight_bit:
            self.body_eight_bit = not octets.isascii()
        if self._hash is not None:
            self._hash.update(octets[self._between :])
            self._between = 0
        return body.write(octets)
