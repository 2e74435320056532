"""
Reading content back, block by block, each in a short transaction of its own; and the fresh ones from memory.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Protocol, TypeVar

from attrs import define, field
from sqlalchemy import BindParameter, Connection, Engine, Select, and_, bindparam, select
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from lmrelay.config.values import MIB
from lmrelay.errors import StoreError
from lmrelay.interfaces import IContent
from lmrelay.queue.schema import CHUNK, chunk, message
from lmrelay.queue.statements import find_rows, name_given
from lmrelay.queue.store import explain

T = TypeVar("T")


class IReader(Protocol):
    """
    Runs reads off the reactor thread.
    """

    def start(self) -> None:
        """
        Begin.
        """

    def run(self, read: Callable[[Connection], T]) -> Deferred[T]:
        """
        What C{read} gives; fails with L{StoreError}.
        """

    def stop(self) -> None:
        """
        End.
        """


def _read(engine: Engine, read: Callable[[Connection], T]) -> T:
    try:
        with engine.begin() as connection:
            return read(connection)
    except Exception as error:
        raise explain(error) from error


def make_reader(engine: Engine, threads: IReactorFromThreads | None) -> IReader:
    """
    What reads from it: on threads of its own, or where there are none (tests, simulations) on the caller's.
    """
    return InlineReader(engine) if threads is None else ThreadedReader(engine, threads)


@define(eq=False)
class InlineReader:
    """
    Reads at once, on the caller's thread.
    """

    _engine: Engine

    def start(self) -> None:
        """
        Nothing to begin.
        """

    def run(self, read: Callable[[Connection], T]) -> Deferred[T]:
        """
        Read it now.
        """
        result: Deferred[T] = Deferred()
        try:
            result.callback(_read(self._engine, read))
        except StoreError:
            result.errback(Failure())
        return result

    def stop(self) -> None:
        """
        Close the connection.
        """
        self._engine.dispose()


@define(eq=False)
class ThreadedReader:
    """
    Reads on a small pool of threads.
    """

    _engine: Engine
    _reactor: IReactorFromThreads
    _pool: ThreadPool = field(factory=lambda: ThreadPool(1, 2, "lmrelay-reader"), init=False)

    def start(self) -> None:
        """
        Start the threads.
        """
        self._pool.start()

    def run(self, read: Callable[[Connection], T]) -> Deferred[T]:
        """
        Read it on a thread.
        """
        result: Deferred[T] = deferToThreadPool(self._reactor, self._pool, _read, self._engine, read)
        return result

    def stop(self) -> None:
        """
        End the threads.
        """
        self._pool.stop()
        self._engine.dispose()


@define(eq=False)
class Cache:
    """
    Fresh small contents, so that most messages are delivered without a read; the oldest goes first. And who waits for
    those that are being read, many at once.
    """

    limit: int = 32 * MIB
    _kept: OrderedDict[str, tuple[bytes, bytes]] = field(factory=OrderedDict, init=False)
    _size: int = field(default=0, init=False)
    _coming: dict[str, list[Deferred[None]]] = field(factory=dict, init=False)

    def put(self, message_id: str, head: bytes, body: bytes) -> None:
        """
        Keep head and body.
        """
        if message_id in self._kept:
            self.drop(message_id)
        self._kept[message_id] = (head, body)
        self._size += len(head) + len(body)
        while self._size > self.limit:
            self.drop(next(iter(self._kept)))

    def get(self, message_id: str) -> tuple[bytes, bytes] | None:
        """
        Head and body, if they are kept.
        """
        return self._kept.get(message_id)

    def drop(self, message_id: str) -> None:
        """
        Forget them.
        """
        found = self._kept.pop(message_id, None)
        if found is not None:
            self._size -= len(found[0]) + len(found[1])

    def expect(self, message_ids: Iterable[str]) -> None:
        """
        These are being read. Each is to be followed by L{expect_no_more}.
        """
        for one in message_ids:
            self._coming.setdefault(one, [])

    def expect_no_more(self, message_ids: Iterable[str]) -> None:
        """
        They are here, or could not be read.
        """
        for one in message_ids:
            for waiting in self._coming.pop(one, ()):
                waiting.callback(None)

    async def wait(self, message_id: str) -> tuple[bytes, bytes] | None:
        """
        As L{get}, but what is being read is waited for.
        """
        if (coming := self._coming.get(message_id)) is not None:
            # Each has one of its own, and may cancel it.
            waiting: Deferred[None] = Deferred()
            coming.append(waiting)
            await waiting
        return self.get(message_id)


@implementer(IContent)
@define(eq=False)
class Content:
    """
    See L{IContent}.
    """

    _reader: IReader
    _cache: Cache
    _message: str
    _fields: bytes = b""
    _above: bytes = b""
    _left: list[bytes] | None = field(default=None, init=False)
    _body: str = field(default="", init=False)
    _number: int = field(default=0, init=False)
    _missing: int = field(default=0, init=False)

    def read(self) -> Deferred[bytes]:
        """
        See L{IContent}.
        """
        if self._left is None and (kept := self._cache.get(self._message)) is not None:
            self._left = _split(self._above + self._fields.join(kept))
        if self._left:
            return succeed(self._left.pop(0))
        # Nearly all is in memory; for that a coroutine would cost more than it does.
        return Deferred.fromCoroutine(self._next()) if self._left is None or self._missing else succeed(b"")

    def read_now(self) -> bytes | None:
        """
        See L{IContent}.
        """
        kept = self._cache.get(self._message) if self._left is None else None
        return None if kept is None else self._above + self._fields.join(kept)

    def read_head(self) -> Deferred[bytes]:
        """
        See L{IContent}.
        """
        return Deferred.fromCoroutine(self._head())

    async def _head(self) -> bytes:
        kept = await self._cache.wait(self._message)
        if kept is not None:
            return kept[0]
        head, _, _ = await self._reader.run(self._open)
        return head

    async def _next(self) -> bytes:
        if self._left is None:
            kept = await self._cache.wait(self._message)
            if kept is None:
                head, self._body, size = await self._reader.run(self._open)
                self._left, self._missing = _split(self._above + head + self._fields), size - len(head)
            else:
                self._left = _split(self._above + self._fields.join(kept))
            if self._left:
                return self._left.pop(0)
            if not self._missing:
                return b""
        octets = await self._reader.run(self._read_chunk)
        self._number += 1
        self._missing -= len(octets)
        return octets

    def _open(self, connection: Connection) -> tuple[bytes, str, int]:
        for head, body, size in find_rows(connection, _select_contents, [(self._message,)]):
            return head, body, size
        raise StoreError("the message is gone")

    def _read_chunk(self, connection: Connection) -> bytes:
        found: bytes = next(find_rows(connection, _select_chunks, [(self._body, self._number)]), (b"",))[0]
        # An end that comes early must never look like the end: the receiver would take a part for the whole.
        if not found or len(found) > self._missing:
            raise StoreError("the content is not whole in the store")
        return found


# Compiled once: a large content is read in many steps, and to compile each anew costs three times as much as to read.
@cache
def _select_contents(size: int) -> Select[Any]:
    ids: BindParameter[Any] = bindparam("key", [""] * size, expanding=True)
    return select(message.c.head, message.c.body, message.c.size).where(message.c.id.in_(ids))


@cache
def _select_chunks(size: int) -> Select[Any]:
    given = name_given(size, chunk.c.body, chunk.c.number)
    both = given.join(chunk, and_(chunk.c.body == given.c.body, chunk.c.number == given.c.number))
    return select(chunk.c.octets).select_from(both)


def _split(octets: bytes) -> list[bytes]:
    return [octets[start : start + CHUNK] for start in range(0, len(octets), CHUNK)]
