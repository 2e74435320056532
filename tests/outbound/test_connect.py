"""
Connecting: greeting, EHLO and TLS under each policy, with real handshakes in memory.
"""

from __future__ import annotations

import datetime
import errno
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectBindError
from twisted.trial.unittest import SynchronousTestCase

from lmrelay.config.words import TlsPolicy
from lmrelay.mail.outcome import Delayed, Delivered, Failed, Fault
from lmrelay.outbound.client import Connection
from lmrelay.outbound.connect import HostFailure, Target
from lmrelay.outbound.tls import configured
from lmrelay.outbound.verdicts import Reach
from lmrelay.testing.answers import DROP, SILENCE, say
from lmrelay.testing.certificates import Authority
from lmrelay.testing.scripted_mx import ScriptedMx
from tests.outbound.bench import Network, Relay, leased, settings

AUTHORITY = Authority.make()
GOOD = AUTHORITY.issue("mx.example")
WRONG = AUTHORITY.issue("other.example")
WORDY = AUTHORITY.issue("other.example", "x" * 2000)
EXPIRED = AUTHORITY.issue("mx.example", not_after=datetime.datetime(2021, 1, 1))
FOREIGN = Authority.make("somebody else's CA").issue("mx.example")
TARGET = Target("mx.example", "192.0.2.1")


class ConnectTests(SynchronousTestCase):
    def start(self, segment: int = 65536, **script: Any) -> tuple[ScriptedMx, Relay]:
        ca_file = Path(self.mktemp())
        ca_file.parent.mkdir(parents=True, exist_ok=True)
        ca_file.write_bytes(AUTHORITY.pem)
        network = Network(segment)
        mx = ScriptedMx(network, **script)
        network.servers["192.0.2.1"] = mx
        return mx, Relay(network, settings(ca_file=ca_file))

    def refused(self, relay: Relay, policy: TlsPolicy = TlsPolicy.OPPORTUNISTIC) -> HostFailure:
        failure = relay.connect_or_not(policy)
        if not isinstance(failure, HostFailure):
            self.fail(f"connected: {failure!r}")
        self.assertIsInstance(failure.outcome, Delayed)
        return failure


class OpeningTests(ConnectTests):
    def test_refused_by_the_host(self) -> None:
        """
        A greeting or EHLO of 4xx, 5xx, 421, nonsense or none at all: temporary, and the host's trouble.
        """
        answers = (say("450 No"), say("554 No"), say("421 No", close=True), say("hello"), say("220 x", "220 y"), DROP)
        for answer in answers:
            mx, relay = self.start(answers={"GREETING": answer})
            self.assertTrue(self.refused(relay).of_host)
            relay.network.pass_time(11, 11)
            self.assertTrue(mx.sessions[0].is_lost)
            self.assertEqual([], relay.network.getDelayedCalls())

    def test_helo(self) -> None:
        """
        Only for a server that refuses EHLO for good; never after 421, which is the end.
        """
        mx, relay = self.start(answers={"EHLO": say("502 5.5.1 What?")})
        connection = relay.connect()
        self.assertEqual(["EHLO relay.example", "HELO relay.example"], mx.commands)
        self.assertEqual([Delivered], [type(verdict.outcome) for verdict in relay.deliver(connection).values()])
        for answer in (say("421 4.3.2 Bye"), say("450 Later")):
            mx, relay = self.start(answers={"EHLO": answer})
            self.assertTrue(self.refused(relay).of_host)
            self.assertNotIn("HELO relay.example", mx.commands)

    def test_slow_down(self) -> None:
        """
        Words in the greeting that ask for less are passed on.
        """
        _, relay = self.start(answers={"GREETING": say("421 4.7.0 Too many connections", close=True)})
        self.assertTrue(self.refused(relay).slow_down)

    def test_silent(self) -> None:
        """
        A greeting is waited for 300 s.
        """
        _, relay = self.start(answers={"GREETING": SILENCE})
        deferred = relay.begin(relay.connector.connect(TARGET, configured(TlsPolicy.NONE)))
        relay.network.pass_time(299, 50)
        self.assertNoResult(deferred)
        relay.network.pass_time(2)
        self.assertIn("greeting", self.successResultOf(deferred).outcome.text)
        self.assertEqual([], relay.network.getDelayedCalls())

    def test_unreachable(self) -> None:
        """
        No connection is the address's trouble, not the host's; IPv6 goes as IPv4.
        """
        relay = Relay(Network())
        for address in ("192.0.2.9", "2001:db8::9"):
            failure = relay.run(relay.connector.connect(Target("mx.example", address), configured(TlsPolicy.NONE)))
            self.assertEqual((False, "4.4.1"), (failure.of_host, failure.outcome.status))
        relay.network.servers["192.0.2.8"] = None
        target = Target("mx.example", "192.0.2.8")
        deferred = relay.begin(relay.connector.connect(target, configured(TlsPolicy.NONE)))
        relay.network.pass_time(31)
        self.assertFalse(self.successResultOf(deferred).of_host)

    def test_nothing_left_to_connect_with(self) -> None:
        """
        Without a file descriptor it is our own fault, whatever the host.
        """
        relay = Relay(Network())

        def connect(*args: object, **more: object) -> None:
            raise ConnectBindError(errno.EMFILE, "Too many open files")

        relay.network.connectTCP = connect
        failure = relay.run(relay.connector.connect(TARGET, configured(TlsPolicy.NONE)))
        self.assertEqual((False, "4.3.0", Fault.OURS), (failure.of_host, failure.outcome.status, failure.outcome.fault))

    def test_cancelled(self) -> None:
        """
        A cancelled attempt leaves no connection behind.
        """
        mx, relay = self.start(answers={"EHLO": SILENCE})
        deferred = relay.begin(relay.connector.connect(TARGET, configured(TlsPolicy.NONE)))
        deferred.cancel()
        self.failureResultOf(deferred, CancelledError)
        relay.network.settle()
        self.assertTrue(mx.sessions[0].is_lost)

    def test_cancelled_before_the_host_answers(self) -> None:
        """
        Who gives up while an address is silent hears just that, and not that the address is in trouble.
        """
        relay = Relay(Network())
        relay.network.servers[TARGET.address] = None
        deferred = relay.begin(relay.connector.connect(TARGET, configured(TlsPolicy.NONE)))
        self.assertNoResult(deferred)
        deferred.cancel()
        self.failureResultOf(deferred, CancelledError)


