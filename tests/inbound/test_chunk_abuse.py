"""
BDAT as an attacker would say it: what is in a chunk is content or nothing, and never a command (RFC 3030 §2).
"""

from __future__ import annotations

import pytest
from attrs import evolve

from lmrelay.config.values import Limits
from lmrelay.config.words import Security
from tests.inbound.doubles import Relay
from tests.inbound.peers import MemoryPeer
from tests.inbound.test_protocol import AUTH

HEAD = b"From: a@acme.example\r\n\r\n"
CHUNK = b"BDAT %d\r\n" % len(HEAD) + HEAD
OPEN = b"MAIL FROM:<a@acme.example>\r\nRCPT TO:<b@b.example>\r\n"
EVIL = b"MAIL FROM:<evil@acme.example>\r\n"
OPENED = ["250 2.1.0 Sender OK", "250 2.1.5 Recipient OK"]
TAKEN = f"250 2.0.0 {len(HEAD)} octets received"
NO_MAIL = "503 5.5.1 Send MAIL first"
OK = "250 2.0.0 OK"


def logged_in(relay: Relay) -> MemoryPeer:
    peer = MemoryPeer(relay)
    peer.say("EHLO client.example", AUTH)
    return peer


def play(wire: bytes, size: int | None = None) -> tuple[list[str], MemoryPeer, Relay]:
    """
    What a session that logged in hears to these octets, in segments of that size.
    """
    relay = Relay(Security.PLAIN)
    peer = logged_in(relay)
    for at in range(0, len(wire), size or len(wire)):
        peer.send(wire[at : at + (size or len(wire))])
    return peer.heard(), peer, relay


@pytest.mark.parametrize(
    "argument",
    [
        b"",
        b" ",
        b" -1",
        b" +1",
        b" -0",
        b" 0x20",
        b" 1e3",
        b" 1.5",
        b" 1_0",
        b" 1" + b"0" * 30,
        b" 32 LAST LAST",
        b" 32 LASTLY",
        b" 32LAST",
        b" LAST 32",
        b" \xd9\xa3\xd9\xa2",
        b"\t32",
        b" 32\tLAST",
        b" 32\0",
        b" 32\nNOOP",
        b" 32\rNOOP",
        b" \xff32",
        b" 32" + b" " * 2100 + b"LAST",
    ],
)
@pytest.mark.parametrize("opening", [b"", OPEN, OPEN + CHUNK], ids=["alone", "first", "second"])
def test_a_size_that_is_none_ends_the_session(opening: bytes, argument: bytes) -> None:
    """
    Where the next command begins is not known then, and what was to be a chunk is not read as commands.
    """
    for size in (None, 7):
        heard, peer, relay = play(opening + b"BDAT" + argument + b"\r\n" + EVIL + b"RSET\r\n", size)
        before = [*OPENED, TAKEN][: opening.count(b"\r\nRCPT") * 2 + opening.count(b"BDAT")]
        assert before == heard[:-1]
        assert heard[-1][:3] in ("501", "421")
        assert peer.client.is_lost
        assert [] == relay.acceptance.accepted


@pytest.mark.parametrize("size", [10**9, 10**19, 10**20 - 1])
def test_a_chunk_that_nobody_sends(size: int) -> None:
    """
    One of far over the limit is refused before it is read; what comes all the same is dropped, and then the connection.
    """
    heard, peer, relay = play(OPEN + b"BDAT %d LAST\r\n" % size + EVIL)
    assert [*OPENED, "552 5.3.4 Message size exceeds fixed maximum message size"] == heard
    for _ in range(50):
        peer.send(EVIL * 1000)
    assert [] == peer.heard()
    assert len(EVIL) == next(iter(relay.factory.sessions)).session.buffer.pending
    peer.wait(10.1)
    assert peer.client.is_lost
    assert [] == relay.acceptance.accepted


REFUSED = [
    (b"BDAT %d\r\n", [NO_MAIL]),
    (b"BDAT 000%d LAST\r\n", [NO_MAIL]),
    (b"MAIL FROM:<a@evil.example>\r\nRCPT TO:<b@b.example>\r\nBDAT %d LAST\r\n", ["550", NO_MAIL, NO_MAIL]),
    (b"MAIL FROM:<a@acme.example>\r\nBDAT %d LAST\r\n", [OPENED[0], "554 5.5.1 No valid recipients"]),
    (b"MAIL FROM:<a@acme.example>\r\nRCPT TO:<b>\r\nBDAT %d\r\n", [OPENED[0], "553", "554 5.5.1 No valid recipients"]),
    (OPEN + CHUNK + b"RSET\r\nBDAT %d LAST\r\n", [*OPENED, TAKEN, OK, NO_MAIL]),
    (OPEN + b"BDAT 0\r\nRSET\r\nBDAT %d LAST\r\n", [*OPENED, "250 2.0.0 0 octets received", OK, NO_MAIL]),
    (OPEN + b"BDAT 0 LAST\r\nBDAT %d LAST\r\n", [*OPENED, "554 5.6.0 Message has no From header", NO_MAIL]),
]


