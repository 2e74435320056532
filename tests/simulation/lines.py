"""
The wires of the simulated network: what is to happen after so many octets, silence, and what was said, line by line.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.internet.error import ConnectionLost

from lmrelay.testing.wire import End, Wire

GIVEN_UP = 900.0
"""
Seconds until the kernel gives a connection up whose other end is heard no more.
"""

LONGEST = 160
"""
Octets of a line that are written down.
"""


@define(eq=False)
class Tap:
    """
    In one direction: C{left} octets pass, then comes C{then}; from there on nothing passes until the tap is removed.
    """

    left: int
    then: Callable[[], None]

    def pass_by(self, octets: int) -> None:
        """
        So many have passed.
        """
        self.left -= octets
        if not self.left:
            self.then()


@define(eq=False)
class Line(Wire):
    """
    A wire with C{taps}, by the end that sends. C{said} is told of each line that arrives, and whether the client sent
    it. C{number} counts the wires of a network.

    C{is_cut_off}: nothing passes, and neither end learns that the other has closed, until the kernel gives it up.
    """

    taps: dict[End, Tap] = field(factory=dict)
    said: Callable[[Line, bool, str], None] | None = None
    number: int = 0
    is_cut_off: bool = False
    _begun: dict[End, bytes] = field(factory=dict)

    @property
    def may_move(self) -> bool:
        """
        Is there something to carry or to close?
        """
        client, server = self.client, self.server
        return bool(client.outgoing or server.outgoing or client.disconnecting or server.disconnecting)

    def pump(self, segment: int = 64 * 1024) -> bool:
        """
        See L{Wire}.
        """
        return self._end_alone() if self.is_cut_off else super().pump(segment)

    def tap(self, end: End, octets: int, then: Callable[[], None]) -> None:
        """
        Once C{end} has sent so many octets more, at least one: this.
        """
        self.taps[end] = Tap(max(1, octets), then)

    def cut_off(self) -> None:
        """
        Somebody has pulled the cable.
        """
        self.is_cut_off = True
        for end in (self.client, self.server):
            self.clock.callLater(GIVEN_UP, end.lost, ConnectionLost())

    def break_off(self) -> None:
        """
        Reset: what is on its way is lost, and either side learns of it.
        """
        for end in (self.client, self.server):
            end.abortConnection()

    def _end_alone(self) -> bool:
        moved = False
        for end in (self.client, self.server):
            if end.disconnecting and not end.outgoing and not end.disconnected:
                end.lost(ConnectionLost())
                moved = True
        return moved

    def _carry(self, source: End, sink: End, segment: int) -> bool:
        tap = self.taps.get(source)
        if tap is not None:
            segment = min(segment, tap.left)
            if not segment:
                return False
        passing = source.outgoing and not sink.paused and not sink.disconnected
        block = bytes(source.outgoing[:segment]) if passing and (tap or self.said) else b""
        if self.said is not None:
            self._tell(source, block)
        moved = super()._carry(source, sink, segment)
        if tap is not None and block:
            tap.pass_by(len(block))
        return moved

    def _tell(self, source: End, block: bytes) -> None:
        *lines, rest = (self._begun.pop(source, b"") + block).split(b"\n")
        self._begun[source] = rest[:LONGEST]
        for line in lines:
            self.said(self, source.is_client, line[:LONGEST].decode("ascii", "backslashreplace").rstrip("\r"))
