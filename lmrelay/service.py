"""
The relay as an object graph: configuration in, a service that can be started, reloaded and stopped.

Nothing here has a thread, a socket or a database before it is started, for twistd
forks in between.
"""

from __future__ import annotations

import enum
import importlib.metadata
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random, SystemRandom
from ssl import SSLContext
from typing import TYPE_CHECKING, Any, cast

from attrs import evolve
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import Logger, LogPublisher

from lmrelay.archive import StoredArchive
from lmrelay.config.certificates import check_certificate
from lmrelay.config.load import TOKEN_KEY, ensure_token_key, load
from lmrelay.config.values import Config
from lmrelay.descriptors import divide, needed
from lmrelay.dns.resolver import Resolver
from lmrelay.errors import ConfigError, FetchError, Problem, SyntaxRefused
from lmrelay.events.post import Post
from lmrelay.events.teller import Teller
from lmrelay.inbound.listeners import Listeners
from lmrelay.inbound.services import Services
from lmrelay.interfaces import IResolver
from lmrelay.outbound.connect import Connector
from lmrelay.outbound.courier import Courier
from lmrelay.outbound.dispatch import LEAST_RUNNING, Dispatch
from lmrelay.outbound.https import Https
from lmrelay.outbound.route import Router
from lmrelay.outbound.sts_fetch import PolicyHosts
from lmrelay.outbound.sts_policies import StsPolicies
from lmrelay.outbound.tls_reports import ReportHosts, TlsReports
from lmrelay.outbound.tls_sessions import judge_fetch
from lmrelay.projects.checkers import cram_is_offered
from lmrelay.projects.directory import Directories
from lmrelay.projects.portal import make_portal
from lmrelay.queue.service import QueueService
from lmrelay.reload import Reload, Settings
from lmrelay.server_tls import make_context
from lmrelay.shares import Shares
from lmrelay.web.service import Web
from lmrelay.web.sources import SiteLimit, Sources

if TYPE_CHECKING:
    from lmrelay.interfaces import IQueue

log = Logger()


class State(enum.Enum):
    """
    How far it is.
    """

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"


