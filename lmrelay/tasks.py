"""
Coroutines that run on their own, with nobody to await them but the shutdown.

Several run for each message, so they are driven here, by less than C{Deferred.fromCoroutine} needs for what may also be
awaited: no context of its own, and no Deferred where nobody asks for one.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
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
        As L{run}; fires when it is over, and never fails. To cancel it is to cancel what it waits for.
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
class _Task:
    """
    One of them. C{ended} is for who asked for it.
    """

    _coroutine: Coroutine[Deferred[Any], Any, None]
    _tasks: Tasks
    ended: Deferred[None] | None = None
    _awaited: Deferred[Any] | None = None

    def go_on(self, result: object = None) -> None:
        """
        What it awaited is there; a Deferred that is awaited takes its result to the coroutine by itself.
        """
        began, self._awaited = self._awaited is None, None
        try:
            if result is not None and isinstance(result, Failure):
                awaited = result.throwExceptionIntoGenerator(self._coroutine)
            else:
                awaited = self._coroutine.send(None)
        except StopIteration:
            pass
        except Exception:  # noqa: BLE001 - our own fault, logged; there is nobody else to tell
            log.failure("a task broke")
        else:
            self._awaited = awaited
            if began:
                self._tasks.running.add(self)
            awaited.addBoth(self.go_on)
            return
        if not began:
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
