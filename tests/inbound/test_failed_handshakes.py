"""
What the log says of TLS handshakes that fail, whatever the port.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence

from twisted.logger import LogEvent, LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from lmrelay.config.words import Security
from tests.inbound.test_tls import make_client_context
from tests.inbound.test_tls_abuse import READY, RawClient

PORTS = (Security.IMPLICIT, Security.STARTTLS, Security.AUTO)


def without_common_cipher() -> ssl.SSLContext:
    """
    A client that wants what the server has not.
    """
    context = make_client_context(ssl.TLSVersion.TLSv1_2)
    context.set_ciphers("AES128-CCM:@SECLEVEL=0")
    return context


def trusting_nobody(newest: ssl.TLSVersion) -> ssl.SSLContext:
    """
    A client that knows no authority.
    """
    context = make_client_context(newest)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


class Shaking(RawClient):
    """
    A client that has come as far as the handshake.
    """

    def __init__(self, security: Security, context: ssl.SSLContext) -> None:
        super().__init__(security)
        if security is Security.STARTTLS:
            self.send(b"EHLO x\r\nSTARTTLS\r\n")
            if not self.heard.received.endswith(READY.encode() + b"\r\n"):
                raise AssertionError(self.heard.received)
            self.heard.received.clear()
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing)

    def turn(self) -> None:
        """
        Go on with the handshake, and hear what the server says.
        """
        try:
            self.tls.do_handshake()
        finally:
            self.send(self.outgoing.read())
            self.incoming.write(bytes(self.heard.received))
            self.heard.received.clear()


def told(events: Sequence[LogEvent]) -> list[tuple[LogLevel, str, str, str]]:
    """
    What the log says of handshakes that failed: level, client, listener and reason.
    """
    return [
        (event["log_level"], event["peer"], event["listener"], event["reason"])
        for event in events
        if event["log_format"] == "TLS handshake failed"
    ]


class FailedHandshakes(SynchronousTestCase):
    """
    Whoever looks after a client finds out why it does not get through.
    """

    def knock(self, security: Security, context: ssl.SSLContext) -> None:
        """
        A client of that kind tries, and is gone.
        """
        client = Shaking(security, context)
        self.assertRaises(ssl.SSLWantReadError, client.turn)
        self.assertRaises(ssl.SSLError, client.turn)
        client.wait(11)
        self.assertTrue(client.heard.is_lost)

    def check(self, context: ssl.SSLContext, reason: str) -> None:
        """
        Each port tells that reason, once.
        """
        for security in PORTS:
            with capturedLogs() as events:
                self.knock(security, context)
            line = (LogLevel.info, "192.0.2.7", f"[::]:587 ({security.value})", reason)
            self.assertEqual([line], told(events))

    def test_unknown_authority(self) -> None:
        """
        That a client does not trust the certificate is its own word, by an alert.
        """
        for newest in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            self.check(trusting_nobody(newest), "tlsv1 alert unknown ca")

    def test_no_common_cipher(self) -> None:
        """
        Nothing that the client can do is good enough.
        """
        self.check(without_common_cipher(), "no shared cipher")

    def test_old_version(self) -> None:
        """
        A client hello of TLS 1.1 at most.
        """
        hello = b"\x03\x02" + bytes(32) + b"\x00\x00\x02\x00\x2f\x01\x00"
        record = b"\x16\x03\x01" + (len(hello) + 4).to_bytes(2, "big") + b"\x01" + len(hello).to_bytes(3, "big") + hello
        for security in PORTS:
            client = Shaking(security, make_client_context())
            with capturedLogs() as events:
                client.send(record)
            self.assertEqual(["unsupported protocol"], [reason for *_, reason in told(events)])

    def test_no_tls(self) -> None:
        """
        Words in clear where TLS is to begin, and an alert that nobody knows.
        """
        for octets, reason in (
            (b"EHLO x\r\n", "wrong version number"),
            (b"GET / HTTP/1.1\r\n\r\n", "http request"),
        ):
            with capturedLogs() as events:
                RawClient().send(octets)
            self.assertEqual([reason], [reason for *_, reason in told(events)])
        client = Shaking(Security.IMPLICIT, make_client_context())
        self.assertRaises(ssl.SSLWantReadError, client.turn)
        with capturedLogs() as events:
            client.send(b"\x15\x03\x03\x00\x02\x02\x63")
        self.assertEqual(["unknown error"], [reason for *_, reason in told(events)])

    def test_one_line_a_connection(self) -> None:
        """
        Whatever a client goes on to send, the log does not fill with it.
        """
        for segments in ([b"EHLO x\r\n"] * 100, [b"\x15\x03\x03\x00\x02\x02\x30" * 100] * 100):
            for security in (Security.IMPLICIT, Security.STARTTLS):
                client = Shaking(security, make_client_context())
                self.assertRaises(ssl.SSLWantReadError, client.turn)
                with capturedLogs() as events:
                    client.send(*segments)
                    client.wait(11)
                self.assertEqual(1, len(told(events)))
                self.assertEqual(1, len(events))

    def test_no_more_than_a_close(self) -> None:
        """
        Of a client that closes before the handshake, or within it, with TLS's goodbye or without, the log says no more
        than of one that closes later: nothing.
        """
        for security in PORTS:
            for goodbye in (
                b"",
                b"\x15\x03\x03\x00\x02\x01\x00",
                b"\x15\x03\x03\x00\x02\x01\x5a\x15\x03\x03\x00\x02\x01\x00",
            ):
                with capturedLogs() as events:
                    client = Shaking(security, make_client_context())
                    if goodbye:
                        self.assertRaises(ssl.SSLWantReadError, client.turn)
                        client.send(goodbye)
                    client.heard.transport.loseConnection()
                    client.wire.flush()
                    client.wait(11)
                self.assertTrue(client.heard.is_lost)
                self.assertEqual([], events)

    def test_no_word_of_success(self) -> None:
        """
        Nor does it say anything of a handshake that went well, and of what is no TLS behind it.
        """
        for security in PORTS:
            with capturedLogs() as events:
                client = Shaking(security, make_client_context())
                self.assertRaises(ssl.SSLWantReadError, client.turn)
                client.turn()
                client.send(b"\x15\x03\x03\x00\x02\x02\x30")
                client.wait(11)
            self.assertTrue(client.heard.is_lost)
            self.assertEqual([], events)
