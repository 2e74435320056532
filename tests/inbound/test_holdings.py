"""
What clients may make the relay keep for them, before they have handed over a message.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from lmrelay.config.words import Security
from lmrelay.inbound.holdings import RECIPIENT, USUAL_HEAD, USUAL_RECIPIENTS, Holdings
from tests.inbound.doubles import Relay
from tests.inbound.peers import MemoryPeer
from tests.inbound.test_protocol import AUTH

MAIL = "MAIL FROM:<a@acme.example>"
CONTENT = ("DATA", "From: a@acme.example", "", "x", ".")
FULL = "452 4.3.1 Too many large headers arrive at once, try again later"
ROOM = 100 * RECIPIENT
"""
For one project alone; as much again has to stay free.
"""


def recipients(number: int) -> list[str]:
    return [f"RCPT TO:<u{one}@b.example>" for one in range(number)]


class InSessions(SynchronousTestCase):
    """
    On a plain port, for there TLS hides nothing.
    """

    def setUp(self) -> None:
        self.relay = Relay(Security.PLAIN)
        self.holdings = self.relay.services.holdings
        self.holdings.limit = 2 * ROOM

    def log_in(self) -> MemoryPeer:
        peer = MemoryPeer(self.relay)
        peer.say("EHLO client.example", AUTH)
        return peer

    def fill(self) -> MemoryPeer:
        """
        A session whose message has as many recipients as there is room for.
        """
        peer = self.log_in()
        heard = peer.say(MAIL, *recipients(USUAL_RECIPIENTS + 101))
        self.assertEqual("250 2.1.5 Recipient OK", heard[-2])
        self.assertEqual("452 4.5.3 Too many recipients", heard[-1])
        return peer

    def test_recipients(self) -> None:
        """
        What sessions hold together is bounded: of more recipients than there is room for each transaction takes some,
        the client is told to send the rest by itself, and ordinary mail goes through.
        """
        self.fill()
        peer = self.log_in()
        self.assertEqual(
            ["250"] * (1 + USUAL_RECIPIENTS) + ["452"] * 5,
            [said[:3] for said in peer.say(MAIL, *recipients(USUAL_RECIPIENTS + 5))],
        )
        self.assertEqual("250 2.0.0 OK id=", peer.say(*CONTENT)[-1][:16])
        [(submission, _)] = self.relay.acceptance.accepted
        self.assertEqual(USUAL_RECIPIENTS, len(submission.envelope.recipients))

    def test_given_back(self) -> None:
        """
        However a transaction ends, what it held is there for the next.
        """
        ends = (
            lambda peer: peer.say("RSET"),
            lambda peer: peer.say("EHLO again"),
            lambda peer: peer.say("QUIT"),
            lambda peer: peer.say(*CONTENT),
            lambda peer: peer.say("BDAT 0 LAST"),
            lambda peer: peer.say("BDAT 99999999"),
            lambda peer: peer.say("BDAT x"),
            lambda peer: peer.client.transport.abortConnection(),
            lambda peer: peer.say("DATA", "x"),
            lambda peer: peer.wait(1000),
        )
        for end in ends:
            peer = self.fill()
            self.assertEqual(ROOM, self.holdings.total)
            end(peer)
            peer.wire.flush()
            if not peer.client.is_lost:
                peer.client.transport.abortConnection()
                peer.wire.flush()
            self.assertEqual(0, self.holdings.total)

    def test_while_it_is_stored(self) -> None:
        """
        What the queue has taken over is the queue's to bound.
        """
        self.relay.acceptance.answers = [Deferred()]
        peer = self.fill()
        peer.say(*CONTENT)
        self.assertEqual(0, self.holdings.total)

    def test_a_line_that_the_relay_ends(self) -> None:
        """
        What closes a content is counted for nobody: a message whose large head is all of it, without the end of its
        last line, leaves nothing behind.
        """
        peer = self.log_in()
        peer.say(MAIL, *recipients(1))
        content = b"From: a@acme.example\r\nX: " + b" y" * USUAL_HEAD
        peer.send(b"BDAT %d LAST\r\n" % len(content) + content)
        self.assertEqual(1, len(self.relay.acceptance.accepted))
        self.assertEqual((0, {}), (self.holdings.total, self.holdings._of))

    def test_heads(self) -> None:
        """
        Heads that do not end hold as little: one too many is refused at its end, and the session goes on.
        """
        line = "X: " + "y" * 995 + "\r\n"
        waiting = [self.log_in() for _ in range(3)]
        for peer in waiting:
            peer.say(MAIL, *recipients(1), "DATA")
            for _ in range(60):
                peer.send(line.encode())
        self.assertLessEqual(self.holdings.total, ROOM)
        self.assertGreater(self.holdings.total, 2 * (60_000 - USUAL_HEAD))
        last = self.log_in()
        last.say(MAIL, *recipients(1), "DATA")
        self.assertEqual([FULL], last.say(line * 60, "From: a@acme.example", "", "x", "."))
        last.say(MAIL, *recipients(1))
        self.assertEqual("250 2.0.0 OK id=", last.say(*CONTENT)[-1][:16])
        self.assertEqual(
            ["250", FULL[:3]], sorted({peer.say("From: a@acme.example", "", ".")[0][:3] for peer in waiting})
        )
        self.assertEqual(0, self.holdings.total)


class Shares(SynchronousTestCase):
    """
    Pure.
    """

    def test_between_projects(self) -> None:
        """
        Each has at most what it leaves for all others, so none can take it all.
        """
        holdings = Holdings(limit=900)
        self.assertFalse(holdings.take("a", 451))
        self.assertTrue(holdings.take("a", 450))
        self.assertFalse(holdings.take("a", 1))
        self.assertTrue(holdings.take("b", 225))
        self.assertFalse(holdings.take("b", 1))
        self.assertTrue(holdings.take("c", 112))
        holdings.give("a", 450)
        self.assertTrue(holdings.take("b", 169))
        for project, octets in (("b", 394), ("c", 112)):
            holdings.give(project, octets)
        self.assertEqual((0, {}), (holdings.total, holdings._of))
