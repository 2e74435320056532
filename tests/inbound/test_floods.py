"""
Clients that say too much, or never listen: each is bounded in memory, and ends.
"""

from __future__ import annotations

import base64

import pytest
from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from lmrelay.config.values import Limits
from lmrelay.config.words import Security
from lmrelay.inbound.session import Session
from tests.inbound.doubles import TOKEN, Relay
from tests.inbound.peers import MemoryPeer
from tests.inbound.test_protocol import AUTH

EARLY = "421 4.7.0 Too many commands before authentication, closing connection"
ERRORS = "421 4.7.0 Too many errors, closing connection"
OK = "250 2.0.0 OK"
INVALID = "535 5.7.8 Authentication credentials invalid"
MUCH = 200_000
"""
Octets that what the relay holds for one client stays below: the buffers of both directions and a segment.
"""


def logged_in(relay: Relay) -> MemoryPeer:
    peer = MemoryPeer(relay)
    assert peer.say("EHLO client.example", AUTH)[-1].startswith("235")
    return peer


def session_of(relay: Relay) -> Session:
    [protocol] = relay.factory.sessions
    return protocol.session


@pytest.mark.parametrize("line", ["NOOP", "RSET", "HELP", "VRFY root", "EHLO x", "HELO x", "AUTH NTLM", "MAIL FROM:<>"])
def test_before_login(line: str) -> None:
    """
    A hundred commands, or twenty wrong ones, are enough of anybody who does not log in.
    """
    relay = Relay(Security.PLAIN)
    peer = MemoryPeer(relay)
    heard = peer.say(*[line] * 1000)
    assert heard[-1] in (EARLY, ERRORS)
    assert len([said for said in heard if said[3] == " "]) <= 102
    assert peer.client.is_lost
    assert 0 == relay.services.connections.total


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("XYZZY", "500 5.5.2 Command unrecognized"),
        ("EXPN all", "502 5.5.1 Command not implemented"),
        ("RSET x", "501 5.5.4 Syntax error in parameters"),
        ("x" * 3000, "500 5.5.6 Line too long"),
    ],
)
def test_nonsense(line: str, answer: str) -> None:
    """
    Who logged in may err nineteen times between two messages.
    """
    peer = logged_in(Relay(Security.PLAIN))
    envelope = ("MAIL FROM:<a@acme.example>", "RCPT TO:<b@b.example>", "DATA", "From: a@acme.example", "", "x", ".")
    assert [answer] * 19 == peer.say(*[line] * 19)
    assert "250" == peer.say(*envelope)[-1][:3]
    assert [answer] * 19 + [ERRORS] == peer.say(*[line] * 25)
    assert peer.client.is_lost


@pytest.mark.parametrize("line", ["NOOP", "RSET", "VRFY x", "EHLO x", "HELP", "RCPT TO:<a@b>", "BDAT 0"])
def test_after_login(line: str) -> None:
    """
    Five thousand commands in one go are answered, each once and in order, and nothing of them stays.
    """
    relay = Relay(Security.PLAIN)
    peer = logged_in(relay)
    wire = f"{line}\r\n".encode() * 5_000
    for at in range(0, len(wire), 65536):
        peer.send(wire[at : at + 65536])
    heard = [said for said in peer.heard() if said[3] == " "]
    assert (5_000, 1) == (len(heard), len(set(heard)))
    assert 0 == session_of(relay).buffer.pending


def test_never_read() -> None:
    """
    A client that sends a hundred thousand commands and reads no reply is not read from either, and is cut off.
    """
    relay = Relay(Security.PLAIN)
    peer = logged_in(relay)
    peer.wire.client.paused = True
    for _ in range(100):
        peer.send(b"NOOP\r\n" * 1000)
        assert len(peer.wire.server.outgoing) + session_of(relay).buffer.pending < MUCH
    assert len(peer.wire.client.outgoing) > 100_000
    peer.wait(301)
    assert peer.wire.server.disconnected
    assert (0, set()) == (relay.services.connections.total, relay.factory.sessions)


def test_read_by_the_drop() -> None:
    """
    Nor does it help to read an octet now and then.
    """
    relay = Relay(Security.PLAIN)
    peer = logged_in(relay)
    peer.wire.client.paused = True
    peer.send(b"HELP\r\n" * 50_000)
    for _ in range(31):
        assert len(peer.wire.server.outgoing) + session_of(relay).buffer.pending < MUCH
        peer.wire.client.paused = False
        peer.wire.pump(1)
        peer.wire.client.paused = True
        relay.clock.advance(10)
    peer.wire.flush()
    assert peer.wire.server.disconnected
    assert 0 == relay.services.connections.total


