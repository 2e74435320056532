"""
The receiving world: MX hosts that take so many messages a second over so many connections, and have their bad hours.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from functools import partial
from random import Random

from attrs import define, field, frozen

from lmrelay.testing.answers import DROP, SILENCE, Answer, say
from lmrelay.testing.scripted_mx import ReceivedMessage, ScriptedMx, Session
from tests.simulation.network import Network

PORT = 25
TAKEN = "250 2.0.0 OK"


_WRONG = tuple(
    f"{line}\r\n".encode()
    for line in (
        "354 Go ahead",
        "220 Hello",
        "150 Wait",
        "199 2.0.0 OK",
        "334 VXNlcm5hbWU6",
        "600 No",
        "OK",
        "",
        "2500 OK",
    )
)
_ENDLESS = (Answer(b"250-and so on\r\n" * 10_000), Answer(b"250 " + b"on and " * 20_000), Answer(b"\r\n" * 50_000))


@frozen
class Arrival:
    """
    A message that was taken, and when its 250 was said.
    """

    at: float
    message: ReceivedMessage

    def field(self, name: str) -> str:
        """
        The value of the first header field of that name; empty where there is none.
        """
        for line in self.message.content.partition(b"\r\n\r\n")[0].decode("utf-8", "replace").split("\r\n"):
            key, _, value = line.partition(":")
            if key.lower() == name.lower():
                return value.strip()
        return ""


class Mood(enum.Enum):
    """
    How a receiver is doing. C{POLICING} answers 421 to what is over its rate, where others let it wait; C{CURT} says it
    anywhere. C{CONFUSED} gives answers to other questions, C{ENDLESS} none that ends. C{FORGETFUL} resets when it has
    said 250 and nobody has read it yet. C{RIGID} knows no RSET, C{OLD} no EHLO.
    """

    WELL = "well"
    POLICING = "policing"
    GREYLISTING = "greylisting"
    BUSY = "busy"
    REFUSING = "refusing"
    STALLING = "stalling"
    DROPPING = "dropping"
    FORGETFUL = "forgetful"
    CURT = "curt"
    CONFUSED = "confused"
    ENDLESS = "endless"
    RIGID = "rigid"
    OLD = "old"
    CLOSED = "closed"
    SILENT = "silent"


_STRANGE = frozenset({Mood.CURT, Mood.CONFUSED, Mood.ENDLESS})


@define(eq=False)
class Receiver:
    """
    The MX C{host} at C{address}: C{rate} messages a second (None: any), C{most} connections at a time, C{pause} seconds
    from a content's end to its reply. Half of what it hears goes wrong as its C{mood} says, by C{random}.
    """

    network: Network
    address: str
    host: str
    rate: float | None = None
    most: int = 1000
    pause: float = 0.0
    random: Random = field(factory=lambda: Random(1))
    mood: Mood = Mood.WELL
    mx: ScriptedMx = field(init=False)
    arrivals: list[Arrival] = field(factory=list, init=False)
    arrived: Callable[[Arrival], None] = field(default=lambda arrival: None)
    peak: int = field(default=0, init=False)
    _free_at: float = field(default=0.0, init=False)
    _taken_at: float = field(default=0.0, init=False)
    _second: int = field(default=0, init=False)
    _in_second: int = field(default=0, init=False)
    _open: list[Session] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.mx = ScriptedMx(self.network, self.host, received=self._keep)
        hearing = {
            "GREETING": self._greet,
            "EHLO": self._hear_hello,
            "MAIL": self._hear_mail,
            "RCPT": self._hear_rcpt,
            "DATA": lambda _: say("354 Go ahead"),
            "CONTENT": self._hear_content,
            "RSET": lambda _: say("502 5.5.1 What?" if self.mood is Mood.RIGID else "250 2.0.0 OK"),
        }
        self.mx.answers.update({phase: partial(self._answer, hear) for phase, hear in hearing.items()})
        self.feel(self.mood)

    def feel(self, mood: Mood) -> None:
        """
        Be like that from now on.
        """
        self.mood = mood
        self.mx.greylist = mood is Mood.GREYLISTING
        (self.network.silent.add if mood is Mood.SILENT else self.network.silent.discard)(self.address)
        if mood is Mood.CLOSED:
            self.network.servers.pop((self.address, PORT), None)
        else:
            self.network.servers[self.address, PORT] = self.mx

    @property
    def open(self) -> int:
        """
        Connections at this moment.
        """
        self._open = [session for session in self._open if not session.is_lost]
        return len(self._open)

    def _is_bad(self, *moods: Mood) -> bool:
        return self.mood in moods and self.random.random() < 0.5

    def _answer(self, hear: Callable[[str], Answer], argument: str) -> Answer:
        """
        What the phase has to say, unless the receiver is in no mood for it.
        """
        if self.random.random() < 0.15 and self.mood in _STRANGE:
            if self.mood is Mood.CURT:
                return say(f"421 4.3.2 {self.host} is closing", close=True)
            if self.mood is Mood.ENDLESS:
                return self.random.choice(_ENDLESS)
            return Answer(self.random.choice(_WRONG))
        return hear(argument)

    def _hear_hello(self, _: str) -> Answer:
        if self.mood is Mood.OLD:
            return say("502 5.5.1 What?")
        lines = (self.host, *self.mx.extensions)
        return say(*(f"250{'-' if line is not lines[-1] else ' '}{line}" for line in lines))

    def _greet(self, _: str) -> Answer:
        self._open.append(self.mx.sessions[-1])
        self.peak = max(self.peak, self.open)
        if len(self._open) > self.most:
            return say("421 4.7.0 Too many connections", close=True)
        return SILENCE if self._is_bad(Mood.STALLING) else say(f"220 {self.host} ESMTP")

    def _hear_mail(self, _: str) -> Answer:
        if self.mood is Mood.POLICING and self._is_over():
            return say("421 4.7.0 Too many messages, slow down", close=True)
        if self._is_bad(Mood.BUSY):
            return self.random.choice((say("421 4.3.2 Bye", close=True), say("451 4.3.0 Later")))
        return DROP if self._is_bad(Mood.DROPPING) else say("250 2.1.0 OK")

    def _hear_rcpt(self, _: str) -> Answer:
        if self._is_bad(Mood.REFUSING):
            return say("550 5.1.1 No such user")
        return say("452 4.2.2 Full") if self._is_bad(Mood.BUSY) else say("250 2.1.5 OK")

    def _hear_content(self, _: str) -> Answer:
        if self._is_bad(Mood.STALLING):
            return SILENCE
        if self._is_bad(Mood.DROPPING):
            return DROP
        if self._is_bad(Mood.REFUSING):
            return say("554 5.6.0 Not this")
        self._taken_at = self._find_slot() + self.pause
        self._in_second += 1
        return say(TAKEN, delay=self._taken_at - self.network.seconds())

    def _is_over(self) -> bool:
        """
        Were so many taken within this second that it is enough?
        """
        second = int(self.network.seconds())
        if second != self._second:
            self._second, self._in_second = second, 0
        return self.rate is not None and self._in_second >= self.rate

    def _find_slot(self) -> float:
        """
        When the next message is taken.
        """
        now = self.network.seconds()
        if self.rate is None or self.mood is Mood.POLICING:
            return now
        self._free_at = max(now, self._free_at) + 1 / self.rate
        return self._free_at

    def _keep(self, message: ReceivedMessage) -> None:
        arrival = Arrival(self._taken_at, message)
        self.arrivals.append(arrival)
        if self._is_bad(Mood.FORGETFUL):
            # It has the message, and nobody hears of it.
            self.mx.sessions[message.connection - 1].transport.abortConnection()
        self.arrived(arrival)
