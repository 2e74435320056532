"""
Content off the wire and through the queue's door: DATA, BDAT, and the commit (RFC 5321 §4.1.1.4, RFC 3030).

The reply is only known when the message is on disk, or nothing of it is.
"""

from __future__ import annotations

from attrs import define
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from lmrelay.errors import Refused, StoreError, StoreFull
from lmrelay.inbound.content import Content
from lmrelay.inbound.services import Client, Services, Step
from lmrelay.inbound.submission import make_submission
from lmrelay.inbound.transaction import Transaction
from lmrelay.interfaces import ISubmitter
from lmrelay.smtp import replies
from lmrelay.smtp.commands import Bdat
from lmrelay.smtp.data import DataReader
from lmrelay.smtp.framing import InputBuffer
from lmrelay.smtp.reply import Reply


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

    services: Services
    log: Logger
    client: Client
    submitter: ISubmitter
    buffer: InputBuffer
    transaction: Transaction
    content: Content
    paused: bool = False
    is_over: bool = False
    is_excessive: bool = False
    committing: bool = False
    _chunk: Bdat | None = None
    _left: int = 0
    _settled: bool = False
    _abandoned: bool = False

    def read_data(self) -> Step:
        """
        Go on reading DATA.
        """
        reader = self.content.reader
        while self.buffer.pending:
            wait = self._feed(self.buffer.take_all())
            if isinstance(reader, DataReader) and reader.finished:
                self.buffer.give_back(reader.rest)
                return self._close(wait)
            if self.content.is_excessive:
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

    def read_chunk(self) -> Step:
        """
        Go on reading the chunk.
        """
        while self._left and self.buffer.pending:
            block = self.buffer.take(min(self._left, self.buffer.pending))
            self._left -= len(block)
            wait = self._feed(block)
            if wait is not None:
                return self._wait(wait)
        if self._left or self._chunk is None:
            return None
        if self._chunk.last or self.content.refusal is not None:
            return self._close(None)
        self.paused = True
        return replies.chunk_taken(self._chunk.size)

    def abandon(self) -> None:
        """
        The client is gone.
        """
        self._abandoned = True
        if self._settled:
            return
        if self.committing:
            self.log.info("client left before the answer", message=self.transaction.id, peer=self.client.address)
        else:
            self.log.info("content aborted", message=self.transaction.id, peer=self.client.address)
            self.content.refuse(replies.STORE_FAILED)

    def _feed(self, block: bytes) -> Deferred[None] | None:
        try:
            return self.content.feed(block)
        except Exception as error:  # noqa: BLE001 what follows must still be read as content
            self._refuse(error)
            return None

    def _refuse(self, error: Exception) -> None:
        self.content.refuse(blame(error, self.log, self.client.address))

    async def _wait(self, wait: Deferred[None]) -> None:
        try:
            await wait
        except Exception as error:  # noqa: BLE001 what follows must still be read as content
            self._refuse(error)

    def _cut_off(self) -> None:
        self.is_excessive = self.paused = self.is_over = self._settled = True
        self._log_refused(replies.TOO_LARGE)

    def _close(self, wait: Deferred[None] | None) -> Step:
        self.paused = self.is_over = True
        return self._settle(wait)

    async def _settle(self, wait: Deferred[None] | None) -> Reply:
        content = self.content
        if wait is not None:
            await self._wait(wait)
        stored = ""
        try:
            wait = content.finish() if content.refusal is None else None
            if wait is not None:
                await wait
            if content.refusal is None:
                stored = await self._commit()
        except Exception as error:  # noqa: BLE001 nothing is stored then, and the client may try again
            self._refuse(error)
        self._settled, self.committing = True, False
        if content.refusal is not None:
            if not self._abandoned:
                self._log_refused(content.refusal)
            return content.refusal
        return replies.accepted(stored) if stored == self.transaction.id else replies.duplicate(stored)

    async def _commit(self) -> str:
        content = self.content
        if content.prepared is None or content.body is None:
            raise RuntimeError("content without a head")
        submission = make_submission(
            self.services, self.client, self.transaction, self.submitter, content, content.prepared
        )
        self.committing = True
        size = len(submission.head) + content.body.size
        stored: str = await self.services.acceptance.accept(submission, content.body)
        if stored != submission.id:
            self.log.info(
                "message is a duplicate",
                message=submission.id,
                first=stored,
                project=submission.project,
                peer=self.client.address,
            )
            return stored
        self.log.info(
            "message accepted",
            message=submission.id,
            project=submission.project,
            route=submission.route,
            tags=submission.tags,
            metadata=submission.metadata,
            size=size,
            recipients=len(submission.envelope.recipients),
            peer=self.client.address,
        )
        return stored

    def _log_refused(self, refusal: Reply) -> None:
        self.log.info(
            "content refused",
            message=self.transaction.id,
            project=self.submitter.slug,
            token=self.submitter.token_id,
            reply=str(refusal),
            peer=self.client.address,
        )
