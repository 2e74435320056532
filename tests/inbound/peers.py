"""
A client in memory, as tests and the dialogues' player use it.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Protocol
from twisted.internet.ssl import CertificateOptions

from lmrelay.testing.wire import Wire, connect
from tests.inbound.doubles import Relay

CLIENT_CONTEXT = CertificateOptions()


class Listening(Protocol):
    """
    Keeps what comes.
    """

    def __init__(self) -> None:
        self.received = bytearray()
        self.is_lost = False

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Any = None) -> None:
        self.is_lost = True


class MemoryPeer:
    """
    A connection to a relay of doubles. Waiting for a reply lets its clock run.
    """

    def __init__(self, relay: Relay, host: str = "192.0.2.7") -> None:
        self.relay = relay
        self.client = Listening()
        self.wire: Wire = connect(relay.clock, relay.factory, self.client, client_host=host)
        if relay.security.value == "implicit":
            self.start_tls()
        self.wire.flush()

    def send(self, octets: bytes) -> None:
        self.client.transport.write(octets)
        self.wire.flush()

    def receive_line(self, patience: int = 200) -> bytes | None:
        for _ in range(patience):
            end = self.client.received.find(b"\n") + 1
            if end:
                line = bytes(self.client.received[:end])
                del self.client.received[:end]
                return line
            if self.client.is_lost:
                rest = bytes(self.client.received)
                self.client.received.clear()
                return rest or None
            self.wait(0.1)
        raise AssertionError("the server says nothing")

    def start_tls(self) -> None:
        self.client.transport.startTLS(CLIENT_CONTEXT)
        self.wire.flush()

    def wait(self, seconds: float) -> None:
        self.relay.clock.advance(seconds)
        self.wire.flush()

    def say(self, *lines: str) -> list[str]:
        """
        Send lines in one segment; everything that comes back at once, as lines.
        """
        self.send("".join(line + "\r\n" for line in lines).encode())
        return self.heard()

    def heard(self) -> list[str]:
        """
        What came since.
        """
        text = self.client.received.decode()
        self.client.received.clear()
        return text.split("\r\n")[:-1]
