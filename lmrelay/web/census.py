"""
Counts of the store, kept for a while: however often somebody asks, it is counted now and then, and one count at a time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from lmrelay.errors import StoreError
from lmrelay.tasks import Tasks

FRESH = 15.0
SHARE = 10.0
"""
Seconds for which a count is good; one that took long, for that many times as long as it took.
"""

PATIENCE = 3.0
"""
Seconds that one who asks waits for a new count, and then gets the old.
"""

T = TypeVar("T")

log = Logger()


@define(eq=False)
class Remembered(Generic[T]):
    """
    What C{count} gave last. C{value} is None, and C{counted_at} too, until it gave anything.
    """

    _count: Callable[[], Awaitable[T]]
    _reactor: IReactorTime
    _tasks: Tasks
    value: T | None = field(default=None, init=False)
    counted_at: float | None = field(default=None, init=False)
    _good_until: float = field(default=float("-inf"), init=False)
    _running: bool = field(default=False, init=False)
    _renewal: Deferred[None] | None = field(default=None, init=False)
    _waiters: list[Deferred[None]] = field(factory=list, init=False)

    async def latest(self) -> T | None:
        """
        The value: a new one if the last is no longer good and the count does not take long.
        """
        if not self._running and self._reactor.seconds() >= self._good_until:
            self._running = True
            self._renewal = self._tasks.start(self._renew())
        if self._running:
            await self._wait()
        return self.value

    def stop(self) -> None:
        """
        Count no further.
        """
        if self._running and self._renewal is not None:
            self._renewal.cancel()

    async def _renew(self) -> None:
        began = self._reactor.seconds()
        try:
            self.value = await self._count()
            self.counted_at = self._reactor.seconds()
        except StoreError as error:
            log.warn("the store cannot be counted", reason=str(error))
        except CancelledError:
            # It may take long, and the relay ends.
            return
        finally:
            ended = self._reactor.seconds()
            self._good_until = ended + max(FRESH, SHARE * (ended - began))
            self._running = False
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                waiter.callback(None)

    async def _wait(self) -> None:
        late: Deferred[None] = deferLater(self._reactor, PATIENCE)
        counted: Deferred[None] = Deferred()
        self._waiters.append(counted)
        await DeferredList([counted, late], fireOnOneCallback=True, consumeErrors=True)
        late.cancel()
