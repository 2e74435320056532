"""
SMTP smuggling: all that another server might take for the end of data, and that is none (RFC 5321 §4.1.1.4).

The variants are those of Timo Longin's paper of December 2023 and of what was found after it (CVE-2023-51764, -51765,
-51766), with dots between what else some readers take for the end of a line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from attrs import evolve

from lmrelay.config.values import SubmissionRules
from lmrelay.config.words import BareNewlines, Security
from tests.inbound.doubles import Relay
from tests.inbound.peers import MemoryPeer
from tests.inbound.test_protocol import AUTH

ENVELOPE = b"MAIL FROM:<a@acme.example>\r\nRCPT TO:<b@b.example>\r\n"
SMUGGLED = b"MAIL FROM:<ceo@acme.example>\r\nRCPT TO:<victim@c.example>\r\nDATA\r\nFrom: ceo@acme.example\r\n\r\nPay"
HEAD = b"From: a@acme.example\r\n"

BARE = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r.\r",
    b"\r\n.\r",
    b"\r.\r\n",
    b"\n.\r",
    b"\r\n.\n",
    b"\r.\n",
    b"\n\n.\r\n",
    b"\r\r.\r\r",
    b"\r\n\n.\r\n\n",
    b"\n\r.\n\r",
    b"\r\n\r.\r\n",
    b"\r\r\n.\r\r\n",
    b"\r\n.\r\r\n",
    b"\r.\r\r\n.\r\r",
    b"\n..\r\n",
    b"\n..\n",
    b"\r..\r\n",
    b"\r\n..\r",
    b"\r\n..\n",
    b"\r\n..\r\n.\n",
    b"\r\n..\r\n.\r",
    b"\r\n..\r\n\n.\r\n",
]
NUL = [
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\r\n.\r\0\n",
    b"\r\0\n.\r\n",
    b"\0\r\n.\0\r\n",
    b"\r\n\0\0.\r\n",
]
WHOLE = [
    b"\r\n..\r\n",
    b"\r\n...\r\n",
    b"\r\n..\r\n..\r\n",
    b"\r\n. \r\n",
    b"\r\n.\t\r\n",
    b"\r\n .\r\n",
    b"\r\n.\\r\\n",
    b"\r\n\x08.\r\n",
    b"\r\n\x0b.\x0b\r\n",
    b"\r\n\x1a.\x1a\r\n",
    b"\r\n\xc2\x85.\xc2\x85",
    b"\xc2\x85.\xc2\x85",
    b"\x85.\x85",
    b"\xe2\x80\xa8.\xe2\x80\xa8",
    b"\r\n\xe2\x80\x8b.\r\n",
    b"\r\n\xef\xbc\x8e\r\n",
    b"\x8d\x8a.\x8d\x8a",
]

FLAWS = {"bare": "554 5.6.0 Message contains bare CR or LF", "nul": "554 5.6.0 Message contains NUL characters"}
VARIANTS = [(variant, kind) for kind, each in (("bare", BARE), ("nul", NUL), ("whole", WHOLE)) for variant in each]
BODIES = [(b"\r\nHello" + variant + SMUGGLED, kind) for variant, kind in VARIANTS]
"""
The variant stands in the body, and so does what it would let in.
"""
IDS = [f"{kind}-{variant!r}" for variant, kind in VARIANTS]


def with_whole_newlines(octets: bytes) -> bytes:
    return re.sub(rb"\r\n|\r|\n", b"\r\n", octets)


def unstuffed(octets: bytes) -> bytes:
    return re.sub(rb"(\r\n)\.", rb"\1", octets)


def by_segments(wire: bytes) -> Iterator[list[bytes]]:
    """
    Whole, octet by octet, and cut at each place around the variant.
    """
    yield [wire]
    yield [wire[at : at + 1] for at in range(len(wire))]
    start = wire.find(b"Hello") + 4
    for at in range(start, start + 12):
        yield [wire[:at], wire[at:]]
        yield [wire[:at], wire[at : at + 1], wire[at + 1 :]]


def logged_in(rule: BareNewlines) -> tuple[MemoryPeer, Relay]:
    relay = Relay(Security.PLAIN)
    relay.settings.config = evolve(relay.config, submission=SubmissionRules(bare_newlines=rule))
    peer = MemoryPeer(relay)
    peer.say("EHLO client.example", AUTH)
    return peer, relay


def check(peer: MemoryPeer, relay: Relay, refusal: str | None, body: bytes) -> None:
    """
    One answer to the content and one to the NOOP behind it; one message with that body, or none.
    """
    answer, noop = peer.heard()
    assert ("250 2.0.0 OK id=" if refusal is None else refusal) == (answer if refusal else answer[:16])
    assert "250 2.0.0 OK" == noop
    assert ([] if refusal else [body]) == [stored for _, stored in relay.acceptance.accepted]
    relay.acceptance.accepted.clear()


def expected_refusal(kind: str, rule: BareNewlines) -> str | None:
    if kind == "bare" and rule is BareNewlines.NORMALIZE:
        return None
    return FLAWS.get(kind)


@pytest.mark.parametrize("rule", BareNewlines, ids=lambda rule: rule.value)
@pytest.mark.parametrize(("body", "kind"), BODIES, ids=IDS)
def test_data(body: bytes, kind: str, rule: BareNewlines) -> None:
    """
    Only CRLF dot CRLF ends DATA: what stands before it is one message, octet for octet but for dots and newlines, or
    one refusal; and none of it is carried out, wherever the segments end.
    """
    refusal = expected_refusal(kind, rule)
    stored = with_whole_newlines(unstuffed(body + b"\r\n"))
    peer, relay = logged_in(rule)
    for blocks in by_segments(HEAD + body + b"\r\n.\r\nNOOP\r\n"):
        peer.send(ENVELOPE + b"DATA\r\n")
        assert "354" == peer.heard()[-1][:3]
        for block in blocks:
            peer.send(block)
        check(peer, relay, refusal, stored)


@pytest.mark.parametrize("rule", BareNewlines, ids=lambda rule: rule.value)
@pytest.mark.parametrize(("body", "kind"), BODIES, ids=IDS)
def test_chunks(body: bytes, kind: str, rule: BareNewlines) -> None:
    """
    In chunks no dot means anything, and none of it is carried out, wherever one chunk ends and the next begins.
    """
    refusal = expected_refusal(kind, rule)
    stored = with_whole_newlines(body + b"\r\n")
    content = HEAD + body + b"\r\n"
    peer, relay = logged_in(rule)
    start = content.find(b"Hello") + 4
    for at in range(start, start + 10):
        first, last = content[:at], content[at:]
        peer.send(ENVELOPE + b"BDAT %d\r\n%bBDAT %d LAST\r\n%bNOOP\r\n" % (len(first), first, len(last), last))
        answers = peer.heard()
        # Refused within the first, there is nothing the second could belong to.
        if refusal and answers[2] == refusal:
            assert ["503 5.5.1 Send MAIL first", "250 2.0.0 OK"] == answers[3:]
            assert [] == relay.acceptance.accepted
            continue
        assert f"250 2.0.0 {len(first)} octets received" == answers[2]
        peer.client.received += "\r\n".join([*answers[3:], ""]).encode()
        check(peer, relay, refusal, stored)


def test_the_end_itself() -> None:
    """
    The one true end is one, and what follows it is the session's own; the two rules agree on that.
    """
    for rule in BareNewlines:
        peer, relay = logged_in(rule)
        wire = ENVELOPE + b"DATA\r\n" + HEAD + b"\r\nHello\r\n.\r\n"
        for at in range(0, len(wire * 2), 3):
            peer.send((wire * 2)[at : at + 3])
        heard = peer.heard()
        assert ["250", "250", "354", "250"] * 2 == [line[:3] for line in heard]
        assert [b"\r\nHello\r\n"] * 2 == [body for _, body in relay.acceptance.accepted]


def test_an_end_in_the_head() -> None:
    """
    Where the head should be, the same holds.
    """
    for variant in (*BARE, *WHOLE):
        peer, relay = logged_in(BareNewlines.NORMALIZE)
        peer.send(ENVELOPE + b"DATA\r\n" + HEAD + b"X: y" + variant + SMUGGLED + b"\r\n.\r\nNOOP\r\n")
        heard = peer.heard()
        assert ["250", "250", "354", "250", "250"] == [line[:3] for line in heard], (variant, heard)
        assert ["b@b.example"] == [
            str(one.address) for sent, _ in relay.acceptance.accepted for one in sent.envelope.recipients
        ]