class Relay(Service):
    """
    The whole relay in one process.

    C{resolver} stands in for the DNS, C{make_queue} for the queue's class. C{descriptors} is how many the process may
    have, of files and sockets. C{adopted} is told of each configuration that takes force, for what lies outside of
    the relay (the log). C{policy_port} is where the policy hosts of MTA-STS listen.
    C{publisher} tells what is logged, for the metrics to count (None: nothing is counted).
    C{fit} makes of each that is read again what is to hold, where not the files alone say it (quickstart).
    """

    def __init__(
        self,
        config: Config,
        reactor: Any,
        *,
        resolver: IResolver | None = None,
        wall: Callable[[], float] = time.time,
        entropy: Callable[[int], bytes] = os.urandom,
        random: Random | None = None,
        descriptors: int = sys.maxsize,
        adopted: Callable[[Config], None] = lambda _: None,
        policy_port: int = 443,
        fit: Callable[[Config], Config] = lambda config: config,
        make_queue: Callable[..., QueueService] = QueueService,
        publisher: LogPublisher | None = None,
    ) -> None:
        self.settings = settings = Settings(config)
        self.reactor, self._adopted, self._fit, self._wall = reactor, adopted, fit, wall
        random = random or SystemRandom()
        self._descriptors, self._room = descriptors, divide(descriptors)
        self._context: SSLContext | None = None
        self._state = State.STARTING
        resolver = resolver or Resolver(reactor, settings, entropy)
        https = Https(reactor, reactor, settings, Router(resolver, random))
        policies = StsPolicies(
            reactor,
            settings,
            resolver,
            PolicyHosts(https, policy_port).fetch,
            wall,
            lambda: self.queue.policies,
            failed=self._count_failed_policy,
        )
        self.courier = Courier(
            reactor,
            settings,
            resolver,
            Connector(reactor, reactor, settings),
            wall,
            random,
            # Each needs the other; the queue takes this place below.
            queue=cast("IQueue", None),
            dispatch=Dispatch(running=Shares(self._room.deliveries, LEAST_RUNNING)),
            find_policy=policies.find,
            count_session=lambda *session: self.queue.tls_counts.count(*session),
        )
        self._reports = TlsReports(
            reactor, settings, resolver, ReportHosts(https).post, wall, entropy, random, lambda: self.queue.tls_counts
        )
        directories = Directories(settings)
        self.queue = make_queue(settings, reactor, wall, entropy, random, self.courier)
        self.courier.queue = self.queue
        post = Post(reactor, reactor, settings, resolver, random, wall)
        self.teller = Teller(reactor, settings, post, wall, Shares(self._room.requests, 1))
        self.listeners = Listeners(
            reactor,
            Services(
                reactor,
                settings,
                make_portal(directories, reactor, wall, self.queue),
                self.queue,
                wall,
                entropy,
                context=lambda: self._context,
                offer_cram=lambda: cram_is_offered(directories, wall()),
                returns=lambda: self.queue.returns,
                most_connections=self._room.connections,
            ),
        )
        self.web = Web(reactor, settings, self._find_sources(), _find_version(), wall, publisher, entropy)
        self.queue.note_commit = self.web.facts.note_commit
        self._reload = Reload(settings, self._read, self._adopt)

    def bind(self) -> None:
        """
        Take the ports; who connects waits until the relay has started.

        @raise ConfigError: all that is wrong with certificate and listeners
        """
        config = self.settings.config
        problems = [*self._take_context(config)]
        problems += self._change_listeners(config)
        problems += self._prepare_web(config)
        if problems:
            raise ConfigError(*problems)
        self.web.keep()
        self.listeners.hold()

    def startService(self) -> Deferred[None]:
        """
        Open the queue, and then the doors. Fires when mail is accepted.

        It fails with L{LmrelayError}.
        """
        Service.startService(self)
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        self.settings.config = await _with_link_key(self.settings.config)
        if not self.listeners.ports():
            self.bind()
        await self.queue.start()
        self.teller.start(self.queue.hooks)
        self._reports.start()
        self.listeners.release()
        self._state = State.READY
        _tell_warnings(self.settings.config)
        self._tell_room(self.settings.config)
        log.info("ready", projects=len(self.settings.config.projects), queue=self.settings.config.queue.url)

    def reload(self) -> Deferred[bool]:
        """
        Read everything afresh; True if it took force, False if the old stays (the log says why).
        """
        return Deferred.fromCoroutine(self._reload.run())

    def stopService(self) -> Deferred[None]:
        """
        Accept no more, finish what is in flight within C{[server] drain}, and close the queue.
        """
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._reports.stop()
        patience, self._state = self.settings.config.server.drain, State.STOPPING
        closing = self.listeners.stop()
        log.info("stopping", patience=patience)
        drained = DeferredList([closing, self.courier.drain(), self.teller.drain()], consumeErrors=True)
        if not await self._within(patience, drained):
            log.warn("stopping without what is still in flight", patience=patience)
            self.listeners.abort()
            self.courier.stop()
            self.teller.stop()
        await self.web.stop()
        await self.queue.stop()
        log.info("stopped")

    async def _within(self, seconds: float, awaited: Deferred[Any]) -> bool:
        """
        Has it fired within that time? It is not cancelled if not.
        """
        late: Deferred[None] = deferLater(self.reactor, seconds)
        _, first = await DeferredList([awaited, late], fireOnOneCallback=True, consumeErrors=True)
        if first == 0:
            late.cancel()
        return first == 0

    def _count_failed_policy(self, domain: str, error: FetchError | SyntaxRefused) -> None:
        if self.settings.config.delivery.tls_reports:
            self.queue.tls_counts.count(*judge_fetch(domain, error))

    def _read(self) -> Deferred[Config]:
        return Deferred.fromCoroutine(_read(self.settings.config)).addCallback(self._fit)

    def _adopt(self, config: Config) -> Deferred[None]:
        old = self.settings.config
        context = self._context
        problems = self._take_context(config) or self._prepare_web(config) or self._change_listeners(config)
        if problems:
            self._context = context
            self.web.drop()
            raise ConfigError(*problems)
        self.web.keep()
        # From here nothing can fail: one assignment, and every room goes by it.
        self.settings.config = config
        self._adopted(config)
        _tell_warnings(config)
        self._tell_room(config)
        if old.dns != config.dns:
            log.info("name servers changed", servers=[server.host for server in config.dns.servers])
        return succeed(None)

    def _take_context(self, config: Config) -> list[Problem]:
        problems = check_certificate(config.tls, str(config.path))
        if not problems:
            try:
                self._context = make_context(config.tls)
            except OSError as error:
                problems = [Problem(str(config.path), "tls", f"certificate and key cannot be used: {error}")]
        return problems

    def _tell_room(self, config: Config) -> None:
        wanted = config.limits.connections
        if wanted > self._room.connections:
            log.warn(
                "too few file descriptors for [limits] connections",
                connections=wanted,
                most=self._room.connections,
                descriptors=self._descriptors,
                needed=needed(wanted),
            )

    def _change_listeners(self, config: Config) -> list[Problem]:
        return [Problem(str(config.path), "listeners", error) for error in self.listeners.change(config.listeners)]

    def _prepare_web(self, config: Config) -> list[Problem]:
        return [Problem(str(config.path), "http.listen", error) for error in self.web.prepare(config.http)]

    def _find_sources(self) -> Sources:
        dispatch = self.courier.dispatch
        return Sources(
            oversight=lambda: self.queue.oversight if self._state is State.READY else None,
            troubles=self._find_troubles,
            sessions=lambda: self.listeners.services.connections.total,
            running=lambda: dispatch.running.used,
            in_memory=lambda: dispatch.windows.used,
            free=lambda: _find_free(self.settings.config.server.state_dir),
            archive=StoredArchive(self.reactor, self.settings, self._wall),
            sites=lambda: [
                SiteLimit(queue.site.name, queue.budget.allowed, queue.suspended) for queue in dispatch.narrowed()
            ],
        )

    def _find_troubles(self) -> Sequence[str]:
        if self._state is not State.READY:
            return [f"the relay is {self._state.value}"]
        closed = len([one for one in self.settings.config.listeners if one.enabled]) - len(self.listeners.ports())
        return [*self.queue.oversight.find_troubles(), *([f"{closed} listeners are closed"] if closed > 0 else [])]


