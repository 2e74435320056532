"""
One network and one time: machines with addresses, wires between them, and a clock that leaps to what happens next.

Nothing in it but the clock moves by itself, and all that is left to chance comes from one source, so that what was
played once plays again.
"""

from __future__ import annotations

import itertools
from bisect import insort
from collections.abc import Callable
from operator import attrgetter
from random import Random
from typing import Any

from attrs import define, field
from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionRefusedError, TimeoutError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from lmrelay.testing.wire import SEGMENT, End, TcpAddress, connect, make_address
from tests.simulation.lines import Line

MAX_ROUNDS = 100_000
"""
Rounds in one moment of time, after which something runs in a circle.
"""

TICK = 1e-6
"""
The shortest time, in seconds, that is any.
"""

_DUE = attrgetter("time")


class Network(Clock):
    """
    C{servers} are factories by address and port. Who connects to one of C{silent} hears nothing until it gives up.
    C{opened} are told of each new connection, C{said} of each line that is sent over one.

    With C{random}, segments are cut anywhere and wires move in any order; without, all is as plain as it can be.
    """

    def __init__(self, random: Random | None = None) -> None:
        super().__init__()
        self.servers: dict[tuple[str, int], Any] = {}
        self.silent: set[str] = set()
        self.wires: list[Line] = []
        self.opened: list[Callable[[Line], object]] = []
        self.said: Callable[[Line, bool, str], None] | None = None
        self._random = random
        self._numbers = itertools.count(1)

    def callLater(self, delay: float, call: Callable[..., object], *args: Any, **more: Any) -> Any:
        # What is left of a wait can be less than a float of this size can tell: time would stand still.
        due = self.rightNow + (max(delay, TICK) if delay else delay)
        made = DelayedCall(due, call, args, more, self.calls.remove, self._move, self.seconds)
        insort(self.calls, made, key=_DUE)
        return made

    def advance(self, amount: float) -> None:
        # Its calls are in order at all times: to sort them anew at each step would take a tenth of a story.
        self.rightNow += amount
        while (first := self._find_next()) is not None and first.time <= self.rightNow:
            del self.calls[0]
            first.called = 1
            first.func(*first.args, **first.kw)

    def _find_next(self) -> DelayedCall | None:
        """
        The call that is made next. One that was put off is put in its place when it is its turn.
        """
        while self.calls and self.calls[0].delayed_time:
            late = self.calls[0]
            late.activate_delay()
            self._move(late)
        return self.calls[0] if self.calls else None

    def _move(self, call: DelayedCall) -> None:
        self.calls.remove(call)
        insort(self.calls, call, key=_DUE)

    def connect(self, port: int, server: str, client: Protocol, host: str) -> Line | None:
        """
        A wire from C{client} at C{host} to the server at that address and port; None where it is refused.
        """
        factory = self.servers.get((server, port))
        if factory is None:
            return None
        try:
            made = connect(self, factory, client, client_host=host, server_host=server, server_port=port)
        except ConnectionRefusedError:
            return None
        line = Line(self, made.client, made.server, said=self.said, number=next(self._numbers))
        self.wires.append(line)
        for watch in self.opened:
            watch(line)
        return line

    def run(self, seconds: float) -> None:
        """
        Play so many seconds.
        """
        self.run_until(lambda: False, seconds)

    def run_until(self, is_over: Callable[[], bool], seconds: float) -> bool:
        """
        Play until it is over, but no more than so many seconds. Is it?
        """
        end = self.seconds() + seconds
        self._settle()
        while not (over := is_over()) and (first := self._find_next()) is not None and first.time <= end:
            self.rightNow = max(self.rightNow, first.time)
            self._settle()
        if not over:
            self.rightNow = end
        return over

    def _settle(self) -> None:
        """
        Carry, and call what is due, until nothing more happens at this moment.
        """
        for _ in range(MAX_ROUNDS):
            due = (first := self._find_next()) is not None and first.time <= self.rightNow
            if due:
                self.advance(0)
            if not (self._carry() or due):
                return
        raise AssertionError(f"it never rests: {self.calls[:3]}")

    def _carry(self) -> bool:
        wires = [wire for wire in self.wires if wire.may_move]
        if self._random is not None:
            self._random.shuffle(wires)
        moved = False
        for wire in wires:
            moved = wire.pump(self._segment()) or moved
        if moved:
            self.wires = [wire for wire in self.wires if not (wire.client.disconnected and wire.server.disconnected)]
        return moved

    def _segment(self) -> int:
        return SEGMENT if self._random is None else self._random.choice((1, 7, 60, 1400, SEGMENT, SEGMENT))


