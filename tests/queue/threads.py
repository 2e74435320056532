"""
A reactor for the threads of a queue, and mail for it.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads, IReactorThreads, IReactorTime
from twisted.internet.task import Clock
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from lmrelay.config.words import Kind
from lmrelay.interfaces import Submission
from lmrelay.mail.address import parse_address
from lmrelay.mail.envelope import Envelope, Recipient
from lmrelay.queue.service import QueueService
from tests.queue.world import NOW, name, result_of

PATIENCE = 30.0
"""
Seconds after which a thread is taken to hang.
"""


@implementer(IReactorFromThreads, IReactorThreads, IReactorTime)
@define(eq=False)
class Reactor:
    """
    One whose time stands, so that of later calls only those for the end of a turn come, and that runs on the test's
    thread.
    """

    clock: Clock = field(factory=Clock)
    pool: ThreadPool = field(factory=lambda: ThreadPool(0, 2))
    calls: queue.Queue[Callable[[], object]] = field(factory=queue.Queue)

    def callFromThread(self, callable: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self.calls.put(lambda: callable(*args, **kwargs))

    def getThreadPool(self) -> ThreadPool:
        return self.pool

    def seconds(self) -> float:
        return self.clock.seconds()

    def callLater(self, delay: float, callable: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if not delay:
            return self.calls.put(lambda: callable(*args, **kwargs))
        return self.clock.callLater(delay, callable, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.clock, name)

    def wait(self, result: Deferred[Any]) -> Any:
        """
        Do what the threads hand over until that has come.
        """
        while not result.called or result.paused:
            self.calls.get(timeout=PATIENCE)()
        return result_of(result)


def accept(service: QueueService, number: int, body: bytes, **more: Any) -> Deferred[Any]:
    envelope = Envelope(parse_address("s@acme.example"), (Recipient(parse_address("a@b.example")),))
    into = service.open_body()
    into.write(body)
    head = b"Subject: x\r\n"
    submission = Submission("acme", "outgoing", Kind.TRANSACTIONAL, envelope, head, NOW, name(number), **more)
    return Deferred.fromCoroutine(service.accept(submission, into))
