"""
The whole relay in a simulated world: real sessions, store, dispatch and SMTP client; the network, the DNS, applications
and receivers are played, under one clock and from one seed.

The process can die at any commit: before it, or after it and before anybody hears of it. The disk stays.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial, reduce
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from attrs import define, evolve, field
from sqlalchemy import URL, Connection, Engine
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from lmrelay.config.project import Project, Route, Token
from lmrelay.config.values import Auth, Config, Delivery, Limits, Listener, Server
from lmrelay.config.words import Form, Kind, Security
from lmrelay.interfaces import IResolver
from lmrelay.mail.parts import parts_domain
from lmrelay.projects.tokens import digest, make_token
from lmrelay.queue.store import FILE, find_url, make_engine, make_reading_engine, migrate
from lmrelay.service import Relay
from lmrelay.testing.name_server import FakeResolver, Zone
from tests.simulation.applications import PORT, Application
from tests.simulation.chronicle import Chronicle
from tests.simulation.disk import Disk, Fate, Queue, Reader, Writer, share_compiled
from tests.simulation.network import Machine, Network
from tests.simulation.receivers import Receiver

START = 1_795_000_000.0
RELAY = "192.0.2.1"
READING = 0.05
"""
Seconds that it takes to read the configuration.
"""


@cache
def _empty_store() -> bytes:
    """
    A database with its tables, made once.
    """
    with TemporaryDirectory() as folder:
        migrate(find_url(Config(Path(folder), Server("relay.example", Path(folder)))))
        return (Path(folder) / FILE).read_bytes()


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
    disk: Disk = field(init=False)
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
    _changes: dict[str, Callable[[Config], Config]] = field(factory=dict, init=False)
    _unchanged: Config = field(init=False)
    _looking: Engine = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.network = Network(self.random("network") if self.chaotic else None)
        self.chronicle = Chronicle(self.network.seconds)
        self.disk = Disk(self.folder)
        self.make_resolver = partial(FakeResolver, self.zone)  # type: ignore[assignment]
        self.folder.mkdir(exist_ok=True)
        (self.folder / FILE).write_bytes(_empty_store())
        share_compiled(self._looking)
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

    @_looking.default
    def _make_looking(self) -> Engine:
        return make_reading_engine(URL.create("sqlite", database=str(self.folder / FILE)))

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
        self.begin().addCallbacks(ready.append, self.faults.append)
        if not self.network.run_until(lambda: bool(ready or self.faults), 60) or self.faults:
            raise AssertionError(f"the relay does not start: {self.faults}")

    def begin(self) -> Deferred[None]:
        """
        A new process. Fires when it is ready; fails when it does not start, and is gone.
        """
        self.lives += 1
        self.machine = machine = Machine(self.network, RELAY)
        random = self.random(f"life {self.lives}")
        writer = partial(Writer, machine=machine, disk=self.disk, fate=lambda names: self.fate(names), die=self.crash)
        self.relay = Relay(
            self.config,
            machine,
            resolver=self.make_resolver(machine),
            wall=self.wall,
            entropy=random.randbytes,
            random=random,
            make_queue=partial(
                Queue,
                inline=True,
                free=lambda: self.disk.free,
                make_writer=writer,
                make_reader=lambda engine, _: Reader(engine, machine),
                disk=self.disk,
            ),
        )
        return self.relay.startService().addErrback(self._end_in_failure)

    def _end_in_failure(self, error: Failure) -> Failure:
        self._bury()
        return error

    def change(self, what: str, change: Callable[[Config], Config] | None) -> Deferred[bool]:
        """
        The operator edits the configuration in one respect, or takes that back, and reloads. Fires when it is in force;
        False: the process could not be told, and the next one goes by it.
        """
        if not self._changes:
            self._unchanged = self.config
        self._changes.pop(what, None)
        if change is not None:
            self._changes[what] = change
        self.config = reduce(lambda config, made: made(config), self._changes.values(), self._unchanged)
        config = self.config
        return self.reload(lambda: deferLater(self.machine, READING, lambda: config))

    def reload(self, read: Callable[[], Deferred[Config]]) -> Deferred[bool]:
        """
        SIGHUP, where that configuration is read. Fires when it is in force, or refused; False: or nobody was told.
        """
        relay = self.relay
        if relay is None or relay.courier.draining or not relay.running:
            return succeed(False)
        relay._reload.read = read
        return relay.reload()

    def crash(self) -> None:
        """
        kill -9: memory and connections are gone, the lock is free, the disk is as it is.
        """
        if self.relay is not None:
            self._bury()
            self.died()

    def _bury(self) -> None:
        relay, self.relay = self.relay, None
        if relay is None:
            return
        self.machine.die()
        queue = relay.queue
        queue._lease.drop()
        queue._writer.close()  # type: ignore[attr-defined]
        for part in (queue._reader, queue._checkpoints):
            part._engine.dispose()  # type: ignore[attr-defined]
        # What Python still closes of it must not do so in the midst of another life, and begin nothing when it does.
        self._dead.append((relay, self.machine))
        relay.courier.draining = True

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
        try:
            with self._looking.begin() as connection:
                return query(connection)
        finally:
            # Else the database would stay open, and its log beside it.
            self._looking.dispose()

    def write(self, change: Callable[[Connection], Any]) -> Any:
        """
        Change the store, past the relay.
        """
        self.disk.changes += 1
        engine = make_engine(find_url(self.config))
        share_compiled(engine)
        try:
            with engine.begin() as connection:
                return change(connection)
        finally:
            engine.dispose()

    @contextmanager
    def harmed(self, harm: Callable[[Connection], Any]) -> Iterator[None]:
        """
        The store with such a change, and afterwards as it was. The process has ended: only then the store is one file.
        """
        store = self.folder / FILE
        good = store.read_bytes()
        self.write(harm)
        assert not store.with_name(f"{FILE}-wal").exists()
        try:
            yield
        finally:
            store.write_bytes(good)
