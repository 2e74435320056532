"""
Orders: what the operator's command leaves and the daemon carries out, on both databases.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Iterator, Sequence
from typing import Any

import pytest
from attrs import define, field
from sqlalchemy import Connection, func, select, update
from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from lmrelay.config.values import Config
from lmrelay.errors import StoreError
from lmrelay.interfaces import Lane, Leased, RecipientKey
from lmrelay.queue.changes import SLICE, write_slices
from lmrelay.queue.commands import STALE, Obedience
from lmrelay.queue.contents import InlineReader
from lmrelay.queue.leases import Lease
from lmrelay.queue.operations import PATIENCE, open_desk
from lmrelay.queue.orders import LATE, Change, Selector, Verb
from lmrelay.queue.schema import DELETED, HELD, QUEUED, command, recipient
from lmrelay.queue.store import find_url, make_engine, make_reading_engine
from lmrelay.queue.writer import InlineWriter
from tests.queue.filling import NOW, alter, fill, make_rows, rows, writing

ME, OTHER = "w" * 26, "v" * 26


@define(eq=False)
class Dispatch:
    """
    Delivery that has some recipients in flight, and forgets all others when asked.
    """

    in_flight: set[RecipientKey] = field(factory=set)
    asked: list[RecipientKey] = field(factory=list)
    meanwhile: Callable[[], None] = lambda: None
    anew: int = 0

    def reserve(self, lane: Lane, recipients: int) -> bool:
        return True

    def cancel(self, lane: Lane, recipients: int) -> None:
        pass

    def take(self, leased: Sequence[Leased]) -> None:
        pass

    def withdraw(self, keys: Collection[RecipientKey]) -> set[RecipientKey]:
        self.asked += keys
        self.meanwhile()
        return set(keys) - self.in_flight

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass

    def try_anew(self) -> None:
        self.anew += 1


@define(eq=False)
class FailingWriter:
    """
    A writer that stores no slice after the first C{slices}: the disk is full, or the process gone.
    """

    writer: InlineWriter
    slices: int

    def start(self) -> None:
        self.writer.start()

    def submit(
        self, write: Callable[[Connection, Sequence[Any]], Sequence[Any]], item: Any, *, urgent: bool = False
    ) -> Deferred[Any]:
        if write is write_slices:
            self.slices -= 1
            if self.slices < 0:
                return fail(StoreError("no"))
        return self.writer.submit(write, item, urgent=urgent)

    def stop(self) -> Deferred[None]:
        return self.writer.stop()


def run(coroutine: Coroutine[Deferred[Any], Any, None]) -> None:
    """
    Run it to its end, and raise what it raised.
    """
    results: list[object] = []
    Deferred.fromCoroutine(coroutine).addBoth(results.append)
    assert 1 == len(results)
    if isinstance(results[0], Failure):
        results[0].raiseException()


@define(eq=False)
class Daemon:
    """
    What of a daemon has to do with orders.
    """

    config: Config
    worker: str = ME
    slices: int = 1 << 30
    now: float = NOW
    dispatch: Dispatch = field(factory=Dispatch)
    woken: int = 0
    stop_when_woken: bool = False
    freed: list[RecipientKey] = field(factory=list)
    lease: Lease = field(init=False)
    obedience: Obedience = field(init=False)
    _writer: FailingWriter = field(init=False)
    _reader: InlineReader = field(init=False)

    def start(self) -> None:
        url = find_url(self.config)
        self.lease = Lease(self.worker, self.config.server.state_dir, lambda: self.now)
        self.lease.hold()
        self._writer = FailingWriter(InlineWriter(make_engine(url)), self.slices)
        self._reader = InlineReader(make_reading_engine(url))
        self._writer.submit(self.lease.enter, None)
        self.obedience = Obedience(
            self._writer, self._reader, self.dispatch, self.worker, lambda: self.now, self.wake, self.free
        )

    def wake(self) -> None:
        self.woken += 1
        if self.stop_when_woken:
            self.obedience.stop()

    def free(self, connection: Connection, items: Sequence[tuple[RecipientKey, ...]]) -> list[None]:
        self.freed += [key for keys in items for key in keys]
        return [None] * len(items)

    def obey(self) -> None:
        run(self.obedience.obey())

    def die(self) -> None:
        """
        As by kill -9: the file stays, the lock on it does not.
        """
        self.lease.drop()

    def close(self) -> None:
        self._writer.stop()
        self._reader.stop()
        self.lease.end()


@pytest.fixture
def start(config: Config) -> Iterator[Callable[..., Daemon]]:
    daemons: list[Daemon] = []

    def start(**attributes: Any) -> Daemon:
        daemons.append(Daemon(config, **attributes))
        daemons[-1].start()
        return daemons[-1]

    yield start
    for daemon in daemons:
        daemon.close()


@pytest.fixture
def ids(config: Config) -> list[str]:
    """
    Four messages that nobody has.
    """
    return fill(config, *(make_rows([f"{name}@b.example"], at=NOW - 60 + age) for age, name in enumerate("abcd")))


def share(config: Config, ids: list[str]) -> None:
    """
    Of the four this worker takes two, and another one the last.
    """
    for id_, owner in zip(ids[1:], (ME, ME, OTHER), strict=True):
        alter(config, (id_, 0), owner=owner, due=None)


def order(config: Config, verb: Verb, selector: Selector, then: Callable[[float], None], now: float = NOW) -> Change:
    """
    Give an order; C{then} is what happens while the command waits for the answer.
    """
    with open_desk(config, lambda: now, then) as desk:
        return desk.change(verb, selector, False)


def orders(config: Config, *columns: Any) -> list[tuple[Any, ...]]:
    with writing(config) as connection:
        return [tuple(row) for row in connection.execute(select(*columns).select_from(command))]


@pytest.mark.parametrize(
    ("verb", "states"),
    [
        (Verb.HOLD, [HELD, QUEUED, HELD, QUEUED]),
        (Verb.DELETE, [DELETED, QUEUED, DELETED, QUEUED]),
    ],
)
def test_in_flight(config: Config, start: Callable[..., Daemon], ids: list[str], verb: Verb, states: list[str]) -> None:
    """
    The daemon changes what is free and what it can withdraw; what is under way, here or at another worker, is told.
    """
    daemon = start(dispatch=Dispatch({(ids[1], 0)}))
    start(worker=OTHER)
    share(config, ids)
    change = order(config, verb, Selector(), lambda _: daemon.obey())
    assert Change(2, 2, True, (ids[1], ids[3])) == change
    assert states == [row.state for row in rows(config)]
    assert [None, ME, None, OTHER] == [row.owner for row in rows(config)]
    assert [(ids[1], 0), (ids[2], 0)] == daemon.dispatch.asked
    assert daemon.woken


def test_retry_leaves_to_delivery_what_it_has(config: Config, start: Callable[..., Daemon], ids: list[str]) -> None:
    """
    What delivery has is on its way: a retry does not send it back to the end of the queue.
    """
    alter(config, (ids[0], 0), due=NOW + 3600, next_attempt=NOW + 3600)
    daemon = start()
    share(config, ids)
    change = order(config, Verb.RETRY, Selector(), lambda _: daemon.obey())
    assert (1, 3) == (change.changed, change.in_flight)
    assert [NOW, None, None, None] == [row.due for row in rows(config)]
    assert [] == daemon.dispatch.asked


@pytest.mark.parametrize("verb", [Verb.RETRY, Verb.HOLD])
def test_retry_is_no_vain_one(config: Config, start: Callable[..., Daemon], ids: list[str], verb: Verb) -> None:
    """
    What an operator wants tried, delivery tries in earnest, also at hosts that were lately dead.
    """
    daemon = start()
    order(config, verb, Selector(), lambda _: daemon.obey())
    assert (verb is Verb.RETRY) == bool(daemon.dispatch.anew)


def test_release(config: Config, start: Callable[..., Daemon], ids: list[str]) -> None:
    """
    What was held goes on at once.
    """
    alter(config, (ids[0], 0), state=HELD, due=None)
    daemon = start()
    assert Change(1, 0, True) == order(config, Verb.RELEASE, Selector(), lambda _: daemon.obey())
    assert (QUEUED, NOW, NOW) == (rows(config)[0].state, rows(config)[0].due, rows(config)[0].next_attempt)


def test_nothing_fits(config: Config, start: Callable[..., Daemon], ids: list[str]) -> None:
    """
    An order that reaches nothing is answered too.
    """
    daemon = start()
    assert Change(0, 0, True) == order(config, Verb.HOLD, Selector(projects=("none",)), lambda _: daemon.obey())


def test_ages_count_from_the_order(config: Config, start: Callable[..., Daemon], ids: list[str]) -> None:
    """
    However late the daemon comes to it, an age is what it was when the order was given.
    """
    daemon = start(now=NOW + 100)
    change = order(config, Verb.HOLD, Selector(older_than=60.0), lambda _: daemon.obey())
    assert 0 == change.changed


def test_taken_between_read_and_write(config: Config, start: Callable[..., Daemon], ids: list[str]) -> None:
    """
    What a worker takes while the order is under way is in flight, not changed under its hands.
    """
    daemon = start()
    share(config, ids)
    daemon.dispatch.meanwhile = lambda: alter(config, (ids[0], 0), owner=OTHER, due=None)
    change = order(config, Verb.HOLD, Selector(), lambda _: daemon.obey())
    assert Change(2, 2, True, (ids[3], ids[0])) == change
    assert QUEUED == rows(config)[0].state


def many(config: Config, messages: int, recipients: int) -> list[str]:
    to = [f"r{number}@b.example" for number in range(recipients)]
    return fill(config, *(make_rows(to, at=NOW - 3600 + number) for number in range(messages)))


def test_many(config: Config, start: Callable[..., Daemon]) -> None:
    """
    A large selection is many short transactions, and each recipient is changed and counted once; the
    list of what came too late is bounded.
    """
    ids = many(config, 130, 10)
    daemon = start()
    with writing(config) as connection:
        connection.execute(update(recipient).where(recipient.c.number == 7).values(owner=OTHER, due=None))
    change = order(config, Verb.HOLD, Selector(), lambda _: daemon.obey())
    assert (1170, 130, tuple(ids[:LATE])) == (change.changed, change.in_flight, change.late)
    assert 3 == daemon.woken
    assert 1170 == sum(row.state == HELD for row in rows(config))


@pytest.mark.parametrize("done", [0, 1, 2])
def test_crash(config: Config, start: Callable[..., Daemon], done: int) -> None:
    """
    A daemon dies after some slices: the next one goes on there, and nothing is counted twice.
    """
    ids = many(config, 2 * SLICE + 10, 1)
    first = start(slices=done)

    def crash_and_start(_: float) -> None:
        with pytest.raises(StoreError):
            first.obey()
        assert [(done * SLICE, None)] == orders(config, command.c.changed, command.c.done_at)
        first.die()
        start(worker=OTHER).obey()

    assert Change(len(ids), 0, True) == order(config, Verb.DELETE, Selector(), crash_and_start)
    assert {DELETED} == {row.state for row in rows(config)}


@pytest.mark.parametrize("done", [0, 1])
def test_daemon_dies_for_good(config: Config, start: Callable[..., Daemon], done: int) -> None:
    """
    A daemon dies and none comes after it: the operator's command carries out the rest itself.
    """
    ids = many(config, SLICE + 10, 1)
    daemon = start(slices=done)

    def crash(_: float) -> None:
        with pytest.raises(StoreError):
            daemon.obey()
        daemon.die()

    assert Change(len(ids)) == order(config, Verb.HOLD, Selector(), crash)
    assert {HELD} == {row.state for row in rows(config)}
    assert [] == orders(config, command.c.id)


def test_a_full_disk_strands_nobody(config: Config, start: Callable[..., Daemon], ids: list[str]) -> None:
    """
    What was withdrawn for a change that could not be written is given back, as soon as that can be
    written; then the order goes on.
    """
    daemon = start(slices=0)
    share(config, ids)

    def fail_twice(_: float) -> None:
        for _ in "12":
            with pytest.raises(StoreError):
                daemon.obey()
        assert {(ids[1], 0), (ids[2], 0)} == set(daemon.freed)
        daemon._writer.slices = 1
        daemon.obey()
        assert 4 == len(daemon.freed)

    assert Change(3, 1, True, (ids[3],)) == order(config, Verb.HOLD, Selector(), fail_twice)


def test_stop(config: Config, start: Callable[..., Daemon]) -> None:
    """
    A relay that stops does not finish a long order first: the next one goes on with it.
    """
    many(config, 2 * SLICE, 1)
    first = start()

    def stop_and_start(_: float) -> None:
        first.stop_when_woken = True
        first.obey()
        assert [SLICE] == [row[0] for row in orders(config, command.c.changed)]
        first.die()
        start(worker=OTHER).obey()

    assert Change(2 * SLICE, 0, True) == order(config, Verb.HOLD, Selector(), stop_and_start)


def test_no_answer(config: Config, start: Callable[..., Daemon], ids: list[str]) -> None:
    """
    A daemon that hangs is not waited for without end; the order is taken back, and said so.
    """
    start()
    waited: list[float] = []
    with pytest.raises(StoreError, match="taken back"):
        order(config, Verb.HOLD, Selector(), waited.append)
    assert PATIENCE == pytest.approx(sum(waited))
    assert [] == orders(config, command.c.id)


def test_begun_and_slow(config: Config, start: Callable[..., Daemon]) -> None:
    """
    An order that the daemon has begun cannot be taken back from it.
    """
    many(config, SLICE + 10, 1)
    daemon = start(slices=1)

    def begin(_: float) -> None:
        if daemon._writer.slices == 1:
            with pytest.raises(StoreError):
                daemon.obey()

    with pytest.raises(StoreError, match="goes on with the change"):
        order(config, Verb.HOLD, Selector(), begin)
    assert [SLICE] == [row[0] for row in orders(config, command.c.changed)]


def test_stale(config: Config, start: Callable[..., Daemon], ids: list[str]) -> None:
    """
    An order whose operator is long gone is dropped, not carried out behind everybody's back.
    """
    daemon = start()

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        order(config, Verb.DELETE, Selector(), interrupt)
    daemon.now += STALE + 1
    daemon.obey()
    assert ([], {QUEUED}) == (orders(config, command.c.id), {row.state for row in rows(config)})


def test_dropped_is_told(config: Config, start: Callable[..., Daemon], ids: list[str]) -> None:
    """
    An operator whose clock is far behind hears why nothing was done.
    """
    daemon = start(now=NOW + STALE + 1)
    with pytest.raises(StoreError, match="clock"):
        order(config, Verb.DELETE, Selector(), lambda _: daemon.obey())


def test_one_worker_has_an_order(config: Config, start: Callable[..., Daemon]) -> None:
    """
    Of two living workers one carries an order out, and the other leaves it alone.
    """
    many(config, SLICE + 10, 1)
    first, second = start(slices=1), start(worker=OTHER)

    def both(_: float) -> None:
        if first._writer.slices == 1:
            with pytest.raises(StoreError):
                first.obey()
            second.obey()
            assert [SLICE] == [row[0] for row in orders(config, command.c.changed)]
            first._writer.slices = 1
            first.obey()

    assert Change(SLICE + 10, 0, True) == order(config, Verb.HOLD, Selector(), both)
    assert 0 == second.woken
    with writing(config) as connection:
        assert SLICE + 10 == connection.execute(select(func.count()).where(recipient.c.state == HELD)).scalar_one()
