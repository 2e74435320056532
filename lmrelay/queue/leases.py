"""
Who lives, and what belongs to the dead.

A worker on this machine lives while it holds the lock on its file; the kernel lets go of it
with the process. Where there is no such file, it lives while its row was touched lately.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import define, field
from sqlalchemy import Connection, Double, cast, delete, func, insert, select, text, tuple_, update
from twisted.logger import Logger

from lmrelay.errors import StoreError
from lmrelay.queue.privacy import make_folder
from lmrelay.queue.schema import WAITING, chunk, recipient, suppression_news, upload, worker
from lmrelay.queue.suppressions import drop_stray_news
from lmrelay.queue.tellings import free_owned

DEAD_AFTER = 60.0
"""
Seconds without a touch, where there is no file to look at.
"""

DOUBTED_AFTER = 40.0
"""
Seconds without a touch after which a worker takes nothing any more: well before others may take it for dead.
"""

TRIES = 20
PAUSE = 0.01
"""
Seconds.
"""

ORPHANS = 64
"""
Chunks deleted in one transaction.
"""

STRAY_NEWS = 1000
"""
News of suppressions likewise.
"""

log = Logger()


def folder(state_dir: Path) -> Path:
    """
    Where the workers' files are.
    """
    return state_dir / "workers"


def _lock(path: Path) -> int | None:
    """
    The descriptor that holds the lock of a file, made if need be; None where another has it for the moment.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    if _is_at(descriptor, path):
        return descriptor
    os.close(descriptor)
    return None


def _is_at(descriptor: int, path: Path) -> bool:
    """
    Is it still this file that others find there? One that was removed can be locked, but nobody would see it.
    """
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def any_lives(state_dir: Path) -> bool:
    """
    Does a worker run on this machine?
    """
    return any(_lives(path) for path in folder(state_dir).glob("*.lock"))


