"""
Opening the database: engines, the settings of a SQLite connection, migrations, and what its errors mean.
"""

from __future__ import annotations

from pathlib import Path
from sqlite3 import Connection as SqliteConnection

from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool, QueuePool

from lmrelay.config.values import Config
from lmrelay.errors import StoreError, StoreFull

FILE = "queue.sqlite"
BUSY_TIMEOUT = 5000
"""
Milliseconds.
"""

JOURNAL_LIMIT = 64 * 1024 * 1024
MIGRATION_LOCK = 0x6C6D7265
_MIGRATIONS = Path(__file__).parent / "migrations"


def find_url(config: Config) -> URL:
    """
    The database that the configuration means.
    """
    if config.queue.url == "sqlite":
        return URL.create("sqlite", database=str(config.server.state_dir / FILE))
    url = make_url(config.queue.url)
    return url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url


def make_engine(url: URL, *, connections: int = 1) -> Engine:
    """
    An engine whose transactions take the write lock when they begin.

    SQLAlchemy by itself begins only before the first change, and a read that turns
    into a write fails at once with SQLITE_BUSY instead of waiting its turn.
    """
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_size=connections, max_overflow=0)
    engine = create_engine(
        url, poolclass=QueuePool, pool_size=connections, max_overflow=0, connect_args={"check_same_thread": False}
    )
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def make_reading_engine(url: URL, *, connections: int = 2) -> Engine:
    """
    An engine for reading; with SQLite it makes no file where there is none, and cannot write.
    """
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_size=connections, max_overflow=0)
    engine = create_engine(
        url, poolclass=QueuePool, pool_size=connections, max_overflow=0, connect_args={"check_same_thread": False}
    )
    event.listen(engine, "connect", _set_up_reading)
    event.listen(engine, "begin", _begin)
    return engine


def _set_up(connection: SqliteConnection, _: object) -> None:
    # The library must not begin transactions of its own; and before WAL, which writes the file's first page.
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout = {BUSY_TIMEOUT}",
        "auto_vacuum = INCREMENTAL",
        "journal_mode = WAL",
        "synchronous = FULL",
        f"journal_size_limit = {JOURNAL_LIMIT}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _set_up_reading(connection: SqliteConnection, _: object) -> None:
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")
    connection.execute("PRAGMA query_only = ON")


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _alembic() -> AlembicConfig:
    config = AlembicConfig()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def migrate(url: URL) -> None:
    """
    Bring the tables up to date; one process at a time does it.

    @raise StoreError: the database is of a newer version, or it cannot be opened
    """
    engine = make_engine(url) if url.get_backend_name() == "sqlite" else create_engine(url, poolclass=NullPool)
    try:
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            check_version(connection)
            config = _alembic()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except SQLAlchemyError as error:
        raise explain(error) from error
    finally:
        engine.dispose()


def check_version(connection: Connection, *, current: bool = False) -> None:
    """
    @param current: must it be exactly of this version?
    @raise StoreError: it is of a newer one, or is to be C{current} and is not
    """
    found = MigrationContext.configure(connection).get_current_revision()
    scripts = ScriptDirectory.from_config(_alembic())
    if found is not None and found not in {script.revision for script in scripts.walk_revisions()}:
        raise StoreError(f"the queue's database is of a newer version of lmrelay (its schema is {found!r})")
    if current and found != scripts.get_current_head():
        raise StoreError("the queue's database is of an older version of lmrelay; start the daemon once")


_FULL = ("full", "no space", "disk quota")


def explain(error: BaseException) -> StoreError:
    """
    What an error of the database means to a caller.
    """
    if isinstance(error, StoreError):
        return error
    cause = error.orig if isinstance(error, DBAPIError) else error
    name = str(getattr(cause, "sqlite_errorname", ""))
    state = str(getattr(cause, "sqlstate", ""))
    words = str(cause)
    if name == "SQLITE_FULL" or state == "53100" or any(word in words.lower() for word in _FULL):
        return StoreFull(f"the disk is full: {words}")
    return StoreError(words)


def is_busy(error: BaseException) -> bool:
    """
    Was the lock held by another for too long?
    """
    cause = error.orig if isinstance(error, DBAPIError) else error
    return str(getattr(cause, "sqlite_errorname", "")).startswith("SQLITE_BUSY") or str(
        getattr(cause, "sqlstate", "")
    ) in ("40001", "40P01", "55P03")
