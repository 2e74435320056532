"""
The relay under twistd: its log, its signals, its supervisor, and how it ends when it cannot start.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pwd
import signal
import sys
from pathlib import Path
from time import monotonic
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger, globalLogPublisher

from lmrelay.config.load import load
from lmrelay.config.values import Config
from lmrelay.descriptors import raise_limit
from lmrelay.entropy import Entropy
from lmrelay.errors import ConfigError, LmrelayError, Problem
from lmrelay.gathered import GatheredLines
from lmrelay.logs import LogObserver, install, open_log
from lmrelay.notify import Supervisor
from lmrelay.service import Relay
from lmrelay.writes import GatheredWrites

GARBAGE = 10_000
"""
New objects after which the young ones are searched for cycles. Twisted leaves one for each coroutine; by Python's
own 700, a twentieth of the relay's time goes into looking for them.
"""

log = Logger()


class Daemon(Service):
    """
    The service that twistd runs. C{forks}: in the background, with a parent that waits to hear of the start.
    C{logs_apart}: the log goes where the one who started it does not look.
    """

    def __init__(
        self,
        relay: Relay,
        reactor: Any,
        supervisor: Supervisor,
        observer: LogObserver,
        *,
        forks: bool = False,
        logs_apart: bool = False,
    ) -> None:
        self.relay, self.reactor, self.supervisor, self.observer = relay, reactor, supervisor, observer
        self._forks, self._logs_apart = forks, logs_apart
        self._watchdog: LoopingCall | None = None

    def setServiceParent(self, parent: Any) -> None:
        """
        Bring the log along, before twistd begins one of its own.
        """
        install(parent, self.observer)
        Service.setServiceParent(self, parent)

    def privilegedStartService(self) -> None:
        """
        Take the ports, while there may be the privilege for it; if that fails, say why and exit.
        """
        try:
            self.relay.bind()
        except ConfigError as error:
            self._complain(error)
            if self._forks:
                # twistd passes it on to the parent; of an exit that would never hear.
                raise
            raise SystemExit(1) from error

    def startService(self) -> None:
        """
        Start the relay; if that fails, say why and exit.
        """
        Service.startService(self)
        signal.signal(signal.SIGHUP, lambda *_: self.reactor.callFromThread(self._hang_up))
        # After the reactor has set its own: with that one twistd would end by the signal, not with exit code 0.
        self.reactor.callWhenRunning(mind_signals, self.reactor)
        if self.supervisor.watchdog is not None:
            self._watchdog = LoopingCall(self.supervisor.alive)
            self._watchdog.clock = self.reactor
            self._watchdog.start(self.supervisor.watchdog / 3)
        Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        try:
            check_owner(self.relay.settings.config)
            await self.relay.startService()
        except (LmrelayError, OSError) as error:
            self._give_up(error)
        except Exception as error:  # noqa: BLE001 - a start that broke must end the process
            log.failure("start failed")
            self._give_up(error)
        else:
            _spare_what_stays()
            self.supervisor.ready()

    def _complain(self, error: Exception) -> None:
        problems = error.problems if isinstance(error, ConfigError) else (Problem("lmrelay", "", str(error)),)
        for problem in problems:
            if self._logs_apart:
                log.error("cannot start", file=problem.file, key=problem.key, reason=problem.reason)
            else:
                # The real one: by now sys.stderr leads into the log.
                print(problem, file=sys.__stderr__, flush=True)

    def _give_up(self, error: Exception) -> None:
        self._complain(error)
        # twistd has no exit code of its own for a service that fails once the reactor runs.
        self.reactor.addSystemEventTrigger("after", "shutdown", _exit)
        self.reactor.callWhenRunning(self.reactor.stop)

    def _hang_up(self) -> None:
        self.supervisor.reloading()
        self.relay.reload().addBoth(lambda _: self.supervisor.ready())

    def stopService(self) -> Deferred[None]:
        """
        Stop the relay in order.
        """
        self.supervisor.stopping()
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self.relay.running:
            await self.relay.stopService()
        if self._watchdog is not None and self._watchdog.running:
            self._watchdog.stop()


def build(path: Path, reactor: Any, *, logfile: str | None, daemon: bool, syslog: bool) -> Daemon:
    """
    The service for the configuration at C{path}; the other arguments are twistd's options.

    @raise ConfigError: all that is wrong with it
    """
    config = load(path)
    count_on(reactor)
    observer = open_log(config.log, logfile=logfile, daemon=daemon, syslog=syslog)
    lines = observer.sink = GatheredLines(observer.sink, reactor)
    reactor.addSystemEventTrigger("after", "shutdown", lines.flush)

    def adopted(config: Config) -> None:
        observer.change(config.log)

    connections = GatheredWrites(reactor)
    relay = Relay(
        config,
        connections,
        entropy=Entropy(os.urandom),
        descriptors=raise_limit(),
        adopted=adopted,
        publisher=globalLogPublisher,
    )
    relay.queue.moves = lambda: connections.sent
    return Daemon(
        relay,
        reactor,
        Supervisor.from_environment(os.environ, os.getpid()),
        observer,
        forks=daemon,
        logs_apart=daemon or syslog or logfile not in (None, "-"),
    )


def count_on(reactor: Any) -> None:
    """
    Let the reactor count seconds that nobody can set, before anything waits for them.

    By itself it goes by the wall clock: set back by an hour, that would hold up for an hour whatever was waited for,
    and L{lmrelay.queue.schedule.Drift} would never see the two clocks part.
    """
    reactor.seconds = monotonic


def check_owner(config: Config) -> None:
    """
    Refuse to run as root on somebody else's state folder: what root makes there the owner cannot open, and the next
    start, as the owner, would fail.

    @raise ConfigError: so it is
    """
    folder = config.server.state_dir
    if os.geteuid() != 0 or not folder.exists() or (owner := folder.stat().st_uid) == 0:
        return
    name: object = owner
    with contextlib.suppress(KeyError):
        name = pwd.getpwuid(owner).pw_name
    reason = f"{folder} belongs to {name}, and this is root: start it as {name} (twistd --uid {name} …)"
    raise ConfigError(Problem(str(config.path), "server.state_dir", reason))


def mind_signals(reactor: Any) -> None:
    """
    Let SIGTERM and SIGINT stop the reactor in order; a second one changes nothing.
    """
    ending = False

    def end() -> None:
        nonlocal ending
        if not ending:
            ending = True
            reactor.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: reactor.callFromThread(end))


def _spare_what_stays() -> None:
    """
    Modules and services live as long as the process: the collector need not look at them again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE, *gc.get_threshold()[1:])


def _exit() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
