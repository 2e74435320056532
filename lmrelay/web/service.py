"""
The port for people and their monitoring: what is found where, and from when until when it is there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import LogPublisher
from twisted.web.server import Request

from lmrelay.config.values import Http
from lmrelay.interfaces import ISettings
from lmrelay.tasks import Tasks
from lmrelay.web.door import Answer, Compose, Page, Root, read_field, say
from lmrelay.web.facts import Facts
from lmrelay.web.guard import Guard
from lmrelay.web.history import STEP
from lmrelay.web.metrics import Metrics
from lmrelay.web.port import HttpPort
from lmrelay.web.sources import Sources
from lmrelay.web.status import BASE, Status


@define(eq=False)
class Web:
    """
    Metrics, health and the status page. Facts are counted as C{publisher} tells them while the port is open; None:
    nobody tells them.
    """

    _reactor: Any
    _settings: ISettings
    _sources: Sources
    _version: str
    _wall: Callable[[], float] = time.time
    _publisher: LogPublisher | None = None
    _entropy: Callable[[int], bytes] = os.urandom
    facts: Facts = field(factory=Facts, init=False)
    _tasks: Tasks = field(factory=Tasks, init=False)
    _metrics: Metrics = field(init=False)
    _port: HttpPort = field(init=False)
    _pages: dict[str, Page] = field(factory=dict, init=False)
    _counting: bool = field(default=False, init=False)
    _status: Status = field(init=False)
    _status_page: Page = field(init=False)
    _sampling: LoopingCall = field(init=False)

    def __attrs_post_init__(self) -> None:
        clock: IReactorTime = self._reactor
        self._metrics = Metrics(self._sources, self.facts, clock, self._wall, self._version, self._tasks)
        guard = Guard(clock, self._settings, self._entropy)
        self._status = Status(clock, self._settings, self._sources, self.facts, self._metrics, guard, self._wall)
        self._status_page = Page(self._tasks, self._status.answer)
        self._sampling = LoopingCall(self._sample)
        self._sampling.clock = clock
        self._port = HttpPort(self._reactor, Root(self.find))
        self._add("/", self._tell_pages)
        self._add("/healthz", self._tell_life)
        self._add("/readyz", self._tell_readiness)
        self._add("/metrics", self._tell_metrics)

    def _add(self, path: str, compose: Compose) -> None:
        self._pages[path] = Page(self._tasks, compose)

    def find(self, path: str) -> Page | None:
        """
        The page at a path.
        """
        if path == BASE or path.startswith(f"{BASE}/"):
            return self._status_page if self._settings.config.http.status else None
        return self._pages.get(path)

    @property
    def port(self) -> int | None:
        """
        The port in use.
        """
        return self._port.number

    def prepare(self, http: Http) -> tuple[str, ...]:
        """
        See L{HttpPort.prepare}.
        """
        return self._port.prepare(http.listen)

    def keep(self) -> None:
        """
        What was prepared takes force.
        """
        self._port.keep()
        self._count(self._port.number is not None)

    def drop(self) -> None:
        """
        What was prepared is not wanted after all.
        """
        self._port.drop()

    def stop(self) -> Deferred[None]:
        """
        Close the port. Fires when no page is being made any more.
        """
        self._port.stop()
        self._count(False)
        self._metrics.stop()
        self._sources.archive.stop()
        return self._tasks.wait()

    def _count(self, wanted: bool) -> None:
        if self._publisher is None or wanted == self._counting:
            return
        self._counting = wanted
        if wanted:
            self._publisher.addObserver(self.facts)
            self._sampling.start(STEP, now=False)
        else:
            self._publisher.removeObserver(self.facts)
            self._sampling.stop()

    def _sample(self) -> None:
        self._tasks.start(self._look_and_sample())

    async def _look_and_sample(self) -> None:
        if self._settings.config.http.status and self._sources.oversight() is not None:
            await self._metrics.waiting.latest()
        self._status.history.sample()

    async def _tell_pages(self, _: Request) -> Answer:
        pages = [path for path in (*self._pages, BASE) if path != "/" and self.find(path) is not None]
        return say("lmrelay: " + " ".join(pages))

    async def _tell_life(self, _: Request) -> Answer:
        return say("ok")

    async def _tell_readiness(self, _: Request) -> Answer:
        troubles = self._sources.troubles()
        return say("\n".join(troubles) or "ready", 503 if troubles else 200)

    async def _tell_metrics(self, request: Request) -> Answer:
        text, content_type = await self._metrics.write(read_field(request, "Accept"))
        return Answer(text, content_type)
