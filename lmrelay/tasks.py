"""
Coroutines that run on their own: with nobody to await them but the shutdown, or with one who is told how they ended.

Several run for each message, so they are driven here, by less than C{Deferred.fromCoroutine} needs for what may also be
awaited: no context of its own, and no Deferred where nobody asks for one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectingCancelledError
from twisted.logger import Logger
from twisted.python.failure import Failure

log = Logger()


@define(eq=False)
class Tasks:
    """
    The coroutines under way: C{running} are those that wait for something.
    """

    running: set[_Task] = field(factory=set, init=False)
    _idle: list[Deferred[None]] = field(factory=list, init=False)

    def run(self, coroutine: Coroutine[Deferred[Any], Any, None]) -> None:
        """
        Run it. What it raises is a fault of ours, and logged.
        """
        _Task(coroutine, self).go_on()

    def start(self, coroutine: Coroutine[Deferred[Any], Any, None]) -> Deferred[None]:
        """
        As L{run}; fires when it is over, and never fails. To cancel it is to cancel what it waits for; who did hears at
        once, also of one that goes on all the same, for which L{wait} waits.
        """
        task = _Task(coroutine, self)
        ended = task.ended = Deferred(task.cancel)
        task.go_on()
        return ended

    def end(self, task: _Task) -> None:
        """
        It waits for nothing any more.
        """
        self.running.discard(task)
        if self._idle and not self.running:
            idle, self._idle = self._idle, []
            for waiting in idle:
                waiting.callback(None)

    def wait(self) -> Deferred[None]:
        """
        Fires when none is under way.
        """
        waiting: Deferred[None] = Deferred()
        if self.running:
            self._idle.append(waiting)
        else:
            waiting.callback(None)
        return waiting


@define(eq=False)
class _Driven(ABC):
    """
    A coroutine, and what it waits for.
    """

    _coroutine: Coroutine[Deferred[Any], Any, Any]
    _awaited: Deferred[Any] | None = field(default=None, init=False)

    def go_on(self, result: object = None) -> None:
        """
        What it awaited is there; a Deferred that is awaited takes its result to the coroutine by itself.
        """
        answer, fault = None, None
        try:
            if result is not None and isinstance(result, Failure):
                awaited = result.throwExceptionIntoGenerator(self._coroutine)
            else:
                awaited = self._coroutine.send(None)
        except StopIteration as end:
            answer = end.value
        except BaseException:  # noqa: BLE001 - whatever broke is for who hears of the end, who else would wait for ever
            fault = Failure()
        else:
            # Each holds the other: if nobody else does any more, they go by the collector, which ends coroutines from
            # within, and not this one while another that it awaits is being ended.
            self._awaited = awaited
            self._waits()
            awaited.addBoth(self.go_on)
            return
        self._awaited = None
        self._ends(answer, fault)

    @abstractmethod
    def _waits(self) -> None:
        """
        It is to go on later.
        """

    @abstractmethod
    def _ends(self, answer: Any, fault: Failure | None) -> None:
        """
        It returned that, or raised this.
        """


@define(eq=False)
class _Task(_Driven):
    """
    One that nobody awaits. C{ended} is for who asked for it.
    """

    _tasks: Tasks
    ended: Deferred[None] | None = None

    def _waits(self) -> None:
        self._tasks.running.add(self)

    def _ends(self, answer: Any, fault: Failure | None) -> None:
        if fault is not None:
            log.failure("a task broke", fault)
        self._tasks.end(self)
        # Each holds the other until then.
        ended, self.ended = self.ended, None
        if ended is not None:
            ended.callback(None)

    def cancel(self, ended: Deferred[None]) -> None:
        """
        Cancel what it waits for.
        """
        if self._awaited is not None:
            self._awaited.cancel()
        if not ended.called:
            # It goes on. Left without a result the Deferred would fail now, and could not be told of the end any more.
            self.ended = None
            ended.callback(None)


def is_cancelled(error: object) -> bool:
    """
    Was it we who gave up? Connecting has an error of its own for that, and a request fails with the C{reasons} it had.
    """
    if isinstance(error, (CancelledError, ConnectingCancelledError)):
        return True
    return any(is_cancelled(getattr(reason, "value", reason)) for reason in getattr(error, "reasons", ()))


def carry_out(
    coroutine: Coroutine[Deferred[Any], Any, Any],
    done: Callable[[Any], object],
    failed: Callable[[Failure], object],
) -> None:
    """
    Run it, then call C{done} with what it returns, or C{failed} with what it raises; at once if it waits for nothing.
    """
    _Errand(coroutine, done, failed).go_on()


@define(eq=False)
class _Errand(_Driven):
    """
    One that somebody hears of.
    """

    _done: Callable[[Any], object]
    _failed: Callable[[Failure], object]

    def _waits(self) -> None:
        """
        Nobody counts it.
        """

    def _ends(self, answer: Any, fault: Failure | None) -> None:
        if fault is None:
            self._done(answer)
        else:
            self._failed(fault)
