"""
Recording outcomes however often it takes: what the store cannot take now stays in memory and is tried again.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from lmrelay.errors import StoreError, StoreFault, StoreFull
from lmrelay.interfaces import IDispatch
from lmrelay.queue.settle import Settle, Settled, Settler
from lmrelay.queue.writer import IWriter
from lmrelay.tasks import Tasks

MAX_BACKOFF = 30.0

log = Logger()


@define(eq=False)
class Recorder:
    """
    Records L{Settle}s. C{recorded} is told of each, and what came of it. C{make_room}
    is asked for room on a full disk; it says whether it found some.

    While the store is out of order no new attempt begins: what it led to could not be told.
    """

    _writer: IWriter
    _settler: Settler
    _dispatch: IDispatch
    _reactor: IReactorTime
    _tasks: Tasks
    _recorded: Callable[[Settle, Settled], None]
    _make_room: Callable[[], bool]
    _unwritten: int = field(default=0, init=False)
    _ending: bool = field(default=False, init=False)
    _sleeping: dict[Deferred[None], IDelayedCall] = field(factory=dict, init=False)

    @property
    def is_behind(self) -> bool:
        """
        Is there an outcome that could not be written yet, for which no attempt begins?
        """
        return self._unwritten > 0

    def record(self, settle: Settle) -> Deferred[None]:
        """
        Fires when it is recorded; never fails.
        """
        return self._tasks.start(self._record(settle))

    def end(self) -> None:
        """
        Try once more what waits, then give up: there is no more time.
        """
        self._ending = True
        sleeping, self._sleeping = self._sleeping, {}
        for waiting, timer in sleeping.items():
            timer.cancel()
            waiting.callback(None)

    async def _record(self, settle: Settle) -> None:
        backoff = 0.0
        paused = False
        while True:
            last_try = self._ending
            try:
                settled = await self._writer.submit(self._settler.write, settle)
                break
            except StoreError as error:
                if isinstance(error, StoreFull) and self._make_room():
                    continue
                log.error("an outcome could not be recorded", message=settle.message, reason=str(error))
                if last_try:
                    log.error("an outcome is lost, so these are tried again", message=settle.message)
                    return
                # A fault with this message alone must not stop everybody's mail.
                if not paused and not isinstance(error, StoreFault):
                    paused = True
                    self._pause()
            backoff = min(backoff * 2 or 1.0, MAX_BACKOFF)
            await self._sleep(backoff)
        if paused:
            self._resume()
        self._recorded(settle, settled)

    def _pause(self) -> None:
        self._unwritten += 1
        if self._unwritten == 1:
            self._dispatch.pause()

    def _resume(self) -> None:
        self._unwritten -= 1
        if not self._unwritten:
            self._dispatch.resume()

    async def _sleep(self, seconds: float) -> None:
        if self._ending:
            return
        slept: Deferred[None] = Deferred()
        self._sleeping[slept] = self._reactor.callLater(seconds, self._wake, slept)
        await slept

    def _wake(self, slept: Deferred[None]) -> None:
        del self._sleeping[slept]
        slept.callback(None)
