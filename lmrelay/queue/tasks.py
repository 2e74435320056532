"""
Coroutines that run on their own, with nobody to await them but the shutdown.
"""

from __future__ import annotations

from collections.abc import Coroutine
from functools import partial

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

log = Logger()


@define(eq=False)
class Tasks:
    """
    The coroutines under way.
    """

    _running: set[Deferred[None]] = field(factory=set, init=False)
    _idle: list[Deferred[None]] = field(factory=list, init=False)

    def start(self, coroutine: Coroutine[Deferred[object], object, None]) -> None:
        """
        Run it. What it raises is a fault of ours, and logged.
        """
        running: Deferred[None] = Deferred.fromCoroutine(coroutine)
        if running.called and not running.paused and not isinstance(running.result, Failure):
            return
        self._running.add(running)
        running.addErrback(partial(log.failure, "a task broke"))
        running.addBoth(partial(self._end, running))

    def _end(self, running: Deferred[None], _: object) -> None:
        self._running.discard(running)
        if not self._running:
            idle, self._idle = self._idle, []
            for waiting in idle:
                waiting.callback(None)

    def wait(self) -> Deferred[None]:
        """
        Fires when none is under way.
        """
        waiting: Deferred[None] = Deferred()
        if self._running:
            self._idle.append(waiting)
        else:
            waiting.callback(None)
        return waiting
