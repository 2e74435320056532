"""
A reactor whose connections send at the end of a turn what was written to them in it.

By itself Twisted asks the kernel to tell when a connection can take octets, goes to sleep, is woken at once, sends, and
takes the request back: three calls into the kernel around each that does the work, for every reply.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet import tcp
from twisted.internet.interfaces import IConnector, IDelayedCall, IListeningPort
from twisted.internet.protocol import ClientFactory, ServerFactory
from twisted.logger import Logger
from zope.interface import directlyProvides, providedBy

log = Logger()


@define(eq=False, slots=False)
class GatheredWrites:
    """
    All that C{reactor} is, but for the writing of the TCP connections made through this. C{sent}: at the end of so many
    turns something was.
    """

    reactor: Any
    sent: int = field(default=0, init=False)
    _written: dict[Any, None] = field(factory=dict, init=False)
    _asking: set[Any] = field(factory=set, init=False)
    _flush: IDelayedCall | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        directlyProvides(self, providedBy(self.reactor))
        # Asked for many times a message, which the long way through __getattr__ would be felt.
        self.seconds, self.callLater = self.reactor.seconds, self.reactor.callLater

    def __getattr__(self, name: str) -> Any:
        return getattr(self.reactor, name)

    def listenTCP(self, port: int, factory: ServerFactory, backlog: int = 50, interface: str = "") -> IListeningPort:
        """
        As the reactor's own.
        """
        listening = tcp.Port(port, factory, backlog, interface, self)
        listening.startListening()
        return listening

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: ClientFactory,
        timeout: float = 30.0,
        bindAddress: tuple[str, int] | None = None,
    ) -> IConnector:
        """
        As the reactor's own.
        """
        connector = tcp.Connector(host, port, factory, timeout, bindAddress, self)
        connector.connect()
        return connector

    def addWriter(self, writer: Any) -> None:
        """
        It has something to send: it may at the end of the turn. One that is still connecting waits for the kernel.
        """
        if not isinstance(writer, tcp.Connection) or not writer.connected:
            self._ask(writer)
            return
        self._written[writer] = None
        if self._flush is None:
            self._flush = self.reactor.callLater(0, self._send)

    def removeWriter(self, writer: Any) -> None:
        """
        It has nothing more to send.
        """
        self._written.pop(writer, None)
        # Few ever asked the kernel, and each would be looked for there for every reply.
        if writer in self._asking:
            self._asking.discard(writer)
            self.reactor.removeWriter(writer)

    def _ask(self, writer: Any) -> None:
        self._asking.add(writer)
        self.reactor.addWriter(writer)

    def _send(self) -> None:
        """
        What cannot be sent now waits for the kernel, and so does what has broken: the reactor knows what to do then.
        """
        self._flush = None
        self.sent += 1
        for writer in list(self._written):
            if writer not in self._written:
                continue
            try:
                broken = writer.doWrite() is not None
            except Exception:  # noqa: BLE001 - as the reactor has it: whoever broke loses the connection
                log.failure("a connection could not be written to")
                self._written.pop(writer, None)
                writer.abortConnection()
                continue
            if broken or writer in self._written:
                self._written.pop(writer, None)
                self._ask(writer)
