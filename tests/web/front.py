"""
The port for people in memory: requests in, answers out, and a store that is what a test says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionAborted
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import LogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from lmrelay.config.project import Project
from lmrelay.config.values import Config, Http, Server
from lmrelay.interfaces import IOversight, Untold, Waiting
from lmrelay.web.service import Web
from lmrelay.web.sources import Found, SiteLimit, Sources

NOW = 1_800_000_000.0


@implementer(IOversight)
@define(eq=False)
class Oversight:
    """
    C{asked} counts the walks through the queue; with C{late} one ends when that fires.
    """

    waiting: Sequence[Waiting] = ()
    untold: Sequence[Untold] = ()
    troubles: list[str] = field(factory=list)
    asked: int = 0
    late: Deferred[Sequence[Waiting]] | None = None

    def count_waiting(self) -> Deferred[Sequence[Waiting]]:
        self.asked += 1
        return succeed(self.waiting) if self.late is None else self.late

    def count_untold(self) -> Deferred[Sequence[Untold]]:
        return succeed(self.untold)

    def find_troubles(self) -> Sequence[str]:
        return self.troubles


@define(eq=False)
class Archive:
    """
    Gives what it has, and remembers what it was asked; C{broken} is why it cannot.
    """

    records: list[dict[str, Any]] = field(factory=list)
    stories: dict[str, dict[str, Any]] = field(factory=dict)
    known: list[dict[str, Any]] = field(factory=list)
    asked: list[Mapping[str, str]] = field(factory=list)
    more: bool = False
    looked_back_to: float | None = None
    broken: Exception | None = None

    def find(self, fields: Mapping[str, str], limit: int) -> Deferred[Found]:
        self.asked.append({name: value for name, value in fields.items() if value})
        return self._give(Found(self.records[:limit], self.more, self.looked_back_to))

    def tell(self, message: str) -> Deferred[dict[str, Any] | None]:
        return self._give(self.stories.get(message))

    def sites(self) -> Deferred[Sequence[dict[str, Any]]]:
        return self._give(self.known)

    def _give(self, value: Any) -> Deferred[Any]:
        return succeed(value) if self.broken is None else fail(self.broken)


@define(eq=False)
class Reply:
    """
    What came back.
    """

    code: int
    headers: dict[str, str]
    body: str


@define(eq=False)
class Front:
    """
    A port with its relay left out.
    """

    http: Http = field(factory=lambda: Http("127.0.0.1:9100"))
    oversight: Oversight | None = field(factory=Oversight)
    sites: list[SiteLimit] = field(factory=list)
    reactor: Any = field(factory=MemoryReactorClock)
    publisher: LogPublisher = field(factory=LogPublisher)
    find_free: Callable[[], int] = lambda: 1 << 40
    archive: Archive = field(factory=lambda: Archive())
    projects: dict[str, Project] = field(factory=dict)
    settings: Any = field(init=False)
    web: Web = field(init=False)

    def __attrs_post_init__(self) -> None:
        config = Config(Path("/etc/lmrelay.toml"), Server("relay.test"), http=self.http, projects=self.projects)
        self.settings = SimpleNamespace(config=config)
        sources = Sources(
            oversight=lambda: self.oversight,
            troubles=lambda: ["the relay is starting"] if self.oversight is None else self.oversight.troubles,
            sessions=lambda: 3,
            running=lambda: 2,
            in_memory=lambda: 5,
            free=lambda: self.find_free(),
            sites=lambda: self.sites,
            archive=self.archive,
        )
        # This reactor has no threads, so all is done at once.
        wall = lambda: NOW + self.reactor.seconds()  # noqa: E731
        self.web = Web(self.reactor, self.settings, sources, "1.2.3", wall, self.publisher, lambda count: b"k" * count)

    def open(self, http: Http | None = None) -> Sequence[str]:
        """
        Open the port as C{http} says, and forget it where that cannot be. What went wrong.
        """
        wanted = http or self.http
        errors = self.web.prepare(wanted)
        if errors:
            self.web.drop()
        else:
            self.settings.config = evolve(self.settings.config, http=wanted)
            self.web.keep()
        return errors

    def connect(self) -> tuple[Any, StringTransport]:
        """
        A connection: its protocol, and what it writes to.
        """
        factory = self.reactor.tcpServers[-1][1]
        protocol, transport = factory.buildProtocol(None), StringTransport()

        def abort() -> None:
            transport.loseConnection()
            protocol.connectionLost(Failure(ConnectionAborted()))

        transport.abortConnection = abort
        if protocol is not None:
            protocol.makeConnection(transport)
        return protocol, transport

    def ask(self, path: str, *fields: str, method: str = "GET", body: bytes = b"") -> Reply:
        """
        One request on a connection of its own.
        """
        protocol, transport = self.connect()
        host = () if any(one.lower().startswith("host:") for one in fields) else ("Host: 127.0.0.1:9100",)
        lines = [f"{method} {path} HTTP/1.1", *host, *fields, "", ""]
        protocol.dataReceived("\r\n".join(lines).encode("latin-1") + body)
        return read(transport.value())


def read(octets: bytes) -> Reply:
    """
    An answer as it came over the wire.
    """
    head, _, body = octets.partition(b"\r\n\r\n")
    status, *fields = head.decode("latin-1").split("\r\n")
    headers = dict(one.split(": ", 1) for one in fields)
    return Reply(int(status.split()[1]), headers, body.decode())
