"""
TLS and STARTTLS as an attacker would use them: injected commands, old versions, floods and stalls.
"""

from __future__ import annotations

import contextlib

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from lmrelay.config.words import Security
from lmrelay.testing.wire import Wire, connect
from tests.inbound.doubles import SIGNED, Relay, await_returns
from tests.inbound.peers import Listening, MemoryPeer
from tests.inbound.test_protocol import AUTH

GREETING = "220 mx.example.org ESMTP lmrelay"
READY = "220 2.0.0 Ready to start TLS"
INJECTED = "421 4.7.0 Nothing may follow STARTTLS before its reply, closing connection"


class RawClient:
    """
    Puts octets on the wire as they are, to a port that wants TLS.
    """

    def __init__(self, security: Security = Security.IMPLICIT) -> None:
        self.relay = Relay(security)
        self.heard = Listening()
        self.wire: Wire = connect(self.relay.clock, self.relay.factory, self.heard)
        self.wire.flush()

    def send(self, *segments: bytes) -> None:
        for segment in segments:
            self.heard.transport.write(segment)
            self.wire.flush()

    def wait(self, seconds: float) -> None:
        self.relay.clock.advance(seconds)
        self.wire.flush()


class TlsClient(RawClient):
    """
    A client whose TLS is in its own hands: C{lowest} and C{highest} version.
    """

    def __init__(self, lowest: int, highest: int) -> None:
        super().__init__()
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_verify(SSL.VERIFY_NONE)
        context.set_cipher_list(b"ALL:@SECLEVEL=0")
        context.set_min_proto_version(lowest)
        context.set_max_proto_version(highest)
        self.tls = SSL.Connection(context, None)
        self.tls.set_connect_state()

    def shake_hands(self) -> None:
        """
        As far as it goes.

        @raise SSL.Error: the server refuses
        """
        for _ in range(5):
            with contextlib.suppress(SSL.WantReadError):
                self.tls.do_handshake()
            self.exchange()

    def exchange(self) -> None:
        """
        What TLS has to say goes to the server, and its answer to TLS.
        """
        with contextlib.suppress(SSL.WantReadError):
            self.send(self.tls.bio_read(65536))
        if self.heard.received:
            self.tls.bio_write(bytes(self.heard.received))
            self.heard.received.clear()

    def say(self, line: bytes) -> bytes:
        self.tls.send(line)
        self.exchange()
        return self.tls.recv(65536)


