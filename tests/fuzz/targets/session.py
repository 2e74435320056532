"""
A whole session of a client, from the first octet on, against a second reading of where its commands and contents end.

The second reading knows the replies alone: a reply to each line, content after 354, octets after BDAT. Whoever reads
otherwise has been smuggled something.
"""

from __future__ import annotations

import base64
import re
from pathlib import Path

from lmrelay.config.values import Config, Limits, Server
from lmrelay.config.words import Security
from tests.fuzz.faults import no_faults
from tests.fuzz.reading import BARE, make_crlf, read_data
from tests.fuzz.shared import cuts, sentences
from tests.inbound.doubles import TOKEN, Relay
from tests.inbound.peers import MemoryPeer

_HEAD = b"From: a@acme.example\r\nTo: b@b.example\r\n\r\n"
WORDS = (
    b"EHLO me\r\n",
    b"MAIL FROM:<a@acme.example>\r\n",
    b"RCPT TO:<b@b.example>\r\n",
    b"DATA\r\n",
    _HEAD,
    b"Hi\r\n.\r\n",
    b"BDAT 5\r\nab\r\nc",
    b"BDAT 3 LAST\r\nabc",
    b"BDAT 0 LAST\r\n",
    b"RSET\r\n",
    b"NOOP\r\n",
    b"QUIT\r\n",
    b"\r\n.\r\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\0",
    b"AUTH LOGIN\r\n",
    b"*\r\n",
    b"VRFY x\r\n",
    b"HELP\r\n",
    b"HELO me\r\n",
    b"STARTTLS\r\n",
    b"BDAT %d LAST\r\n%b" % (len(_HEAD), _HEAD),
    b"\xff\r\n",
    b"GET / HTTP/1.1\r\n",
    b"BDAT x\r\n",
    b"AUTH PLAIN AGEAYg==\r\n",
    b"\r\n",
    b"Received: x\r\n",
    b"Idempotency-Key: k\r\n",
    b"X-LM-Tag: t\r\n",
)

_LOGIN = b"EHLO me\r\nAUTH PLAIN " + base64.b64encode(f"\0lettermint\0{TOKEN}".encode()) + b"\r\n"

examples = sentences(WORDS, 16, sentences((b"".join(WORDS[1:5]), b""), 1))

_LINE = re.compile(rb"[2-5][0-9]{2}([ -])[^\r\n\0]{0,506}")
_ENDS = (221, 421)
LONGEST = 4000
_LIMITS = Limits(message_size=600, recipients=3)


def target(data: bytes) -> None:
    """
    The session after a login, in one piece and in others.
    """
    data = data[:LONGEST]
    with no_faults():
        said, accepted = _play([data])
        replies = _split(said)
        _follow(data, replies, accepted)
        for pieces in cuts(data, 100):
            again, taken = _play(pieces)
            assert (_without_reasons(said), accepted) == (_without_reasons(again), taken)


def _without_reasons(said: bytes) -> bytes:
    """
    Of two things wrong with a content that is told which is found first.
    """
    return re.sub(rb"(?m)^55[0-9] .*", b"55", said)


def _play(pieces: list[bytes]) -> tuple[bytes, list[bytes]]:
    relay = Relay(Security.PLAIN, config=Config(Path("/etc/lmrelay.toml"), Server("mx.example.org"), limits=_LIMITS))
    peer = MemoryPeer(relay)
    peer.send(_LOGIN)
    assert b"235 " in peer.client.received
    peer.client.received.clear()
    for piece in pieces:
        if peer.client.is_lost:
            break
        peer.send(piece)
    said = bytes(peer.client.received)
    accepted = [submission.head + body for submission, body in relay.acceptance.accepted]
    peer.client.transport.abortConnection()
    peer.wait(0)
    return said, accepted


def _split(said: bytes) -> list[int]:
    """
    The codes of the replies.
    """
    assert said == b"" or said.endswith(b"\r\n")
    codes = []
    for line in said.split(b"\r\n")[:-1]:
        shape = _LINE.fullmatch(line)
        assert shape, line
        if shape[1] == b" ":
            codes.append(int(line[:3]))
    return codes


def _follow(data: bytes, replies: list[int], accepted: list[bytes]) -> None:
    at, taken = 0, 0
    chunks = b""
    waiting = list(replies)
    while waiting:
        code = waiting.pop(0)
        end = data.find(b"\r\n", at)
        if code in _ENDS and not waiting:
            return
        assert end >= 0, "a reply to what was not said"
        line, at = data[at:end], end + 2
        if code == 354:
            read = read_data(data[at:])
            if read is None:
                assert waiting in ([], [421])
                break
            content, at = read[0], len(data) - len(read[1])
            assert waiting, "the end of the content has no answer"
            code = waiting.pop(0)
            if code == 250:
                _compare(content, accepted[taken])
                taken += 1
            elif code in _ENDS:
                return
            continue
        chunk = re.fullmatch(rb" *BDAT +([0-9]{1,20})(?: +(LAST))? *", line, re.IGNORECASE)
        if chunk is not None:
            size = int(chunk[1])
            if at + size > len(data):
                return
            chunks, at = chunks + data[at : at + size], at + size
            if code == 250 and chunk[2]:
                _compare(chunks, accepted[taken])
                taken += 1
            chunks = b"" if chunk[2] or code != 250 else chunks
        elif line[:4].upper() in (b"RSET", b"MAIL", b"EHLO", b"HELO"):
            chunks = b""
    assert taken == len(accepted)


def _compare(content: bytes, accepted: bytes) -> None:
    """
    What was accepted has no bare line ending, and the body that the client meant.
    """
    assert not BARE.search(accepted)
    assert b"\0" not in accepted
    _, _, body = make_crlf(content).partition(b"\r\n\r\n")
    assert accepted.rstrip(b"\r\n").endswith(body.rstrip(b"\r\n"))
