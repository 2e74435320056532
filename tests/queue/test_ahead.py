"""
What is taken out of the store is read together, not message by message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from attrs import define, field
from sqlalchemy import Connection, delete
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.task import Clock

from lmrelay.config.values import Config
from lmrelay.errors import StoreError
from lmrelay.queue.ahead import AHEAD, SMALL, read_whole
from lmrelay.queue.contents import IReader
from lmrelay.queue.schema import chunk
from tests.queue.doubles import Dispatch
from tests.queue.filling import writing
from tests.queue.world import World, failure_of, name, result_of

HEAD = b"Subject: Hi\r\n"


@pytest.fixture
def config(sqlite_config: Config) -> Config:
    """
    A configuration whose store is empty.
    """
    return sqlite_config


@define(eq=False)
class Counting:
    """
    A reader that counts what it runs, or fails once it is told to.
    """

    reader: IReader
    reads: int = 0
    broken: bool = False

    def start(self) -> None:
        self.reader.start()

    def run(self, read: Callable[[Any], Any]) -> Deferred[Any]:
        self.reads += 1
        return fail(StoreError("no disk")) if self.broken else self.reader.run(read)

    def stop(self) -> None:
        self.reader.stop()


def begin_again(config: Config, *bodies: bytes) -> tuple[World, Counting]:
    """
    A relay that has taken nothing yet, over a store in which such messages wait from an earlier life; and its reader.
    """
    world = World(config)
    world.dispatch.room = 0
    world.start()
    for number, body in enumerate(bodies):
        result_of(world.accept(number, [f"a@d{number % 3}.example"], body))
    world.stop()
    world = World(config, Dispatch(), Clock())
    world.dispatch.room = 0
    world.start()
    reader = Counting(world.queue._reader)
    world.queue._reader = world.queue._taker._ahead._reader = reader
    world.dispatch.room = 1000
    return world, reader


def taken(world: World, reader: Counting) -> int:
    """
    How many more reads there were until all was taken than in as long a time with nothing to take.
    """
    reader.reads = 0
    world.run(6)
    busy, reader.reads = reader.reads, 0
    world.run(6)
    return busy - reader.reads


def test_read_together(config: Config) -> None:
    """
    However many messages are taken at a time, one read has their contents in memory, octet for octet.
    """
    bodies = [b"\r\n" + bytes([65 + number]) * number + b"\r\n" for number in range(30)]
    world, reader = begin_again(config, *bodies)
    assert 1 == taken(world, reader)
    assert [(name(number), 0) for number in range(30)] == sorted(world.dispatch.handed())
    reader.reads = 0
    assert [HEAD + body for body in bodies] == [world.read(name(number)) for number in range(30)]
    assert 0 == reader.reads
    world.stop()


def test_empty_body(config: Config) -> None:
    """
    A message that is all head is whole.
    """
    world, reader = begin_again(config, b"")
    taken(world, reader)
    reader.reads = 0
    assert HEAD == world.read(name(0))
    assert 0 == reader.reads
    world.stop()


def test_large_is_read_in_its_turn(config: Config) -> None:
    """
    What is large is not read before it is wanted, and then it is whole.
    """
    bodies = [b"\r\n" + b"x" * SMALL, b"\r\nsmall\r\n"]
    world, reader = begin_again(config, *bodies)
    assert 1 == taken(world, reader)
    assert None is world.queue._cache.get(name(0))
    assert (HEAD, bodies[1]) == world.queue._cache.get(name(1))
    assert HEAD + bodies[0] == world.read(name(0))
    world.stop()


def test_bounded(config: Config) -> None:
    """
    No more is read ahead than may be at a time; the rest is sent all the same.
    """
    body = b"\r\n" + b"x" * (SMALL - 100)
    size = len(HEAD + body)
    bodies = [body] * (AHEAD // size + 5)
    world, reader = begin_again(config, *bodies)
    taken(world, reader)
    assert len(bodies) == len(world.dispatch.handed())
    assert len(bodies) - 5 == sum(world.queue._cache.get(name(number)) is not None for number in range(len(bodies)))
    world.stop()


def test_incomplete_is_not_read_ahead(config: Config) -> None:
    """
    A part of a body is never taken for the whole: the message is not sent as long as the rest is missing.
    """
    world, reader = begin_again(config, b"\r\nhello\r\n", b"\r\nwhole\r\n")
    with writing(config) as connection:
        connection.execute(delete(chunk).where(chunk.c.body == name(0)))
    taken(world, reader)
    assert None is world.queue._cache.get(name(0))
    content = world.queue.open_content(name(0))
    assert HEAD == result_of(content.read())
    failure_of(content.read(), StoreError)
    assert HEAD + b"\r\nwhole\r\n" == world.read(name(1))
    world.stop()


def test_trouble_holds_up_nothing(config: Config) -> None:
    """
    Where nothing can be read ahead, delivery gets the mail nevertheless, and each message is read when its turn comes.
    """
    world, reader = begin_again(config, b"\r\nhello\r\n")
    ahead = world.queue._taker._ahead
    ahead._reader = Counting(reader, broken=True)
    world.run(6)
    assert [(name(0), 0)] == world.dispatch.handed()
    assert HEAD + b"\r\nhello\r\n" == world.read(name(0))
    world.stop()


@define(eq=False)
class Slow:
    """
    A reader that is long about reading ahead.
    """

    reader: Any
    begun: list[tuple[Callable[[Connection], Any], Deferred[Any]]] = field(factory=list)
    reads: int = 0

    def run(self, read: Callable[[Connection], Any]) -> Deferred[Any]:
        if getattr(read, "func", None) is read_whole:
            self.begun.append((read, Deferred()))
            return self.begun[-1][1]
        self.reads += 1
        return self.reader.run(read)

    def stop(self) -> None:
        self.reader.stop()

    def go_on(self) -> None:
        for read, done in self.begun:
            self.reader.run(read).chainDeferred(done)
        self.begun.clear()


def begin_slowly(config: Config, *bodies: bytes) -> tuple[World, Slow]:
    """
    A relay that has just taken what waits, while it is still being read ahead.
    """
    world, counting = begin_again(config, *bodies)
    reader = Slow(counting.reader)
    world.queue._reader = world.queue._taker._ahead._reader = reader
    world.clock.advance(6)
    assert 1 == len(reader.begun)
    return world, reader


def test_delivery_has_it_while_it_is_read(config: Config) -> None:
    """
    Delivery has what was taken at once, so that it can be asked back; who wants a content meanwhile waits for the one
    read that brings all of them, and whoever gives up is nobody's hindrance.
    """
    world, reader = begin_slowly(config, b"\r\n0", b"\r\n1", b"\r\n2")
    assert [(name(number), 0) for number in range(3)] == sorted(world.dispatch.handed())
    contents = [world.queue.open_content(name(number)) for number in range(3)]
    assert [None] * 3 == [content.read_now() for content in contents]
    reader.reads = 0
    first, given_up, head = contents[0].read(), contents[1].read(), contents[2].read_head()
    given_up.cancel()
    failure_of(given_up, CancelledError)
    assert [False, False] == [first.called, head.called]
    reader.go_on()
    assert [HEAD + b"\r\n0", HEAD] == [result_of(first), result_of(head)]
    assert [b"", HEAD + b"\r\n2"] == [result_of(contents[0].read()), contents[2].read_now()]
    assert 0 == reader.reads
    world.stop()


def test_what_cannot_be_read_ahead(config: Config) -> None:
    """
    Who waited for a content that could not be read ahead reads it then.
    """
    world, reader = begin_slowly(config, b"\r\nhello")
    content = world.queue.open_content(name(0))
    waiting = content.read()
    assert not waiting.called
    [(_, done)] = reader.begun
    done.errback(StoreError("the disk is gone"))
    assert HEAD == result_of(waiting)[: len(HEAD)]
    assert HEAD + b"\r\nhello" == world.read(name(0))
    reader.begun.clear()
    world.stop()
