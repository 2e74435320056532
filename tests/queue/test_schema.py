"""
The migrations lead to the tables that the code means, on both databases.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine

from lmrelay.config.values import Config
from lmrelay.queue.schema import metadata
from lmrelay.queue.store import FILE
from tests.queue.filling import writing


def test_no_difference(config: Config) -> None:
    """
    Nothing is left to migrate.
    """
    with writing(config) as connection:
        assert [] == compare_metadata(MigrationContext.configure(connection), metadata)


def read_ddl(file: Path) -> Mapping[str, str]:
    """
    What made each table and index of a SQLite database.
    """
    connection = sqlite3.connect(file)
    rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'alembic%'")
    # A column that was added later stands in a line with the one before.
    ddl = {name: " ".join(sql.split()) for name, sql in rows.fetchall()}
    connection.close()
    return ddl


def test_same_words(sqlite: Path, tmp_path: Path) -> None:
    """
    Tables and partial indexes are the same to the letter.
    """
    engine = create_engine(f"sqlite:///{tmp_path / FILE}")
    metadata.create_all(engine)
    engine.dispose()
    assert read_ddl(tmp_path / FILE) == read_ddl(sqlite)


def test_space_can_be_given_back(sqlite: Path) -> None:
    """
    A new database has incremental auto-vacuum, which cannot be had later.
    """
    connection = sqlite3.connect(sqlite)
    assert (2,) == connection.execute("PRAGMA auto_vacuum").fetchone()
    assert ("wal",) == connection.execute("PRAGMA journal_mode").fetchone()
    connection.close()
