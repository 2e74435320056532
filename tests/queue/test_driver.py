"""
Texts that go to the database's driver, and the connection that the writer keeps.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from lmrelay.config.values import Config
from lmrelay.queue.driver import run_text
from lmrelay.queue.store import find_url, make_engine
from lmrelay.queue.writer import Kept


@pytest.fixture
def engine(config: Config) -> Iterator[Engine]:
    """
    A database with a table of one number and one text.
    """
    engine = make_engine(find_url(config))
    with engine.begin() as connection:
        run_text(connection, "DROP TABLE IF EXISTS pairs")
        run_text(connection, "CREATE TABLE pairs (x INTEGER PRIMARY KEY, y TEXT)")
    yield engine
    with engine.begin() as connection:
        run_text(connection, "DROP TABLE pairs")
    engine.dispose()


def insert_twice(kept: Kept) -> None:
    """
    A transaction with a row that goes in and one that does not.
    """
    with kept.begin() as connection:
        run_text(connection, "INSERT INTO pairs VALUES (3, 'c')")
        run_text(connection, "INSERT INTO pairs VALUES (1, 'again')")


def test_rows(engine: Engine) -> None:
    """
    What gives rows answers with them, what gives none with none.
    """
    with engine.begin() as connection:
        assert [] == list(run_text(connection, "INSERT INTO pairs VALUES (1, 'a'), (2, 'b')"))
        assert [(1, "a"), (2, "b")] == [tuple(row) for row in run_text(connection, "SELECT x, y FROM pairs ORDER BY x")]


def test_errors_are_those_of_sqlalchemy(engine: Engine) -> None:
    """
    An error has the class that SQLAlchemy gives it, and tells nothing of the parameters, which may be people's mail.
    """
    text = "INSERT INTO pairs VALUES (1, ?)" if engine.dialect.name == "sqlite" else "INSERT INTO pairs VALUES (1, %s)"
    with engine.begin() as connection:
        run_text(connection, text, ("somebody's words",))
    with pytest.raises(IntegrityError) as caught, engine.begin() as connection:
        run_text(connection, text, ("somebody's words",))
    assert "somebody" not in str(caught.value)


def test_kept_until_a_failure(engine: Engine) -> None:
    """
    One connection serves all transactions; what fails is rolled back, and the next one goes on with a connection from
    the pool.
    """
    kept = Kept(engine)
    with kept.begin() as first:
        run_text(first, "INSERT INTO pairs VALUES (1, 'a')")
    with kept.begin() as second:
        assert first is second
        run_text(second, "INSERT INTO pairs VALUES (2, 'b')")
    with pytest.raises(IntegrityError):
        insert_twice(kept)
    assert second.closed
    with kept.begin() as third:
        assert [(1,), (2,)] == [tuple(row) for row in run_text(third, "SELECT x FROM pairs ORDER BY x")]
    kept.close()
    assert third.closed