class TlsTests(ConnectTests):
    def test_good_certificate(self) -> None:
        """
        Verified under each policy that uses TLS, and mail goes through it, however the octets are cut.
        """
        for policy in (TlsPolicy.OPPORTUNISTIC, TlsPolicy.ENFORCED):
            for segment in (65536, 13):
                mx, relay = self.start(segment, tls=GOOD.server_context())
                connection = relay.connect(policy)
                self.assertTrue(connection.tls.verified)
                self.assertEqual(("", policy.value), (connection.tls.reason, connection.tls.policy))
                self.assertIn("DSN", connection.extensions)
                self.assertNotIn("STARTTLS", connection.extensions)
                relay.deliver(connection, leased("b@b.example"))
                self.assertEqual(["TLSv1.3"], [message.tls for message in mx.messages])
                self.assertEqual((1, "TLSv1.3"), (mx.connections, connection.tls.version))
                connection.close()
                relay.network.pass_time(11, 11)
                self.assertTrue(mx.sessions[0].is_lost)

    def test_bad_certificates(self) -> None:
        """
        Opportunistic takes any and records why it did not verify; enforced stops before MAIL and never goes in clear.
        """
        self_signed = Authority.make("mx.example").root
        cases = (
            (WRONG, "other.example"),
            (EXPIRED, "expired"),
            (FOREIGN, "issuer"),
            (self_signed, "self-signed"),
            (AUTHORITY.root, "for no host"),
            (WORDY, "the certificate is for other.example, xxx"),
        )
        for certificate, words in cases:
            mx, relay = self.start(tls=certificate.server_context())
            connection = relay.connect()
            self.assertEqual((1, ""), (mx.connections, connection.tls_failure))
            self.assertFalse(connection.tls.verified)
            self.assertIn(words, connection.tls.reason)
            self.assertLess(len(connection.tls.reason), 300)
            mx, relay = self.start(tls=certificate.server_context())
            failure = self.refused(relay, TlsPolicy.ENFORCED)
            self.assertEqual((Fault.POLICY, True), (failure.outcome.fault, failure.of_host))
            self.assertEqual(["EHLO relay.example", "STARTTLS"], mx.commands[:2])
            self.assertEqual((1, []), (mx.connections, [line for line in mx.commands if line.startswith("MAIL")]))

    def test_none(self) -> None:
        """
        C{none} does not even ask.
        """
        mx, relay = self.start(tls=GOOD.server_context())
        connection = relay.connect(TlsPolicy.NONE)
        self.assertIsNone(connection.tls)
        self.assertEqual(["EHLO relay.example"], mx.commands)

    def test_not_offered(self) -> None:
        """
        Opportunistic goes on in clear on the same connection, enforced does not.
        """
        mx, relay = self.start()
        self.assertEqual((None, 1), (relay.connect().tls, mx.connections))
        self.assertIn("does not offer STARTTLS", self.refused(relay, TlsPolicy.ENFORCED).outcome.text)

    def test_broken(self) -> None:
        """
        A refused STARTTLS, a broken handshake or a plaintext answer slipped in before it: a
        fresh connection in clear within the same attempt, and enforced none.
        """
        scripts: tuple[dict[str, Any], ...] = (
            {"answers": {"STARTTLS": say("454 4.7.0 Not now")}},
            {"answers": {"STARTTLS": say("554 5.7.0 Never")}},
            {"answers": {"STARTTLS": DROP}},
            {"broken_handshake": b"250 this is no TLS\r\n"},
            {"answers": {"STARTTLS": say("220 Go ahead", "250-mx.example", "250 PIPELINING")}},
            {"answers": {"STARTTLS": say("220 Go ahead", "250-half")}},
        )
        for script in scripts:
            mx, relay = self.start(tls=GOOD.server_context(), **script)
            connection = relay.connect()
            self.assertEqual((None, 2), (connection.tls, mx.connections), script)
            self.assertNotEqual("", connection.tls_failure)
            relay.deliver(connection)
            self.assertEqual([2], [message.connection for message in mx.messages])
            mx, relay = self.start(tls=GOOD.server_context(), **script)
            failure = self.refused(relay, TlsPolicy.ENFORCED)
            self.assertEqual((1, True), (mx.connections, failure.of_host))
            self.assertNotEqual("", failure.tls_failure)

    def test_broken_and_required(self) -> None:
        """
        A host with broken TLS that takes nothing without refuses this host only, and not for good.
        """
        refusals = (
            {"MAIL": say("530 5.7.0 Must issue a STARTTLS command first")},
            {"MAIL": say("538 No")},
            {"RCPT": say("550 5.7.10 No")},
            {"RCPT": say("554 5.7.1 Encryption is needed here")},
        )
        for answers in refusals:
            _, relay = self.start(tls=GOOD.server_context(), broken_handshake=b"250 no TLS\r\n", answers=answers)
            [verdict] = relay.deliver(relay.connect()).values()
            self.assertEqual((Delayed, Reach.HOST), (type(verdict.outcome), verdict.reach))
            self.assertIn("TLS failed", verdict.outcome.text)
            _, relay = self.start(answers=answers)
            [verdict] = relay.deliver(relay.connect()).values()
            self.assertEqual(Failed, type(verdict.outcome))
        _, relay = self.start(
            tls=GOOD.server_context(),
            broken_handshake=b"250 no TLS\r\n",
            answers={"RCPT": say("550 5.1.1 No such user")},
        )
        self.assertEqual([Failed], [type(verdict.outcome) for verdict in relay.deliver(relay.connect()).values()])

    def test_421_to_starttls(self) -> None:
        """
        The host leaves: no second connection is made.
        """
        mx, relay = self.start(tls=GOOD.server_context(), answers={"STARTTLS": say("421 4.3.2 Bye", close=True)})
        self.assertTrue(self.refused(relay).of_host)
        self.assertEqual(1, mx.connections)

    def test_handshake_never_ends(self) -> None:
        """
        A handshake that hangs is a broken one.
        """
        mx, relay = self.start(answers={"STARTTLS": [say("220 Go"), say("502 No")]})
        mx.extensions = (*mx.extensions, "STARTTLS")
        deferred = relay.begin(relay.connector.connect(TARGET, configured(TlsPolicy.OPPORTUNISTIC)))
        self.assertNoResult(deferred)
        relay.network.pass_time(301, 50)
        connection = self.successResultOf(deferred)
        self.assertIsInstance(connection, Connection)
        self.assertIn("handshake", connection.tls_failure)

    def test_no_ca_file(self) -> None:
        """
        A CA file that is gone is our own fault, and temporary.
        """
        mx, relay = self.start(tls=GOOD.server_context())
        relay.settings.config.delivery.ca_file.unlink()
        self.assertEqual(Fault.OURS, self.refused(relay, TlsPolicy.ENFORCED).outcome.fault)
        self.assertEqual(1, mx.connections)
