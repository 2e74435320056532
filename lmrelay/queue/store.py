"""
Opening the database: engines, the settings of a SQLite connection, migrations, and what its errors mean.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from sqlite3 import Connection as SqliteConnection

from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError
from sqlalchemy.pool import NullPool, QueuePool

from lmrelay.config.values import Config
from lmrelay.errors import StoreError, StoreFault, StoreFull
from lmrelay.queue.driver import run_text
from lmrelay.queue.privacy import close, make_file

FILE = "queue.sqlite"
BUSY_TIMEOUT = 5000
"""
Milliseconds.
"""

JOURNAL_LIMIT = 64 * 1024 * 1024
"""
Octets that the log keeps on the disk when it starts afresh.
"""

CACHE = 8192
"""
KiB of pages that a connection keeps: the bodies that are on their way out, so that to delete one no page is read again.
"""

AUTOCHECKPOINT = 16384
"""
Pages in the log at which a commit empties it itself: far more than upkeep leaves, so commits seldom wait for that.
"""

PREPARED = 256
"""
Statements that a connection keeps ready to run. Those that every message needs have a text for each of a dozen sizes.
"""

MIGRATION_LOCK = 0x6C6D7265
_MIGRATIONS = Path(__file__).parent / "migrations"


def find_url(config: Config) -> URL:
    """
    The database that the configuration means.

    @raise StoreError: its URL is none
    """
    if config.queue.url == "sqlite":
        return URL.create("sqlite", database=str(config.server.state_dir / FILE))
    try:
        url = make_url(config.queue.url)
    except ArgumentError as error:
        raise StoreError(f"queue.url is not a URL of a database: {error}") from error
    return url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url


def make_private(url: URL) -> None:
    """
    Let nobody else read the files of a SQLite database, which is made where there is none.
    """
    if url.get_backend_name() == "sqlite" and url.database:
        make_file(Path(url.database))
        for log in ("-wal", "-shm"):
            close(Path(url.database + log))


def make_engine(url: URL, *, connections: int = 1) -> Engine:
    """
    An engine whose transactions take the write lock when they begin.

    SQLAlchemy by itself begins only before the first change, and a read that turns
    into a write fails at once with SQLITE_BUSY instead of waiting its turn.
    """
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_size=connections, max_overflow=0, hide_parameters=True)
    engine = _make_sqlite_engine(url, connections)
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def make_reading_engine(url: URL, *, connections: int = 2) -> Engine:
    """
    An engine for reading; with SQLite it makes no file where there is none, and cannot write.
    """
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_size=connections, max_overflow=0, hide_parameters=True)
    engine = _make_sqlite_engine(url, connections)
    event.listen(engine, "connect", _set_up_reading)
    event.listen(engine, "begin", _begin)
    return engine


def _make_sqlite_engine(url: URL, connections: int) -> Engine:
    # Parameters are people's mail: none of it belongs into an error's text, which is logged.
    return create_engine(
        url,
        poolclass=QueuePool,
        pool_size=connections,
        max_overflow=0,
        connect_args={"check_same_thread": False, "cached_statements": PREPARED},
        hide_parameters=True,
    )


def _set_up(connection: SqliteConnection, _: object) -> None:
    # The library must not begin transactions of its own; and before WAL, which writes the file's first page.
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout = {BUSY_TIMEOUT}",
        "auto_vacuum = INCREMENTAL",
        "journal_mode = WAL",
        "synchronous = FULL",
        # Else where SQLite was built so a body that is deleted is written once more, as zeros.
        "secure_delete = FAST",
        f"journal_size_limit = {JOURNAL_LIMIT}",
        f"wal_autocheckpoint = {AUTOCHECKPOINT}",
        f"cache_size = -{CACHE}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _set_up_reading(connection: SqliteConnection, _: object) -> None:
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")
    connection.execute("PRAGMA query_only = ON")


def _begin_immediate(connection: Connection) -> None:
    run_text(connection, "BEGIN IMMEDIATE")


def _begin(connection: Connection) -> None:
    run_text(connection, "BEGIN")


def _alembic() -> AlembicConfig:
    config = AlembicConfig()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def migrate(url: URL) -> None:
    """
    Bring the tables up to date; one process at a time does it.

    @raise StoreError: the database is of a newer version, or it cannot be opened; names it
    """
    try:
        _migrate(url)
    except (SQLAlchemyError, CommandError, ImportError, StoreError) as error:
        raise StoreError(f"{name_database(url)}: {explain(error)}") from error


def name_database(url: URL) -> str:
    """
    The database's file, or its URL without the password.
    """
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return url.render_as_string(hide_password=True)


def _migrate(url: URL) -> None:
    engine = make_engine(url) if url.get_backend_name() == "sqlite" else create_engine(url, poolclass=NullPool)
    try:
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            if check_version(connection):
                return
            config = _alembic()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()


@cache
def _revisions() -> tuple[str, ...]:
    """
    The versions of the tables, the newest first.
    """
    return tuple(script.revision for script in ScriptDirectory.from_config(_alembic()).walk_revisions())


def check_version(connection: Connection, *, current: bool = False) -> bool:
    """
    Is it of the newest version?

    @param current: must it be exactly of this version?
    @raise StoreError: it is of a newer one, or is to be C{current} and is not
    """
    found = MigrationContext.configure(connection).get_current_revision()
    known = _revisions()
    if found is not None and found not in known:
        raise StoreError(f"the queue's database is of a newer version of lmrelay (its schema is {found!r})")
    if current and found != known[0]:
        raise StoreError("the queue's database is of an older version of lmrelay; start the daemon once")
    return found == known[0]


FULL = frozenset({"SQLITE_FULL", "53100"})
"""
SQLite's name, and PostgreSQL's SQLSTATE, of a full disk.
"""

BUSY = frozenset({"40001", "40P01", "55P03"})
"""
PostgreSQL's serialization failure, deadlock, and lock not available.
"""


def _code(error: BaseException) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else error
    return str(getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None) or "")


def explain(error: BaseException, has_room: Callable[[], bool] | None = None) -> StoreError:
    """
    What an error of the database means to a caller.

    @param has_room: is there room on its disk? SQLite tells of a write that failed for want of it in some
        places as of any other
    """
    if isinstance(error, StoreError):
        return error
    cause = error.orig if isinstance(error, DBAPIError) else error
    words = (str(cause).splitlines() or [type(cause).__name__])[0]
    code = _code(error)
    if code in FULL or (code.startswith("SQLITE_IOERR") and has_room is not None and not has_room()):
        return StoreFull(f"the disk is full: {words}")
    if isinstance(error, (IntegrityError, DataError, ProgrammingError)) or not isinstance(
        error, (SQLAlchemyError, OSError)
    ):
        return StoreFault(words)
    return StoreError(words)


def is_busy(error: BaseException) -> bool:
    """
    Was the lock held by another for too long?
    """
    code = _code(error)
    return code in BUSY or code.startswith("SQLITE_BUSY")