def test_strangers_do_not_keep_others_out() -> None:
    """
    Clients that take all connections and do not log in, in clear or within a handshake, lose them within seconds, and
    who has logged in stays.
    """
    relay = Relay(Security.STARTTLS)
    relay.settings.config = evolve(relay.config, limits=Limits(connections=8))
    customer = MemoryPeer(relay)
    customer.say("EHLO x", "STARTTLS")
    customer.start_tls()
    assert "235" == customer.say("EHLO x", AUTH)[-1][:3]
    strangers = [MemoryPeer(relay, f"192.0.2.{number}") for number in range(100, 107)]
    for stranger in strangers[:3]:
        stranger.say("EHLO x", "STARTTLS")
    refused = MemoryPeer(relay, "192.0.2.8")
    assert ["421 4.7.0 Too many connections, try again later"] == refused.heard()
    relay.clock.advance(16)
    for peer in strangers:
        peer.wire.flush()
    # Those within a handshake are cut off; the others hear why, down to where there is room again.
    assert 3 <= sum(peer.client.is_lost for peer in strangers)
    assert [OK] == customer.say("NOOP")
    late = MemoryPeer(relay, "192.0.2.8")
    assert ["220"] == [line[:3] for line in late.heard()]


def test_recipients() -> None:
    """
    What is one recipient too many is refused, and so is what is none, and neither is kept.
    """
    relay = Relay(Security.PLAIN)
    relay.settings.config = evolve(relay.config, limits=Limits(recipients=10))
    peer = logged_in(relay)
    peer.say("MAIL FROM:<a@acme.example>")
    heard = peer.say(*[f"RCPT TO:<b{number}@b.example>" for number in range(3000)])
    assert ["250"] * 10 + ["452"] * 2990 == [said[:3] for said in heard]
    assert ["553"] * 3000 == [said[:3] for said in peer.say(*["RCPT TO:<b..c@b.example>"] * 3000)]
    peer.say("DATA", "From: a@acme.example", "", "x", ".")
    [(submission, _)] = relay.acceptance.accepted
    assert 10 == len(submission.envelope.recipients)


class Guessing(SynchronousTestCase):
    """
    On a plain port, for there TLS hides nothing.
    """

    guesses = (
        b"\0acme\0wrong",
        b"\0nobody\0wrong",
        b"\0nobody\0" + TOKEN.encode(),
        b"\0lettermint\0" + TOKEN.encode()[:-1],
        b"\0" + TOKEN.encode() + b"\0wrong",
        b"\0acme\0" + b"x" * 5000,
        b"nobody\0acme\0" + TOKEN.encode(),
        b"\0acme\0",
        b"\0\0" + TOKEN.encode(),
        b"\0\xff\xff\0" + TOKEN.encode(),
    )

    def test_nothing_is_told(self) -> None:
        """
        Whatever of a login is wrong, the answer comes at once, in the same words, and costs the next login the same.
        """
        outcomes = set()
        for guess in self.guesses:
            relay = Relay(Security.PLAIN)
            peer = MemoryPeer(relay)
            peer.heard()
            line = "AUTH PLAIN " + base64.b64encode(guess).decode()
            heard = peer.say("EHLO x", line)[-1]
            outcomes.add((heard, relay.services.failures.enter("192.0.2.7"), relay.clock.seconds()))
        self.assertEqual({(INVALID, 0.25, 0.0)}, outcomes)

    def test_the_price(self) -> None:
        """
        Five in a session end it, and the same address pays in every other: more each time, and never more than 15 s.
        """
        relay = Relay(Security.PLAIN)
        guess = "AUTH PLAIN " + base64.b64encode(self.guesses[0]).decode()
        spent = []
        for _ in range(2):
            peer = MemoryPeer(relay)
            peer.say("EHLO x")
            for _ in range(5):
                began = relay.clock.seconds()
                peer.send(guess.encode() + b"\r\n")
                said = b""
                while not said:
                    said = peer.receive_line() or b""
                spent.append(round(relay.clock.seconds() - began))
            self.assertEqual(b"421 4.7.0 Too many authentication failures, closing connection\r\n", said)
            self.assertTrue(peer.client.is_lost)
        self.assertEqual(sorted(spent), spent)
        self.assertEqual(15, spent[-1])
        self.assertEqual(0, spent[0])
