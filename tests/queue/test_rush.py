"""
Writes wait for the end of the rush they came in, and not for longer than they must.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import pytest
from attrs import define, field

from lmrelay.config.values import Config
from lmrelay.queue.backlog import Waiting
from lmrelay.queue.rush import CROWD, PATIENCE, STILL, Rush
from lmrelay.queue.store import find_url, make_engine
from lmrelay.queue.writer import ThreadedWriter
from tests.queue.world import result_of

TURN = 0.001
"""
Seconds that a turn takes here.
"""


@define
class World:
    """
    A reactor that makes its turns one by one, what it did, and how often a rush was over.
    """

    now: float = 0.0
    calls: list[Callable[[], object]] = field(factory=list)
    moves: int = 0
    over: int = 0
    rush: Rush = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.rush = Rush(self, lambda: self.moves, self._end)

    def seconds(self) -> float:
        return self.now

    def callLater(self, delay: float, call: Callable[..., object], *args: object) -> None:
        assert not delay
        self.calls.append(partial(call, *args))

    def callFromThread(self, call: Callable[..., object], *args: object) -> None:
        call(*args)

    def _end(self) -> None:
        self.over += 1

    def turn(self, moves: int = 0, seconds: float = TURN) -> None:
        """
        What is asked for in a turn is for the next one, as with a real reactor.
        """
        self.moves += moves
        self.now += seconds
        calls, self.calls = self.calls, []
        for call in calls:
            call()

    def turns_until_over(self, moves: int = 0) -> int:
        before, turns = self.over, 0
        while self.over == before:
            self.turn(moves)
            turns += 1
            assert turns < 1000
        return turns


def crowded(moves: Callable[[], int] | None = None) -> World:
    world = World()
    if moves is not None:
        world.rush._moves = moves
    world.rush.learn(CROWD)
    return world


def test_one_of_a_few() -> None:
    """
    Who is one of a few waits for the end of the turn, however busy the reactor is, and takes all others of that turn
    along.
    """
    world = World()
    for writes in (0, 1, CROWD - 1):
        world.rush.learn(writes)
        world.rush.note()
        world.rush.note()
        assert 1 == world.turns_until_over(moves=1)
    assert (3, []) == (world.over, world.calls)


def test_one_of_a_crowd() -> None:
    """
    After a commit of many a moment's rest is not the end; after the next of few it is.
    """
    world = World()
    for writes, turns in ((CROWD, STILL + 1), (CROWD - 1, 1), (100, STILL + 1)):
        world.rush.learn(writes)
        world.rush.note()
        assert turns == world.turns_until_over()


def test_several_in_a_rush() -> None:
    """
    What comes in a turn, and in the next ones, goes together.
    """
    world = crowded()
    for _ in range(3):
        world.rush.note()
        world.rush.note()
        world.turn()
    assert 0 == world.over
    world.turns_until_over()
    assert (1, []) == (world.over, world.calls)


def test_no_longer_than_patience() -> None:
    """
    A rush without end is not waited out, nor is the next one.
    """
    world = crowded()
    for _ in range(2):
        world.rush.note()
        turns = world.turns_until_over(moves=1)
        assert PATIENCE <= turns * TURN <= PATIENCE + 2 * TURN


def test_rest_begins_anew() -> None:
    """
    Only turns in a row without a move are the end, whether what moves is a connection or a submission.
    """
    world = crowded()
    world.rush.note()
    for number in range(4):
        for _ in range(STILL - 1):
            world.turn(seconds=0.0)
        if number % 2:
            world.rush.note()
            world.turn(seconds=0.0)
        else:
            world.turn(moves=1, seconds=0.0)
    assert 0 == world.over
    assert STILL == world.turns_until_over()


def test_a_fault_of_those_who_are_asked() -> None:
    """
    It is not the end of all writing.
    """
    answers: list[int] = []
    world = crowded(answers.pop)
    world.rush.note()
    with pytest.raises(IndexError):
        world.turn()
    answers += [0] * (STILL + 1)
    world.rush.note()
    assert STILL + 1 == world.turns_until_over()


def test_a_fault_of_those_who_are_told() -> None:
    """
    Nor is that.
    """
    world = World()
    world.rush._over = iter(()).__next__
    world.rush.note()
    with pytest.raises(StopIteration):
        world.turn()
    world.rush._over = world._end
    world.rush.note()
    assert 1 == world.turns_until_over()


@pytest.fixture
def writer(sqlite_config: Config) -> ThreadedWriter:
    """
    One that has not begun, whose reactor makes its turns one by one.
    """
    return ThreadedWriter(make_engine(find_url(sqlite_config)), World())


def write(_: object, items: Sequence[int]) -> list[int]:
    return list(items)


def test_writer_in_a_rush(writer: ThreadedWriter) -> None:
    """
    What is submitted is handed to the thread at the end of the turn; after a commit of many, at the end of the rush.
    """
    world = writer._reactor
    for expected, writes in enumerate((CROWD - 1, CROWD, 0), 1):
        writer._end([Waiting(write, number) for number in range(writes)], 0.0)
        writer.submit(write, expected)
        for _ in range(STILL if writes == CROWD else 0):
            world.turn()
        assert expected - 1 == len(writer._waiting)
        world.turn()
        assert expected == len(writer._waiting)


def test_stop_in_a_rush(writer: ThreadedWriter) -> None:
    """
    What still waits for the end of its rush is written when the writer ends.
    """
    results = [writer.submit(write, number) for number in range(5)]
    ended = writer.stop()
    writer._run()
    result_of(ended)
    assert list(range(5)) == [result_of(one) for one in results]