class Injection(SynchronousTestCase):
    """
    What is sent in clear behind STARTTLS is never carried out inside TLS (CVE-2011-0411).
    """

    behind = (
        "NOOP",
        "EHLO evil.example",
        AUTH,
        "MAIL FROM:<a@acme.example>\r\nRCPT TO:<b@b.example>\r\nDATA\r\nFrom: a@acme.example\r\n\r\nx\r\n.",
        "RSET",
        "STARTTLS",
        "\0",
    )

    def check(self, relay: Relay) -> None:
        self.assertEqual(([], []), (relay.acceptance.accepted, relay.checker.seen))
        self.assertEqual(0, relay.services.connections.total)

    def test_in_one_segment(self) -> None:
        """
        The connection ends, and TLS does not begin.
        """
        for line in self.behind:
            relay = Relay()
            peer = MemoryPeer(relay)
            self.assertEqual(GREETING, peer.heard()[0])
            heard = peer.say("EHLO x", "STARTTLS", line)
            self.assertEqual(INJECTED, heard[-1])
            self.assertTrue(peer.client.is_lost)
            self.check(relay)

    def test_half_a_line(self) -> None:
        """
        An octet is enough, be it a command's first.
        """
        for octets in (b"STARTTLS\r\nN", b"starttls \r\n\r", b"STARTTLS\r\n\x16"):
            relay = Relay()
            peer = MemoryPeer(relay)
            peer.say("EHLO x")
            peer.send(octets)
            self.assertEqual([INJECTED], peer.heard())
            self.check(relay)

    def test_in_pieces(self) -> None:
        """
        What comes in clear once the reply is out is no handshake, and what it says is not looked at.
        """
        for line in self.behind:
            relay = Relay()
            peer = MemoryPeer(relay)
            peer.say("EHLO x")
            for piece in (b"START", b"TLS\r", b"\n", line.encode() + b"\r\n", AUTH.encode() + b"\r\n"):
                peer.send(piece)
            # The rest is TLS's complaint.
            self.assertTrue(bytes(peer.client.received).startswith(READY.encode() + b"\r\n"))
            self.assertNotIn(b"\r\n250", peer.client.received)
            peer.wait(301)
            self.assertTrue(peer.client.is_lost)
            self.check(relay)

    def test_behind_a_refused_one(self) -> None:
        """
        Where STARTTLS is refused, what follows is as before: in clear, and without AUTH.
        """
        peer = MemoryPeer(Relay())
        peer.heard()
        heard = peer.say("EHLO x", "STARTTLS now", AUTH, "STARTTLS", AUTH)
        self.assertEqual(["501 5.5.4 Syntax error in parameters"], heard[-3:-2])
        self.assertEqual("530 5.7.0 Must issue a STARTTLS command first", heard[-2])
        self.assertEqual(INJECTED, heard[-1])

    def test_twice(self) -> None:
        """
        Within TLS there is none, and the session goes on.
        """
        peer = MemoryPeer(Relay())
        peer.say("EHLO x", "STARTTLS")
        peer.start_tls()
        self.assertEqual("250 REQUIRETLS", peer.say("EHLO x")[-1])
        self.assertEqual(["503 5.5.1 TLS is already active"] * 2, peer.say("STARTTLS", "STARTTLS"))
        self.assertEqual(["235 2.7.0 Authentication successful"], peer.say(AUTH))

    def test_within_a_transaction(self) -> None:
        """
        A transaction that began in clear is forgotten, the name and the protocol with it.
        """
        relay = Relay(bounces=True)
        await_returns(relay)
        peer = MemoryPeer(relay)
        peer.heard()
        heard = peer.say("EHLO x", "MAIL FROM:<>", f"RCPT TO:<{SIGNED['signed']}>", "STARTTLS")
        self.assertEqual(["250 2.1.0 Sender OK", "250 2.1.5 Recipient OK", READY], heard[-3:])
        peer.start_tls()
        self.assertEqual(["503 5.5.1 Send MAIL first"] * 2, peer.say("DATA", "BDAT 0 LAST"))
        self.assertEqual(["503 5.5.1 Send HELO or EHLO first"] * 2, peer.say("MAIL FROM:<>", AUTH))
        self.assertEqual([], relay.returns.recorded)


