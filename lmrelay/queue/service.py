"""
The queue as a service: all of it put together, started and stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Mapping
from pathlib import Path
from random import Random
from typing import Any

from attrs import define, field
from sqlalchemy import URL, Engine
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads, IReactorThreads, IReactorTime
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from zope.interface import implementer

from lmrelay.config.values import MIB
from lmrelay.errors import StoreError
from lmrelay.ids import make_id
from lmrelay.interfaces import (
    IAcceptance,
    IBody,
    IContent,
    IDispatch,
    IQueue,
    ISettings,
    ITokenUse,
    RecipientKey,
    SiteState,
    Submission,
)
from lmrelay.mail.outcome import Attempt
from lmrelay.queue.acceptance import RESERVE, Acceptance
from lmrelay.queue.ahead import Ahead
from lmrelay.queue.ballast import FILE as BALLAST
from lmrelay.queue.ballast import SIZE, Ballast
from lmrelay.queue.bounces import Bounces
from lmrelay.queue.checkpoints import TURN, Checkpoints
from lmrelay.queue.clocks import Clocks
from lmrelay.queue.commands import Obedience
from lmrelay.queue.contents import Cache, Content, IReader, make_reader
from lmrelay.queue.disk import Disk
from lmrelay.queue.fresh import Fresh
from lmrelay.queue.hooks import Hooks
from lmrelay.queue.leases import DOUBTED_AFTER, Lease, delete_orphans
from lmrelay.queue.outbox import Outbox
from lmrelay.queue.oversight import Oversight
from lmrelay.queue.policies import PolicyStore
from lmrelay.queue.privacy import make_folder
from lmrelay.queue.recorder import Recorder
from lmrelay.queue.releases import Releases
from lmrelay.queue.rows import Entropy
from lmrelay.queue.rush import stand_still
from lmrelay.queue.settle import Settle, Settled, Settler
from lmrelay.queue.site_watch import SiteWatch
from lmrelay.queue.sites import SiteMemory, read_states
from lmrelay.queue.store import find_url, make_engine, make_private, make_reading_engine, migrate, name_database
from lmrelay.queue.suppression_watch import SuppressionWatch
from lmrelay.queue.suppressions import Suppressions
from lmrelay.queue.taker import Taker
from lmrelay.queue.tls_counts import TlsCounts
from lmrelay.queue.token_use import TokenUse
from lmrelay.queue.upkeep import BREATH, Upkeep, unless_out_of_order
from lmrelay.queue.writer import InlineWriter, IWriter, ThreadedWriter, ignore
from lmrelay.tasks import Tasks

POLL = 1.0
TOUCH = 15.0
UPKEEP = 60.0
TOKEN_USE = 10.0
TLS_COUNTS = 10.0
SITES = 5.0

LITTLE = 4 * MIB
"""
Octets of disk below which a failed write is taken for one that found no room.
"""

log = Logger()


@implementer(IAcceptance, IQueue, ITokenUse)
@define(eq=False)
class QueueService:
    """
    The queue. Nothing is opened before L{start}, C{returns} is there from then on, C{oversight} once it has started.
    C{inline}, for tests and simulations, does all on the caller's thread; C{make_writer} then makes what writes,
    C{make_reader} what reads. C{note_commit} is told of each commit: its writes, and the seconds it took. C{moves}: see
    L{Rush}.
    """

    _settings: ISettings
    _reactor: IReactorTime
    _wall: Callable[[], float]
    _entropy: Entropy
    _random: Random
    _dispatch: IDispatch
    _inline: bool = False
    _free: Callable[[], int] | None = None
    _make_writer: Callable[[Engine, Callable[[], bool]], IWriter] = InlineWriter
    _make_reader: Callable[[Engine, IReactorFromThreads | None], IReader] = make_reader
    note_commit: Callable[[int, float], None] = ignore
    moves: Callable[[], int] = stand_still
    worker: str = field(default="", init=False)
    returns: Bounces = field(init=False)
    _writer: IWriter = field(init=False)
    _reader: IReader = field(init=False)
    _lease: Lease = field(init=False)
    _touched_at: float = field(default=0.0, init=False)
    _ballast: Ballast = field(init=False)
    _acceptance: Acceptance = field(init=False)
    _recorder: Recorder = field(init=False)
    _taker: Taker = field(init=False)
    _clocks: Clocks = field(init=False)
    _obedience: Obedience = field(init=False)
    _upkeep: Upkeep = field(init=False)
    _releases: Releases = field(init=False)
    _token_use: TokenUse = field(init=False)
    tls_counts: TlsCounts = field(init=False)
    policies: PolicyStore = field(init=False)
    hooks: Hooks = field(init=False)
    _site_memory: SiteMemory = field(init=False)
    _site_watch: SiteWatch = field(init=False)
    _suppression_watch: SuppressionWatch = field(init=False)
    _checkpoints: Checkpoints = field(init=False)
    _disk: Disk = field(init=False)
    oversight: Oversight = field(init=False)
    _cache: Cache = field(factory=Cache, init=False)
    _tasks: Tasks = field(factory=Tasks, init=False)
    _loops: list[LoopingCall] = field(factory=list, init=False)

    def start(self) -> Deferred[None]:
        """
        Open the database, bring its tables up to date, free what the dead held, and begin.

        It fails with L{StoreError}, and the relay must not start.
        """
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        config = self._settings.config
        state_dir = config.server.state_dir
        try:
            make_folder(state_dir)
            url = find_url(config)
            make_private(url)
            await self._off_reactor(migrate, url)
            self._assemble(url, state_dir)
            self._lease.hold()
        except OSError as error:
            raise StoreError(f"{error.filename or state_dir}: {error.strerror}") from error
        self._writer.start()
        self._reader.start()
        self.oversight.start()
        try:
            self._touched_at = self._reactor.seconds()
            await self._writer.submit(self._lease.enter, None)
            self._dispatch.recall(await self._reader.run(read_states))
            await self._site_watch.look()
        except StoreError as error:
            await self._close()
            raise StoreError(f"{name_database(url)}: {error}") from error
        self._taker.start()
        for interval, work in (
            (POLL, lambda: self._try(self._obedience.obey())),
            (POLL, lambda: self._try(self._site_watch.look())),
            (POLL, lambda: self._try(self._suppression_watch.look())),
            (TOUCH, self._touch),
            (TURN, lambda: self._try(self._checkpoints.run())),
            (UPKEEP, lambda: self._try(self._keep_up())),
            (TOKEN_USE, lambda: self._try(self._token_use.write())),
            (TLS_COUNTS, lambda: self._try(self.tls_counts.write())),
            (SITES, lambda: self._try(self._site_memory.write())),
        ):
            self._loop(interval, work)
        self._try(self._catch_up())

    async def _off_reactor(self, work: Callable[[URL], None], url: URL) -> None:
        if self._inline:
            work(url)
            return
        threads = IReactorThreads(self._reactor)
        await deferToThreadPool(threads, threads.getThreadPool(), work, url)

    def _assemble(self, url: URL, state_dir: Path) -> None:
        self._disk = Disk(state_dir, self._reactor)
        self.worker = make_id(self._wall(), self._entropy)
        threads = None if self._inline else IReactorFromThreads(self._reactor)
        if threads is None:
            self._writer = self._make_writer(make_engine(url), self._has_room)
        else:
            self._writer = ThreadedWriter(make_engine(url), self._reactor, self._has_room, self.note_commit, self.moves)
        # Nobody's mail waits for people who look.
        self._reader, looking = (self._make_reader(make_reading_engine(url), threads) for _ in range(2))
        self._checkpoints = Checkpoints(make_engine(url), threads)
        self._ballast = Ballast(state_dir / BALLAST)
        self._take_ballast()
        self._lease = Lease(self.worker, state_dir, self._wall)
        self._clocks = Clocks(self._wall, self._reactor)
        self.hooks = Hooks(
            self._writer, self._reader, self.worker, self._wall, threads, self._lives, self._clocks.have_parted
        )
        outbox = Outbox(self._settings, self.hooks.note)
        suppressions, fresh = Suppressions(self._entropy, outbox.write), Fresh()
        timing, ahead = (self._reactor, self._wall, self._tasks, self._lives), Ahead(self._reader, self._cache)
        self._releases = Releases(
            self._writer, self.worker, self._wall, lambda: self._taker.wake(), lambda keys: self._obedience.strand(keys)
        )
        self._taker = Taker(self._writer, self._dispatch, self.worker, *timing, suppressions, ahead, self._releases)
        settler = Settler(self.worker, self._settings, self._wall, self._entropy, self._random, outbox.write, fresh)
        self._recorder = Recorder(
            self._writer, settler, self._dispatch, self._reactor, self._tasks, self._recorded, self._ballast.drop
        )
        door = self._writer, self._settings, self._dispatch, self.worker, self._wall, self._entropy, self._free_octets
        self._acceptance = Acceptance(
            *door, self._cache, self._taker.wake, self.release, self._taker.doubt, suppressions, fresh
        )
        watched = self._writer, self._reader, self._dispatch, self.worker, self._wall, self._taker.wake
        self._obedience = Obedience(*watched, self._releases.free)
        self._site_memory = SiteMemory(self._writer, self._wall)
        self._site_watch = SiteWatch(*watched)
        self._suppression_watch = SuppressionWatch(*watched[:4], self._releases.release)
        self.policies = PolicyStore(self._writer, self._reader)
        self._token_use = TokenUse(self._writer, self._wall)
        self.oversight = Oversight(looking, self._sleep, self._lives, self._acceptance, self._recorder)
        self.returns = Bounces(self._writer, self._reader, self._wall, self._entropy, outbox.write)
        keeping = self._writer, self._reader, self._settings, self._wall, self._sleep
        self._upkeep = Upkeep(*keeping, self._clocks.have_parted, self._clocks.was_set_back, suppressions)
        self.tls_counts = TlsCounts(self._writer, self._reader, self._wall, self._taker.wake)

    def _free_octets(self) -> int:
        return self._disk.free() if self._free is None else self._free()

    def _take_ballast(self) -> None:
        # Above the reserve only: taking it from there would keep new mail out for longer.
        if find_url(self._settings.config).get_backend_name() == "sqlite" and self._free_octets() >= RESERVE + SIZE:
            self._ballast.take()

    def _has_room(self) -> bool:
        return self._free_octets() >= LITTLE

    def _loop(self, interval: float, work: Callable[[], Deferred[None]]) -> None:
        loop = LoopingCall(work)
        loop.clock = self._reactor
        self._loops.append(loop)
        loop.start(interval, now=False)

    def stop(self) -> Deferred[None]:
        """
        Take no more, record what went before, end the leases, close.
        """
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._taker.stop()
        for loop in self._loops:
            loop.stop()
        self._loops.clear()
        self._obedience.stop()
        self._suppression_watch.stop()
        self._upkeep.stop()
        self._recorder.end()
        await self._tasks.wait()
        for noted in (self._token_use, self._site_memory, self.tls_counts):
            await unless_out_of_order(noted.write())
        try:
            await self._writer.submit(self._lease.leave, None)
        except StoreError as error:
            log.warn("leases end with the process", reason=str(error))
            self._lease.drop()
        await self._close()

    async def _close(self) -> None:
        self._checkpoints.stop()
        await self._writer.stop()
        self._reader.stop()
        self.oversight.stop()
        self._lease.end()

    def check_room(self, declared: int | None) -> None:
        """
        See L{IAcceptance}.
        """
        self._acceptance.check_room(declared)

    def check_quota(self, project: str) -> None:
        """
        See L{IAcceptance}.
        """
        self._acceptance.check_quota(project)

    def note(self, token_id: str) -> None:
        """
        See L{ITokenUse}.
        """
        self._token_use.note(token_id)

    def open_body(self) -> IBody:
        """
        See L{IAcceptance}.
        """
        return self._acceptance.open_body()

    def accept(self, submission: Submission, body: IBody) -> Coroutine[Deferred[Any], Any, str]:
        """
        See L{IAcceptance}.
        """
        return self._acceptance.accept(submission, body)

    def open_content(self, message_id: str, fields: bytes = b"", above: bytes = b"") -> IContent:
        """
        See L{IQueue}.
        """
        return Content(self._reader, self._cache, message_id, fields, above)

    def settle(self, message_id: str, attempts: Mapping[int, Attempt]) -> Deferred[None]:
        """
        See L{IQueue}.
        """
        return self._recorder.record(Settle(message_id, dict(attempts), self._clocks.have_parted()))

    def _recorded(self, settle: Settle, settled: Settled) -> None:
        if settled.over:
            self._cache.drop(settle.message)
        self._taker.room_was_made()
        if settled.waits:
            self._taker.wake()

    def release(self, keys: Collection[RecipientKey]) -> Deferred[None]:
        """
        See L{IQueue}.
        """
        return Deferred.fromCoroutine(self._releases.release(tuple(keys)))

    def postpone(self, keys: Collection[RecipientKey], seconds: float) -> Deferred[None]:
        """
        See L{IQueue}.
        """
        return Deferred.fromCoroutine(self._releases.postpone(tuple(keys), seconds))

    def note_site(self, state: SiteState) -> None:
        """
        See L{IQueue}.
        """
        self._site_memory.note_site(state)

    def note_domain(self, domain: str, hosts: str) -> None:
        """
        See L{IQueue}.
        """
        self._site_memory.note_domain(domain, hosts)

    def _touch(self) -> Deferred[None]:
        return self._try(self._live())

    async def _live(self) -> None:
        self._clocks.have_parted()
        now = self._reactor.seconds()
        await self._writer.submit(self._lease.touch, None, urgent=True)
        self._touched_at = now
        await self._acceptance.delete_abandoned()
        await self._delete_orphans()

    def _lives(self) -> bool:
        """
        Do the others know for sure that this worker lives? If not, what it takes may be theirs already.
        """
        return self._reactor.seconds() - self._touched_at < DOUBTED_AFTER

    async def _catch_up(self) -> None:
        await self._upkeep.bring_near()
        await self._delete_orphans()

    async def _delete_orphans(self) -> None:
        while self._loops:
            more = await self._writer.submit(delete_orphans, None)
            if not more:
                return
            await self._sleep(BREATH)

    async def _keep_up(self) -> None:
        self._take_ballast()
        await self._upkeep.keep_up()

    def _sleep(self, seconds: float) -> Deferred[None]:
        return deferLater(self._reactor, seconds)

    def _try(self, work: Coroutine[Deferred[Any], Any, None]) -> Deferred[None]:
        return self._tasks.start(unless_out_of_order(work))
