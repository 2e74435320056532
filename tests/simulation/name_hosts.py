"""
Name servers on the simulated network, for the relay's real resolver: datagrams and streams, and servers in every mood.

What they know is the world's zone. Who wants to make the relay believe something else says it in answers that it must
not believe: with another id, of another question, from elsewhere.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from attrs import define, evolve, field
from twisted.internet.protocol import ClientFactory, DatagramProtocol, Factory, Protocol
from twisted.names import dns

from lmrelay.config.values import Config, Dns
from lmrelay.config.values import NameServer as Server
from lmrelay.dns.resolver import Resolver
from lmrelay.interfaces import MxRecord
from lmrelay.reload import Settings
from lmrelay.testing.name_server import NameServer, Zone
from tests.simulation.network import Machine, Network

PORT = 53
FORGED = "8.9.9.8"
"""
Where mail would go if somebody believed what was forged.
"""

FORGERY = Zone().addresses("mx.forged.example", FORGED)
"""
What all names are said to lead to.
"""


class Mood(enum.Enum):
    """
    How a name server is doing.
    """

    WELL = "well"
    SLOW = "slow"
    SILENT = "silent"
    CLOSED = "closed"
    FAILING = "failing"
    REFUSING = "refusing"
    LAME = "lame"
    TRUNCATING = "truncating"
    TRUNCATING_ALONE = "truncating, and silent over TCP"
    OLD = "knowing no EDNS"
    GARBLING = "garbling"
    FORGED = "drowned by forgeries"
    CUTTING = "cutting its answers short"


@define(eq=False)
class NameHost:
    """
    A name server at C{address}. Half of what it hears goes wrong as its mood says, by C{random}.
    """

    network: Network
    zone: Zone
    address: str
    random: Random = field(factory=lambda: Random(1))
    mood: Mood = Mood.WELL
    asked: int = 0
    _truth: NameServer = field(init=False)
    _lies: NameServer = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._truth = NameServer(self.network, self.zone)  # type: ignore[arg-type]
        self._lies = NameServer(self.network, _Forgery())  # type: ignore[arg-type]
        self.network.servers[self.address, PORT] = _Streams(self)

    def hear(self, octets: bytes, transport: str, reply: Callable[[bytes], None]) -> bool:
        """
        A question; C{reply} is called for each answer, now or later. Was there somebody to hear it?
        """
        self.asked += 1
        mood = self.mood if self.random.random() < 0.5 else Mood.WELL
        if self.mood is Mood.CLOSED:
            return False
        delay = self.random.uniform(0.001, 0.05)
        if mood is Mood.SLOW:
            delay = self.random.uniform(0.5, 6.0)
        for number, answer in enumerate(self._answer(mood, octets, transport)):
            self.network.callLater(delay + number * 0.001, reply, answer)
        return True

    def _answer(self, mood: Mood, octets: bytes, transport: str) -> Iterator[bytes]:
        truth = self._ask(self._truth, octets, transport)
        if mood is Mood.SILENT or (mood is Mood.TRUNCATING_ALONE and transport == "tcp"):
            return
        if mood in _CODES:
            yield _fail(octets, _CODES[mood])
        elif mood is Mood.OLD and octets[11]:
            yield _fail(octets, dns.EFORMAT)
        elif mood in (Mood.TRUNCATING, Mood.TRUNCATING_ALONE) and transport == "udp":
            yield _truncate(octets)
        elif mood is Mood.GARBLING:
            yield from self._garble(octets, truth)
        elif mood is Mood.CUTTING:
            yield from (one[: self.random.randrange(len(one))] for one in truth)
        else:
            if mood is Mood.FORGED:
                yield from self._forge(octets, transport)
            yield from truth

    def _ask(self, server: NameServer, octets: bytes, transport: str) -> list[bytes]:
        """
        What it says at once; what the zone has it say later or never is for the zone's own troubles.
        """
        said: list[bytes] = []
        server.answer(octets, transport, said.append)
        return said

    def _garble(self, octets: bytes, truth: list[bytes]) -> Iterator[bytes]:
        """
        Nothing that could be an answer: what changes an answer into another one, a checksum finds on the way.
        """
        for one in truth:
            broken = bytearray(one)
            # A letter of the name, or what says that it is an answer.
            broken[self.random.choice((2, 13, 14))] ^= 0x80
            yield bytes(broken)
        yield octets[:2] + self.random.randbytes(self.random.choice((0, 1, 9)))
        yield octets

    def _forge(self, octets: bytes, transport: str) -> Iterator[bytes]:
        """
        What somebody sends who can guess when it is asked, and not the id; or who asks of something else.
        """
        if transport == "tcp":
            return
        for lie in self._ask(self._lies, octets, transport):
            yield from (struct.pack("!H", self._guess(octets)) + lie[2:] for _ in range(self.random.randrange(1, 15)))
        other = evolve(_QUESTION, name=b"other.example")
        yield from self._ask(self._lies, other.write(octets[:2]), transport)

    def _guess(self, octets: bytes) -> int:
        (right,) = struct.unpack("!H", octets[:2])
        return int(right + self.random.randrange(1, 65536)) % 65536


@define
class _Question:
    name: bytes
    type: int = dns.MX

    def write(self, id_: bytes) -> bytes:
        """
        As it is asked under that id.
        """
        message = dns.Message(0, recDes=1)
        message.queries = [dns.Query(self.name, self.type, dns.IN)]
        return id_ + bytes(message.toStr())[2:]


_QUESTION = _Question(b"b.example")
_CODES = {Mood.FAILING: dns.ESERVER, Mood.REFUSING: dns.EREFUSED, Mood.LAME: dns.OK}


class _Forgery(Zone):
    """
    A zone in which all mail goes to one place.
    """

    def look_up(self, name: str, type: int) -> Any:
        """
        See L{Zone}.
        """
        said = FORGERY.look_up("mx.forged.example", type)
        return evolve(said, records=(MxRecord(1, "mx.forged.example"),)) if type == dns.MX else said


def _fail(octets: bytes, code: int) -> bytes:
    """
    The question back, with a response code; recursion is not to be had.
    """
    return octets[:2] + bytes((0x81, code)) + octets[4:12] + octets[12:]


def _truncate(octets: bytes) -> bytes:
    return octets[:2] + bytes((0x83, 0x80)) + octets[4:]


@define(eq=False)
class Sockets:
    """
    A machine's reactor with datagrams, for a resolver. What is sent to an address where no name server is is refused.
    """

    machine: Machine
    hosts: dict[str, NameHost]

    def seconds(self) -> float:
        return self.machine.seconds()

    def callLater(self, delay: float, call: Callable[..., object], *args: Any, **more: Any) -> Any:
        return self.machine.callLater(delay, call, *args, **more)

    def listenUDP(
        self, port: int, protocol: DatagramProtocol, interface: str = "", maxPacketSize: int = 8192
    ) -> Socket:
        socket = Socket(self, protocol)
        protocol.makeConnection(socket)  # type: ignore[arg-type]
        return socket

    def connectTCP(self, host: str, port: int, factory: Any, timeout: float = 30) -> _Connector:
        made = _Kept(factory)
        return _Connector(made, self.machine.connectTCP(host, port, made, timeout))


@define(eq=False)
class Socket:
    """
    A connected datagram socket.
    """

    sockets: Sockets
    protocol: DatagramProtocol
    peer: tuple[str, int] = ("", 0)
    is_open: bool = True

    def connect(self, host: str, port: int) -> None:
        self.peer = host, port

    def write(self, octets: bytes) -> None:
        host = self.sockets.hosts.get(self.peer[0])
        if host is None or not host.hear(octets, "udp", self._reply):
            self.sockets.callLater(0, self._refuse)

    def _reply(self, octets: bytes) -> None:
        if self.is_open and self.sockets.machine.alive:
            self.protocol.datagramReceived(octets, self.peer)

    def _refuse(self) -> None:
        if self.is_open:
            self.protocol.connectionRefused()

    def stopListening(self) -> None:
        self.is_open = False


class _Kept(ClientFactory):
    """
    Remembers the connection that was made.
    """

    noisy = False

    def __init__(self, factory: ClientFactory) -> None:
        self.factory = factory
        self.protocol: Any = None

    def buildProtocol(self, addr: Any) -> Protocol | None:
        self.protocol = self.factory.buildProtocol(addr)
        return self.protocol

    def clientConnectionFailed(self, connector: Any, reason: Any) -> None:
        self.factory.clientConnectionFailed(connector, reason)


@define(eq=False)
class _Connector:
    """
    What a resolver asks of an C{IConnector}.
    """

    kept: _Kept
    connecting: Any

    def disconnect(self) -> None:
        if self.kept.protocol is not None and self.kept.protocol.transport is not None:
            self.kept.protocol.transport.loseConnection()
        else:
            self.connecting.stopConnecting()


class _Streams(Factory):
    noisy = False

    def __init__(self, host: NameHost) -> None:
        self.host = host

    def buildProtocol(self, addr: object) -> Protocol | None:
        return None if self.host.mood is Mood.CLOSED else _Stream(self.host)


class _Stream(Protocol):
    def __init__(self, host: NameHost) -> None:
        self.host = host
        self.came = b""

    def dataReceived(self, data: bytes) -> None:
        self.came += data
        while len(self.came) >= 2 and len(self.came) >= 2 + (length := struct.unpack("!H", self.came[:2])[0]):
            octets, self.came = self.came[2 : 2 + length], self.came[2 + length :]
            self.host.hear(octets, "tcp", self._reply)

    def _reply(self, octets: bytes) -> None:
        if self.transport is not None:
            self.transport.write(struct.pack("!H", len(octets)) + octets)


def with_servers(config: Config, *hosts: NameHost) -> Config:
    """
    The configuration that asks these.
    """
    return evolve(config, dns=Dns(tuple(Server(host.address) for host in hosts)))


def make_resolver(machine: Machine, config: Config, hosts: list[NameHost], random: Random) -> Resolver:
    """
    The real resolver of a process on that machine.
    """
    sockets = Sockets(machine, {host.address: host for host in hosts})
    return Resolver(sockets, Settings(config), random.randbytes)  # type: ignore[arg-type]
