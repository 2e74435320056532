"""
Group commit: what waits is written in one transaction, and told only when that is on disk.

A write is a function over a batch and one item of the batch. Items of one function that
wait together are given to it together, so that a batch is a few statements, not many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from threading import Condition, Thread
from time import monotonic
from typing import Any, Protocol, TypeVar

from attrs import define, field
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError, SQLAlchemyError
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from lmrelay.errors import StoreChanged, StoreError, StoreFault
from lmrelay.queue.backlog import Backlog, Waiting
from lmrelay.queue.rush import Rush, stand_still
from lmrelay.queue.statements import PLAIN
from lmrelay.queue.store import explain, is_busy

T = TypeVar("T")
R = TypeVar("R")

Write = Callable[[Connection, Sequence[T]], Sequence[R]]
"""
Writes a batch of items; one result an item. It may be run again after a failure, so it changes nothing but rows.
"""

TOGETHER = 0.005
"""
Seconds that writes nobody waits for wait for one that somebody does, to share its commit, where they are fewer than the
last commit had: outcomes come in between the messages, and would have every third commit for themselves.
"""

MAX_TRIES = 5

SHOWN = 200
"""
Characters of a statement that the log shows: what it does, to which table.
"""

log = Logger()


class IWriter(Protocol):
    """
    The one that writes.
    """

    def start(self) -> None:
        """
        Begin.
        """

    def submit(self, write: Write[T, R], item: T, *, urgent: bool = False) -> Deferred[R]:
        """
        Write it; fires with the result when it is on disk, or fails with L{StoreError} and nothing is stored.

        @param urgent: somebody waits for it at the other end of a wire. It may overtake what is not urgent; what is
            equally urgent is written in the order in which it came.
        """

    def stop(self) -> Deferred[None]:
        """
        Write what waits, then end.
        """


class Transactions(Protocol):
    """
    Where they come from: an L{Engine}, or L{Kept}.
    """

    def begin(self) -> AbstractContextManager[Connection]:
        """
        One, for the time of the context.
        """

    def execution_options(self, **options: Any) -> Engine:
        """
        The same with other options.
        """


@define(eq=False)
class Kept:
    """
    An engine's connection, kept from one transaction to the next: to take it from the pool and to give it back costs as
    much as to store a message. After a failure it is given back, for the pool to see whether it is any good.
    """

    _engine: Engine
    _connection: Connection | None = field(default=None, init=False)

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """
        See L{Transactions}.
        """
        connection, self._connection = self._connection or self._engine.connect(), None
        try:
            with connection.begin():
                yield connection
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def execution_options(self, **options: Any) -> Engine:
        """
        See L{Transactions}.
        """
        return self._engine.execution_options(**options)

    def close(self) -> None:
        """
        Give it back.
        """
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def run_batch(
    engine: Transactions,
    batch: Sequence[Waiting],
    has_room: Callable[[], bool],
    clock: Callable[[], float] = monotonic,
) -> float:
    """
    Write a batch in one commit; if that fails, each item in its own, so that one bad write harms nobody else.

    The result is how many seconds those took that are not urgent, without the commit itself.
    """
    try:
        return _try(engine, batch, clock)
    except Exception as error:  # noqa: BLE001 - whatever broke is for the callers, and the thread must live
        if len(batch) == 1:
            batch[0].answer = Failure(_understand(error, has_room))
            return 0.0
        return sum(run_batch(engine, [one], has_room, clock) for one in batch)


def _understand(error: Exception, has_room: Callable[[], bool]) -> StoreError:
    found = explain(error, has_room)
    if found is error:
        return found
    if not isinstance(found, StoreFault):
        log.warn("the store could not write", reason=str(found))
        return found
    if isinstance(error, DataError) or not isinstance(error, SQLAlchemyError):
        # Both may quote a value, which may be somebody's address; what it is and where says enough.
        found = StoreFault(type(getattr(error, "orig", None) or error).__name__)
    # Of the database's other words there is the first line alone: the next ones have the values of the row. And a
    # statement of many rows is as long as a book.
    statement = " ".join((getattr(error, "statement", None) or "").split())[:SHOWN]
    where = Failure(found, StoreFault, error.__traceback__)
    log.failure("a write is wrong", where, kind=type(error).__name__, statement=statement)
    return found


def _try(engine: Transactions, batch: Sequence[Waiting], clock: Callable[[], float]) -> float:
    groups: dict[Write[Any, Any], list[Waiting]] = {}
    for one in batch:
        groups.setdefault(one.write, []).append(one)
    chosen = engine
    for left in range(MAX_TRIES - 1, -1, -1):
        try:
            with chosen.begin() as connection:
                seconds = 0.0
                for write, members in groups.items():
                    began = clock()
                    answers = write(connection, [one.item for one in members])
                    for one, answer in zip(members, answers, strict=True):
                        one.answer = answer
                    if not members[0].urgent:
                        seconds += clock() - began
                return seconds
        except Exception as error:
            if not left:
                raise
            # The words of receivers and senders may hold what a database does not store; the mail goes on without.
            if chosen is engine and isinstance(error, (UnicodeEncodeError, DataError)):
                chosen = engine.execution_options(**{PLAIN: True})
            elif not (isinstance(error, StoreChanged) or is_busy(error)):
                raise
    raise AssertionError("the last try ends it")


def _always() -> bool:
    return True


def ignore(writes: int, seconds: float) -> None:
    """
    Nobody wants to know of the commit.
    """


def _fire(batch: Sequence[Waiting]) -> None:
    for one in batch:
        one.result.callback(one.answer)


@define(eq=False)
class InlineWriter:
    """
    Writes at once, on the caller's thread: for tests and simulations that must replay exactly.

    C{has_room}: is there room on the disk of the database?
    """

    _engine: Engine
    _has_room: Callable[[], bool] = _always

    def start(self) -> None:
        """
        Nothing to begin.
        """

    def submit(self, write: Write[T, R], item: T, *, urgent: bool = False) -> Deferred[R]:
        """
        Write it now.
        """
        one = Waiting(write, item)
        run_batch(self._engine, [one], self._has_room)
        _fire([one])
        return one.result

    def stop(self) -> Deferred[None]:
        """
        Nothing waits.
        """
        self._engine.dispose()
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done


@define(eq=False)
class ThreadedWriter:
    """
    Writes on a thread of its own. While one commit reaches the disk the next batch gathers.

    What is submitted is handed over together at the end of its rush (see L{Rush}, for C{moves} too): else the first of
    it would wake the thread and be a commit of its own, with the rest waiting for that to reach the disk.

    C{reactor} is an L{IReactorTime} that takes calls from threads. C{has_room}: is there room on the disk of the
    database? C{note} is told of each batch, on the reactor thread: its writes, and how many seconds of C{clock} they
    took to reach the disk.
    """

    _engine: Engine
    _reactor: Any
    _has_room: Callable[[], bool] = _always
    _note: Callable[[int, float], None] = ignore
    _moves: Callable[[], int] = stand_still
    _clock: Callable[[], float] = monotonic
    _rush: Rush = field(init=False)
    _submitted: list[Waiting] = field(factory=list, init=False)
    _waiting: Backlog = field(factory=Backlog, init=False)
    _wake: Condition = field(factory=Condition, init=False)
    _ended: Deferred[None] | None = field(default=None, init=False)
    _last: int = field(default=0, init=False)
    # What the thread waits for.
    _until: Callable[[], bool] = field(default=_always, init=False)

    @_rush.default
    def _make_rush(self) -> Rush:
        return Rush(self._reactor, self._moves, self._hand_over)

    def start(self) -> None:
        """
        Start the thread.
        """
        Thread(target=self._run, name="lmrelay-writer", daemon=True).start()

    def submit(self, write: Write[T, R], item: T, *, urgent: bool = False) -> Deferred[R]:
        """
        Add it to the batch that gathers.
        """
        one = Waiting(write, item, urgent)
        if self._ended is not None:
            one.result.errback(StoreError("the store is closed"))
            return one.result
        self._submitted.append(one)
        self._rush.note()
        return one.result

    def _hand_over(self) -> None:
        with self._wake:
            for one in self._submitted:
                self._waiting.add(one)
            self._submitted.clear()
            # Woken for nothing the thread would still take a turn at the interpreter.
            if self._until():
                self._wake.notify()

    def stop(self) -> Deferred[None]:
        """
        Write what waits, then end the thread.
        """
        self._hand_over()
        with self._wake:
            self._ended = Deferred()
            self._wake.notify()
        return self._ended

    def _run(self) -> None:
        kept = Kept(self._engine)
        while batch := self._gather():
            began = self._clock()
            self._waiting.note(run_batch(kept, batch, self._has_room, self._clock))
            self._reactor.callFromThread(self._end, batch, self._clock() - began)
        kept.close()
        self._engine.dispose()
        if self._ended is not None:
            self._reactor.callFromThread(self._ended.callback, None)

    def _end(self, batch: list[Waiting], seconds: float) -> None:
        self._rush.learn(len(batch))
        self._note(len(batch), seconds)
        _fire(batch)

    def _gather(self) -> list[Waiting]:
        with self._wake:
            self._wait(self._has_work)
            if not self._waiting.is_urgent:
                self._wait(self._may_begin, TOGETHER)
            batch = self._waiting.take()
            self._last = len(batch)
            return batch

    def _wait(self, until: Callable[[], bool], seconds: float | None = None) -> None:
        self._until = until
        self._wake.wait_for(until, seconds)

    def _has_work(self) -> bool:
        return bool(self._waiting) or self._ended is not None

    def _may_begin(self) -> bool:
        return self._waiting.is_urgent or len(self._waiting) >= self._last or self._ended is not None