class _Grave(Protocol):
    """
    What a dead process hears.
    """

    def dataReceived(self, data: bytes) -> None:
        """
        Nobody is there.
        """

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Nobody is there.
        """


@define(eq=False)
class _Connecting:
    """
    A connection that is being made, as C{IConnector}.
    """

    machine: Machine
    factory: Any
    to: TcpAddress
    timer: Any = None

    def fail(self, error: Exception) -> None:
        self.timer = None
        self.factory.clientConnectionFailed(self, Failure(error))

    def stopConnecting(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def getDestination(self) -> TcpAddress:
        return self.to


@define(eq=False)
class _Port:
    """
    A listening socket. Until it is read from, who connects waits.
    """

    network: Network
    host: TcpAddress
    factory: Any

    def getHost(self) -> TcpAddress:
        return self.host

    def startReading(self) -> None:
        self.network.servers[self.host.host, self.host.port] = self.factory

    def stopReading(self) -> None:
        self.network.servers.pop((self.host.host, self.host.port), None)

    def stopListening(self) -> Deferred[None]:
        self.stopReading()
        return succeed(None)


@define(eq=False)
class Machine:
    """
    A process's reactor, at an address of the network: when it dies, all that it would have done is not done.
    """

    network: Network
    address: str
    alive: bool = field(default=True, init=False)
    _ports: list[_Port] = field(factory=list, init=False)
    _ends: list[End] = field(factory=list, init=False)
    _buried: list[object] = field(factory=list, init=False)

    def seconds(self) -> float:
        return self.network.seconds()

    def callLater(self, delay: float, call: Callable[..., object], *args: Any, **more: Any) -> DelayedCall:
        if not self.alive:
            return DelayedCall(self.seconds() + delay, call, args, more, _ignore, _ignore, self.seconds)

        def run() -> None:
            if self.alive:
                call(*args, **more)
            else:
                # Let go of, what waits for it would be closed by Python, and that runs code of the dead.
                self._buried.append((call, args, more))

        return self.network.callLater(delay, run)  # type: ignore[return-value]

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> _Port:
        listening = _Port(self.network, make_address(self.address, port), factory)
        self._ports.append(listening)
        listening.startReading()
        return listening

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: object = None
    ) -> _Connecting:
        connecting = _Connecting(self, factory, make_address(host, port))
        factory.doStart()
        factory.startedConnecting(connecting)
        if host in self.network.silent:
            connecting.timer = self.callLater(timeout, connecting.fail, TimeoutError("no answer in time"))
        else:
            connecting.timer = self.callLater(0, self._connect, connecting)
        return connecting

    def _connect(self, connecting: _Connecting) -> None:
        connecting.timer = None
        to = connecting.to
        if (to.host, to.port) not in self.network.servers:
            connecting.fail(ConnectionRefusedError())
            return
        protocol = connecting.factory.buildProtocol(to)
        if protocol is None:
            return
        wire = self.network.connect(to.port, to.host, protocol, self.address)
        if wire is None:
            connecting.fail(ConnectionRefusedError())
        else:
            self._keep(wire.client)

    def _keep(self, end: End) -> None:
        self._ends = [one for one in self._ends if not one.disconnected]
        self._ends.append(end)

    def die(self) -> None:
        """
        At once, as by kill -9.
        """
        self.alive = False
        for port in self._ports:
            port.stopReading()
        served = [wire.server for wire in self.network.wires if wire.server.host.host == self.address]
        for end in (*self._ends, *served):
            end.unregister_raw()
            self._buried.append(end.protocol)
            end.protocol = _Grave()
            # What of the dead still writes finds no TLS to write through.
            end.TLS = False
            end.abortConnection()


def _ignore(call: DelayedCall) -> None:
    """
    It was never to be made.
    """
