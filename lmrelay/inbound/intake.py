"""
Content off the wire, to whoever takes it: DATA, BDAT, and the commit (RFC 5321 §4.1.1.4, RFC 3030).

The reply is only known when the message is on disk, or nothing of it is.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from attrs import define
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from lmrelay.errors import Refused, StoreError, StoreFull
from lmrelay.inbound.content import SizeLimit
from lmrelay.inbound.services import Step
from lmrelay.smtp import replies
from lmrelay.smtp.commands import Bdat
from lmrelay.smtp.data import ChunkReader, DataReader
from lmrelay.smtp.framing import InputBuffer
from lmrelay.smtp.reply import Reply


class Arriving(Protocol):
    """
    Content on its way in. C{refusal} is the first thing that was wrong, C{size} counts octets of content.
    """

    reader: DataReader | ChunkReader
    limit: SizeLimit
    size: int
    refusal: Reply | None

    @property
    def is_excessive(self) -> bool:
        """
        So far over the limit that reading on is no use?
        """

    def feed(self, block: bytes) -> Deferred[None] | None:
        """
        Take a block from the wire. A Deferred: wait for it before the next.
        """

    def finish(self) -> Deferred[None] | None:
        """
        The content ended. A Deferred as in L{feed}.
        """

    def refuse(self, reply: Reply) -> None:
        """
        It will not be taken, for this reason unless there is one already: keep nothing.
        """


class Taker(Protocol):
    """
    Who takes the content when it is whole. C{id} is what the log knows it by.
    """

    @property
    def id(self) -> str:
        """
        See above.
        """

    @property
    def arriving(self) -> Arriving:
        """
        The content.
        """

    def commit(self) -> Awaitable[Reply]:
        """
        Take it; the reply is known when it is on disk, or refused.

        @raise Refused: it is not taken, as with any other error
        """

    def note_refused(self, refusal: Reply) -> None:
        """
        It was not taken.
        """


def blame(error: Exception, log: Logger, peer: str) -> Reply:
    """
    The reply to an error: a refusal's own, 45x for the store's; anything else is a fault of ours, to be called
    where it is being dealt with, and is logged.
    """
    if isinstance(error, Refused):
        return error.reply
    if isinstance(error, StoreFull):
        log.warn("store full", peer=peer)
        return replies.STORE_FULL
    if isinstance(error, StoreError):
        log.warn("store failed", peer=peer, reason=str(error))
        return replies.STORE_FAILED
    log.failure("fault in a session", peer=peer)
    return replies.STORE_FAILED


@define(eq=False)
class Intake:
    """
    The content of one transaction. C{paused}: the next octets are commands again. C{is_over}: the
    transaction ended with it. C{is_excessive}: so far over the limit that the connection is to be closed.
    C{committing}: the message is on its way to the disk, the outcome open.
    """

    log: Logger
    peer: str
    buffer: InputBuffer
    taker: Taker
    paused: bool = False
    is_over: bool = False
    is_excessive: bool = False
    committing: bool = False
    _chunk: Bdat | None = None
    _left: int = 0
    _settled: bool = False
    _abandoned: bool = False

    @property
    def content(self) -> Arriving:
        """
        What comes in.
        """
        return self.taker.arriving

    def read(self) -> Step:
        """
        Go on reading.
        """
        return self._read_data() if self._chunk is None else self._read_chunk(self._chunk)

    def _read_data(self) -> Step:
        content, reader = self.content, self.content.reader
        while block := self.buffer.take_all():
            wait = self._feed(block)
            if isinstance(reader, DataReader) and reader.finished:
                if reader.rest:
                    self.buffer.give_back(reader.rest)
                return self._close(wait)
            if content.is_excessive:
                self._cut_off()
                return None
            if wait is not None:
                return self._wait(wait)
        return None

    def open_chunk(self, chunk: Bdat) -> None:
        """
        BDAT said that so many octets follow.
        """
        self._chunk, self._left, self.paused = chunk, chunk.size, False

    def _read_chunk(self, chunk: Bdat) -> Step:
        while self._left and self.buffer.pending:
            block = self.buffer.take(self._left)
            self._left -= len(block)
            wait = self._feed(block)
            if wait is not None:
                return self._wait(wait)
        if self._left:
            return None
        if chunk.last or self.content.refusal is not None:
            return self._close(None)
        self.paused = True
        return replies.chunk_taken(chunk.size)

    def abandon(self) -> None:
        """
        The client is gone.
        """
        self._abandoned = True
        if self._settled:
            return
        if self.committing:
            self.log.info("client left before the answer", message=self.taker.id, peer=self.peer)
        else:
            self.log.info("content aborted", message=self.taker.id, peer=self.peer)
            self.content.refuse(replies.STORE_FAILED)

    def _feed(self, block: bytes) -> Deferred[None] | None:
        try:
            return self.content.feed(block)
        except Exception as error:  # noqa: BLE001 what follows must still be read as content
            self._refuse(error)
            return None

    def _refuse(self, error: Exception) -> None:
        self.content.refuse(blame(error, self.log, self.peer))

    async def _wait(self, wait: Deferred[None]) -> None:
        try:
            await wait
        except Exception as error:  # noqa: BLE001 what follows must still be read as content
            self._refuse(error)

    def _cut_off(self) -> None:
        self.is_excessive = self.paused = self.is_over = self._settled = True
        self.content.refuse(replies.TOO_LARGE)
        self.taker.note_refused(replies.TOO_LARGE)

    def _close(self, wait: Deferred[None] | None) -> Step:
        self.paused = self.is_over = True
        return self._settle(wait)

    async def _settle(self, wait: Deferred[None] | None) -> Reply:
        content, answer = self.content, replies.STORE_FAILED
        if wait is not None:
            await self._wait(wait)
        try:
            wait = content.finish() if content.refusal is None else None
            if wait is not None:
                await wait
            if content.refusal is None:
                self.committing = True
                answer = await self.taker.commit()
        except Exception as error:  # noqa: BLE001 nothing is stored then, and the client may try again
            self._refuse(error)
        self._settled, self.committing = True, False
        if content.refusal is None:
            return answer
        if not self._abandoned:
            self.taker.note_refused(content.refusal)
        return content.refusal


@define(eq=False)
class Unwanted:
    """
    A chunk that nobody takes, for C{refusal}: so many octets are C{left} of it, which are no commands.
    """

    left: int
    refusal: Reply

    def read(self, buffer: InputBuffer) -> Reply | None:
        """
        Read past it; the reply when all of it was there.
        """
        self.left -= len(buffer.take(self.left))
        return None if self.left else self.refusal
