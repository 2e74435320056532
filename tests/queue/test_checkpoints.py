"""
SQLite's log is emptied on the side, and does not grow beyond measure.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine, insert, select, text
from twisted.internet.defer import Deferred

from lmrelay.config.values import Config
from lmrelay.errors import StoreError
from lmrelay.queue.checkpoints import LOG_LIMIT, MUCH, PAUSE, Checkpoints, Log
from lmrelay.queue.schema import chunk
from lmrelay.queue.store import find_url, make_engine, make_reading_engine


def test_checkpoint(on_sqlite: Config) -> None:
    """
    What is in the log comes into the database while connections are open, and a log beyond measure starts afresh.
    """
    engine = make_engine(find_url(on_sqlite))
    with engine.begin() as connection:
        connection.execute(insert(chunk), [{"body": "x", "number": 0, "size": 1, "octets": bytes(1 << 20)}])
    other = make_engine(find_url(on_sqlite))
    log = Log(other)
    in_log, moved = log.checkpoint()
    assert in_log == moved > 256
    file = Path(f"{on_sqlite.server.state_dir}/queue.sqlite-wal")
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM chunk"))
        connection.execute(insert(chunk), [{"body": "x", "number": 0, "size": 1, "octets": bytes(40 << 20)}])
    size = file.stat().st_size
    assert size > 40 << 20
    log.checkpoint()
    with engine.begin() as connection:
        connection.execute(insert(chunk), [{"body": "y", "number": 0, "size": 1, "octets": bytes(1 << 20)}])
    assert size == file.stat().st_size
    in_log, moved = log.checkpoint()
    assert 256 < in_log == moved < 512
    other.dispose()
    engine.dispose()


def test_what_goes_is_not_written_again(on_sqlite: Config) -> None:
    """
    To delete a body costs the disk a small part of what it cost to store it, however SQLite was built.
    """
    engine = make_engine(find_url(on_sqlite))
    with engine.begin() as connection:
        connection.execute(insert(chunk), [{"body": "x", "number": 0, "size": 1 << 20, "octets": bytes(1 << 20)}])
    log = Path(f"{on_sqlite.server.state_dir}/queue.sqlite-wal")
    before = log.stat().st_size
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM chunk"))
    assert 64 << 10 > log.stat().st_size - before > 0
    engine.dispose()


def test_checkpoints_follow_each_other_while_there_is_much(on_sqlite: Config) -> None:
    """
    A log that fills fast is emptied at every turn, so that no commit has to; any other at every fourth.
    """
    # Much at first and again; little more; then the log has begun afresh, and much is in it; and nothing more.
    moved = [MUCH + 1, 2 * MUCH + 2, 2 * MUCH + 3, MUCH + 1, MUCH + 1]
    left = list(moved)
    checkpoints = Checkpoints(make_engine(find_url(on_sqlite)), None, lambda: (9 * MUCH, left.pop(0)))
    done = []
    for _ in range(3 + PAUSE + 2 + PAUSE):
        Deferred.fromCoroutine(checkpoints.run())
        done.append(len(moved) - len(left))
    checkpoints.stop()
    assert [1, 2, 3, 3, 3, 3, 4, 5, 5, 5, 5] == done


def test_a_checkpoint_that_fails_is_not_tried_at_every_turn(on_sqlite: Config) -> None:
    """
    It has its turn again when any other had.
    """
    tried: list[bool] = []

    def fail() -> tuple[int, int]:
        tried.append(True)
        raise StoreError("the disk is gone")

    checkpoints = Checkpoints(make_engine(find_url(on_sqlite)), None, fail)
    failures: list[object] = []
    for _ in range(PAUSE + 2):
        Deferred.fromCoroutine(checkpoints.run()).addErrback(failures.append)
    checkpoints.stop()
    assert (2, 2) == (len(tried), len(failures))


def test_checkpoints_without_a_log(config: Config) -> None:
    """
    On the caller's thread where there is no reactor, and nothing to do where the database sees to it itself.
    """
    checkpoints = Checkpoints(make_engine(find_url(config)), None)
    results: list[object] = []
    Deferred.fromCoroutine(checkpoints.run()).addBoth(results.append)
    checkpoints.stop()
    assert [None] == results


def write(engine: Engine, octets: int) -> None:
    """
    One body of that size in one commit.
    """
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM chunk"))
        connection.execute(insert(chunk), [{"body": "x", "number": 0, "size": 1, "octets": bytes(octets)}])


def listen(engine: Engine) -> list[str]:
    """
    What is said to the database on that engine's connection from now on, which waits for no lock.
    """
    connection, said = engine.raw_connection(), list[str]()
    connection.execute("PRAGMA busy_timeout = 0")  # type: ignore[attr-defined]
    connection.driver_connection.set_trace_callback(said.append)  # type: ignore[union-attr]
    connection.close()
    return said


PASSIVE, RESTART = (f"PRAGMA wal_checkpoint({mode})" for mode in ("PASSIVE", "RESTART"))


def test_a_log_starts_afresh_once(on_sqlite: Config) -> None:
    """
    A relay that has nothing to do does not hold up writers time and again for a log that has grown beyond measure: it
    starts afresh with the next write. When it has grown so again it is seen to again.
    """
    engine, other = make_engine(find_url(on_sqlite)), make_engine(find_url(on_sqlite))
    said, log = listen(other), Log(other)
    for _ in range(2):
        write(engine, 40 << 20)
        for _ in range(3):
            log.checkpoint()
        assert [PASSIVE, RESTART, PASSIVE, PASSIVE] == said
        said.clear()
        write(engine, 1)
        log.checkpoint()
        assert [PASSIVE] == said
        said.clear()
    other.dispose()
    engine.dispose()


def test_a_log_that_somebody_reads_is_tried_again(on_sqlite: Config) -> None:
    """
    As long as a reader needs what is in it the log cannot start afresh, and does as soon as it can.
    """
    engine, other = make_engine(find_url(on_sqlite)), make_engine(find_url(on_sqlite))
    said, log = listen(other), Log(other)
    write(engine, 1)
    reader = make_reading_engine(find_url(on_sqlite))
    with reader.begin() as connection:
        connection.execute(select(chunk.c.number)).all()
        write(engine, 40 << 20)
        for _ in range(2):
            log.checkpoint()
        assert [PASSIVE, RESTART] * 2 == said
        said.clear()
    for _ in range(2):
        in_log, moved = log.checkpoint()
        assert LOG_LIMIT < in_log == moved
    assert [PASSIVE, RESTART, PASSIVE] == said
    for one in (reader, other, engine):
        one.dispose()
