"""
What a client puts into a content reaches the receiver as one message, whatever the receiver takes for its end.

Through the whole relay: in by DATA and by BDAT, out by each of its ways, and read by receivers of every kind that is
known to be wrong (SMTP smuggling).
"""

from __future__ import annotations

import base64
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from attrs import evolve, frozen

from lmrelay.config.values import SubmissionRules
from lmrelay.config.words import BareNewlines, Security
from lmrelay.mail.outcome import Delivered
from lmrelay.testing.scripted_mx import EXTENSIONS, ScriptedMx, Session
from tests.inbound.doubles import TOKEN
from tests.inbound.doubles import Relay as Inbound
from tests.inbound.peers import MemoryPeer
from tests.outbound.bench import Network, Relay, leased

ENDINGS = (b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\0\n", b"\0\n", b"\n\0", b"\x0b", b"\x85", "\u2028".encode())
END = b"\r\n.\r\n"
EVIL = b"MAIL FROM:<evil@acme.example>\r\nRCPT TO:<evil@b.example>\r\nDATA\r\nSubject: evil\r\n\r\nevil"
HEAD = b"From: a@acme.example\r\nTo: b@b.example\r\nSubject: x\r\n"
LONG = b"x" * 5000


def contents() -> Iterator[bytes]:
    """
    In the body, in the head, and at its very end: what one receiver or another takes for the end of data.
    """
    for before, after in itertools.product(ENDINGS, ENDINGS):
        end = before + b"." + after
        yield HEAD + b"\r\nbody" + end + EVIL
        yield HEAD + b"X-Y: z" + end + EVIL + b"\r\n\r\nbody"
        yield HEAD + b"\r\n" + LONG + end + EVIL + before
    yield HEAD + b"\r\n.\n" + EVIL + b"\r"


By = Callable[[bytes], Iterator[bytes]]


def by_data(content: bytes) -> Iterator[bytes]:
    """
    As a client that stuffs no dot but those that would end it.
    """
    yield b"DATA\r\n"
    yield content.replace(END, b"\r\n..\r\n") + END


def by_chunks(content: bytes) -> Iterator[bytes]:
    """
    In two, cut where an end of data begins, so that no chunk has all of it.
    """
    cut = content.rindex(b".") if b"." in content else 1
    for chunk, last in ((content[:cut], b""), (content[cut:], b" LAST")):
        yield b"BDAT %d%b\r\n%b" % (len(chunk), last, chunk)


def submit(by: By, rule: BareNewlines) -> list[tuple[bytes, bool]]:
    """
    What the relay accepts of them all, as it will send it, and whether it has octets beyond ASCII.
    """
    relay = Inbound(Security.IMPLICIT)
    relay.settings.config = evolve(relay.config, submission=SubmissionRules(bare_newlines=rule))
    peer = MemoryPeer(relay)
    login = base64.b64encode(b"\0lettermint\0" + TOKEN.encode()).decode()
    assert peer.say("EHLO client.example", f"AUTH PLAIN {login}")[-1].startswith("235 ")
    for number, content in enumerate(contents()):
        assert [line[:3] for line in peer.say("MAIL FROM:<a@acme.example>", "RCPT TO:<b@b.example>")] == ["250", "250"]
        for octets in by(content):
            peer.send(octets)
        said = peer.heard()
        # One answer to DATA or the first chunk and one to the content: nothing of it was a command.
        assert len(said) == 2, (number, said)
    return [
        (submission.head + body, submission.eight_bit or submission.utf8_head)
        for submission, body in relay.acceptance.accepted
    ]


class Recording(Session):
    """
    A receiver whose octets are kept.
    """

    def dataReceived(self, data: bytes) -> None:
        mx: Any = self.mx
        mx.octets += data
        super().dataReceived(data)


class RecordingMx(ScriptedMx):
    octets = b""

    def buildProtocol(self, addr: Any) -> Session:
        self.sessions.append(Recording(self, len(self.sessions) + 1))
        return self.sessions[-1]


def send(accepted: Sequence[tuple[bytes, bool]], extensions: Sequence[str]) -> RecordingMx:
    """
    All of them over one connection.
    """
    network = Network()
    mx = RecordingMx(network, extensions=extensions)
    network.servers["192.0.2.1"] = mx
    relay = Relay(network)
    connection = relay.connect()
    for content, eight_bit in accepted:
        [verdict] = relay.deliver(connection, leased(eight_bit=eight_bit, size=len(content)), content).values()
        assert isinstance(verdict.outcome, Delivered), verdict
    return mx


@frozen
class Reader:
    """
    How a receiver finds the end of data, and what it does to octets before it looks.
    """

    end: bytes
    drops: bytes = b""

    def read(self, octets: bytes) -> list[bytes]:
        """
        The commands that it sees, one after the other.
        """
        octets = octets.translate(None, self.drops)
        commands = []
        at = 0
        while at < len(octets):
            line_end = octets.index(b"\n", at)
            command = octets[at:line_end].rstrip(b"\r")
            commands.append(command)
            at = line_end + 1
            if command == b"DATA":
                found = re.compile(self.end).search(octets, at - 2)
                assert found is not None
                at = found.end()
            elif command.startswith(b"BDAT "):
                at += int(command.split()[1])
        return commands


READERS = {
    "right": Reader(rb"\r\n\.\r\n"),
    "LF.LF": Reader(rb"\n\.\n|\r\n\.\r\n"),
    "LF.CRLF": Reader(rb"\n\.\r\n"),
    "CRLF.LF": Reader(rb"\r\n\.\n|\r\n\.\r\n"),
    "CR.CR": Reader(rb"\r\.\r(?!\n)|\r\n\.\r\n"),
    "CR.CRLF": Reader(rb"\r\.\r\n|\r\n\.\r\n"),
    "CRLF.CR": Reader(rb"\r\n\.\r\n?"),
    "any": Reader(rb"[\r\n]\.(?:\r\n|\r|\n)"),
    "no CR": Reader(rb"\n\.\n", drops=b"\r"),
    "no NUL": Reader(rb"[\r\n]\.(?:\r\n|\r|\n)", drops=b"\0"),
}
WAYS = {
    "pipelined": EXTENSIONS,
    "one at a time": ("8BITMIME", "SMTPUTF8"),
    "in one stroke": (*EXTENSIONS, "CHUNKING"),
}


@pytest.mark.parametrize("rule", list(BareNewlines))
@pytest.mark.parametrize("by", [by_data, by_chunks])
def test_one_message_each(by: By, rule: BareNewlines) -> None:
    """
    A message is refused, or is one to everybody: no receiver sees a command that is not the relay's own.
    """
    accepted = submit(by, rule)
    assert bool(accepted)
    for content, _ in accepted:
        assert re.search(rb"\r(?!\n)|(?<!\r)\n|\0", content) is None
    for way, extensions in WAYS.items():
        mx = send(accepted, extensions)
        assert [message.content for message in mx.messages] == [content for content, _ in accepted]
        for name, reader in READERS.items():
            if way == "in one stroke" and reader.drops:
                # Who drops octets of a counted chunk has lost count, and is beside all help.
                continue
            assert reader.read(mx.octets) == [line.encode() for line in mx.commands], (way, name)


def test_readers_are_wrong() -> None:
    """
    Each of the readers but the right one falls for a content that is passed on as it came, dots stuffed or not.
    """
    fallen: dict[bool, set[str]] = {True: set(), False: set()}
    for stuffed, content in itertools.product(fallen, contents()):
        octets = content.replace(b"\r\n.", b"\r\n..") if stuffed else content
        wire = b"DATA\r\n" + octets + b"\r\n.\r\nQUIT\r\n"
        fallen[stuffed] |= {name for name, reader in READERS.items() if reader.read(wire) != [b"DATA", b"QUIT"]}
    assert {"right"} == set(READERS) - fallen[True] - (fallen[False] - {"right"})
