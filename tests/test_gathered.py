"""
Log lines that are written once a turn.
"""

from __future__ import annotations

from threading import Thread

from attrs import define, field
from twisted.internet.task import Clock
from twisted.logger import LogLevel

from lmrelay.gathered import GatheredLines

INFO, DEBUG, WARN = LogLevel.info, LogLevel.debug, LogLevel.warn


@define(eq=False)
class Paper:
    """
    Remembers what was written, and in how many strokes.
    """

    written: list[tuple[LogLevel, str]] = field(factory=list)
    reopened: int = 0

    def write(self, level: LogLevel, text: str) -> None:
        self.written.append((level, text))

    def reopen(self) -> None:
        self.reopened += 1


class Reactor(Clock):
    running = True


def make() -> tuple[Paper, Reactor, GatheredLines]:
    paper, reactor = Paper(), Reactor()
    return paper, reactor, GatheredLines(paper, reactor)


def test_one_write_a_turn() -> None:
    """
    The lines of a turn are written at its end, in their order, and those of the next at its own.
    """
    paper, reactor, lines = make()
    lines.write(INFO, "a")
    lines.write(INFO, "b")
    assert [] == paper.written
    reactor.advance(0)
    lines.write(INFO, "c")
    reactor.advance(0)
    assert [(INFO, "a\nb"), (INFO, "c")] == paper.written
    assert [] == reactor.getDelayedCalls()


def test_each_level_as_it_is() -> None:
    """
    syslog knows levels: lines of different ones are not written as one.
    """
    paper, reactor, lines = make()
    for level, text in ((INFO, "a"), (DEBUG, "b"), (DEBUG, "c"), (INFO, "d")):
        lines.write(level, text)
    reactor.advance(0)
    assert [(INFO, "a"), (DEBUG, "b\nc"), (INFO, "d")] == paper.written


def test_warnings_at_once() -> None:
    """
    A warning is written at once, behind what came before it.
    """
    paper, _, lines = make()
    lines.write(INFO, "a")
    lines.write(WARN, "b")
    assert [(INFO, "a"), (WARN, "b")] == paper.written


def test_before_and_after_the_reactor_runs() -> None:
    """
    Where no turn ends, each line is written at once.
    """
    paper, reactor, lines = make()
    reactor.running = False
    lines.write(INFO, "cannot start")
    assert [(INFO, "cannot start")] == paper.written


def test_other_threads() -> None:
    """
    What another thread says is written at once, for only the reactor's own may ask for the end of a turn.
    """
    paper, reactor, lines = make()
    thread = Thread(target=lines.write, args=(INFO, "from the store"))
    thread.start()
    thread.join()
    assert ([(INFO, "from the store")], []) == (paper.written, reactor.getDelayedCalls())


def test_reopen_and_flush() -> None:
    """
    Before the file is let go of, and at the end, nothing is held back.
    """
    paper, reactor, lines = make()
    lines.write(INFO, "a")
    lines.reopen()
    lines.write(INFO, "b")
    lines.flush()
    assert ([(INFO, "a"), (INFO, "b")], 1) == (paper.written, paper.reopened)
    reactor.advance(0)
    assert 2 == len(paper.written)
