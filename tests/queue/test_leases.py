"""
Who counts as living, however the files that tell of it are treated.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from lmrelay.config.values import Config
from lmrelay.errors import StoreError, StoreFull
from lmrelay.queue.leases import DEAD_AFTER, ORPHANS, Lease, any_lives, delete_orphans, find_living, folder, read_clock
from lmrelay.queue.operations import open_desk
from lmrelay.queue.orders import Selector, Verb
from lmrelay.queue.schema import chunk, upload, worker
from tests.queue.filling import writing
from tests.queue.world import World, name, result_of


def files(config: Config) -> list[str]:
    return sorted(path.stem for path in folder(config.server.state_dir).iterdir())


def test_two_who_ask(tmp_path: Path) -> None:
    """
    Of two that ask at once whether a worker lives, neither takes the other for it.
    """
    folder(tmp_path).mkdir()
    path = folder(tmp_path) / "w.lock"
    path.touch()
    with path.open() as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert not any_lives(tmp_path)
        fcntl.flock(other, fcntl.LOCK_EX)
        assert any_lives(tmp_path)


def test_lock_of_another(tmp_path: Path) -> None:
    """
    A worker that cannot have its lock does not go on without.
    """
    first, second = (Lease("w", tmp_path, lambda: 0.0) for _ in range(2))
    first.hold()
    with pytest.raises(StoreError, match=r"w\.lock: another process holds the lock"):
        second.hold()
    first.drop()
    second.hold()
    assert any_lives(tmp_path)
    second.end()
    assert not any_lives(tmp_path)


def test_removed_file(world: World) -> None:
    """
    Who removes the files of a living worker does not make it a dead one: what it delivers stays its own, and
    the file is soon there again.
    """
    result_of(world.accept())
    before = files(world.config)
    for one in before:
        os.unlink(folder(world.config.server.state_dir) / f"{one}.lock")
    with open_desk(world.config, world.wall, world.clock.advance) as desk:
        change = desk.change(Verb.RETRY, Selector(), False)
    assert (1, True) == (change.in_flight, change.by_daemon)
    assert [] == files(world.config)
    world.run(16)
    assert before == files(world.config)
    with writing(world.config) as connection:
        assert set(before) == find_living(connection, world.config.server.state_dir, world.wall() + 1000)


def test_stop_with_a_full_disk(world: World) -> None:
    """
    A process that cannot take its row away leaves its file too: whoever comes next sees at once that it is dead.
    """
    last = world.queue.worker

    def fail() -> float:
        raise StoreFull("the disk is full")

    world.queue._lease._wall = fail
    world.stop()
    assert [last] == files(world.config)
    assert not any_lives(world.config.server.state_dir)
    with writing(world.config) as connection:
        assert set() == find_living(connection, world.config.server.state_dir, world.wall() - DEAD_AFTER)


def test_files_of_the_dead(world: World) -> None:
    """
    The file of a worker that was killed goes soon after its successor's start; that of one that is just starting stays.
    """
    dead = world.queue.worker
    starting = Lease("starting", world.config.server.state_dir, world.wall)
    starting.hold()
    world.crash()
    assert [dead, "starting"] == files(world.config)
    world.start()
    world.run(16)
    assert sorted([world.queue.worker, "starting"]) == files(world.config)
    starting.end()


def test_files_outlive_their_rows(world: World) -> None:
    """
    A sweep that cannot be written leaves the files of the dead where they are: without theirs, their rows alone would
    say how long they live, and by a clock that was set back that is for as long.
    """
    dead, config = world.queue.worker, world.config
    world.crash()
    heir = Lease("heir", config.server.state_dir, world.wall)
    heir.hold()

    def enter_in_vain() -> None:
        with writing(config) as connection:
            heir.enter(connection, [None])
            raise StoreError("the disk is full")

    with pytest.raises(StoreError):
        enter_in_vain()
    assert sorted([dead, "heir"]) == files(config)
    with writing(config) as connection:
        assert {"heir"} == find_living(connection, config.server.state_dir, world.wall() - DEAD_AFTER, "heir")
    heir.end()
    world.start()


@pytest.mark.parametrize(("age", "lives"), [(DEAD_AFTER - 20, True), (DEAD_AFTER + 20, False)])
def test_node_without_a_file(world: World, age: float, lives: bool) -> None:
    """
    A worker of another machine lives while it was seen lately by the clock that both share, whatever the time here.
    """
    with writing(world.config) as connection:
        now = read_clock(connection, world.wall())
        connection.execute(insert(worker), [{"id": "far", "seen_at": now - age}])
    if world.config.queue.url != "sqlite":
        world.skew = 10 * DEAD_AFTER
    with writing(world.config) as connection:
        assert lives is ("far" in find_living(connection, world.config.server.state_dir, world.wall()))


def test_orphans_go_in_steps(world: World) -> None:
    """
    What dead workers had uploaded goes in short transactions, and what living ones upload stays.
    """
    rows = [{"body": f"dead{n}", "number": m, "size": 1, "octets": b"x"} for n in range(3) for m in range(ORPHANS)]
    mine = {"body": name(1), "number": 0, "size": 1, "octets": b"x"}
    with writing(world.config) as connection:
        connection.execute(insert(chunk), [*rows, mine])
        connection.execute(insert(upload), [{"body": f"dead{n}", "worker": "dead"} for n in range(3)])
        connection.execute(insert(upload), [{"body": name(1), "worker": world.queue.worker}])
    with writing(world.config) as connection:
        assert [True] == delete_orphans(connection, [None])
    assert (2 * ORPHANS + 1, 4) == (world.count()["chunk"], world.count()["upload"])
    world.run(20)
    assert (1, 1) == (world.count()["chunk"], world.count()["upload"])
    with writing(world.config) as connection:
        assert [name(1)] == list(connection.execute(select(upload.c.body)).scalars())
        assert [False] == delete_orphans(connection, [None])
        assert [world.queue.worker] == list(connection.execute(select(worker.c.id)).scalars())
