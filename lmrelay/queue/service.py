"""
The queue as a service: all of it put together, started and stopped.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from random import Random
from typing import Any

from attrs import define, field
from sqlalchemy import Connection, bindparam, update
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from lmrelay.errors import StoreError
from lmrelay.ids import make_id
from lmrelay.interfaces import IAcceptance, IBody, IContent, IDispatch, IQueue, ISettings, RecipientKey, Submission
from lmrelay.mail.outcome import Attempt, Delivered
from lmrelay.queue import commands, upkeep
from lmrelay.queue.acceptance import Acceptance
from lmrelay.queue.contents import Cache, Content, InlineReader, IReader, ThreadedReader
from lmrelay.queue.leases import Lease
from lmrelay.queue.orders import Change, Selector, Verb
from lmrelay.queue.rows import Entropy
from lmrelay.queue.schedule import Drift
from lmrelay.queue.schema import WAITING, recipient
from lmrelay.queue.settle import Settle, Settler
from lmrelay.queue.store import find_url, make_engine, make_reading_engine, migrate
from lmrelay.queue.taker import Taker
from lmrelay.queue.tasks import Tasks
from lmrelay.queue.writer import InlineWriter, IWriter, ThreadedWriter

POLL = 1.0
TOUCH = 15.0
UPKEEP = 60.0
MAX_BACKOFF = 30.0

log = Logger()


@implementer(IAcceptance, IQueue)
@define(eq=False)
class QueueService:
    """
    The queue. Nothing is opened before L{start}. C{inline} does all writing and reading on
    the caller's thread, for tests and simulations.
    """

    _settings: ISettings
    _reactor: IReactorTime
    _wall: Callable[[], float]
    _entropy: Entropy
    _random: Random
    _dispatch: IDispatch
    _inline: bool = False
    _free: Callable[[], int] | None = None
    worker: str = field(default="", init=False)
    _writer: IWriter = field(init=False)
    _reader: IReader = field(init=False)
    _lease: Lease = field(init=False)
    _acceptance: Acceptance = field(init=False)
    _settler: Settler = field(init=False)
    _taker: Taker = field(init=False)
    _drift: Drift = field(init=False)
    _cache: Cache = field(factory=Cache, init=False)
    _tasks: Tasks = field(factory=Tasks, init=False)
    _loops: list[LoopingCall] = field(factory=list, init=False)
    _unwritten: int = field(default=0, init=False)

    def start(self) -> Deferred[None]:
        """
        Open the database, bring its tables up to date, free what the dead held, and begin.

        It fails with L{StoreError}, and the relay must not start.
        """
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        config = self._settings.config
        state_dir = config.server.state_dir
        state_dir.mkdir(parents=True, exist_ok=True)
        url = find_url(config)
        migrate(url)
        self.worker = make_id(self._wall(), self._entropy)
        writing, reading = make_engine(url), make_reading_engine(url)
        if self._inline:
            self._writer, self._reader = InlineWriter(writing), InlineReader(reading)
        else:
            threads = IReactorFromThreads(self._reactor)
            self._writer, self._reader = ThreadedWriter(writing, threads), ThreadedReader(reading, threads)
        self._lease = Lease(self.worker, state_dir, self._wall)
        self._drift = Drift(self._wall(), self._reactor.seconds())
        self._settler = Settler(self.worker, self._settings, self._wall, self._entropy, self._random)
        self._taker = Taker(self._writer, self._dispatch, self.worker, self._reactor, self._wall, self._tasks)
        self._acceptance = Acceptance(
            self._writer,
            self._dispatch,
            self.worker,
            self._wall,
            self._reactor.seconds,
            self._entropy,
            self._free or (lambda: _free_octets(str(state_dir))),
            self._cache,
            self._taker.wake,
        )
        self._lease.hold()
        self._writer.start()
        self._reader.start()
        await self._writer.submit(self._lease.enter, None)
        self._taker.start()
        for interval, work in ((POLL, self._obey), (TOUCH, self._touch), (UPKEEP, self._keep_up)):
            self._loop(interval, work)

    def _loop(self, interval: float, work: Callable[[], Deferred[None]]) -> None:
        loop = LoopingCall(work)
        loop.clock = self._reactor
        self._loops.append(loop)
        loop.start(interval, now=False)

    def stop(self) -> Deferred[None]:
        """
        Take no more, write what waits, end the leases, close.
        """
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._taker.stop()
        for loop in self._loops:
            loop.stop()
        self._loops.clear()
        try:
            await self._writer.submit(self._lease.leave, None)
        except StoreError as error:
            log.warn("leases end with the process", reason=str(error))
        await self._writer.stop()
        self._reader.stop()
        self._lease.end()

    def check_room(self, declared: int | None) -> None:
        """
        See L{IAcceptance}.
        """
        self._acceptance.check_room(declared)

    def open_body(self) -> IBody:
        """
        See L{IAcceptance}.
        """
        return self._acceptance.open_body()

    def accept(self, submission: Submission, body: IBody) -> Deferred[None]:
        """
        See L{IAcceptance}.
        """
        return self._acceptance.accept(submission, body)

    def open_content(self, message_id: str) -> IContent:
        """
        See L{IQueue}.
        """
        return Content(self._reader, self._cache, message_id)

    def settle(self, message_id: str, attempts: Mapping[int, Attempt]) -> Deferred[None]:
        """
        See L{IQueue}.
        """
        parted = self._drift.observe(self._wall(), self._reactor.seconds())
        return Deferred.fromCoroutine(self._settle(Settle(message_id, dict(attempts), parted)))

    async def _settle(self, settle: Settle) -> None:
        over = await self._insist(self._settler.write, settle)
        if over:
            self._cache.drop(settle.message)
        self._taker.room_was_made()
        if any(not isinstance(one.outcome, Delivered) or one.outcome.relayed for one in settle.attempts.values()):
            self._taker.wake()

    async def _insist(self, write: Callable[[Connection, Sequence[Settle]], list[bool]], item: Settle) -> bool:
        """
        Write it however often it takes; meanwhile no new attempt begins.
        """
        backoff = 0.0
        while True:
            try:
                written = await self._writer.submit(write, item)
            except StoreError as error:
                log.error("an outcome could not be recorded", message=item.message, reason=str(error))
                if not backoff:
                    self._unwritten += 1
                    self._dispatch.pause()
                backoff = min(backoff * 2 or 1.0, MAX_BACKOFF)
                await self._sleep(backoff)
                continue
            if backoff:
                self._unwritten -= 1
                if not self._unwritten:
                    self._dispatch.resume()
            return written

    def _sleep(self, seconds: float) -> Deferred[None]:
        slept: Deferred[None] = Deferred()
        self._reactor.callLater(seconds, slept.callback, None)
        return slept

    def release(self, keys: Collection[RecipientKey]) -> Deferred[None]:
        """
        See L{IQueue}.
        """
        return Deferred.fromCoroutine(self._release(tuple(keys)))

    async def _release(self, keys: tuple[RecipientKey, ...]) -> None:
        try:
            await self._writer.submit(self._free_leases, keys)
        except StoreError as error:
            log.warn("leases end with the process", reason=str(error))
        self._taker.wake()

    def _free_leases(self, connection: Connection, items: Sequence[tuple[RecipientKey, ...]]) -> list[None]:
        named = [{"of": one, "which": number} for keys in items for one, number in keys]
        if named:
            connection.execute(
                update(recipient)
                .where(
                    recipient.c.message == bindparam("of"),
                    recipient.c.number == bindparam("which"),
                    recipient.c.owner == self.worker,
                    recipient.c.state.in_(WAITING),
                )
                .values(owner=None, due=self._wall()),
                named,
            )
        return [None] * len(items)

    def _obey(self) -> Deferred[None]:
        return self._try(self._obey_orders())

    def _touch(self) -> Deferred[None]:
        return self._try(self._submit(self._lease.touch))

    def _keep_up(self) -> Deferred[None]:
        oldest = self._wall() - self._settings.config.queue.retention
        return self._try(self._submit(lambda connection, items: upkeep.run(connection, oldest, items)))

    async def _submit(self, write: Callable[[Connection, Sequence[None]], list[None]]) -> None:
        await self._writer.submit(write, None)

    def _try(self, work: object) -> Deferred[None]:
        done: Deferred[None] = Deferred.fromCoroutine(work)  # type: ignore[arg-type]
        return done.addErrback(_complain)

    async def _obey_orders(self) -> None:
        for order in await self._writer.submit(commands.pending, None):
            await self._obey_one(*order)

    async def _obey_one(self, id_: str, verb: Verb, selector: Selector) -> None:
        found = await self._writer.submit(_find, (verb, selector, self._wall()))
        mine = {(row.message, row.number) for row in found if row.owner == self.worker}
        free = {(row.message, row.number) for row in found if row.owner is None}
        withdrawn = self._dispatch.withdraw(mine) if mine else set()
        reached = free | withdrawn
        change = Change(len(reached), len(found) - len(reached), by_daemon=True)

        def write(connection: Connection, items: Sequence[None]) -> list[None]:
            commands.apply(connection, verb, reached, self._wall())
            commands.answer(connection, id_, change)
            return [None] * len(items)

        try:
            await self._writer.submit(write, None)
        except StoreError:
            await self._release(tuple(withdrawn))
            raise
        log.info("order carried out", verb=verb.value, changed=change.changed, in_flight=change.in_flight)
        self._taker.wake()


def _find(connection: Connection, items: Sequence[tuple[Verb, Selector, float]]) -> list[list[Any]]:
    return [commands.find(connection, *item) for item in items]


def _complain(failure: Failure) -> None:
    if isinstance(failure.value, StoreError):
        log.warn("the queue's upkeep has to wait", reason=failure.getErrorMessage())
    else:
        log.failure("the queue's upkeep broke", failure)


def _free_octets(path: str) -> int:
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize
