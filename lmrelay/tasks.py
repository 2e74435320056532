"""
Coroutines that run on their own, with nobody to await them but the shutdown.
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
    The coroutines under way.
    """

    _running: set[Deferred[None]] = field(factory=set, init=False)
    _idle: list[Deferred[None]] = field(factory=list, init=False)

    def start(self, coroutine: Coroutine[Deferred[Any], Any, None]) -> Deferred[None]:
        """
        Run it; fires when it is over. What it raises is a fault of ours: logged, and no failure of the Deferred.
        """
        running: Deferred[None] = Deferred.fromCoroutine(coroutine)
        if running.called and not running.paused and not isinstance(running.result, Failure):
            return running
        self._running.add(running)
        running.addBoth(self._end, running)
        return running

    def _end(self, result: object, running: Deferred[None]) -> None:
        if isinstance(result, Failure):
            log.failure("a task broke", result)
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