@pytest.mark.parametrize(("wire", "answers"), REFUSED)
def test_octets_of_a_refused_chunk_are_no_commands(wire: bytes, answers: list[str]) -> None:
    """
    They are read past, also where the client had not waited for the answers, and the session goes on behind them.
    """
    whole = wire % len(EVIL) + EVIL + b"NOOP\r\n"
    for size in (None, 1, 5):
        heard, _, relay = play(whole, size)
        assert len(answers) + 1 == len(heard)
        assert all(said.startswith(answer) for said, answer in zip(heard, [*answers, OK], strict=True)), heard
        assert [] == relay.acceptance.accepted


def test_before_login() -> None:
    """
    Nobody who is not known gets a chunk's octets carried out, before EHLO and after.
    """
    peer = MemoryPeer(Relay(Security.PLAIN))
    peer.heard()
    peer.send(b"BDAT 6 LAST\r\nQUIT\r\nEHLO x\r\nBDAT 6\r\nQUIT\r\nNOOP\r\n")
    heard = [line for line in peer.heard() if not line.startswith("250-")]
    assert [NO_MAIL, "250 AUTH PLAIN LOGIN CRAM-MD5", NO_MAIL, OK] == heard


def test_commands_in_a_chunk_are_content() -> None:
    """
    A chunk holds whole sessions, the end of DATA and another BDAT, and is one message.
    """
    body = b".\r\nQUIT\r\n\r\n.\r\n" + EVIL + b"BDAT 5 LAST\r\nRSET\r\nDATA\r\n..\r\n"
    for size in (None, 1, 11):
        heard, _, relay = play(OPEN + CHUNK + b"BDAT %d LAST\r\n" % len(body) + body + b"NOOP\r\n", size)
        assert [*OPENED, TAKEN, OK] == [*heard[:3], heard[-1]]
        assert "250 2.0.0 OK id=" == heard[3][:16]
        assert 5 == len(heard)
        assert [b"\r\n" + body] == [stored for _, stored in relay.acceptance.accepted]


def test_last_twice() -> None:
    """
    The last chunk ends the transaction: another has none to belong to.
    """
    wire = OPEN + CHUNK + b"BDAT 3 LAST\r\nx\r\nBDAT %d LAST\r\n" % len(EVIL) + EVIL + b"NOOP\r\n"
    heard, _, relay = play(wire)
    assert [NO_MAIL, OK] == heard[4:]
    assert [b"\r\nx\r\n"] == [stored for _, stored in relay.acceptance.accepted]


@pytest.mark.parametrize("command", [b"DATA", b"RCPT TO:<c@c.example>", b"MAIL FROM:<a@acme.example>", b"AUTH PLAIN"])
def test_between_chunks(command: bytes) -> None:
    """
    What does not belong between chunks is refused, and the message is what its chunks are.
    """
    heard, _, relay = play(OPEN + CHUNK + command + b"\r\nBDAT 3 LAST\r\nx\r\nNOOP\r\n")
    assert ("503", OK, 6) == (heard[3][:3], heard[-1], len(heard))
    [(submission, body)] = relay.acceptance.accepted
    assert (b"\r\nx\r\n", 1) == (body, len(submission.envelope.recipients))


def test_gone_within_a_chunk() -> None:
    """
    A client that leaves in the middle leaves nothing behind, be it within the last octet of the last chunk.
    """
    for wire in (CHUNK[:-1], CHUNK, CHUNK + b"BDAT 3 LAST\r\nx\r"):
        _, peer, relay = play(OPEN + wire)
        peer.client.transport.loseConnection()
        peer.wire.flush()
        assert [] == relay.acceptance.accepted
        assert all(not body.octets for body in relay.acceptance.bodies)
        assert (0, set()) == (relay.services.connections.total, relay.factory.sessions)


def test_over_the_limit_by_crumbs() -> None:
    """
    Chunks that are each within the limit are counted together, and what is too much is refused before it is read.
    """
    relay = Relay(Security.PLAIN)
    relay.settings.config = evolve(relay.config, limits=Limits(message_size=1000))
    peer = logged_in(relay)
    peer.send(OPEN + CHUNK)
    crumb = b"BDAT 100\r\n" + b"x" * 100
    peer.send(crumb * 9 + b"BDAT 77\r\n" + b"QUIT\r\n".ljust(77) + b"BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n")
    heard = peer.heard()
    assert ["552 5.3.4 Message size exceeds fixed maximum message size", NO_MAIL, OK] == heard[-3:]
    assert 12 + 3 == len(heard)
    assert [] == relay.acceptance.accepted
