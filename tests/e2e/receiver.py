"""
A receiving MX of the tests' own, blocking and in threads: an independent peer.

What it answers can be scripted by verb and argument; what it took is kept whole,
with the TLS version it came over.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import BinaryIO

from attrs import define, field, frozen

Script = Callable[[str, str], "str | None"]
"""
Given a verb (C{CONNECT}, C{EHLO}, C{RCPT} … and C{CONTENT} for the end of the data) and its argument:
the reply, or None for the usual one. C{"close"} closes the connection without a word.
"""

USUAL = {
    "CONNECT": "220 mx.test ESMTP",
    "HELO": "250 mx.test",
    "MAIL": "250 2.1.0 ok",
    "RCPT": "250 2.1.5 ok",
    "DATA": "354 go on",
    "CONTENT": "250 2.0.0 taken",
    "RSET": "250 2.0.0 ok",
    "NOOP": "250 2.0.0 ok",
    "QUIT": "221 2.0.0 bye",
}

EXTENSIONS = ("PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 104857600", "DSN")


@frozen
class Taken:
    """
    A message that was answered 250. C{reverse_path} and C{recipients} are without angle brackets and parameters.
    """

    reverse_path: str
    recipients: tuple[str, ...]
    content: bytes
    tls: str | None
    at: float
    parameters: str = ""

    def head(self, name: str) -> list[str]:
        """
        The values of the header fields of that name, unfolded.
        """
        head = self.content.partition(b"\r\n\r\n")[0].decode("utf-8", "replace")
        lines = head.replace("\r\n ", " ").replace("\r\n\t", " ").split("\r\n")
        pairs = [line.partition(":") for line in lines]
        return [value.strip() for field_name, _, value in pairs if field_name.lower() == name.lower()]

    @property
    def body(self) -> bytes:
        """
        What follows the empty line.
        """
        return self.content.partition(b"\r\n\r\n")[2]


def in_turn(verb: str, *replies: str | None) -> Script:
    """
    A script that gives these replies to C{verb}, one each time, and then the usual one.
    """
    left = list(replies)

    def script(spoken: str, argument: str) -> str | None:
        return left.pop(0) if spoken == verb and left else None

    return script


def always(verb: str, reply: str, argument: str = "") -> Script:
    """
    A script that gives C{reply} to C{verb} where its argument contains C{argument}.
    """

    def script(spoken: str, words: str) -> str | None:
        return reply if spoken == verb and argument in words else None

    return script


@define(eq=False)
class Receiver:
    """
    An MX host at an address and port; use it as a context.

    C{tls} None: STARTTLS is not offered. C{broken_tls}: it is offered, answered 220, and the handshake fails.
    """

    address: str
    port: int
    script: Script = lambda verb, argument: None
    tls: ssl.SSLContext | None = None
    broken_tls: bool = False
    extensions: tuple[str, ...] = EXTENSIONS
    taken: list[Taken] = field(factory=list)
    spoken: list[tuple[str, str]] = field(factory=list)
    connections: int = 0
    peers: list[str] = field(factory=list)
    _changed: threading.Condition = field(factory=threading.Condition)
    _listening: socket.socket | None = None

    def __enter__(self) -> Receiver:
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((self.address, self.port))
        listening.listen(256)
        self.port = listening.getsockname()[1]
        self._listening = listening
        threading.Thread(target=self._accept, args=(listening,), name=f"mx {self.address}", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._listening is not None:
            self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()
            self._listening = None

    def wait(self, count: int = 1, timeout: float = 20.0) -> list[Taken]:
        """
        The messages taken, once there are C{count}.
        """
        with self._changed:
            arrived = self._changed.wait_for(lambda: len(self.taken) >= count, timeout)
            if not arrived:
                raise AssertionError(
                    f"{len(self.taken)} of {count} messages at {self.address} in {timeout} s; heard {self.spoken[-20:]}"
                )
            return list(self.taken)

    def heard(self, verb: str) -> list[str]:
        """
        The arguments of every C{verb} so far.
        """
        return [argument for spoken, argument in self.spoken if spoken == verb]

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, peer = listening.accept()
            except OSError:
                return
            self.connections += 1
            self.peers.append(peer[0])
            connection.settimeout(60)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=Session(self, connection).run, daemon=True).start()

    def keep(self, message: Taken) -> None:
        """
        It was answered 250: count it.
        """
        with self._changed:
            self.taken.append(message)
            self._changed.notify_all()


@define(eq=False)
class Session:
    """
    One connection to a receiver.
    """

    receiver: Receiver
    connection: socket.socket
    stream: BinaryIO = field(init=False)
    reverse_path: str = ""
    parameters: str = ""
    recipients: list[str] = field(factory=list)

    def run(self) -> None:
        """
        Talk until either side has enough.
        """
        self.stream = self.connection.makefile("rb")
        try:
            if not self.answer("CONNECT", "").startswith("2"):
                return
            while line := self.stream.readline():
                verb, _, argument = line.decode("utf-8", "replace").strip().partition(" ")
                if not self.obey(verb.upper(), argument):
                    return
        except (OSError, EOFError):
            return  # the client is gone, which is its right
        finally:
            self.stream.close()
            self.connection.close()

    def say(self, reply: str) -> None:
        """
        A reply of one or more lines.
        """
        if reply == "close":
            raise EOFError
        *early, last = reply.split("\n")
        lines = [f"{line[:3]}-{line[4:]}" for line in early] + [last]
        self.connection.sendall("".join(f"{line}\r\n" for line in lines).encode())

    def answer(self, verb: str, argument: str) -> str:
        """
        Reply as scripted, else as usual; the answer is what was said.
        """
        if verb != "CONNECT":
            self.receiver.spoken.append((verb, argument))
        reply = self.receiver.script(verb, argument) or self.usual(verb)
        self.say(reply)
        return reply

    def usual(self, verb: str) -> str:
        """
        The reply of a receiver that takes everything.
        """
        if verb == "EHLO":
            offers = list(self.receiver.extensions)
            secure = isinstance(self.connection, ssl.SSLSocket)
            if (self.receiver.tls or self.receiver.broken_tls) and not secure:
                offers.append("STARTTLS")
            return "\n".join(["250 mx.test", *(f"250 {offer}" for offer in offers)])
        if verb == "STARTTLS" and (self.receiver.tls or self.receiver.broken_tls):
            return "220 2.0.0 go on"
        if verb == "DATA" and not self.recipients:
            return "554 5.5.1 no valid recipients"
        return USUAL.get(verb, "502 5.5.1 unknown")

    def obey(self, verb: str, argument: str) -> bool:
        """
        One command; False ends the session.
        """
        if verb == "BDAT":
            self.receiver.spoken.append((verb, argument))
            return self.take_chunk(argument)
        reply = self.answer(verb, argument)
        positive = reply.startswith(("2", "3"))
        if verb in {"EHLO", "HELO", "RSET", "MAIL"}:
            self.recipients.clear()
        if verb == "MAIL" and positive:
            self.reverse_path, self.parameters = path_of(argument)
        elif verb == "RCPT" and positive:
            self.recipients.append(path_of(argument)[0])
        elif verb == "DATA" and positive:
            self.take(self.read_data())
        elif verb == "STARTTLS" and positive:
            return self.secure()
        return verb != "QUIT" and not reply.startswith("421")

    def read_data(self) -> bytes:
        """
        The content, up to the final dot.
        """
        lines = []
        while (line := self.stream.readline()) != b".\r\n":
            if not line:
                raise EOFError
            lines.append(line[1:] if line.startswith(b".") else line)
        return b"".join(lines)

    def take_chunk(self, argument: str) -> bool:
        """
        A content that comes in one chunk (RFC 3030), which is how the relay sends one; False ends the session.
        """
        size, last = argument.split()
        content = self.stream.read(int(size))
        if len(content) != int(size) or last != "LAST":
            raise EOFError
        if self.recipients:
            self.take(content)
        else:
            self.say("554 5.5.1 no valid recipients")
        return True

    def take(self, content: bytes) -> None:
        """
        A whole message.
        """
        self.receiver.spoken.append(("CONTENT", ""))
        reply = self.receiver.script("CONTENT", self.reverse_path) or USUAL["CONTENT"]
        if reply.startswith("250"):
            version = self.connection.version() if isinstance(self.connection, ssl.SSLSocket) else None
            recipients = tuple(self.recipients)
            # Counted before it is said: what the client can have read is never missing from the count.
            self.receiver.keep(
                Taken(self.reverse_path, recipients, content, version, time.monotonic(), self.parameters)
            )
        self.recipients.clear()
        self.say(reply)

    def secure(self) -> bool:
        """
        The TLS handshake; a broken one answers with what is not TLS.
        """
        if self.receiver.tls is None:
            self.connection.sendall(b"this is not a handshake\r\n")
            return False
        self.stream.close()
        self.connection = self.receiver.tls.wrap_socket(self.connection, server_side=True)
        self.stream = self.connection.makefile("rb")
        return True


def path_of(argument: str) -> tuple[str, str]:
    """
    The address in C{FROM:<a@b> SIZE=1} and the parameters after it.
    """
    path, _, parameters = argument.partition(":")[2].partition(">")
    return path.strip().removeprefix("<"), parameters.strip()
