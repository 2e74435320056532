"""
MX hosts that speak TLS, real TLS, in every mood that such hosts have; and the policy hosts of MTA-STS.
"""

from __future__ import annotations

import enum
from random import Random
from typing import Any

from attrs import define, evolve, field
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory

from lmrelay.testing.answers import Answer, say
from lmrelay.testing.scripted_mx import Session
from tests.simulation.certificates import Authority
from tests.simulation.network import Network
from tests.simulation.receivers import Arrival, Receiver

KNOWN = Authority("known CA")
FOREIGN = Authority("somebody else's CA")


class Tls(enum.Enum):
    """
    How a host is doing with TLS.
    """

    GOOD = "good"
    NONE = "without TLS"
    REFUSING = "refusing STARTTLS"
    LYING = "offering what it does not know"
    BABBLING = "going on in clear"
    STALLING = "silent in the handshake"
    BREAKING = "reset in the handshake"
    OTHER_NAME = "of another name"
    EXPIRED = "expired"
    FOREIGN = "of an unknown CA"
    FLAPPING = "offering it now and then"


CERTIFIED = (Tls.GOOD, Tls.OTHER_NAME, Tls.EXPIRED, Tls.FOREIGN)
PROVING = frozenset({Tls.GOOD, Tls.BREAKING})
"""
Moods of a connection that, once it is encrypted, proves the host.
"""


@define(eq=False)
class TlsHost:
    """
    The TLS of a receiver. Most connections go as its mood says, by C{random}; or C{always} all.
    """

    receiver: Receiver
    random: Random
    mood: Tls = Tls.GOOD
    always: bool = False
    contexts: dict[Tls, Any] = field(init=False)

    def __attrs_post_init__(self) -> None:
        host = self.receiver.host
        self.contexts = {
            Tls.GOOD: KNOWN.context(host),
            Tls.OTHER_NAME: KNOWN.context(f"other.{host}"),
            Tls.EXPIRED: KNOWN.context(host, expired=True),
            Tls.FOREIGN: FOREIGN.context(host),
        }
        self.receiver.mx.broken_handshake = b"500 5.5.1 What?\r\n"
        self.receiver.mx.buildProtocol = self._build  # type: ignore[method-assign]

    def _build(self, addr: object) -> TlsSession:
        sessions = self.receiver.mx.sessions
        made = TlsSession(self, len(sessions) + 1, self._choose())
        sessions.append(made)
        return made

    def _choose(self) -> Tls:
        if self.mood is Tls.FLAPPING:
            return self.random.choice((Tls.GOOD, Tls.NONE))
        return self.mood if self.always or self.random.random() < 0.7 else Tls.GOOD

    def has_proved(self, arrival: Arrival) -> bool:
        """
        Did it come over a connection on which the host had proved to be itself?
        """
        session = self.receiver.mx.sessions[arrival.message.connection - 1]
        return arrival.message.tls is not None and isinstance(session, TlsSession) and session.mood in PROVING


class TlsSession(Session):
    """
    One connection, in a mood of its own.
    """

    def __init__(self, host: TlsHost, number: int, mood: Tls) -> None:
        super().__init__(host.receiver.mx, number)
        self.host, self.mood = host, mood

    def _answer(self, verb: str, argument: str, *default: str) -> Answer:
        answer = super()._answer(verb, argument, *default)
        if verb != "EHLO" or self.tls is not None or self.mood is Tls.NONE:
            return answer
        *lines, last = answer.octets.rstrip(b"\r\n").split(b"\r\n")
        if not last.startswith(b"250 "):
            return answer
        return evolve(answer, octets=b"\r\n".join((*lines, b"250-" + last[4:], b"250 STARTTLS", b"")))

    def _do_starttls(self, argument: str) -> None:
        mood, random = self.mood, self.host.random
        if mood is Tls.REFUSING:
            self._say(random.choice((say("454 4.7.0 Not now"), say("421 4.7.0 Not now", close=True))))
            return
        if mood in (Tls.LYING, Tls.NONE):
            self._say(say("502 5.5.1 What?"))
            return
        self._say(say("220 2.0.0 Go ahead"))
        self._forget()
        self._buffer = b""
        if mood is Tls.BABBLING:
            self._broken = True
        elif mood is Tls.STALLING:
            self._waiting = True
        else:
            self.transport.startTLS(self.host.contexts[mood if mood in CERTIFIED else Tls.GOOD])
        if mood is Tls.BREAKING:
            wire = next(one for one in self.host.receiver.network.wires if one.server is self.transport)
            wire.tap(random.choice((wire.server, wire.client)), random.randrange(1, 1500), wire.break_off)


GOOD_POLICY = "version: STSv1\r\nmode: enforce\r\nmx: {host}\r\nmax_age: 86400\r\n"


@define(eq=False)
class PolicyHost(Factory):
    """
    The policy host of a domain's MTA-STS at C{address}: what it says comes in C{answers}, one of them each time, by
    C{random}. C{served}: when a good policy went out.
    """

    network: Network
    domain: str
    address: str
    mx: str
    random: Random
    is_well: bool = False
    served: list[float] = field(factory=list)
    noisy = False

    def __attrs_post_init__(self) -> None:
        context = KNOWN.context(f"mta-sts.{self.domain}")
        self.network.servers[self.address, 443] = TLSMemoryBIOFactory(context, False, self, clock=self.network)

    def buildProtocol(self, addr: object) -> Protocol:
        """
        A connection.
        """
        return _PolicySession(self)

    def answer(self) -> bytes:
        """
        What it says this time.
        """
        good = _say("200 OK", GOOD_POLICY.format(host=self.mx))
        bad = (b"", _say("404 No", "no"), good[:40], b"what?\r\n", _say("200 OK", "version: STSv1\r\nmode: what\r\n"))
        chosen = good if self.is_well or self.random.random() < 0.7 else self.random.choice(bad)
        if chosen is good:
            self.served.append(self.network.seconds())
        return chosen


def _say(status: str, body: str) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
    return (head + body).encode()


class _PolicySession(Protocol):
    def __init__(self, host: PolicyHost) -> None:
        self.host = host
        self.came = b""

    def dataReceived(self, data: bytes) -> None:
        self.came += data
        if self.came.endswith(b"\r\n\r\n") and self.transport is not None:
            self.transport.write(self.host.answer())