async def _read(old: Config) -> Config:
    """
    The files as they are now, but for the state folder: queue and key are in use there.
    """
    return await _with_link_key(await deferToThread(load, old.path, old))


async def _with_link_key(config: Config) -> Config:
    """
    The configuration with the key that unsubscribe links and return paths are signed with, where a route has some. It
    is made by the daemon, which is to read it, and not by whoever runs the operator's command.

    @raise ConfigError: it cannot be made
    """
    routes = (route for project in config.projects.values() for route in project.routes.values())
    if config.token_key or not any(route.unsubscribe_url or route.return_path for route in routes):
        return config
    # The configuration warned of what is mended now.
    kept = tuple(one for one in config.warnings if not one.key.endswith((".unsubscribe_url", ".return_path")))
    key = await deferToThread(ensure_token_key, config.server.state_dir)
    if not key:
        # Something has its name, and leads to no file.
        raise ConfigError(Problem(str(config.server.state_dir / TOKEN_KEY), "", "cannot be made: its name is taken"))
    return evolve(config, token_key=key, warnings=kept)


def _find_free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def _find_version() -> str:
    try:
        return importlib.metadata.version("lmrelay")
    except importlib.metadata.PackageNotFoundError:
        return "source"


def _tell_warnings(config: Config) -> None:
    for problem in config.warnings:
        log.warn("configuration warning", file=problem.file, key=problem.key, reason=problem.reason)
