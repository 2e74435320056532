"""
The stand-in for the internet: a resolver that leads every domain to one receiving MX on
this machine, and that MX. It takes every message, says what came, and keeps nothing.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Hashable
from email import message_from_bytes, policy
from typing import Any, cast

from attrs import define, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import ITLSTransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from zope.interface import implementer

from lmrelay.interfaces import Answer, IResolver, MxRecord

A, MX = 1, 15
HOST = "mx.stand-in.example"
ADDRESS = "127.0.0.1"
NETWORK = ipaddress.ip_network("127.0.0.0/8")
EXTENSIONS = ("PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "SIZE 52428800")
MAX_LINE = 4096
MAX_HEAD = 65536
END = b"\r\n.\r\n"


@implementer(IResolver)
class StandInResolver:
    """
    A DNS in which every domain has the stand-in as its MX.
    """

    def query(self, name: str, type: int, whose: Hashable = None) -> Deferred[Answer]:
        """
        The stand-in, whatever is asked; nothing but MX and A records exists.
        """
        records: dict[int, tuple[object, ...]] = {MX: (MxRecord(10, HOST),), A: (ADDRESS,)}
        return succeed(Answer(records.get(type, ()), ttl=60.0))


@frozen
class Arrival:
    """
    A message that arrived. C{tls} is the version and cipher, None for plaintext; C{size} counts
    the octets as they came over the wire, stuffed dots too.
    """

    reverse_path: str
    recipients: tuple[str, ...]
    tls: str | None
    size: int
    subject: str


@define(eq=False)
class StandIn(Factory):
    """
    The MX: each connection gets STARTTLS with C{certificate}, each message is told to C{arrived}.
    """

    certificate: CertificateOptions
    arrived: Callable[[Arrival], None]
    noisy = False

    def buildProtocol(self, addr: object) -> Receiving:
        """
        A session.
        """
        return Receiving(self)


class Receiving(Protocol):
    """
    One SMTP session of the stand-in. Nobody but the relay beside it is to talk to it.
    """

    def __init__(self, stand_in: StandIn) -> None:
        self.stand_in = stand_in
        self.held = b""
        self.buffer = b""
        self.tls = False
        self.in_content = False
        self._forget()

    def connectionMade(self) -> None:
        """
        Greet.
        """
        self._say(f"220 {HOST} ESMTP stand-in for the internet")

    def dataReceived(self, data: bytes) -> None:
        """
        Commands, or content.
        """
        self.buffer += data
        while self.buffer:
            if self.in_content:
                if not self._take_content():
                    return
            else:
                line, ended, rest = self.buffer.partition(b"\r\n")
                if not ended:
                    if len(line) > MAX_LINE:
                        self._transport().loseConnection()
                    return
                self.buffer = rest
                self._obey(line.decode("utf-8", "replace"))

    def _obey(self, line: str) -> None:
        verb, _, argument = line.partition(" ")
        match verb.upper():
            case "EHLO" | "HELO":
                self._forget()
                offered = EXTENSIONS if self.tls else (*EXTENSIONS, "STARTTLS")
                lines = (HOST, *offered) if verb.upper() == "EHLO" else (HOST,)
                for number, text in enumerate(lines, 1):
                    self._say(f"250{'-' if number < len(lines) else ' '}{text}")
            case "STARTTLS" if not self.tls:
                # What came with the command came in the clear: it is not to be believed after the handshake.
                self.buffer = b""
                self._forget()
                self._say("220 2.0.0 Go ahead")
                self._transport().startTLS(self.stand_in.certificate)
                self.tls = True
            case "MAIL":
                self.reverse_path = _path(argument)
                self._say("250 2.1.0 OK")
            case "RCPT":
                self.recipients.append(_path(argument))
                self._say("250 2.1.5 OK")
            case "DATA" if self.recipients:
                self.in_content = True
                self._say("354 Go on")
            case "RSET" | "NOOP":
                self._say("250 2.0.0 OK")
                if verb.upper() == "RSET":
                    self._forget()
            case "QUIT":
                self._say("221 2.0.0 Bye")
                self._transport().loseConnection()
            case _:
                self._say("503 5.5.1 Not now, or not known")

    def _take_content(self) -> bool:
        """
        Take what there is of the content; is it all there?
        """
        block = self.held + self.buffer
        end = block.find(END)
        if end < 0:
            # The end may be cut: what could be its beginning is held back.
            self._keep(block[: -len(END) + 1])
            self.held, self.buffer = block[-len(END) + 1 :], b""
            return False
        self._keep(block[: end + 2])
        self.buffer = block[end + len(END) :]
        self._arrive()
        return True

    def _keep(self, block: bytes) -> None:
        self.size += len(block)
        if len(self.head) < MAX_HEAD:
            self.head += block

    def _arrive(self) -> None:
        message = message_from_bytes(self.head[2:], policy=policy.default)
        subject = str(message.get("Subject", ""))
        arrival = Arrival(self.reverse_path, tuple(self.recipients), self._tls(), self.size - 2, subject)
        self._forget()
        self._say("250 2.0.0 Arrived at the stand-in")
        self.stand_in.arrived(arrival)

    def _forget(self) -> None:
        """
        Be as after EHLO.
        """
        self.reverse_path = ""
        self.recipients: list[str] = []
        self.in_content = False
        self.size = 0
        self.head = b""
        # As if a line had ended before the content: an empty one ends with its first line.
        self.held = b"\r\n"

    def _say(self, line: str) -> None:
        self._transport().write(f"{line}\r\n".encode())

    def _transport(self) -> ITLSTransport:
        return cast("ITLSTransport", self.transport)

    def _tls(self) -> str | None:
        if not self.tls:
            return None
        connection = cast("Any", self._transport()).getHandle()
        return f"{connection.get_protocol_version_name()} {connection.get_cipher_name()}"


def _path(argument: str) -> str:
    """
    What stands between the angle brackets.
    """
    return argument.partition("<")[2].rpartition(">")[0]
