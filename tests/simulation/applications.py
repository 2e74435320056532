"""
The tenants' applications: sessions that hand letters over by SMTP, one after the other, and know what they were told.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Iterator
from math import inf

from attrs import define, field, frozen
from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from tests.simulation.network import Network

PORT = 587
PATIENCE = 60.0
"""
Seconds for which an application waits for a reply.
"""

AGAIN = 5.0
"""
Seconds until an application that was cut off or put off tries again.
"""


@frozen
class To:
    """
    A recipient; C{notify} as in RCPT, empty for none.
    """

    address: str
    notify: str = ""


@define(eq=False)
class Letter:
    """
    A message to be handed over. C{name} is its subject, by which it is known everywhere. With a C{key} it is sent
    again until it is answered; without one, it is given up when nobody knows whether it was taken. C{begun_at} is when
    its envelope was sent last, C{doubted_at} when first nobody knew: what was taken by then is taken, whatever is asked
    again.
    """

    name: str
    recipients: tuple[To, ...]
    sender: str = "app@acme.example"
    route: str = ""
    key: str = ""
    size: int = 100
    id: str = field(default="", init=False)
    begun_at: float = field(default=0.0, init=False)
    accepted_at: float = field(default=0.0, init=False)
    doubted_at: float = field(default=inf, init=False)
    is_unsure: bool = field(default=False, init=False)

    def lines(self) -> Iterator[str]:
        """
        Its content.
        """
        yield f"From: {self.sender or 'app@acme.example'}"
        yield f"To: {self.recipients[0].address}"
        yield f"Subject: {self.name}"
        if self.route:
            yield f"X-Lettermint-Route: {self.route}"
        if self.key:
            yield f"Idempotency-Key: {self.key}"
        yield ""
        yield from ("x" * 70 for _ in range(self.size // 70 + 1))

    def envelope(self) -> list[str]:
        """
        The commands before its content.
        """
        said = [f"MAIL FROM:<{self.sender}>"]
        for one in self.recipients:
            said.append(f"RCPT TO:<{one.address}>" + (f" NOTIFY={one.notify}" if one.notify else ""))
        return [*said, "DATA"]


class _Session(LineOnlyReceiver):
    """
    One connection of an application: a few replies are awaited at a time, and the last of them counts.
    """

    MAX_LENGTH = 100_000

    def __init__(self, application: Application) -> None:
        self.application = application
        self.letter: Letter | None = None
        self._awaited = 1
        self._at = "greeting"
        self._heard_at = 0.0

    def connectionMade(self) -> None:
        self._wait()

    def _wait(self) -> None:
        self.application.network.callLater(PATIENCE, self._lose_patience, self._heard_at)

    def _lose_patience(self, heard_at: float) -> None:
        if not self.transport.disconnected:
            if self._heard_at == heard_at:
                self.transport.abortConnection()
            else:
                self._wait()

    @property
    def has_left(self) -> bool:
        return self._at == "end"

    def say(self, at: str, *lines: str) -> None:
        self._at, self._awaited = at, 1 if at == "content" else len(lines)
        self.transport.write("".join(f"{line}\r\n" for line in lines).encode())

    def lineReceived(self, line: bytes) -> None:
        self._heard_at = self.application.network.seconds()
        text = line.decode()
        if text[3:4] == "-":
            return
        if text[0] not in "23":
            self.application.refused(self, text)
            return
        self._awaited -= 1
        if not self._awaited:
            self._go_on(text)

    def _go_on(self, text: str) -> None:
        if self._at == "greeting":
            self.say("hello", "EHLO app.example")
        elif self._at == "hello":
            self.say("login", f"AUTH PLAIN {self.application.login}")
        elif self._at == "login":
            self.application.next_letter(self)
        elif self._at == "envelope" and self.letter is not None:
            self.say("content", *self.letter.lines(), ".")
            self.letter.is_unsure = True
        elif self._at == "content" and self.letter is not None:
            self.application.taken(self, text)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.application.lost(self)


@define(eq=False)
class Application:
    """
    An application at C{address} with a token. C{outbox} is what it has not handed over yet. C{bears} are replies for
    good, by their first words, that are no fault of anybody's: it tries again.
    """

    network: Network
    relay: str
    token: str
    address: str = "192.0.2.7"
    outbox: deque[Letter] = field(factory=deque)
    accepted: list[Letter] = field(factory=list)
    given_up: list[Letter] = field(factory=list)
    refusals: list[str] = field(factory=list)
    bears: tuple[str, ...] = ()
    _session: _Session | None = field(default=None, init=False)
    _waiting: bool = field(default=False, init=False)

    @property
    def login(self) -> str:
        """
        The initial response of AUTH PLAIN.
        """
        return base64.b64encode(f"\0lettermint\0{self.token}".encode()).decode()

    def send(self, *letters: Letter) -> None:
        """
        Hand these over as soon as it can be.
        """
        self.outbox.extend(letters)
        if self._session is None and not self._waiting:
            self._connect()

    def _connect(self) -> None:
        self._waiting = False
        session = _Session(self)
        if self.network.connect(PORT, self.relay, session, self.address) is None:
            self._wait()
        else:
            self._session = session

    def _wait(self) -> None:
        if not self._waiting and self.outbox:
            self._waiting = True
            self.network.callLater(AGAIN, self._connect)

    def next_letter(self, session: _Session) -> None:
        """
        The session is free.
        """
        if not self.outbox:
            session.say("end", "QUIT")
            return
        session.letter = self.outbox[0]
        session.letter.begun_at = self.network.seconds()
        session.say("envelope", *session.letter.envelope())

    def taken(self, session: _Session, reply: str) -> None:
        """
        It was answered 250.
        """
        letter = self.outbox.popleft()
        letter.id, letter.accepted_at, letter.is_unsure = (
            reply.split("id=")[1].split()[0],
            self.network.seconds(),
            False,
        )
        self.accepted.append(letter)
        session.letter = None
        self.next_letter(session)

    def refused(self, session: _Session, reply: str) -> None:
        """
        Not now: from anew in a while. What else is refused for good is a fault.
        """
        if reply.startswith("5") and not reply.startswith(self.bears or "none"):
            raise AssertionError(f"the relay refused: {reply}")
        self.refusals.append(reply)
        if session.letter is not None:
            session.letter.is_unsure = False
        session.transport.abortConnection()

    def lost(self, session: _Session) -> None:
        """
        The connection is gone; what was in doubt stays so where a second try would make two of it.
        """
        self._session = None
        letter = session.letter
        if letter is not None and letter.is_unsure:
            letter.doubted_at = min(letter.doubted_at, self.network.seconds())
            if not letter.key:
                self.given_up.append(self.outbox.popleft())
        if session.has_left and self.outbox:
            self._connect()
        else:
            self._wait()
