"""
Moving what is in SQLite's log into the database, so that no commit has to.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from sqlalchemy import Engine
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from lmrelay.queue.store import explain

TURN = 0.25
"""
Seconds from one turn to the next.
"""

LOG_LIMIT = 8192
"""
Pages in SQLite's log above which a checkpoint starts it afresh, though writers wait for that.
"""

MUCH = 2048
"""
Pages moved by a checkpoint after which the next follows at once: hundreds of messages of 100 KiB a second fill the log
so fast that a commit would have to empty it, and all who wait for that commit with it.
"""

PAUSE = 3
"""
Turns that are let pass otherwise, for each checkpoint is two syncs.
"""


@define(eq=False)
class Log:
    """
    SQLite's log. C{ended}: the pages that were in it when it was made to start afresh, which it does with the next
    write. As long as there are as many, nothing was written since.
    """

    _engine: Engine
    _ended: int = field(default=0, init=False)

    def checkpoint(self) -> tuple[int, int]:
        """
        Checkpoint without making anybody wait, unless the log has grown beyond all measure; the
        answer is the pages in the log, and those of them that are in the database now.

        @raise StoreError: not now
        """
        try:
            _, in_log, moved = self._run("PASSIVE")
            if in_log != self._ended:
                self._ended = 0
            if in_log > LOG_LIMIT and not self._ended:
                # Its room on the disk stays its own: to write over it is quicker than to ask for more.
                is_barred, in_log, moved = self._run("RESTART")
                if not is_barred:
                    self._ended = in_log
        except Exception as error:
            raise explain(error) from error
        return in_log, moved

    def _run(self, mode: str) -> tuple[int, int, int]:
        # Past SQLAlchemy's connection, which would begin a transaction, in which there is no checkpoint.
        connection = self._engine.raw_connection()
        try:
            cursor = connection.cursor()
            cursor.execute(f"PRAGMA wal_checkpoint({mode})")
            is_barred, in_log, moved = cursor.fetchall()[0]
            cursor.close()
        finally:
            connection.close()
        return is_barred, in_log, moved


@define(eq=False)
class Checkpoints:
    """
    Moves what is in SQLite's log into the database, on a connection and a thread of its own,
    so that no commit has to. Without C{reactor}: on the caller's thread. C{move} does it.
    """

    _engine: Engine
    _reactor: IReactorFromThreads | None
    _move: Callable[[], tuple[int, int]] = field()
    _pause: int = field(default=0, init=False)
    _moved: int = field(default=0, init=False)
    _pool: ThreadPool = field(factory=lambda: ThreadPool(0, 1, "lmrelay-checkpoint"), init=False)

    @_move.default
    def _make_move(self) -> Callable[[], tuple[int, int]]:
        return Log(self._engine).checkpoint

    async def run(self) -> None:
        """
        Its turn: move it if there is much, or every few turns.

        @raise StoreError: not now
        """
        if self._engine.dialect.name != "sqlite":
            return
        if self._pause:
            self._pause -= 1
            return
        self._pause = PAUSE
        _, moved = await self._run()
        # Counted from where the log began; if it is less than before, it has begun afresh.
        before, self._moved = self._moved, moved
        if moved - (before if moved >= before else 0) > MUCH:
            self._pause = 0

    async def _run(self) -> tuple[int, int]:
        if self._reactor is None:
            return self._move()
        if not self._pool.started:
            self._pool.start()
        return await deferToThreadPool(self._reactor, self._pool, self._move)

    def stop(self) -> None:
        """
        End the thread, when what it does is done.
        """
        if self._pool.started:
            self._pool.stop()
        self._engine.dispose()
