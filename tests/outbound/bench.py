"""
What the tests of the client share: a network in memory, contents, and messages to send.
"""

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from lmrelay.config.values import Config, Delivery, DeliveryTimeouts, Server
from lmrelay.config.words import Kind, TlsPolicy
from lmrelay.errors import StoreError
from lmrelay.interfaces import Lane, Leased, LeasedRecipient
from lmrelay.mail.address import parse_address
from lmrelay.mail.envelope import Recipient
from lmrelay.outbound.client import Connection
from lmrelay.outbound.connect import Connector, HostFailure, Target
from lmrelay.outbound.tls import configured
from lmrelay.outbound.verdicts import Verdict
from lmrelay.testing.wire import Wire, connect

T = TypeVar("T")

TARGET = Target("mx.example", "192.0.2.1", 25)
CONTENT = b"From: a@a.example\r\nSubject: x\r\n\r\nHello\r\n"
TIMEOUTS = DeliveryTimeouts(connect=30.0, command=300.0, data=600.0)


class Connecting:
    """
    A connector of the network's.
    """

    def getDestination(self) -> None:
        pass

    def stopConnecting(self) -> None:
        pass


class Network(Clock):
    """
    A reactor whose TCP ends in memory: at the servers by address, or nowhere.
    """

    def __init__(self, segment: int = 65536, buffer: int = 65536) -> None:
        super().__init__()
        self.servers: dict[str, Any] = {}
        self.wires: list[Wire] = []
        self.segment = segment
        self.buffer = buffer

    def connectTCP(self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None) -> Any:
        factory.doStart()
        if host not in self.servers:
            factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))
            return None
        server = self.servers[host]
        if server is None:
            factory.startedConnecting(Connecting())
            self.callLater(timeout, factory.clientConnectionFailed, None, Failure(TimeoutError("no answer in time")))
            return None
        protocol = factory.buildProtocol(None)
        self.wires.append(connect(self, server, protocol, server_host=host, server_port=port, buffer=self.buffer))
        return None

    def settle(self) -> None:
        """
        Carry until nothing moves.
        """
        moved = True
        while moved:
            moved = False
            for wire in list(self.wires):
                while wire.pump(self.segment):
                    moved = True
            self.advance(0)

    def pass_time(self, seconds: float, step: float = 1.0) -> None:
        """
        Let time pass in steps, carrying what moves.
        """
        while seconds > 0:
            self.advance(min(step, seconds))
            seconds -= step
            self.settle()


@define(eq=False)
class Blocks:
    """
    A content of these blocks; an exception among them is what reading fails with.
    """

    blocks: list[Any]
    reads: int = 0

    def read_now(self) -> None:
        return None

    def read(self) -> Deferred[bytes]:
        self.reads += 1
        block = self.blocks.pop(0) if self.blocks else b""
        if isinstance(block, Deferred):
            return block
        return fail(block) if isinstance(block, Exception) else succeed(block)


@define(eq=False)
class Settings:
    config: Config


def settings(**delivery: Any) -> Settings:
    return Settings(
        Config(
            path=Path("lmrelay.toml"), server=Server("relay.example"), delivery=Delivery(timeouts=TIMEOUTS, **delivery)
        )
    )


def leased(*addresses: str, **changes: Any) -> Leased:
    """
    A message from C{a@a.example} to these.
    """
    recipients = [
        LeasedRecipient(number, Recipient(parse_address(address)))
        for number, address in enumerate(addresses or ("b@b.example",))
    ]
    message = Leased(
        "m1", Lane("acme", Kind.TRANSACTIONAL, "b.example"), "outgoing", parse_address("a@a.example"), recipients, 40
    )
    return evolve(message, **changes)


@define(eq=False)
class Relay:
    """
    The sending side, at C{network}.
    """

    network: Network
    settings: Settings = field(factory=settings)
    connector: Connector = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.connector = Connector(self.network, self.network, self.settings)

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> Deferred[T]:
        """
        Start, and carry as far as it goes.
        """
        deferred = Deferred.fromCoroutine(coroutine)
        self.network.settle()
        return deferred

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """
        Start, and carry to the end without time passing.
        """
        results: list[Any] = []
        self.begin(coroutine).addBoth(results.append)
        if not results:
            raise AssertionError("it waits for something")
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]

    def connect(self, policy: TlsPolicy = TlsPolicy.OPPORTUNISTIC, target: Target = TARGET) -> Connection:
        result = self.connect_or_not(policy, target)
        if not isinstance(result, Connection):
            raise AssertionError(str(result))
        return result

    def connect_or_not(
        self, policy: TlsPolicy = TlsPolicy.OPPORTUNISTIC, target: Target = TARGET
    ) -> Connection | HostFailure:
        return self.run(self.connector.connect(target, configured(policy)))

    def deliver(self, connection: Connection, message: Leased | None = None, *blocks: Any) -> dict[int, Verdict]:
        content = Blocks(list(blocks or (CONTENT,)))
        return self.run(connection.deliver(message or leased(), content))


def broken_store() -> StoreError:
    return StoreError("the disk is gone")