class Handshakes(SynchronousTestCase):
    """
    What is no handshake, or a bad one, ends the connection and leaves nothing behind.
    """

    hello = b"\x16\x03\x01\x40\x00"
    nonsense = (
        (b"EHLO x\r\n",),
        (b"GET / HTTP/1.1\r\n\r\n",),
        (bytes(range(256)) * 300,),
        # Records without content, which cost the sender nothing.
        (b"\x16\x03\x01\x00\x00" * 1000,),
        (b"\x16\x03\x01\x00\x00",) * 1000,
        (b"\x14\x03\x03\x00\x01\x01" * 1000,),
        (b"\x15\x03\x03\x00\x02\x01\x5a" * 1000,),
        (b"\x17\x03\x03\x00\x10" + bytes(16),),
        (b"\x16\x03\x01\xff\xff" + bytes(65535),),
        # A client hello of 64 KiB, and one of 16 MiB.
        (hello + b"\x01\x00\xff\xfc\x03\x03" + bytes(16378), *[hello + bytes(16384)] * 3),
        (hello + b"\x01\xff\xff\xff\x03\x03" + bytes(16378), *[hello + bytes(16384)] * 20),
        # SSL 2.
        (bytes.fromhex("802e0100020015000000100100800200800300800400800500800600400700c0") + bytes(16),),
    )

    def test_nonsense(self) -> None:
        """
        It is cut off at once.
        """
        for segments in self.nonsense:
            client = RawClient()
            client.send(*segments)
            self.assertTrue(client.heard.is_lost, segments[0][:20])
            self.assertNotIn(b"220", client.heard.received)
            self.assertEqual(0, client.relay.services.connections.total)

    def test_stalls(self) -> None:
        """
        A handshake that does not go on ends with the time that a login has, on an auto port as on one of implicit TLS;
        an octet now and then does not make it longer.
        """
        for security in (Security.IMPLICIT, Security.AUTO):
            for begun in (1, 7):
                hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100)
                client = RawClient(security)
                client.send(hello[:begun])
                for at in range(begun, begun + 11):
                    client.wait(10)
                    client.send(hello[at : at + 1])
                    self.assertFalse(client.heard.is_lost)
                client.wait(11)
                self.assertTrue(client.heard.is_lost)
                self.assertEqual(0, client.relay.services.connections.total)

    def test_no_handshake_behind_starttls(self) -> None:
        """
        Nor does one that never begins.
        """
        client = RawClient(Security.STARTTLS)
        client.send(b"EHLO x\r\nSTARTTLS\r\n")
        self.assertIn(READY.encode(), client.heard.received)
        client.wait(121)
        self.assertTrue(client.heard.is_lost)

    def test_old_versions(self) -> None:
        """
        Nothing below TLS 1.2 is spoken.
        """
        for version in (SSL.TLS1_VERSION, SSL.TLS1_1_VERSION):
            client = TlsClient(SSL.TLS1_VERSION, version)
            self.assertRaises(SSL.Error, client.shake_hands)
            self.assertTrue(client.heard.is_lost)

    def test_what_follows_within_a_segment(self) -> None:
        """
        Garbage, an alert or a goodbye right behind a command ends the connection, whatever the command; it is no fault
        of ours that would be logged.
        """
        goodbye = SSL.Connection.shutdown
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            for behind in (
                b"\x17\x03\x03\x00\x20" + bytes(32),
                b"EHLO x\r\n",
                b"\x15\x03\x03\x00\x02\x02\x28",
                goodbye,
            ):
                for command in (b"NOOP\r\n" * 50, b"QUIT\r\n", AUTH.encode() + b"\r\n", b"NOO"):
                    client = TlsClient(version, version)
                    client.shake_hands()
                    client.say(b"EHLO x\r\n")
                    client.tls.send(command)
                    if not isinstance(behind, bytes):
                        behind(client.tls)
                    client.send(client.tls.bio_read(65536) + (behind if isinstance(behind, bytes) else b""))
                    client.wait(11)
                    self.assertTrue(client.heard.is_lost, (version, behind, command))
                    self.assertEqual(0, client.relay.services.connections.total)

    def test_goodbye_before_the_answer(self) -> None:
        """
        Who says goodbye while its message is stored, and listens on, hears that it was (RFC 8446 §6.1), and what
        else it asked before; then the connection ends at once. It would send again what is stored already.
        """
        for more, answers in ((b"", 1), (b"NOOP\r\nQUIT\r\nNOOP\r\n", 3)):
            client = TlsClient(SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION)
            client.shake_hands()
            client.say(b"EHLO x\r\n" + AUTH.encode() + b"\r\n")
            client.say(b"MAIL FROM:<a@acme.example>\r\nRCPT TO:<b@b.example>\r\nDATA\r\n")
            stored: Deferred[str | None] = Deferred()
            client.relay.acceptance.answers = [stored]
            client.tls.send(b"From: a@acme.example\r\n\r\nhello\r\n.\r\n" + more)
            client.tls.shutdown()
            client.exchange()
            self.assertFalse(client.heard.is_lost)
            heard = b""
            stored.callback(None)
            client.wait(0)
            client.exchange()
            with contextlib.suppress(SSL.ZeroReturnError):
                while True:
                    heard += client.tls.recv(65536)
            self.assertEqual(answers, heard.partition(b"250 2.0.0 OK id=")[2].count(b"\r\n"))
            self.assertTrue(client.heard.is_lost)
            self.assertEqual(0, client.relay.services.connections.total)

    def test_renegotiation(self) -> None:
        """
        A client of TLS 1.2 that asks for another handshake is refused one.
        """
        client = TlsClient(SSL.TLS1_2_VERSION, SSL.TLS1_2_VERSION)
        client.shake_hands()
        self.assertEqual("TLSv1.2", client.tls.get_protocol_version_name())
        self.assertEqual(GREETING.encode() + b"\r\n", client.tls.recv(65536))
        self.assertIn(b"nice to meet you", client.say(b"EHLO x\r\n"))
        self.assertTrue(client.tls.renegotiate())
        with self.assertRaises(SSL.Error) as refused:
            client.shake_hands()
        self.assertIn("no renegotiation", str(refused.exception))
        client.wait(121)
        client.wait(11)
        self.assertTrue(client.heard.is_lost)
