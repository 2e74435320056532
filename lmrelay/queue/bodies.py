"""
Bodies on their way in, in bounded memory: small ones wait for their message's commit, large ones go ahead of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import define, field, frozen
from sqlalchemy import Connection, delete, select
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from lmrelay.config.values import MIB
from lmrelay.errors import StoreError, StoreFull
from lmrelay.interfaces import IBody
from lmrelay.queue.rows import Row
from lmrelay.queue.schema import CHUNK, chunk, message, upload
from lmrelay.queue.statements import insert_rows
from lmrelay.queue.writer import IWriter

MESSAGE_LIMIT = MIB
TOTAL_LIMIT = 64 * MIB

log = Logger()


@frozen
class GivenUp:
    """
    An upload that nobody wants any more. C{message} is whose it was to be, if it was offered to one: though its commit
    is said to have failed, that may have reached the disk.
    """

    name: str
    message: str


@define(eq=False)
class Budget:
    """
    The memory that all bodies share.

    When it is tight the bodies that hold most of it for longest give up what they have to
    the store; so nobody waits for a client that has gone quiet. C{abandoned} are uploads that were given up and could
    not be deleted yet.
    """

    limit: int = TOTAL_LIMIT
    used: int = field(default=0, init=False)
    leaving: int = field(default=0, init=False)
    holders: dict[Body, None] = field(factory=dict, init=False)
    abandoned: set[GivenUp] = field(factory=set, init=False)
    _waiting: list[Deferred[None]] = field(factory=list, init=False)

    def take(self, octets: int) -> None:
        """
        Count them; the caller asks L{is_tight} afterwards.
        """
        self.used += octets

    def give(self, octets: int) -> None:
        """
        They are no longer held.
        """
        self.used -= octets
        if self.used <= self.limit:
            waiting, self._waiting = self._waiting, []
            for one in waiting:
                one.callback(None)

    def is_tight(self) -> bool:
        """
        Is more held than may be?
        """
        return self.used > self.limit

    def wait(self) -> Deferred[None]:
        """
        Fires when it is no longer tight. What is held is sent to the store.
        """
        for body in list(self.holders):
            if self.used - self.leaving <= self.limit:
                break
            body.spill()
        waiting: Deferred[None] = Deferred()
        if self.used <= self.limit:
            waiting.callback(None)
        else:
            self._waiting.append(waiting)
        return waiting


def write_chunks(connection: Connection, items: Sequence[tuple[Row | None, Row]]) -> list[None]:
    """
    Store chunks, the first of each body with its upload row.
    """
    uploads = [first for first, _ in items if first is not None]
    insert_rows(connection, upload, uploads)
    insert_rows(connection, chunk, [row for _, row in items])
    return [None] * len(items)


def delete_bodies(connection: Connection, items: Sequence[GivenUp]) -> list[None]:
    """
    Delete uploads that were given up, but not what a message has all the same.
    """
    offered = [one.message for one in items if one.message]
    stored = set(connection.execute(select(message.c.id).where(message.c.id.in_(offered))).scalars()) if offered else ()
    names = [one.name for one in items if one.message not in stored]
    connection.execute(delete(chunk).where(chunk.c.body.in_(names)))
    connection.execute(delete(upload).where(upload.c.body.in_(names)))
    return [None] * len(items)


@implementer(IBody)
@define(eq=False)
class Body:
    """
    See L{IBody}. C{make_name} gives the name under which the chunks go to the store. C{has_room} says whether they
    leave the reserve of the disk alone.
    """

    _writer: IWriter
    _budget: Budget
    _worker: str
    _make_name: Callable[[], str]
    _has_room: Callable[[], bool] = lambda: True
    size: int = field(default=0, init=False)
    name: str = field(default="", init=False)
    chunks: int = field(default=0, init=False)
    taken: bool = field(default=False, init=False)
    _blocks: list[bytes] = field(factory=list, init=False)
    _held: int = field(default=0, init=False)
    _leaving: int = field(default=0, init=False)
    _failed: Failure | None = field(default=None, init=False)
    _discarded: bool = field(default=False, init=False)
    _offered: str = field(default="", init=False)
    _flushed: list[Deferred[None]] = field(factory=list, init=False)

    def write(self, octets: bytes) -> Deferred[None] | None:
        """
        See L{IBody}.
        """
        if self._discarded or self.taken:
            raise StoreError("the body has been given away")
        if self._failed is not None:
            return self._wait()
        self.size += len(octets)
        self._hold(octets)
        if self._held >= CHUNK and self.size > CHUNK and not self._has_room():
            self._failed = Failure(StoreFull("less than the reserve is free on the disk"))
            return self._wait()
        while self._held >= CHUNK and self.size > CHUNK:
            self._spill(CHUNK)
        if self._failed is not None or self._leaving > MESSAGE_LIMIT - 2 * CHUNK:
            return self._wait()
        return self._budget.wait() if self._budget.is_tight() else None

    def _hold(self, octets: bytes) -> None:
        self._blocks.append(octets)
        self._held += len(octets)
        self._budget.take(len(octets))
        self._budget.holders[self] = None

    def spill(self) -> None:
        """
        Send what is held to the store, because memory is tight.
        """
        while self._held and not self.taken:
            self._spill(CHUNK)

    def _spill(self, octets: int) -> None:
        held = b"".join(self._blocks)
        block, rest = held[:octets], held[octets:]
        self._blocks = [rest] if rest else []
        self._held = len(rest)
        if not rest:
            self._budget.holders.pop(self, None)
        first = None
        if not self.name:
            self.name = self._make_name()
            first = {"body": self.name, "worker": self._worker}
        row = {"body": self.name, "number": self.chunks, "size": len(block), "octets": block}
        self.chunks += 1
        self._leaving += len(block)
        self._budget.leaving += len(block)
        self._writer.submit(write_chunks, (first, row), urgent=True).addBoth(self._spilled, len(block))

    def _spilled(self, result: object, octets: int) -> None:
        self._leaving -= octets
        self._budget.leaving -= octets
        if isinstance(result, Failure):
            self._failed = self._failed or result
        if not self._leaving:
            if self._discarded:
                self._delete()
            flushed, self._flushed = self._flushed, []
            for one in flushed:
                self._answer(one)
        self._budget.give(octets)

    def _answer(self, waiting: Deferred[None]) -> None:
        if self._failed is None:
            waiting.callback(None)
        else:
            waiting.errback(self._failed)

    def _wait(self) -> Deferred[None]:
        waiting: Deferred[None] = Deferred()
        if self._leaving:
            self._flushed.append(waiting)
        else:
            self._answer(waiting)
        return waiting

    async def close(self) -> bytes:
        """
        What is still held, when all else is in the store: nothing more can be written.

        @raise StoreError: a part could not be stored
        """
        if self.taken or self._discarded:
            raise StoreError("the body has been given away")
        self.taken = True
        self._budget.holders.pop(self, None)
        if self._leaving or self._failed:
            await self._wait()
        return b"".join(self._blocks)

    def forget(self) -> None:
        """
        The message has it.
        """
        self._drop()
        self.name = ""

    def reject(self, message_id: str) -> None:
        """
        That message could not be stored: nor is its body.
        """
        self.taken, self._offered = False, message_id
        self.discard()

    def discard(self) -> None:
        """
        See L{IBody}.
        """
        if self._discarded or self.taken:
            return
        self._discarded = True
        self._drop()
        if not self._leaving:
            self._delete()

    def _drop(self) -> None:
        held, self._held, self._blocks = self._held, 0, []
        self._budget.holders.pop(self, None)
        self._budget.give(held)

    def _delete(self) -> None:
        if self.name:
            given_up, self.name = GivenUp(self.name, self._offered), ""
            self._writer.submit(delete_bodies, given_up, urgent=True).addErrback(self._abandon, given_up)

    def _abandon(self, failure: Failure, given_up: GivenUp) -> None:
        self._budget.abandoned.add(given_up)
        log.warn("an upload that was given up stays for now", reason=failure.getErrorMessage())