def _lives(path: Path) -> bool:
    """
    Is the file locked? Asked with a shared lock: of those who ask, none is taken for a worker by another.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@define(eq=False)
class Lease:
    """
    This worker's life. C{wall} is the clock of the rows.
    """

    worker: str
    _state_dir: Path
    _wall: Callable[[], float]
    _descriptor: int | None = field(default=None, init=False)

    @property
    def _path(self) -> Path:
        return folder(self._state_dir) / f"{self.worker}.lock"

    def hold(self) -> None:
        """
        Take the lock, before the row tells of this worker.

        @raise StoreError: another has it
        """
        make_folder(folder(self._state_dir))
        for _ in range(TRIES):
            descriptor = _lock(self._path)
            if descriptor is not None:
                self.drop()
                self._descriptor = descriptor
                return
            # Somebody asks whether this worker lives, which takes microseconds.
            time.sleep(PAUSE)
        raise StoreError(f"{self._path}: another process holds the lock")

    def drop(self) -> None:
        """
        Let go of the lock, as the end of the process does.
        """
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def enter(self, connection: Connection, items: Sequence[None]) -> list[None]:
        """
        Add this worker's row, and free what belongs to the dead.
        """
        self._write_row(connection, read_clock(connection, self._wall()))
        self.sweep(connection, items)
        return [None] * len(items)

    def _write_row(self, connection: Connection, now: float) -> None:
        if connection.dialect.name == "postgresql":
            # Who adds suppressions now looked for workers before, and will not tell this one of them. Once that is
            # committed this one sees them itself, and it takes nothing before.
            connection.execute(text(f"LOCK TABLE {suppression_news.name} IN SHARE MODE"))
        connection.execute(insert(worker), [{"id": self.worker, "seen_at": now}])

    def _hold_again(self) -> None:
        """
        Make the file again if somebody removed it while this worker lives.
        """
        if self._descriptor is None or _is_at(self._descriptor, self._path):
            return
        log.warn("the file that tells that this worker lives was removed", path=str(self._path))
        try:
            self.hold()
        except OSError as error:
            raise StoreError(f"{error.filename}: {error.strerror}") from error

    def touch(self, connection: Connection, items: Sequence[None]) -> list[None]:
        """
        Say that this worker lives, and free what belongs to the dead.
        """
        self._hold_again()
        now = read_clock(connection, self._wall())
        touched = connection.execute(update(worker).where(worker.c.id == self.worker).values(seen_at=now))
        if not touched.rowcount:
            # Without its row all that it takes from now on would be free again at once.
            log.warn("others had taken this worker for dead", worker=self.worker)
            self._write_row(connection, now)
        self.sweep(connection, items)
        return [None] * len(items)

    def sweep(self, connection: Connection, items: Sequence[None]) -> list[None]:
        """
        Free what belongs to the dead: it is due when it was.
        """
        # In this order a file outlives its row by a sweep: what this one deletes comes back where its commit fails, and
        # a row without its file would live for as long as the clock says.
        remove_files(connection, self._state_dir)
        free_dead(connection, self._state_dir, self._wall(), self.worker)
        return [None] * len(items)

    def leave(self, connection: Connection, items: Sequence[None]) -> list[None]:
        """
        Free what is left of this worker's, and take its row away.
        """
        connection.execute(delete(worker).where(worker.c.id == self.worker))
        self.sweep(connection, items)
        return [None] * len(items)

    def end(self) -> None:
        """
        Remove the file and let go of it; what was let go of stays, as that of a worker that died.
        """
        if self._descriptor is not None:
            self._path.unlink(missing_ok=True)
            self.drop()


def read_clock(connection: Connection, now: float) -> float:
    """
    The clock that tells who was seen lately: that of the database, where several machines share one.
    """
    if connection.dialect.name == "sqlite":
        return now
    found: float = connection.execute(select(cast(func.extract("epoch", func.clock_timestamp()), Double))).scalar_one()
    return found


def find_living(connection: Connection, state_dir: Path, now: float, me: str = "") -> set[str]:
    """
    The workers that live, C{me} among them.

    One of another machine, or whose file somebody removed, lives while its row was touched lately.
    """
    living = {me} if me else set()
    now = read_clock(connection, now)
    for row in connection.execute(select(worker.c.id, worker.c.seen_at)).all():
        path = folder(state_dir) / f"{row.id}.lock"
        if row.id != me and (_lives(path) if path.exists() else now - row.seen_at < DEAD_AFTER):
            living.add(row.id)
    return living


def free_dead(connection: Connection, state_dir: Path, now: float, me: str = "") -> int:
    """
    Free the leases of workers that are gone; the number of leases. Their files stay: until the rows are gone for
    good, what they say counts.
    """
    dead = set(connection.execute(select(worker.c.id)).scalars()) - find_living(connection, state_dir, now, me)
    if dead:
        connection.execute(delete(worker).where(worker.c.id.in_(dead)))
    freed = connection.execute(
        update(recipient)
        .where(
            recipient.c.owner.is_not(None),
            recipient.c.owner.not_in(select(worker.c.id)),
            recipient.c.state.in_(WAITING),
        )
        .values(owner=None, due=recipient.c.next_attempt)
    )
    free_owned(connection, select(worker.c.id), now)
    return freed.rowcount


def remove_files(connection: Connection, state_dir: Path) -> None:
    """
    Remove the files of workers that have neither a row nor the lock.
    """
    known = set(connection.execute(select(worker.c.id)).scalars())
    for path in folder(state_dir).glob("*.lock"):
        if path.stem not in known and (descriptor := _lock(path)) is not None:
            # Still locked, so that a worker about to take the file sees that it is gone.
            path.unlink(missing_ok=True)
            os.close(descriptor)


def delete_orphans(connection: Connection, items: Sequence[None]) -> list[bool]:
    """
    Delete some of what workers that are gone had uploaded, and of what was to be told to them, but so little that
    everything else has its turn. The result says whether there is more.
    """
    orphans = select(upload.c.body).where(upload.c.worker.not_in(select(worker.c.id)))
    keys = connection.execute(
        select(chunk.c.body, chunk.c.number).where(chunk.c.body.in_(orphans)).limit(ORPHANS)
    ).all()
    if keys:
        mine = tuple_(chunk.c.body, chunk.c.number).in_([tuple(key) for key in keys])
        # Of pairs alone SQLite compares every chunk there is with them.
        connection.execute(delete(chunk).where(chunk.c.body.in_({key.body for key in keys}), mine))
    more = len(keys) == ORPHANS
    if not more:
        connection.execute(delete(upload).where(upload.c.worker.not_in(select(worker.c.id))))
    more |= drop_stray_news(connection, STRAY_NEWS)
    return [more] * len(items)
