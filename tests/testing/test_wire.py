"""
The wire is as real as it says.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import ITCPTransport, ITLSTransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from lmrelay.testing.certificates import Authority
from lmrelay.testing.wire import Wire, connect


class Keeping(Protocol):
    def __init__(self) -> None:
        self.received = bytearray()
        self.reason: Any = None

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Any = None) -> None:
        self.reason = reason


class Producer:
    def __init__(self) -> None:
        self.said: list[str] = []

    def pauseProducing(self) -> None:
        self.said.append("pause")

    def resumeProducing(self) -> None:
        self.said.append("resume")

    def stopProducing(self) -> None:
        self.said.append("stop")


class WireTests(SynchronousTestCase):
    """
    Two ends and what goes between them.
    """

    def connect(self, buffer: int = 100) -> tuple[Wire, Keeping, Keeping]:
        client = Keeping()
        wire = connect(Clock(), Factory.forProtocol(Keeping), client, buffer=buffer)
        return wire, client, wire.server.protocol

    def test_ends(self) -> None:
        """
        Both ends are transports as TCP gives them.
        """
        wire, _, _ = self.connect()
        for end in (wire.client, wire.server):
            self.assertTrue(verifyObject(ITCPTransport, end))
            self.assertTrue(verifyObject(ITLSTransport, end))

    def test_nothing_moves_unpumped(self) -> None:
        """
        Octets stay until they are carried, in segments of the given size.
        """
        wire, _, server = self.connect()
        wire.client.write(b"abc")
        self.assertEqual(b"", server.received)
        wire.pump(2)
        self.assertEqual(b"ab", server.received)

    def test_backpressure(self) -> None:
        """
        A reader that pauses fills its peer's buffer, which pauses the producer until it is empty.
        """
        wire, _, server = self.connect()
        producer = Producer()
        wire.client.registerProducer(producer, True)  # type: ignore[arg-type]
        wire.server.pauseProducing()
        wire.client.write(b"x" * 101)
        wire.flush()
        self.assertEqual((b"", ["pause"]), (bytes(server.received), producer.said))
        wire.server.resumeProducing()
        wire.flush()
        self.assertEqual((101, ["pause", "resume"]), (len(server.received), producer.said))

    def test_close_and_abort(self) -> None:
        """
        Closing sends what is left first, aborting loses it; both ends are told.
        """
        for close, expected in (("loseConnection", b"x"), ("abortConnection", b"")):
            wire, client, server = self.connect()
            wire.client.write(b"x")
            getattr(wire.client, close)()
            wire.flush()
            self.assertEqual(expected, bytes(server.received))
            self.assertIsNotNone(client.reason)
            self.assertIsNotNone(server.reason)

    def test_starttls(self) -> None:
        """
        TLS is real: the wire carries no plaintext, and the certificate is the issued one.
        """
        wire, client, server = self.connect()
        certificate = Authority.make().issue("mx.example.org", "192.0.2.1")
        wire.server.startTLS(certificate.server_context())
        wire.client.startTLS(CertificateOptions())
        wire.flush()
        wire.client.write(b"secret")
        wire.clock.advance(0)
        self.assertNotIn(b"secret", wire.client.outgoing)
        wire.flush()
        self.assertEqual(b"secret", server.received)
        shown = wire.client.getPeerCertificate().to_cryptography()
        self.assertEqual(certificate.certificate.serial_number, shown.serial_number)
        wire.server.loseConnection()
        wire.flush()
        self.assertIsNotNone(client.reason)

    def test_certificate_files(self) -> None:
        """
        The files are a pair that OpenSSL takes, the key for its owner alone.
        """
        folder = Path(self.mktemp())
        folder.mkdir(parents=True)
        certificate, key = Authority.make().issue("mx.example.org").write(folder)
        context = SSL.Context(SSL.TLS_METHOD)
        context.use_certificate_file(str(certificate))
        context.use_privatekey_file(str(key))
        context.check_privatekey()
        self.assertEqual(0o600, stat.S_IMODE(key.stat().st_mode))
