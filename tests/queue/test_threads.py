"""
The queue as the daemon runs it, with its threads: under a reactor that calls what they hand over, and nothing else.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from attrs import evolve
from twisted.python.failure import Failure

from lmrelay.config.project import Project
from lmrelay.config.values import Config
from lmrelay.errors import Refused, StoreError
from lmrelay.mail.outcome import Attempt
from lmrelay.queue.operations import open_desk
from lmrelay.queue.service import QueueService
from tests.queue.conftest import make_config
from tests.queue.doubles import Dispatch, Settings
from tests.queue.threads import PATIENCE, Reactor, accept
from tests.queue.world import NOW, OK, failure_of, name, result_of


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return make_config(tmp_path)


def make(config: Config, reactor: Reactor, dispatch: Dispatch) -> QueueService:
    random = Random(1)
    return QueueService(
        Settings(config), reactor, lambda: NOW, random.randbytes, random, dispatch, False, lambda: 1 << 40
    )


def states(config: Config) -> list[tuple[str, bool]]:
    with open_desk(config, lambda: NOW) as desk:
        stories = [desk.story(name(number))["recipients"][0] for number in range(1, 41)]
    return [(one["state"], one["in_flight"]) for one in stories]


def test_threads(config: Config, reactor: Reactor) -> None:
    """
    What forty clients hand over at once is accepted, handed to delivery once each and read back whole; what is
    settled when the queue stops is recorded, and the rest is free.
    """
    dispatch = Dispatch()
    service = make(config, reactor, dispatch)
    asked: list[int] = []

    def moves() -> int:
        asked.append(0)
        return 0

    service.moves = moves
    reactor.wait(service.start())
    bodies = {number: b"\r\n" + bytes([number]) * (400_000 if number % 8 == 0 else 10) for number in range(1, 41)}
    accepted = [accept(service, number, body) for number, body in bodies.items()]
    for one in accepted:
        reactor.wait(one)
    assert sorted((name(number), 0) for number in bodies) == sorted(dispatch.handed())
    for number, body in bodies.items():
        content, blocks = service.open_content(name(number)), []
        while block := reactor.wait(content.read()):
            blocks.append(block)
        assert b"Subject: x\r\n" + body == b"".join(blocks)
    attempt = Attempt(NOW, NOW, OK, "mx.b.example")
    settled = [service.settle(name(number), {0: attempt}) for number in range(1, 31)]
    reactor.wait(service.stop())
    for one in settled:
        result_of(one)
    assert [("delivered", False)] * 30 + [("queued", False)] * 10 == states(config)
    assert [] == reactor.clock.getDelayedCalls()
    failure_of(accept(service, 41, b"\r\n"), StoreError)
    # By that it knew when a rush was over.
    assert asked


def test_start_that_fails(config: Config, reactor: Reactor) -> None:
    """
    A queue that cannot start says so from its thread too.
    """
    (config.server.state_dir / "queue.sqlite").write_bytes(b"not a database" * 1000)
    started = make(config, reactor, Dispatch()).start()
    while not started.called or started.paused:
        reactor.calls.get(timeout=PATIENCE)()
    assert "file is not a database" in str(failure_of(started, StoreError).value)


def test_threads_with_keys_and_limits(config: Config, reactor: Reactor) -> None:
    """
    Of forty at once, two under each key, each key's second is told to wait or of the first, and no more are stored
    than the limit lets through.
    """
    config = evolve(config, projects={"acme": Project("acme", max_messages_per_hour=15)})
    dispatch = Dispatch()
    service = make(config, reactor, dispatch)
    reactor.wait(service.start())
    done = [
        accept(service, number, b"\r\n", key=str(number % 20), fingerprint="a" * 64).addErrback(refused)
        for number in range(1, 41)
    ]
    answers = [reactor.wait(one) for one in done]
    assert [name(number) for number in range(1, 16)] == answers[:15]
    assert {452} == set(answers[15:20])
    assert {451} == set(answers[20:])
    assert name(1) == reactor.wait(accept(service, 41, b"\r\n", key="1", fingerprint="a" * 64))
    assert 15 == len(dispatch.handed())
    reactor.wait(service.stop())


def refused(failure: Failure) -> int:
    """
    The code of the reply.
    """
    failure.trap(Refused)
    return int(failure.value.reply.code)
