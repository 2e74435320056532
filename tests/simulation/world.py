"""
The whole relay in a simulated world: real sessions, store, dispatch and SMTP client; the network, the DNS, applications
and receivers are played, under one clock and from one seed.

The process can die at any commit: before it, or after it and before anybody hears of it. The disk stays.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from attrs import define, evolve, field
from sqlalchemy import Connection, Engine, event
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from lmrelay.config.project import Project, Route, Token
from lmrelay.config.values import MIB, Auth, Config, Delivery, Limits, Listener, Server
from lmrelay.config.words import Form, Kind, Security
from lmrelay.interfaces import IResolver
from lmrelay.mail.parts import parts_domain
from lmrelay.projects.tokens import digest, make_token
from lmrelay.queue.service import QueueService
from lmrelay.queue.store import FILE, find_url, make_engine, make_reading_engine, migrate
from lmrelay.queue.writer import Backlog, Write, _fire, _Waiting, run_batch
from lmrelay.service import Relay
from lmrelay.testing.name_server import FakeResolver, Zone
from tests.simulation.applications import PORT, Application
from tests.simulation.chronicle import Chronicle
from tests.simulation.network import Machine, Network
from tests.simulation.receivers import Receiver

START = 1_795_000_000.0
RELAY = "192.0.2.1"
COMMIT = 0.004
"""
Seconds that a commit takes to reach the disk.
"""

FREE = 71 * MIB
"""
Octets of disk: room for mail, and none to keep for a full disk.
"""

Fate = Callable[[frozenset[str]], "bool | None"]


@cache
def _empty_store() -> bytes:
    """
    A database with its tables, made once.
    """
    with TemporaryDirectory() as folder:
        migrate(find_url(Config(Path(folder), Server("relay.example", Path(folder)))))
        return (Path(folder) / FILE).read_bytes()


@define(eq=False)
class Writer:
    """
    The store's writer on the simulated clock: it gathers while a commit is on its way, as the thread does.

    C{fate} is asked at each commit, by the names of what is written, whether the process dies before it (False), after
    it (True) or not at all (None).
    """

    _engine: Engine
    _has_room: Callable[[], bool]
    _machine: Machine
    _fate: Fate
    _die: Callable[[], None]
    _gathered: Backlog = field(factory=Backlog, init=False)
    _busy: bool = field(default=False, init=False)
    _ended: Deferred[None] | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        # A process dies here, never the machine: what was written is there.
        event.listen(self._engine, "connect", lambda made, _: made.execute("PRAGMA synchronous = OFF"))

    def start(self) -> None:
        """
        Nothing to begin.
        """

    def submit(self, write: Write[Any, Any], item: Any, *, urgent: bool = False) -> Deferred[Any]:
        """
        Add it to the commit that gathers.
        """
        one = _Waiting(write, item, urgent)
        self._gathered.add(one)
        self._begin()
        return one.result

    def _begin(self) -> None:
        if self._gathered and not self._busy:
            self._busy = True
            self._machine.callLater(COMMIT, self._commit)

    def _commit(self) -> None:
        batch = self._gathered.take()
        fate = self._fate(frozenset(one.write.__qualname__ for one in batch))
        if fate is False:
            self._die()
            return
        run_batch(self._engine, batch, self._has_room)
        if fate is True:
            self._die()
            return
        _fire(batch)
        self._busy = False
        self._begin()
        if self._ended is not None and not self._busy:
            self._end(self._ended)

    def stop(self) -> Deferred[None]:
        """
        Commit what waits, then end.
        """
        self._ended = Deferred()
        if not self._busy:
            self._end(self._ended)
        return self._ended

    def _end(self, ended: Deferred[None]) -> None:
        self._engine.dispose()
        ended.callback(None)


def make_project(slug: str, random: Random, **more: Any) -> tuple[Project, str]:
    """
    A project with a transactional and a broadcast route, and its token.
    """
    token, id_ = make_token("lmr_", random.randbytes)
    routes = {
        "outgoing": Route("outgoing"),
        "news": Route("news", kind=Kind.BROADCAST),
        "quiet": Route("quiet", dsn=False),
    }
    tokens = (Token("app", id_, digest(token)),)
    return Project(slug, domains=("*",), tokens=tokens, routes=routes, **more), token


@define(eq=False)
class World:
    """
    One relay in C{folder}, on its machine, and everybody that it deals with.

    C{fate} is asked at each commit, see L{Writer}; C{died} is called after each death, with the store closed.
    C{delivery} are changes of C{[delivery]}. C{make_resolver} makes the DNS of each process.
    C{jumped}: by so many seconds the clock was set in all, back or forth.
    """

    folder: Path
    seed: int = 1
    projects: Sequence[str] = ("acme", "beta", "zeta")
    delivery: Mapping[str, Any] = field(factory=dict)
    chaotic: bool = False
    fate: Fate = lambda names: None
    died: Callable[[], None] = lambda: None
    network: Network = field(init=False)
    chronicle: Chronicle = field(init=False)
    zone: Zone = field(factory=Zone, init=False)
    make_resolver: Callable[[Machine], IResolver] = field(init=False)
    config: Config = field(init=False)
    tokens: dict[str, str] = field(factory=dict, init=False)
    relay: Relay | None = field(default=None, init=False)
    machine: Machine = field(init=False)
    lives: int = field(default=0, init=False)
    skew: float = field(default=0.0, init=False)
    jumped: float = field(default=0.0, init=False)
    receivers: list[Receiver] = field(factory=list, init=False)
    faults: list[Failure] = field(factory=list, init=False)
    _dead: list[object] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.network = Network(self.random("network") if self.chaotic else None)
        self.chronicle = Chronicle(self.network.seconds)
        self.make_resolver = partial(FakeResolver, self.zone)  # type: ignore[assignment]
        self.folder.mkdir(exist_ok=True)
        (self.folder / FILE).write_bytes(_empty_store())
        made = [make_project(slug, self.random(slug)) for slug in self.projects]
        self.tokens = {project.slug: token for project, token in made}
        self.config = Config(
            self.folder / "lmrelay.toml",
            Server("relay.example", self.folder),
            listeners=(Listener(PORT, Security.PLAIN, RELAY),),
            auth=Auth(forms=(Form.SHARED,)),
            limits=Limits(connections_per_address=10_000),
            delivery=evolve(Delivery(), **self.delivery),
            projects={project.slug: project for project, _ in made},
        )

    @property
    def testing(self) -> str:
        """
        Where the test addresses are.
        """
        return parts_domain(self.config.server.hostname)

    def random(self, what: str) -> Random:
        """
        A source of chance of its own for each purpose: what one draws changes nothing for the others.
        """
        return Random(f"{self.seed} {what}")

    def wall(self) -> float:
        """
        What the clock on the wall shows, in seconds since the epoch.
        """
        return START + self.skew + self.network.seconds()

    def set_clock(self, seconds: float) -> None:
        """
        Somebody sets the clock on the wall forth by so much, or back.
        """
        self.skew += seconds
        self.jumped += abs(seconds)

    def receiver(self, *domains: str, **options: Any) -> Receiver:
        """
        A new MX host that serves these domains, and nobody else does.
        """
        number = len(self.receivers)
        address, host = f"8.8.{number // 250}.{number % 250 + 1}", f"mx{number}.example"
        made = Receiver(self.network, address, host, random=self.random(host), **options)
        self.receivers.append(made)
        self.zone.addresses(host, address)
        for domain in domains:
            self.zone.exchanges(domain, (10, host))
        return made

    def application(self, project: str, number: int = 1) -> Application:
        """
        An application of the project.
        """
        return Application(self.network, RELAY, self.tokens[project], f"192.0.2.{10 + number}")

    def start(self) -> None:
        """
        A new process, over the disk as it is, and time until it is ready.
        """
        ready: list[object] = []
        self.begin().addCallback(ready.append)
        if not self.network.run_until(lambda: bool(ready or self.faults), 60) or self.faults:
            raise AssertionError(f"the relay does not start: {self.faults}")

    def begin(self) -> Deferred[None]:
        """
        A new process. Fires when it is ready.
        """
        self.lives += 1
        self.machine = machine = Machine(self.network, RELAY)
        random = self.random(f"life {self.lives}")
        writer = partial(Writer, machine=machine, fate=lambda names: self.fate(names), die=self.crash)
        self.relay = Relay(
            self.config,
            machine,
            resolver=self.make_resolver(machine),
            wall=self.wall,
            entropy=random.randbytes,
            random=random,
            make_queue=partial(QueueService, inline=True, free=lambda: FREE, make_writer=writer),
        )
        return self.relay.startService().addErrback(self.faults.append)

    def crash(self) -> None:
        """
        kill -9: memory and connections are gone, the lock is free, the disk is as it is.
        """
        if self.relay is None:
            return
        relay, self.relay = self.relay, None
        self.machine.die()
        queue = relay.queue
        queue._lease.drop()
        for part in (queue._writer, queue._reader, queue._checkpoints):
            part._engine.dispose()  # type: ignore[attr-defined]
        # What Python still closes of it must not do so in the midst of another life, and begin nothing when it does.
        self._dead.append((relay, self.machine))
        relay.courier.draining = True
        self.died()

    def stop(self) -> Deferred[None]:
        """
        SIGTERM. Fires when the process has ended in order; never if it dies meanwhile.
        """
        relay = self.relay
        return succeed(None) if relay is None else relay.stopService().addCallback(self._forget)

    def _forget(self, _: None) -> None:
        self.relay = None

    def halt(self) -> None:
        """
        SIGTERM, and time until the process has ended. The disk stays.
        """
        stopped: list[object] = []
        self.stop().addErrback(self.faults.append).addCallback(stopped.append)
        if not self.network.run_until(lambda: bool(stopped), 600) or self.faults:
            raise AssertionError(f"the relay does not stop: {self.faults}")

    def end(self) -> None:
        """
        The end of the world, in order.
        """
        self.halt()
        shutil.rmtree(self.folder, ignore_errors=True)

    def read(self, query: Callable[[Connection], Any]) -> Any:
        """
        Look into the store.
        """
        engine = make_reading_engine(find_url(self.config))
        try:
            with engine.begin() as connection:
                return query(connection)
        finally:
            engine.dispose()

    def write(self, change: Callable[[Connection], Any]) -> Any:
        """
        Change the store, past the relay.
        """
        engine = make_engine(find_url(self.config))
        try:
            with engine.begin() as connection:
                return change(connection)
        finally:
            engine.dispose()
