"""
The relay's disk and what writes to it, on the simulated clock: a commit takes its time, finds no room, or is the last
thing that the process does.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from attrs import define, field
from sqlalchemy import URL, Connection, Engine, event
from twisted.internet.defer import Deferred, succeed

from lmrelay.config.values import MIB
from lmrelay.errors import StoreError
from lmrelay.queue.backlog import Backlog, Waiting
from lmrelay.queue.ballast import FILE as BALLAST
from lmrelay.queue.checkpoints import TURN
from lmrelay.queue.contents import InlineReader
from lmrelay.queue.service import POLL, QueueService
from lmrelay.queue.writer import Kept, Transactions, Write, _fire, run_batch
from tests.simulation.network import Machine

COMMIT = 0.004
"""
Seconds that a commit takes to reach the disk.
"""

READ = 0.001
"""
Seconds until it is known what a look into the store found.
"""

FREE = 71 * MIB
"""
Octets of disk: room for mail, and none to keep for a full disk.
"""

SPARE = 20
"""
Commits for which the room is enough that the relay kept for a full disk.
"""

T = TypeVar("T")
Fate = Callable[[frozenset[str]], "bool | None"]


class DeathError(BaseException):
    """
    The process dies here: nothing of it may catch this.
    """


@define(eq=False)
class Disk:
    """
    The disk below C{folder}: C{free} octets of it are free, and a commit takes C{seconds}. C{is_full}: whatever is
    written finds no room, until the relay gives up what it kept. C{slowest}: the longest that a commit has taken.

    C{changes} counts what may have changed the store: a look at it finds what the last one found, if it has not grown.
    """

    folder: Path
    free: int = FREE
    seconds: float = COMMIT
    is_full: bool = False
    was_full: bool = False
    slowest: float = COMMIT
    changes: int = 0
    _spare: int = field(default=SPARE, init=False)

    def slow_down(self, seconds: float) -> None:
        """
        From now on a commit takes so long.
        """
        self.seconds, self.slowest = seconds, max(seconds, self.slowest)

    @property
    def was_slow(self) -> bool:
        """
        Was it ever slower than a good one?
        """
        return self.slowest > COMMIT

    def fill(self, spare: int = SPARE) -> None:
        """
        From now on there is no room; for so many commits, once what was kept is given up.
        """
        self.is_full, self.was_full, self._spare = True, True, spare

    def write(self) -> None:
        """
        A commit reaches the disk.

        @raise sqlite3.OperationalError: there is no room
        """
        if not self.is_full:
            return
        if self._spare and self._had_ballast():
            self._spare -= 1
            return
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorname = "SQLITE_FULL"
        raise error

    def _had_ballast(self) -> bool:
        return self.free >= FREE + MIB and not (self.folder / BALLAST).exists()


@define(eq=False)
class _Watched:
    """
    Transactions that end as C{fate} and the disk want it.
    """

    _source: Transactions
    _disk: Disk
    _fate: Callable[[], bool | None]

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """
        See L{Transactions}.
        """
        self._disk.changes += 1
        fate = self._fate()
        with self._source.begin() as connection:
            yield connection
            if fate is False:
                raise DeathError
            self._disk.write()
        if fate is True:
            raise DeathError

    def execution_options(self, **options: Any) -> Any:
        """
        See L{Transactions}.
        """
        return _Watched(self._source.execution_options(**options), self._disk, self._fate)


@define(eq=False)
class Writer:
    """
    The store's writer on the simulated clock: it gathers while a commit is on its way, as the thread does.

    C{fate} is asked at each commit, by the names of what is written, whether the process dies before it (False), after
    it (True) or not at all (None).
    """

    _engine: Engine
    _has_room: Callable[[], bool]
    _machine: Machine
    _disk: Disk
    _fate: Fate
    _die: Callable[[], None]
    _names: frozenset[str] = field(default=frozenset(), init=False)
    _kept: Kept = field(init=False)
    _gathered: Backlog = field(factory=Backlog, init=False)
    _busy: bool = field(default=False, init=False)
    _ended: Deferred[None] | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        # A process dies here, never the machine: what was written is there.
        event.listen(self._engine, "connect", lambda made, _: made.execute("PRAGMA synchronous = OFF"))
        self._kept = Kept(self._engine)

    def start(self) -> None:
        """
        Nothing to begin.
        """

    def submit(self, write: Write[Any, Any], item: Any, *, urgent: bool = False) -> Deferred[Any]:
        """
        Add it to the commit that gathers.
        """
        one = Waiting(write, item, urgent)
        if self._ended is not None:
            one.result.errback(StoreError("the store is closed"))
            return one.result
        self._gathered.add(one)
        self._begin()
        return one.result

    def _begin(self) -> None:
        if self._gathered and not self._busy:
            self._busy = True
            self._machine.callLater(self._disk.seconds, self._commit)

    def _commit(self) -> None:
        batch = self._gathered.take()
        try:
            self._write(batch)
        except DeathError:
            self._die()
            return
        _fire(batch)
        self._busy = False
        self._begin()
        if self._ended is not None and not self._busy:
            self._end(self._ended)

    def _write(self, batch: Sequence[Waiting]) -> None:
        self._names = frozenset(one.write.__qualname__ for one in batch)
        run_batch(_Watched(self._kept, self._disk, self._ask_fate), batch, self._has_room)

    def _ask_fate(self) -> bool | None:
        return self._fate(self._names)

    def stop(self) -> Deferred[None]:
        """
        Commit what waits, then end.
        """
        self._ended = Deferred()
        if not self._busy:
            self._end(self._ended)
        return self._ended

    def _end(self, ended: Deferred[None]) -> None:
        self.close()
        ended.callback(None)

    def close(self) -> None:
        """
        Let go of the database, as the end of the process does.
        """
        self._kept.close()
        self._engine.dispose()


@define(eq=False)
class Reader(InlineReader):
    """
    What reads from the store, on the simulated clock: as threads do, it tells what it found when others may already
    have written something else.
    """

    _machine: Machine

    def run(self, read: Callable[[Connection], T]) -> Deferred[T]:
        """
        See L{lmrelay.queue.contents.IReader}.
        """
        found, told = super().run(read), Deferred[T]()
        self._machine.callLater(READ, found.chainDeferred, told)
        return told


_compiled: list[Engine] = []


def share_compiled(engine: Engine) -> None:
    """
    Let it use the statements that others have compiled: each life has engines of its own, which would begin anew.
    """
    if not _compiled:
        # What is known of the database is asked at the first connection.
        engine.connect().close()
        engine.dispose()
        _compiled.append(engine)
    engine.dialect = engine.pool._dialect = _compiled[0].dialect
    engine._compiled_cache = _compiled[0]._compiled_cache


@define(eq=False)
class Queue(QueueService):
    """
    The queue, less its looks each second at a store in which nothing can have changed: a story is mostly made of them.
    """

    disk: Disk = field(kw_only=True)

    def _assemble(self, url: URL, state_dir: Path) -> None:
        super()._assemble(url, state_dir)
        for part in (self._writer, self._reader, self._checkpoints):
            share_compiled(part._engine)  # type: ignore[attr-defined]

    def _loop(self, interval: float, work: Callable[[], Deferred[None]]) -> None:
        seen = -1

        def look() -> Deferred[None]:
            nonlocal seen
            if seen == self.disk.changes:
                return succeed(None)
            seen = self.disk.changes
            return work()

        super()._loop(interval, look if interval in (POLL, TURN) else work)
