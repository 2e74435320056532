"""
Receivers that mean harm by how much they say, how slowly they say or read it, and when.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase

from lmrelay.config.words import TlsPolicy
from lmrelay.mail.outcome import Delayed, Delivered
from lmrelay.outbound.client import Connection
from lmrelay.outbound.connect import HostFailure
from lmrelay.outbound.tls import configured
from lmrelay.smtp.extensions import size_limit
from lmrelay.smtp.reply_reader import REPLY_LIMIT
from lmrelay.testing.answers import SILENCE, say
from lmrelay.testing.certificates import Authority
from lmrelay.testing.scripted_mx import EXTENSIONS, ScriptedMx
from tests.outbound.bench import TARGET, Blocks, Network, Relay, leased, settings

AUTHORITY = Authority.make()
CERTIFICATE = AUTHORITY.issue("mx.example")
CHUNKING = (*EXTENSIONS, "CHUNKING")
BLOCK = b"x" * 65534 + b"\r\n"
ADDRESSES = tuple(f"u{number}@b.example" for number in range(100))


class Flood(Protocol):
    """
    Says the same again and again, as fast as it is read.
    """

    said = 0

    def __init__(self, octets: bytes, most: int) -> None:
        self.octets = octets * (65536 // len(octets))
        self.most = most

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        transport: Any = self.transport
        if self.said < self.most:
            self.said += len(self.octets)
            transport.write(self.octets)


class HostileTests(SynchronousTestCase):
    def start(self, segment: int = 65536, buffer: int = 65536, **script: Any) -> tuple[ScriptedMx, Relay]:
        ca_file = Path(self.mktemp())
        ca_file.parent.mkdir(parents=True, exist_ok=True)
        ca_file.write_bytes(AUTHORITY.pem)
        network = Network(segment, buffer)
        mx = network.servers["192.0.2.1"] = ScriptedMx(network, **script)
        return mx, Relay(network, settings(ca_file=ca_file))


class FloodTests(HostileTests):
    def test_hundred_megabytes(self) -> None:
        """
        Of a reply without end no more is read than any reply has, be it one line or many.
        """
        for octets in (b"220-hello\r\n", b"220-" + b"x" * 4000 + b"\r\n", b"x" * 4096, b"\r\n", b"220 hello\r\n"):
            _, relay = self.start()
            flood = Flood(octets, 100 * 1024 * 1024)
            relay.network.servers["192.0.2.1"] = Factory.forProtocol(lambda flood=flood: flood)
            self.assertIsInstance(relay.connect_or_not(), HostFailure)
            self.assertLessEqual(flood.said, 2 * 65536)

    def test_after_the_end(self) -> None:
        """
        Of thousands of replies to nothing the first is noted, whatever each of them might take back.
        """
        excess = ["250 OK"] * 10_000
        mx, relay = self.start(extensions=CHUNKING, answers={"CONTENT": say("250 OK", *excess)})
        connection = relay.connect()
        verdicts = relay.deliver(connection, leased(*ADDRESSES))
        self.assertEqual({Delayed}, {type(verdict.outcome) for verdict in verdicts.values()})
        self.assertEqual(len(ADDRESSES) + 3, len(connection.heard))
        self.assertEqual((1, False), (len(mx.messages), connection.is_usable))

    def test_words(self) -> None:
        """
        What is kept of the longest replies to a hundred recipients is little, so none fills memory or disk.
        """
        lines = ["550-" + "x" * 4000] * (REPLY_LIMIT // 4096 - 1)
        _, relay = self.start(answers={"RCPT": say(*lines, "550 " + "x" * 4000)})
        connection = relay.connect()
        verdicts = relay.deliver(connection, leased(*ADDRESSES))
        kept = sum(len(repr(verdict)) for verdict in verdicts.values())
        self.assertLess(kept, len(ADDRESSES) * 4000)
        # And until the next transaction, or the end of one that never ends.
        kept = sum(len(str(said)) for _, _, _, said in connection.heard)
        self.assertLess(kept, len(ADDRESSES) * 1100)

    def test_offers(self) -> None:
        """
        So it is of the longest list of what a server offers: nobody needs thousands of words for that.
        """
        lines = ["250-SIZE 1000 " + "ab " * 1000, *["250-AUTH " + "ab " * 1000] * 3, "250 PIPELINING"]
        _, relay = self.start(answers={"EHLO": say("250-mx.example", *lines)})
        offered = relay.connect().extensions
        self.assertEqual({"SIZE", "AUTH", "PIPELINING"}, offered.keys())
        self.assertEqual(1000, size_limit(offered))
        self.assertLess(sum(map(len, offered.values())), 100)


class SlowTests(HostileTests):
    def test_one_octet_a_second(self) -> None:
        """
        An answer that dribbles in is waited for as long as one that does not come.
        """
        mx, relay = self.start(answers={"MAIL": SILENCE})
        deferred = relay.begin(relay.connect().deliver(leased(), Blocks([BLOCK])))
        transport: Any = mx.sessions[0].transport
        for octet in b"250 " + b"x" * 295:
            transport.write(bytes((octet,)))
            relay.network.pass_time(1)
        self.assertNoResult(deferred)
        relay.network.pass_time(2)
        [verdict] = self.successResultOf(deferred).values()
        self.assertIn("silent", verdict.outcome.text)

    def test_does_not_read(self) -> None:
        """
        Under TLS as in clear: what is not read is not sent, what is not sent is not in memory, and it ends.
        """
        for policy, tls in ((TlsPolicy.NONE, None), (TlsPolicy.ENFORCED, CERTIFICATE.server_context())):
            mx, relay = self.start(4096, 8192, tls=tls)
            opening = relay.begin(relay.connector.connect(TARGET, configured(policy)))
            relay.network.settle()
            connection = self.successResultOf(opening)
            assert isinstance(connection, Connection)
            content = Blocks([BLOCK] * 100)
            wire = relay.network.wires[0]
            deferred = Deferred.fromCoroutine(connection.deliver(leased(size=len(BLOCK) * 100), content))
            while not mx.sessions[0].data_octets:
                wire.pump(4096)
                relay.network.advance(0)
            wire.server.paused = True
            relay.network.settle()
            self.assertLess(content.reads, 6)
            relay.network.pass_time(299, 299)
            self.assertNoResult(deferred)
            relay.network.pass_time(2)
            [verdict] = self.successResultOf(deferred).values()
            self.assertIsInstance(verdict.outcome, Delayed)
            self.assertEqual((True, []), (wire.client.aborted, mx.messages))

    def test_reads_slowly(self) -> None:
        """
        Who reads on, however slowly, gets all of it.
        """
        mx, relay = self.start(1000, 8192)
        connection = relay.connect()
        content = Blocks([BLOCK] * 3)
        wire = relay.network.wires[0]
        deferred = Deferred.fromCoroutine(connection.deliver(leased(size=len(BLOCK) * 3), content))
        while wire.pump(1000):
            relay.network.advance(1)
        [verdict] = self.successResultOf(deferred).values()
        self.assertIsInstance(verdict.outcome, Delivered)
        self.assertEqual([BLOCK * 3], [message.content for message in mx.messages])


PALETTE = (
    b"250 ok\r\n",
    b"250 2.1.5 ok\r\n",
    b"250 2.0.0 ok\r\n",
    b"354 go\r\n",
    b"550 5.1.1 no\r\n",
    b"451 4.3.0 later\r\n",
    b"421 bye\r\n",
    b"221 bye\r\n",
    b"220 hello\r\n",
    b"500 what\r\n",
    b"250-more\r\n",
    b"2",
    b"\r\n",
    b"\0",
    b"x" * 5000,
)
OFFERS = (
    b"250-mx\r\n250-PIPELINING\r\n250-ENHANCEDSTATUSCODES\r\n250 CHUNKING\r\n",
    b"250-mx\r\n250 PIPELINING\r\n",
    b"250 mx\r\n",
)


class Babble(Protocol):
    """
    Greets and answers EHLO, and then says anything at all whenever it hears something.
    """

    def __init__(self, random: Random) -> None:
        self.random = random
        self.introduced = False

    def connectionMade(self) -> None:
        self.say(b"220 hello\r\n")

    def dataReceived(self, data: bytes) -> None:
        if not self.introduced:
            self.introduced = data.endswith(b"\n")
            self.say(self.random.choice(OFFERS) if self.introduced else b"")
            return
        # Mostly what could be meant, for nonsense ends it soon.
        known = PALETTE[:6] if self.random.random() < 0.8 else PALETTE
        self.say(b"".join(self.random.choices(known, k=self.random.randint(0, 4))))
        if self.random.random() < 0.05:
            transport: Any = self.transport
            self.random.choice((transport.loseConnection, transport.abortConnection))()

    def say(self, octets: bytes) -> None:
        transport: Any = self.transport
        transport.write(octets)


class BabbleTests(SynchronousTestCase):
    def play(self, seed: int) -> None:
        random = Random(seed)
        network = Network(random.choice((1, 3, 65536)))
        network.servers["192.0.2.1"] = Factory.forProtocol(lambda: Babble(random))
        relay = Relay(network)
        connection = relay.connect_or_not(TlsPolicy.NONE)
        assert isinstance(connection, Connection), seed
        for _ in range(4):
            message = leased(*ADDRESSES[: random.randint(1, 4)])
            delivering = relay.begin(connection.deliver(message, Blocks([BLOCK] * random.randint(1, 3))))
            network.pass_time(4000, 100)
            verdicts = self.successResultOf(delivering)
            self.assertEqual([one.number for one in message.recipients], sorted(verdicts), seed)
        connection.close()
        network.pass_time(20, 10)
        self.assertEqual([], network.getDelayedCalls(), seed)

    def test_babble(self) -> None:
        """
        Whatever a receiver says, and whenever: each delivery ends in time, with one verdict for each recipient, without
        an error of ours, and nothing is left behind.
        """
        for seed in range(150):
            self.play(seed)
