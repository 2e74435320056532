"""
Who lives, and what belongs to the dead.

A worker on this machine lives while it holds the lock on its file; the kernel lets go of it
with the process. On PostgreSQL a worker of another node lives while its row was touched lately.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import define, field
from sqlalchemy import Connection, delete, insert, select, update
from twisted.logger import Logger

from lmrelay.queue.schema import WAITING, chunk, recipient, upload, worker

DEAD_AFTER = 60.0
"""
Seconds without a touch, where there is no file to look at.
"""

log = Logger()


def folder(state_dir: Path) -> Path:
    """
    Where the workers' files are.
    """
    return state_dir / "workers"


def _lock(path: Path, *, create: bool) -> int | None:
    """
    The descriptor that holds the lock, or None where another has it.

    @raise FileNotFoundError: there is no such file
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def any_lives(state_dir: Path) -> bool:
    """
    Does a worker run on this machine?
    """
    return any(_lives(path) for path in folder(state_dir).glob("*.lock"))


def _lives(path: Path) -> bool:
    try:
        descriptor = _lock(path, create=False)
    except FileNotFoundError:
        return False
    if descriptor is None:
        return True
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
        """
        folder(self._state_dir).mkdir(parents=True, exist_ok=True)
        self._descriptor = _lock(self._path, create=True)

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
        connection.execute(insert(worker), [{"id": self.worker, "seen_at": self._wall()}])
        self.sweep(connection, items)
        return [None] * len(items)

    def touch(self, connection: Connection, items: Sequence[None]) -> list[None]:
        """
        Say that this worker lives, and free what belongs to the dead.
        """
        touched = connection.execute(update(worker).where(worker.c.id == self.worker).values(seen_at=self._wall()))
        if not touched.rowcount:
            # Without its row all that it takes from now on would be free again at once.
            log.warn("others had taken this worker for dead", worker=self.worker)
            connection.execute(insert(worker), [{"id": self.worker, "seen_at": self._wall()}])
        self.sweep(connection, items)
        return [None] * len(items)

    def sweep(self, connection: Connection, items: Sequence[None]) -> list[None]:
        """
        Free what belongs to the dead: it is due when it was.
        """
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
        Remove the file and let go of it.
        """
        self._path.unlink(missing_ok=True)
        self.drop()


def find_living(connection: Connection, state_dir: Path, now: float, me: str = "") -> set[str]:
    """
    The workers that live, C{me} among them.
    """
    rows = connection.execute(select(worker.c.id, worker.c.seen_at)).all()
    by_file = connection.dialect.name == "sqlite"
    living = {me} if me else set()
    for row in rows:
        path = folder(state_dir) / f"{row.id}.lock"
        if row.id != me and (_lives(path) if by_file or path.exists() else now - row.seen_at < DEAD_AFTER):
            living.add(row.id)
    return living


def free_dead(connection: Connection, state_dir: Path, now: float, me: str = "") -> int:
    """
    Free the leases and delete the uploads of workers that are gone; the number of leases.
    """
    dead = set(connection.execute(select(worker.c.id)).scalars()) - find_living(connection, state_dir, now, me)
    for one in dead:
        (folder(state_dir) / f"{one}.lock").unlink(missing_ok=True)
    if dead:
        connection.execute(delete(worker).where(worker.c.id.in_(dead)))
    living = select(worker.c.id)
    orphans = select(upload.c.body).where(upload.c.worker.not_in(living))
    connection.execute(delete(chunk).where(chunk.c.body.in_(orphans)))
    connection.execute(delete(upload).where(upload.c.worker.not_in(living)))
    freed = connection.execute(
        update(recipient)
        .where(recipient.c.owner.is_not(None), recipient.c.owner.not_in(living), recipient.c.state.in_(WAITING))
        .values(owner=None, due=recipient.c.next_attempt)
    )
    return freed.rowcount
