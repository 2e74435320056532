"""
An MX that does as it is told and remembers what it was told: for tests, and to stand in for the internet.

A L{ScriptedMx} is a factory; it runs on a wire in memory as on a socket. By default it takes
everything. C{answers} (L{lmrelay.testing.answers}) change that by verb, C{recipients} by address. It has an SMTP of its
own, so that a fault of the relay's grammar cannot hide in its double.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import define, field, frozen
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from lmrelay.testing.answers import Answer, Choice, say

EXTENSIONS = ("PIPELINING", "SIZE 52428800", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN")


@frozen
class ReceivedMessage:
    """
    What one transaction brought. Parameters are by keyword in upper case; C{content} is exact, dots unstuffed.

    C{tls} is the TLS version, None in clear; C{connection} counts from 1.
    """

    sender: str
    parameters: Mapping[str, str]
    recipients: tuple[tuple[str, Mapping[str, str]], ...]
    content: bytes
    helo: str
    tls: str | None
    connection: int

    @property
    def addresses(self) -> tuple[str, ...]:
        """
        The recipients' addresses alone.
        """
        return tuple(address for address, _ in self.recipients)


@define(eq=False, slots=False)
class ScriptedMx(Factory):
    """
    C{answers} are by C{GREETING}, verb, C{CONTENT} (the reply to the end of data) or C{EARLY} (said once, when
    C{early_after} octets of content have come). C{greylist}: the first RCPT of each sender and
    recipient gets 450. C{tls}: a context factory; with it STARTTLS is offered.
    C{broken_handshake}: what is said instead of TLS. C{received} is called for each message.
    C{tls_first}: MAIL needs TLS.
    """

    clock: IReactorTime
    host: str = "mx.example"
    extensions: Sequence[str] = EXTENSIONS
    answers: dict[str, Choice] = field(factory=dict)
    recipients: dict[str, Choice] = field(factory=dict)
    greylist: bool = False
    tls: Any = None
    broken_handshake: bytes = b""
    early_after: int = 0
    received: Callable[[ReceivedMessage], None] | None = None
    messages: list[ReceivedMessage] = field(factory=list)
    sessions: list[Session] = field(factory=list)
    commands: list[str] = field(factory=list)
    _said: dict[int, int] = field(factory=dict)
    _seen: set[tuple[str, str]] = field(factory=set)

    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> Session:
        """
        A session; they are kept.
        """
        session = Session(self, len(self.sessions) + 1)
        self.sessions.append(session)
        return session

    @property
    def connections(self) -> int:
        """
        How many there were.
        """
        return len(self.sessions)

    def choose(self, choice: Choice, argument: str) -> Answer:
        """
        The next of what was scripted.
        """
        if isinstance(choice, Answer):
            return choice
        if callable(choice):
            return choice(argument)
        number = self._said.get(id(choice), 0)
        self._said[id(choice)] = number + 1
        return choice[min(number, len(choice) - 1)]

    def find_recipient(self, sender: str, address: str) -> Answer:
        """
        What RCPT for this address gets.
        """
        if address in self.recipients:
            return self.choose(self.recipients[address], address)
        if self.greylist and (sender, address) not in self._seen:
            self._seen.add((sender, address))
            return say("450 4.7.1 Greylisted, try again later")
        if "RCPT" in self.answers:
            return self.choose(self.answers["RCPT"], address)
        return say("250 2.1.5 OK")

    def take(self, message: ReceivedMessage) -> None:
        """
        Remember a message that was answered 250.
        """
        self.messages.append(message)
        if self.received is not None:
            self.received(message)


class Session(Protocol):
    """
    One connection. C{commands} are the lines as they came; C{data_octets} counts those of content.
    """

    transport: Any
    _parameters: Mapping[str, str]

    def __init__(self, mx: ScriptedMx, number: int) -> None:
        self.mx = mx
        self.number = number
        self.commands: list[str] = []
        self.data_octets = 0
        self.helo = ""
        self.is_lost = False
        self._buffer = b""
        self._content: list[bytes] | None = None
        self._chunk: tuple[int, bool] | None = None
        self._chunks = b""
        self._early_said = False
        self._waiting = False
        self._broken = False
        self._forget()

    @property
    def tls(self) -> str | None:
        """
        The TLS version; None in clear.
        """
        handle = getattr(self.transport, "getHandle", lambda: None)()
        name = getattr(handle, "get_protocol_version_name", None)
        return str(name()) if name is not None else None

    def connectionMade(self) -> None:
        self._say(self._answer("GREETING", "", f"220 {self.mx.host} ESMTP"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.is_lost = True

    def dataReceived(self, data: bytes) -> None:
        if self._broken:
            self.transport.write(self.mx.broken_handshake)
            self.transport.loseConnection()
            return
        if self._content is not None and not self._waiting:
            self._take_content(data)
        else:
            self._buffer += data
            self._work()

    def _work(self) -> None:
        while not self._waiting and not self.is_lost:
            if self._content is not None:
                rest, self._buffer = self._buffer, b""
                if rest:
                    self._take_content(rest)
                return
            if self._chunk is not None:
                if len(self._buffer) < self._chunk[0]:
                    return
                self._take_chunk(*self._chunk)
                continue
            line, ending, rest = self._buffer.partition(b"\r\n")
            if not ending:
                return
            self._buffer = rest
            self._command(line.decode("utf-8", "replace"))

    def _command(self, line: str) -> None:
        self.commands.append(line)
        self.mx.commands.append(line)
        verb, _, argument = line.partition(" ")
        verb = verb.upper()
        known: Callable[[str], None] | None = getattr(self, f"_do_{verb.lower()}", None)
        if known is None:
            self._say(self._answer(verb, argument, "500 5.5.1 Unknown command"))
        else:
            known(argument)

    def _do_ehlo(self, argument: str) -> None:
        self.helo = argument
        self._forget()
        offered = list(self.mx.extensions)
        if self.mx.tls is not None and self.tls is None:
            offered.append("STARTTLS")
        lines = [self.mx.host, *offered]
        default = [f"250{' ' if n == len(lines) - 1 else '-'}{text}" for n, text in enumerate(lines)]
        self._say(self._answer("EHLO", argument, *default))

    def _do_helo(self, argument: str) -> None:
        self.helo = argument
        self._forget()
        self._say(self._answer("HELO", argument, f"250 {self.mx.host}"))

    def _do_starttls(self, argument: str) -> None:
        answer = self._answer("STARTTLS", argument, "220 2.0.0 Go ahead" if self.mx.tls else "502 5.5.1 No")
        self._say(answer)
        if answer.code == 220:
            self._forget()
            self._buffer = b""
            if self.mx.broken_handshake:
                self._broken = True
            elif self.mx.tls is not None:
                self.transport.startTLS(self.mx.tls)

    def _do_mail(self, argument: str) -> None:
        answer = self._answer("MAIL", argument, "250 2.1.0 OK")
        if answer.code == 250:
            self._forget()
            self._sender, self._parameters = _path(argument)
            self._begun = True
        self._say(answer)

    def _do_rcpt(self, argument: str) -> None:
        address, parameters = _path(argument)
        if not self._begun:
            self._say(say("503 5.5.1 MAIL first"))
            return
        answer = self.mx.find_recipient(self._sender, address)
        if answer.code // 100 == 2:
            self._recipients.append((address, parameters))
        self._say(answer)

    def _do_data(self, argument: str) -> None:
        default = "354 Go ahead" if self._recipients else "503 5.5.1 RCPT first"
        answer = self._answer("DATA", argument, default)
        if answer.code == 354:
            # The empty line stands for the line ending that a dot must follow.
            self._content = [b"\r\n"]
            self._tail = b"\r\n"
        self._say(answer)

    def _do_bdat(self, argument: str) -> None:
        if "CHUNKING" not in self.mx.extensions:
            self._say(say("500 5.5.1 Unknown command"))
            return
        size, _, last = argument.partition(" ")
        self._chunk = int(size), last.upper() == "LAST"

    def _take_chunk(self, size: int, last: bool) -> None:
        """
        RFC 3030 §2: the octets come whatever the answer will be.
        """
        chunk, self._buffer = self._buffer[:size], self._buffer[size:]
        self._chunk = None
        self.data_octets += size
        refusal = self.mx.answers.get("BDAT")
        if refusal is not None or not self._recipients:
            self._say(self.mx.choose(refusal, "") if refusal else say("503 5.5.1 RCPT first"))
            return
        self._chunks += chunk
        if last:
            self._end(self._chunks)
        else:
            self._say(say("250 2.0.0 OK"))

    def _do_rset(self, argument: str) -> None:
        self._forget()
        self._say(self._answer("RSET", argument, "250 2.0.0 OK"))

    def _do_noop(self, argument: str) -> None:
        self._say(self._answer("NOOP", argument, "250 2.0.0 OK"))

    def _do_quit(self, argument: str) -> None:
        self._say(self._answer("QUIT", argument, "221 2.0.0 Bye"))
        self.transport.loseConnection()

    def _take_content(self, data: bytes) -> None:
        """
        In blocks, so that 50 MiB take a moment.
        """
        content = self._content
        if content is None:
            return
        self.data_octets += len(data)
        joined = self._tail + data
        end = joined.find(b"\r\n.\r\n")
        if end < 0:
            content.append(data)
            self._tail = joined[-4:]
            self._say_early()
            return
        rest = joined[end + 5 :]
        raw = b"".join([*content, data])
        raw = raw[: len(raw) - len(rest) - 3]
        self._content = None
        self._buffer = rest
        self._end(raw.replace(b"\r\n..", b"\r\n.")[2:])
        self._work()

    def _end(self, content: bytes) -> None:
        answer = self._answer("CONTENT", "", "250 2.0.0 OK" if self._recipients else "554 5.5.1 No valid recipients")
        message = ReceivedMessage(
            self._sender, self._parameters, tuple(self._recipients), content, self.helo, self.tls, self.number
        )
        self._forget()
        if answer.code // 100 == 2:
            self.mx.take(message)
        self._say(answer)

    def _say_early(self) -> None:
        choice = self.mx.answers.get("EARLY")
        if choice is not None and not self._early_said and self.data_octets >= self.mx.early_after:
            self._early_said = True
            self._say(self.mx.choose(choice, ""))

    def _answer(self, verb: str, argument: str, *default: str) -> Answer:
        choice = self.mx.answers.get(verb)
        return say(*default) if choice is None else self.mx.choose(choice, argument)

    def _say(self, answer: Answer) -> None:
        if answer.delay:
            self._waiting = True
            self.mx.clock.callLater(answer.delay, self._say_late, answer)
            return
        octets = answer.octets
        size = answer.piece or len(octets) or 1
        for start in range(0, len(octets), size):
            self.transport.write(octets[start : start + size])
        if answer.close or not octets:
            self._waiting = True
        if answer.close:
            self.transport.loseConnection()

    def _say_late(self, answer: Answer) -> None:
        self._waiting = False
        if not self.is_lost:
            self._say(Answer(answer.octets, 0.0, answer.piece, answer.close))
            self._work()

    def _forget(self) -> None:
        self._sender = ""
        self._parameters = {}
        self._recipients: list[tuple[str, Mapping[str, str]]] = []
        self._begun = False
        self._tail = b""
        self._chunks = b""


def _path(argument: str) -> tuple[str, Mapping[str, str]]:
    """
    The address of C{FROM:<a@b> X=Y}, and its parameters.
    """
    _, _, rest = argument.partition("<")
    address, _, words = rest.rpartition(">")
    pairs = (word.partition("=") for word in words.split())
    return address, {keyword.upper(): value for keyword, _, value in pairs}
