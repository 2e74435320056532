"""
What the queue promises when the process dies, the disk fills or somebody else has the lock: on SQLite.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import define, evolve
from sqlalchemy.exc import OperationalError
from twisted.internet.task import Clock

from lmrelay.config.project import Project
from lmrelay.config.values import Config
from lmrelay.errors import Refused, StoreError, StoreFault, StoreFull
from lmrelay.mail.outcome import Attempt, Failed, Fault, Outcome
from lmrelay.queue import store
from lmrelay.queue.acceptance import RESERVE
from lmrelay.queue.backlog import Backlog, Waiting
from lmrelay.queue.ballast import SIZE, Ballast
from lmrelay.queue.bodies import Budget
from lmrelay.queue.contents import Cache
from lmrelay.queue.service import UPKEEP
from lmrelay.queue.store import FILE, find_url, make_engine
from lmrelay.queue.writer import ThreadedWriter, ignore, run_batch
from tests.queue.filling import writing
from tests.queue.world import LATER, NEVER, OK, World, failure_of, name, result_of


class Killed(BaseException):
    """
    The process ends here.
    """


@pytest.fixture
def config(sqlite_config: Config) -> Config:
    """
    A configuration whose store is empty.
    """
    return sqlite_config


def test_a_fault_of_the_upkeep(world: World) -> None:
    """
    A state folder that cannot be looked at for a moment ends no loop: upkeep goes on, and the queue can be stopped.
    """

    def gone() -> int:
        raise FileNotFoundError(2, "No such file or directory")

    world.queue._free = gone  # type: ignore[attr-defined]
    world.clock.advance(UPKEEP)
    loops = world.queue._loops  # type: ignore[attr-defined]
    assert [True] * len(loops) == [loop.running for loop in loops]


def kill_at(world: World, commit: int, after: bool) -> Callable[[], bool]:
    """
    End the process just before or just after that commit of its writer; the answer tells whether it came to that.
    """
    dialect = world.queue._writer._engine.dialect  # type: ignore[attr-defined]
    commit_now, seen = dialect.do_commit, 0

    def do_commit(connection: Any) -> None:
        nonlocal seen
        seen += 1
        if seen > commit:
            raise Killed
        if seen < commit or after:
            commit_now(connection)
        if seen == commit:
            raise Killed

    dialect.do_commit = do_commit
    return lambda: seen >= commit


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("commit", range(1, 9))
def test_killed_at_a_commit(world: World, commit: int, after: bool) -> None:
    """
    Wherever the process ends: what was told to be accepted is there, what was settled is not tried again,
    everything else is leased again exactly once, and no half of a message is left.
    """
    accepted, settled = set(), set()
    result_of(world.accept(9))
    died = kill_at(world, commit, after)
    try:
        for number, body in ((1, b"\r\nhello"), (2, bytes(600_000))):
            done = world.accept(number, [f"a{number}@b.example"], body=body)
            if getattr(done, "result", None) == name(number):
                accepted.add(number)
            else:
                done.addErrback(lambda failure: failure.trap(Killed, StoreError))
        for number, outcome in ((1, OK), (2, NEVER), (9, LATER)):
            if number == 9 or number in accepted:
                done = world.queue.settle(name(number), {0: attempt_of(world, outcome)})
                done.addBoth(lambda _: None)
                if not died():
                    settled.add(number)
    except Killed:
        pass
    assert died() or commit > 6
    world.crash()
    world.start()
    world.run(90)
    counts = world.count()
    known = {number for number, _, _ in world.states()}
    assert accepted | {9} <= known
    leased = [int(id_) for id_, _ in world.dispatch.handed() if int_or_none(id_) in known]
    final = {number for number, _, state in world.states() if state in ("delivered", "failed")}
    assert settled - {9} <= final
    assert sorted(known - final) == sorted(leased)
    assert 0 == counts["upload"]
    for number in known - final:
        assert world.read(name(number)).startswith(b"Subject: Hi\r\n")
    world.dispatch.taken.clear()


def attempt_of(world: World, outcome: Outcome) -> Attempt:
    """
    An attempt of now.
    """
    return Attempt(world.wall(), world.wall(), outcome, "mx.b.example")


def int_or_none(id_: str) -> int | None:
    return int(id_) if id_.isdigit() else None


def limit_pages(world: World, free: int | None) -> None:
    """
    Let the database grow by that many pages more, or without limit.
    """
    engine = world.queue._writer._engine  # type: ignore[attr-defined]
    connection = engine.raw_connection()
    cursor = connection.cursor()
    pages = cursor.execute("PRAGMA page_count").fetchone()[0]
    cursor.execute(f"PRAGMA max_page_count = {1 << 30 if free is None else pages + free}")
    connection.close()


@pytest.mark.parametrize("free", range(0, 40, 3))
def test_disk_full_at_accept(world: World, free: int) -> None:
    """
    Wherever in an accept the disk is full: it says so, nothing is half-stored, no room in delivery
    is lost, and it works again when there is space.
    """
    before = world.count()
    limit_pages(world, free)
    failure_of(world.accept(1, [f"a{number}@b.example" for number in range(900)], bytes(200_000)), StoreFull)
    assert before == world.count()
    assert (1000, []) == (world.dispatch.room, world.dispatch.taken)
    limit_pages(world, None)
    result_of(world.accept(1))


@pytest.mark.parametrize("free", range(0, 260, 40))
def test_disk_full_at_upload(world: World, free: int) -> None:
    """
    A large body that the disk has no room for is refused, and what of it was stored is deleted.
    """
    before = world.count()
    limit_pages(world, free)
    failure_of(world.accept(1, body=bytes(1_200_000)), StoreFull)
    assert before == world.count()
    assert 0 == world.queue._acceptance._budget.used
    limit_pages(world, None)
    result_of(world.accept(1, body=bytes(1_200_000)))


def test_disk_full_at_discard(world: World) -> None:
    """
    An upload that is given up while nothing can be deleted goes as soon as it can, not with the process: what it takes
    is what is missing.
    """
    body = world.queue.open_body()
    body.write(bytes(600_000))
    dialect = world.queue._writer._engine.dialect  # type: ignore[attr-defined]
    commit = dialect.do_commit

    def fail(_: Any) -> None:
        raise full()

    dialect.do_commit = fail
    body.discard()
    world.run(60)
    assert (2, 1) == (world.count()["chunk"], world.count()["upload"])
    dialect.do_commit = commit
    world.run(16)
    assert (0, 0) == (world.count()["chunk"], world.count()["upload"])


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_commit_that_only_seemed_to_fail(world: World, lost: int) -> None:
    """
    A message that is in the store though its commit was said to have failed is accepted, once that is found out. Where
    it is not, the client hears 451, and the message is sent all the same, once, with its body: a part of it may be
    under way already, and its key be what the client is told when it tries again.
    """
    body = b"\r\n" + bytes(700_000)
    into = world.queue.open_body()
    into.write(body)
    dialect = world.queue._writer._engine.dialect  # type: ignore[attr-defined]
    commit, answers = dialect.do_commit, iter([False] * lost)

    def lose_answers(connection: Any) -> None:
        commit(connection)
        if not next(answers, True):
            raise sqlite3.OperationalError("disk I/O error")

    dialect.do_commit = lose_answers
    answer = world.accept(1, body=b"", into=into)
    if lost == 1:
        assert name(1) == result_of(answer)
        assert [(name(1), 0)] == world.dispatch.handed()
    else:
        failure_of(answer, StoreError)
        assert [] == world.dispatch.handed()
    world.run(60)
    assert [(name(1), 0)] == world.dispatch.handed()
    assert 999 == world.dispatch.room
    assert (1, 0) == (world.count()["message"], world.count()["upload"])
    assert b"Subject: Hi\r\n" + body == world.read(name(1))


def full() -> sqlite3.OperationalError:
    """
    As SQLite says it.
    """
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorname = "SQLITE_FULL"
    return error


@pytest.mark.parametrize("free", [0, 5, 20, 60])
def test_disk_full_at_settle(world: World, free: int) -> None:
    """
    Outcomes that the disk has no room for wait, delivery with them; both go on when there is space.
    """
    result_of(world.accept(1, [f"a{number}@b.example" for number in range(900)]))
    limit_pages(world, free)
    attempts = {number: attempt_of(world, NEVER) for number in range(900)}
    settled = world.queue.settle(name(1), attempts)
    world.run(10)
    assert not settled.called
    assert world.dispatch.paused
    assert 0 == world.count()["attempt"]
    limit_pages(world, None)
    world.run(40)
    assert settled.called
    assert not world.dispatch.paused
    assert (900, 1) == (world.count()["attempt"], len(world.notices()))


def test_disk_full_at_release(world: World) -> None:
    """
    What delivery gave back while the disk was full is due again as soon as there is room, not at the next start.
    """
    result_of(world.accept(1, [f"a{number}@b.example" for number in range(900)]))
    limit_pages(world, 0)
    world.dispatch.taken.clear()
    result_of(world.queue.release([(name(1), number) for number in range(900)]))
    world.dispatch.room, world.dispatch.held = 1000, {}
    world.run(10)
    limit_pages(world, None)
    world.run(60)
    assert 900 == len(set(world.dispatch.handed())) == len(world.dispatch.handed())


def test_ballast(world: World) -> None:
    """
    An outcome that finds the disk full is recorded in the room that was kept for it, at the stop too; that room is
    taken again when there is enough.
    """
    result_of(world.accept(1))
    ballast = world.config.server.state_dir / "spare"
    assert SIZE == ballast.stat().st_size <= 512 * ballast.stat().st_blocks
    limit_pages(world, 0)
    find_room = world.queue._recorder._make_room

    def make_room() -> bool:
        found = find_room()
        limit_pages(world, None if found else 0)
        return found

    world.queue._recorder._make_room = make_room
    attempts = {0: attempt_of(world, Failed("5.1.1", "x" * 20_000, Fault.RECIPIENT))}
    result_of(world.queue.settle(name(1), attempts))
    assert [(1, 0, "failed")] == world.states()
    assert (0, False) == (world.dispatch.pauses, ballast.exists())
    free, world.queue._free = world.queue._free, lambda: RESERVE + SIZE - 1
    world.run(61)
    assert not ballast.exists()
    world.queue._free = free
    world.run(61)
    assert ballast.exists()


def test_no_room_for_ballast(tmp_path: Path) -> None:
    """
    Where the room cannot be had, none is kept, and nothing breaks.
    """
    ballast = Ballast(tmp_path / "none" / "spare")
    ballast.take()
    assert not ballast.drop()


def test_bad_write_harms_nobody_else(config: Config) -> None:
    """
    Of a batch in which one write is wrong, all others are stored.
    """
    engine = make_engine(find_url(config))
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x INTEGER PRIMARY KEY)")

    def write(connection: Any, items: Any) -> list[None]:
        for item in items:
            connection.exec_driver_sql("INSERT INTO t VALUES (?)", (item,))
        return [None] * len(items)

    batch = [Waiting(write, item) for item in (1, 2, 2, "x", 3)]
    run_batch(engine, batch, lambda: True)
    bad = [type(getattr(one.answer, "value", None)) for one in batch]
    assert [type(None), type(None), StoreFault, StoreFault, type(None)] == bad
    with engine.begin() as connection:
        assert [1, 2, 3] == list(connection.exec_driver_sql("SELECT x FROM t").scalars())
    engine.dispose()


def test_busy(world: World) -> None:
    """
    A lock that somebody else holds for too long is waited for again; one that never comes free is an error.
    """
    engine = world.queue._writer._engine  # type: ignore[attr-defined]
    with engine.connect() as connection:
        connection.connection.driver_connection.execute("PRAGMA busy_timeout = 1")
    other = sqlite3.connect(world.config.server.state_dir / FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    failure_of(world.accept(1), StoreError)
    tries = []
    begin = engine.dialect.do_rollback

    def do_rollback(connection: Any) -> None:
        tries.append(1)
        begin(connection)
        if len(tries) == 2:
            other.execute("ROLLBACK")

    engine.dialect.do_rollback = do_rollback
    result_of(world.accept(2))
    other.close()
    engine.dialect.do_rollback = begin
    assert [(2, 0, "queued")] == world.states()


def test_fault_with_one_message(world: World) -> None:
    """
    A message whose outcome is wrong waits alone: everybody else's mail goes on.
    """
    result_of(world.accept(1))
    result_of(world.accept(2))
    with writing(world.config) as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER wrong BEFORE INSERT ON attempt WHEN NEW.message LIKE '%1'"
            " BEGIN SELECT RAISE(ABORT, 'wrong'); END"
        )
    settled = world.queue.settle(name(1), {0: attempt_of(world, OK)})
    world.settle(2, OK)
    assert (False, 0) == (settled.called, world.dispatch.pauses)
    with writing(world.config) as connection:
        connection.exec_driver_sql("DROP TRIGGER wrong")
    world.run(40)
    result_of(settled)
    assert [(1, 0, "delivered"), (2, 0, "delivered")] == world.states()


def test_ioerr_without_room_is_full() -> None:
    """
    A write that failed for want of space is a full disk, whatever the database calls it.
    """
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorname = "SQLITE_IOERR_WRITE"
    wrapped = OperationalError("INSERT", {}, error)
    assert StoreFull is type(store.explain(wrapped, lambda: False))
    assert StoreError is type(store.explain(wrapped, lambda: True))
    assert StoreError is type(store.explain(wrapped))


def test_budget(world: World) -> None:
    """
    Fifty bodies at once over a small budget neither wait for each other for ever nor take more memory than it.
    """
    budget = world.queue._acceptance._budget = Budget(1_000_000)
    bodies = [world.queue.open_body() for _ in range(50)]
    most = 0
    for _ in range(20):
        for body in bodies:
            pause = body.write(bytes(16_384))
            most = max(most, budget.used)
            if pause is not None:
                result_of(pause)
    assert most <= 1_000_000 + 16_384
    for number, body in enumerate(bodies, 1):
        result_of(world.accept(number, into=body, body=b""))
    assert (0, 0) == (budget.used, budget.leaving)
    assert {13 + 20 * 16_384} == {len(world.read(name(number))) for number in range(1, 51)}


def test_cache_forgets() -> None:
    """
    The cache never holds more than its limit.
    """
    cache = Cache(100)
    for number in range(50):
        cache.put(str(number), b"h" * 10, b"b" * 20)
    assert [None, None, None] == [cache.get(str(number)) for number in (0, 40, 46)]
    assert (b"h" * 10, b"b" * 20) == cache.get("47")
    cache.put("big", b"", b"x" * 101)
    assert None is cache.get("big")
    assert 0 == cache._size


class Reactor:
    """
    Calls at once what is handed over, from a thread or at the end of the turn.
    """

    def callFromThread(self, f: Any, *args: Any, **kw: Any) -> None:
        f(*args, **kw)

    def callLater(self, _: float, f: Any, *args: Any, **kw: Any) -> None:
        f(*args, **kw)

    def seconds(self) -> float:
        return 0.0


@pytest.fixture
def written(config: Config) -> tuple[ThreadedWriter, Any, list[list[int]]]:
    """
    A writer that has not begun, a write of numbers for it, and the numbers of each commit.
    """
    engine = make_engine(find_url(config))
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x INTEGER PRIMARY KEY)")
    batches: list[list[int]] = []

    def write(connection: Any, items: Any) -> list[int]:
        batches.append(list(items))
        connection.exec_driver_sql("INSERT INTO t VALUES (?)", [(item,) for item in items])
        return list(items)

    return ThreadedWriter(engine, Reactor()), write, batches


def test_threaded_writer_writes_what_waits(written: tuple[ThreadedWriter, Any, list[list[int]]]) -> None:
    """
    A writer that is stopped has written everything that was submitted before, in few commits; later comers are refused.
    """
    writer, write, batches = written
    results = [writer.submit(write, number) for number in range(250)]
    ended = writer.stop()
    failure_of(writer.submit(write, 1000), StoreError)
    writer._run()
    result_of(ended)
    assert list(range(250)) == [result_of(one) for one in results]
    assert [100, 100, 50] == [len(batch) for batch in batches]


def test_what_somebody_waits_for_overtakes(written: tuple[ThreadedWriter, Any, list[list[int]]]) -> None:
    """
    A client waits for no more than a commit of others' outcomes, however many of those wait; nor do they wait for all
    clients. Each kind keeps its order.
    """
    writer, write, batches = written
    for number in range(250):
        writer.submit(write, number)
    for number in range(1000, 1120):
        writer.submit(write, number, urgent=True)
    writer.stop()
    writer._run()
    expected = [
        [*range(1000, 1100), *range(100)],
        [*range(1100, 1120), *range(100, 200)],
        [*range(200, 250)],
    ]
    assert expected == batches


@define
class Alone:
    """
    What wakes a writer, where all happens on one thread.
    """

    writer: ThreadedWriter

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


@define
class Bell(Alone):
    """
    How much waited each time that it woke the writer.
    """

    woken: list[int]

    def notify(self) -> None:
        self.woken.append(len(self.writer._waiting))


@define
class Siblings(Alone):
    """
    Whenever the writer waits for others, so many come.
    """

    coming: list[int]
    urgent: bool = False

    def wait_for(self, is_enough: Callable[[], bool], timeout: float | None) -> bool:
        assert is_enough == self.writer._until
        if timeout is None:
            return is_enough()
        assert not is_enough()
        assert timeout < 0.01
        for _ in range(self.coming.pop(0)):
            self.writer._waiting.add(Waiting(ignore, None, self.urgent))
        return is_enough()


@pytest.mark.parametrize(
    ("coming", "urgent", "expected"), [([1], True, 2), ([0], True, 1), ([2], False, 3), ([1], False, 2)]
)
def test_outcomes_wait_for_company(
    written: tuple[ThreadedWriter, Any, list[list[int]]], coming: list[int], urgent: bool, expected: int
) -> None:
    """
    An outcome that would be alone waits a moment, for a message to share its commit or for as many as there were last;
    then it waits no longer.
    """
    writer, _, _ = written
    writer._last = 3
    writer._wake = Siblings(writer, coming, urgent)  # type: ignore[assignment]
    writer._waiting.add(Waiting(ignore, None))
    assert expected == len(writer._gather())
    assert [] == coming


def test_woken_for_what_it_waits_for(written: tuple[ThreadedWriter, Any, list[list[int]]]) -> None:
    """
    The thread is woken when what it waits for has come, and not before; and when it is to end.
    """
    writer, write, _ = written
    woken: list[int] = []
    writer._wake = Bell(writer, woken)  # type: ignore[assignment]
    writer._until = lambda: len(writer._waiting) > 2
    for number in range(4):
        writer.submit(write, number)
    assert [3, 4] == woken
    writer._until = lambda: False
    writer.stop()
    assert [3, 4, 4] == woken


def test_outcomes_that_take_long() -> None:
    """
    The longer outcomes take to write, the fewer of them go into a commit that clients wait for; all of those still do.
    """
    backlog = Backlog()
    for number in range(1000):
        backlog.add(Waiting(ignore, number))
    taken = []
    for seconds in (0.2, 0.2, 0.2, 0.2, 0.2, 0.01, 0.01, 0.01, 0.01, 0.01):
        backlog.add(Waiting(ignore, None, urgent=True))
        taken.append(len(backlog.take()) - 1)
        backlog.note(seconds)
    assert [100, 50, 25, 12, 10, 10, 20, 40, 80, 100] == taken


def test_only_outcomes_count(config: Config) -> None:
    """
    However long it takes to store what clients send, no fewer outcomes go into a commit for that.
    """
    clock = Clock()

    def store(connection: Any, items: Any) -> Any:
        clock.advance(2)
        return items

    def settle(connection: Any, items: Any) -> Any:
        clock.advance(0.01 * len(items))
        return items

    engine = make_engine(find_url(config))
    batch = [
        Waiting(store, 1, urgent=True),
        *(Waiting(settle, number) for number in range(3)),
        Waiting(store, 2, True),
    ]
    assert 0.03 == pytest.approx(run_batch(engine, batch, lambda: True, clock.seconds))
    assert [1, 0, 1, 2, 2] == [one.answer for one in batch]


@pytest.mark.parametrize("free", range(0, 40, 3))
def test_disk_full_with_key_and_limit(world: World, free: int) -> None:
    """
    A message that the disk has no room for uses up neither its key nor a place below the limit.
    """
    world.config = world.queue._settings.config = evolve(
        world.config, projects={"acme": Project("acme", max_messages_per_hour=1)}
    )
    key = {"key": "k", "fingerprint": "a" * 64}
    limit_pages(world, free)
    failure_of(world.accept(1, [f"a{number}@b.example" for number in range(900)], bytes(200_000), **key), StoreFull)
    assert (1000, []) == (world.dispatch.room, world.dispatch.taken)
    limit_pages(world, None)
    assert name(2) == result_of(world.accept(2, **key))
    failure_of(world.accept(3), Refused)
