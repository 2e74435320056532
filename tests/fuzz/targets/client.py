"""
A whole delivery to a hostile receiver, and what leaves for it.

The receiver's words are cut where the input has C{|}; a piece is said whenever something came. However it lies, every
recipient has a verdict, none is delivered whose content was not sent to its end and then answered 2xx, and what was
sent is commands and one content, in an order that SMTP has.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from attrs import define, field
from twisted.internet.protocol import Factory, Protocol

from lmrelay.config.words import TlsPolicy
from lmrelay.mail.outcome import Delivered
from lmrelay.outbound.client import Connection
from lmrelay.outbound.connect import HostFailure
from lmrelay.outbound.tls import configured
from lmrelay.outbound.transaction import LONE_DOT
from lmrelay.outbound.verdicts import Verdict
from tests.fuzz.faults import no_faults
from tests.fuzz.reading import BARE, make_crlf
from tests.fuzz.shared import choices, sentences, take_octets
from tests.outbound.bench import TARGET, Blocks, Network, Relay, leased

WORDS = (
    b"|",
    b"220 mx\r\n|",
    b"250 ok\r\n|",
    b"250 ok\r\n",
    b"354 go\r\n|",
    b"250-mx\r\n",
    b"250 PIPELINING\r\n|",
    b"250-ENHANCEDSTATUSCODES\r\n250-CHUNKING\r\n",
    b"250-8BITMIME\r\n",
    b"250-SMTPUTF8\r\n",
    b"250-SIZE 10\r\n",
    b"250-DSN\r\n",
    b"\r\n",
    b"\n",
    b"421 bye\r\n|",
    b"550 5.1.1 no\r\n|",
    b"452 4.5.3 many\r\n|",
    b"502 what\r\n|",
    b"500 BDAT\r\n|",
    b"354-x\r\n",
    b"250-STARTTLS\r\n",
    b"251 x\r\n|",
    b"299 x\r\n|",
    b"354 go\r\n250 ok\r\n|",
    b"250 ok\r\n250 ok\r\n250 ok\r\n|",
    b"\0",
)

_OPENING = b"220 mx\r\n|250-mx\r\n250-PIPELINING\r\n250 8BITMIME\r\n|"
examples = sentences(WORDS, 12, choices(1).map(lambda choice: choice + _OPENING))

CONTENTS = (
    b"From: a@a.example\r\n\r\nZ one\r\n",
    b"From: a@a.example\r\n\r\n.\r\nZ\r\n..\r\nZ\n.\nMAIL FROM:<z@z.example>\r\n.",
    b".\r\n.\r\nRCPT TO:<z@z.example>\r\n",
    b"From: a@a.example\r\n\r\n" + b"Z\r" * 40 + b"\n",
)

_COMMAND = re.compile(
    rb"(?:EHLO relay\.example|HELO relay\.example|RSET|QUIT|STARTTLS|MAIL FROM:<a@a\.example>(?: [A-Z0-9=]+)*"
    rb"|RCPT TO:<[bc]@b\.example>(?: [A-Z0-9=,;@.]+)*|DATA)\r\n"
)
_CHUNK = re.compile(rb"BDAT ([0-9]+) LAST\r\n")


def target(data: bytes) -> None:
    """
    Two messages in a row over one connection, if there is one.
    """
    choice, script = take_octets(data, 1)
    content = CONTENTS[choice[0] % len(CONTENTS)]
    if b"CHUNKING" in script.upper():
        # By BDAT it goes as it is stored, and nothing is stored with a bare line ending.
        content = make_crlf(content)
    segment = (65536, 1, 7)[choice[0] // len(CONTENTS) % 3]
    with no_faults():
        network = Network(segment)
        liar = _Liar(script.split(b"|"))
        network.servers["192.0.2.1"] = liar
        relay = Relay(network)
        verdicts = _deliver(relay, network, content)
    for heard in liar.heard:
        _check_sent(bytes(heard), content)
    for found in verdicts:
        assert [0, 1] == sorted(found)
        _check_verdicts(found, liar)


def _deliver(relay: Relay, network: Network, content: bytes) -> list[dict[int, Verdict]]:
    found: list[Any] = []
    connecting: list[Any] = []
    relay.begin(relay.connector.connect(TARGET, configured(TlsPolicy.NONE))).addBoth(connecting.append)
    network.pass_time(700, 350)
    [connection] = connecting
    if not isinstance(connection, Connection):
        assert isinstance(connection, HostFailure), connection
        return []
    message = leased("b@b.example", "c@b.example", size=len(content))
    for _ in range(2):
        relay.begin(connection.deliver(message, Blocks([content[:9], content[9:]]))).addBoth(found.append)
        network.pass_time(2100, 700)
    connection.close()
    network.pass_time(20, 20)
    assert 2 == len(found)
    return found


def _stuffed(content: bytes) -> bytes:
    lines = re.split(rb"\r\n|\r|\n", content)
    if lines[-1] == b"":
        lines.pop()
    return b"".join((b"." + line if line.startswith(b".") else line) + b"\r\n" for line in lines) + b".\r\n"


def _check_sent(heard: bytes, content: bytes) -> None:
    """
    Nothing but commands and whole contents, but for the last, which the end may have cut.
    """
    stuffed = _stuffed(content)
    assert not BARE.search(heard.removesuffix(b"\r"))
    assert b"\0" not in heard
    at = 0
    while at < len(heard):
        command = _COMMAND.match(heard, at)
        chunk = _CHUNK.match(heard, at)
        if command is not None:
            at = command.end()
            if command[0] == b"DATA\r\n" and heard.startswith(stuffed, at):
                at += len(stuffed)
            elif command[0] == b"DATA\r\n" and heard.startswith(LONE_DOT, at):
                # 354 though it takes no recipient: nobody is to get anything (RFC 2920 §3.1).
                at += len(LONE_DOT)
            elif command[0] == b"DATA\r\n" and stuffed.startswith(heard[at:]):
                return
        elif chunk is not None:
            assert int(chunk[1]) == len(content)
            assert heard.startswith(content, chunk.end()) or content.startswith(heard[chunk.end() :])
            at = chunk.end() + len(content)
        else:
            assert b"\r\n" not in heard[at:], f"neither command nor content: {heard[at : at + 60]!r}"
            return


def _check_verdicts(verdicts: dict[int, Verdict], liar: _Liar) -> None:
    if not any(isinstance(verdict.outcome, Delivered) for verdict in verdicts.values()):
        return
    assert any(b"\r\n.\r\n" in heard or b" LAST\r\n" in heard for heard in liar.heard)
    assert re.search(rb"(?m)^2[0-9]{2}", liar.said)


@define(eq=False, slots=False)
class _Liar(Factory):
    """
    Says a piece at first, and one each time that something comes.
    """

    pieces: Sequence[bytes]
    heard: list[bytearray] = field(factory=list)
    said: bytearray = field(factory=bytearray)
    noisy = False

    def buildProtocol(self, addr: Any) -> Protocol:
        """
        One connection.
        """
        return _Lying(self, list(self.pieces))


class _Lying(Protocol):
    def __init__(self, liar: _Liar, pieces: list[bytes]) -> None:
        self.liar, self.pieces = liar, pieces
        self.heard = bytearray()
        liar.heard.append(self.heard)

    def connectionMade(self) -> None:
        self._say()

    def dataReceived(self, data: bytes) -> None:
        self.heard += data
        self._say()

    def _say(self) -> None:
        if self.pieces:
            piece = self.pieces.pop(0)
            self.liar.said += piece
            self.transport.write(piece)  # type: ignore[union-attr]
