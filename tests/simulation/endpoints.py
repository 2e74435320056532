"""
Webhook endpoints on the simulated network: web servers of their own making, in every temper that such servers have.

What an endpoint took is known to it alone: each event with its body, its signature and what was answered. What must
never be reached (addresses inside, where a redirect leads) has L{Trap}s.
"""

from __future__ import annotations

import enum
import gzip
import json
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from attrs import define, field, frozen
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from lmrelay.config.project import Webhook
from lmrelay.testing.name_server import Said, Zone
from tests.signature import signed_at
from tests.simulation.network import Network

PORT = 80
INSIDE = ("127.0.0.1", "10.0.0.5", "169.254.169.254", "192.168.1.1", "100.64.0.9", "::1", "fd00::5", "::ffff:10.0.0.5")
"""
Where nothing that a tenant names may lead.
"""

ELSEWHERE = "8.9.9.9"
"""
A public address, where redirects lead.
"""

MUCH = 2048
"""
Octets that come at a time where there is no end of them.
"""


CARRIED = 0.001
"""
Seconds after which all is there that the network carries.
"""


class Temper(enum.Enum):
    """
    How an endpoint is doing.
    """

    WELL = "well"
    SLOW = "slow"
    MUTE = "mute"
    STALLING_IN_HEAD = "stalling in its head"
    STALLING_IN_BODY = "stalling in its body"
    CLOSED = "closed"
    SILENT = "silent"
    RESETTING = "resetting"
    FAILING = "failing"
    LIMITING = "limiting"
    REDIRECTING = "redirecting"
    GONE = "gone"
    ENDLESS_BODY = "endless body"
    ENDLESS_HEAD = "endless head"
    ENDLESS_INTERIM = "endless interim answers"
    BOMB = "a few octets that unpack to many"
    SHORT = "less than it said"
    LONG = "more than it said"
    GARBAGE = "no HTTP"
    RESETTING_AFTER = "resetting after its answer"
    FORGETFUL = "taking it, and no answer"
    INSIDE = "its name leads inside"
    HALF_INSIDE = "its name leads inside as well"
    NAMELESS = "no such name"
    UNANSWERED = "no answer of its DNS"


SAYS_YES = frozenset(
    {
        Temper.WELL,
        Temper.SLOW,
        Temper.STALLING_IN_BODY,
        Temper.ENDLESS_BODY,
        Temper.BOMB,
        Temper.SHORT,
        Temper.LONG,
        Temper.RESETTING_AFTER,
        Temper.HALF_INSIDE,
    }
)
"""
Tempers in which the head of its answer, a 2xx, is whole: what follows is nobody's business.
"""

FOR_GOOD = frozenset({Temper.GONE, Temper.CLOSED, Temper.FAILING, Temper.INSIDE, Temper.NAMELESS})
"""
What an endpoint may be like for ever.
"""


@frozen
class Reply:
    """
    What is said, after how many seconds, and then: C{close}, C{reset}, or C{endless} octets again and again.
    """

    octets: bytes = b""
    after: float = 0.0
    close: bool = False
    reset: bool = False
    endless: bytes = b""


@define(eq=False)
class Taken:
    """
    A request that came in whole. C{is_sure}: the relay knows the answer, unless it died: it was said in whole, and
    nobody broke the connection.
    """

    at: float
    headers: Mapping[str, str]
    body: bytes
    is_signed: bool
    said_yes: bool = False
    said_gone: bool = False
    is_sure: bool = False

    @property
    def events(self) -> list[dict[str, Any]]:
        """
        What it tells, each as a document.
        """
        told = json.loads(self.body)
        return told if isinstance(told, list) else [told]


class Trap(Factory):
    """
    A server that nobody may connect to. C{caught} is who did.
    """

    noisy = False

    def __init__(self) -> None:
        self.caught: list[str] = []

    def buildProtocol(self, addr: Any) -> Protocol:
        """
        Somebody did.
        """
        self.caught.append(str(addr))
        return Protocol()


def set_traps(network: Network, *ports: int) -> Trap:
    """
    At all addresses that are not to be connected to.
    """
    trap = Trap()
    network.servers.update({(address, port): trap for address in INSIDE for port in ports})
    return trap


@define(eq=False)
class Endpoint(Factory):
    """
    The endpoint C{webhook} of a project, at C{address} under C{host}. Half of what it hears goes as its temper says, by
    C{random}.
    """

    network: Network
    zone: Zone
    address: str
    host: str
    project: str
    webhook: Webhook
    random: Random = field(factory=lambda: Random(1))
    always: bool = False
    prefix: str = "x-lettermint"
    temper: Temper = field(default=Temper.WELL, init=False)
    taken: list[Taken] = field(factory=list, init=False)
    noisy = False

    def __attrs_post_init__(self) -> None:
        self.feel(Temper.WELL)

    def feel(self, temper: Temper) -> None:
        """
        Be like that from now on.
        """
        self.temper = temper
        network, place = self.network, (self.address, PORT)
        (network.silent.add if temper is Temper.SILENT else network.silent.discard)(self.address)
        if temper is Temper.CLOSED:
            network.servers.pop(place, None)
        else:
            network.servers[place] = self
        self._lead_name()

    def _lead_name(self) -> None:
        zone, random = self.zone, self.random
        zone.names.pop(self.host, None)
        zone.faults.pop(self.host, None)
        # A short TTL: what a name led to before may still be known.
        if self.temper is Temper.INSIDE:
            zone.addresses(self.host, *random.sample(INSIDE, random.randint(1, 3)), ttl=5)
        elif self.temper is Temper.HALF_INSIDE:
            zone.addresses(self.host, random.choice(INSIDE), self.address, ttl=5)
        elif self.temper is Temper.UNANSWERED:
            zone.fault(self.host, random.choice((Said(rcode=2), Said(silent=True))))
        elif self.temper is not Temper.NAMELESS:
            zone.addresses(self.host, self.address, ttl=5)

    def buildProtocol(self, addr: object) -> _Visit:
        """
        A connection.
        """
        return _Visit(self)

    def is_bad(self) -> bool:
        """
        Is this one of the times when its temper shows?
        """
        return self.always or self.random.random() < 0.5

    def answer(self, taken: Taken) -> Reply:
        """
        What is said to a request that came in whole.
        """
        temper = self.temper if self.is_bad() else Temper.WELL
        taken.said_yes, taken.said_gone = temper in SAYS_YES, temper is Temper.GONE
        if temper not in SAYS_YES and temper not in _ANSWERS:
            # One whose name leads elsewhere by now is still there for who came before.
            taken.said_yes = True
        return _ANSWERS.get(temper, _say_well)(self.random)


def _say(status: str, body: bytes = b"", *fields: str) -> bytes:
    head = (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields, "", "")
    return "\r\n".join(head).encode() + body


def _say_well(random: Random) -> Reply:
    return Reply(random.choice((_say("200 OK", b"thanks"), _say("204 No Content"), _say("202 Accepted", b"{}"))))


def _fail(random: Random) -> Reply:
    return Reply(_say(random.choice(("500 Oops", "503 Busy", "404 Not Found", "401 Who"))), close=random.random() < 0.5)


def _limit(random: Random) -> Reply:
    return Reply(_say("429 Too Many Requests", b"", f"Retry-After: {random.choice((1, 86_400, 10**30))}"))


def _redirect(random: Random) -> Reply:
    place = random.choice((f"http://{ELSEWHERE}/", "http://10.0.0.5/", "http://127.0.0.1:25/", "//[::1]/", "\tx"))
    return Reply(_say(random.choice(("301 Moved", "302 Found", "307 Again", "308 Moved")), b"", f"Location: {place}"))


def _stall(octets: bytes) -> Callable[[Random], Reply]:
    return lambda random: Reply(octets[: random.randrange(1, len(octets))])


def _garbage(random: Random) -> Reply:
    octets = random.choice(
        (
            b"220 mail.example ESMTP\r\n",
            b"\x15\x03\x01\x00\x02\x02\x28",
            b"HTTP/1.1 99999999999 OK\r\n\r\n",
            b"\0" * 9000,
        )
    )
    return Reply(octets, close=True)


_BOMB = gzip.compress(b"x" * 20_000_000, mtime=0)
_HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of it"
_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
_CHUNK = f"{MUCH:x}\r\n".encode() + b"x" * MUCH + b"\r\n"

_ANSWERS: dict[Temper, Callable[[Random], Reply]] = {
    Temper.SLOW: lambda random: Reply(_say("200 OK", b"at last"), after=random.uniform(0.5, 8.0)),
    Temper.MUTE: lambda random: Reply(),
    Temper.STALLING_IN_HEAD: _stall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"),
    Temper.STALLING_IN_BODY: lambda random: Reply(_HALF),
    Temper.FAILING: _fail,
    Temper.LIMITING: _limit,
    Temper.REDIRECTING: _redirect,
    Temper.GONE: lambda random: Reply(_say("410 Gone")),
    Temper.ENDLESS_BODY: lambda random: Reply(_CHUNKED, endless=_CHUNK),
    Temper.ENDLESS_HEAD: lambda random: Reply(b"HTTP/1.1 200 OK\r\n", endless=b"X-Pad: " + b"x" * MUCH + b"\r\n"),
    Temper.ENDLESS_INTERIM: lambda random: Reply(
        endless=b"HTTP/1.1 103 Early Hints\r\nLink: " + b"x" * MUCH + b"\r\n\r\n"
    ),
    Temper.BOMB: lambda random: Reply(_say("200 OK", _BOMB, "Content-Encoding: gzip")),
    Temper.SHORT: lambda random: Reply(_HALF, close=True),
    Temper.LONG: lambda random: Reply(_say("200 OK", b"ok") + b"more of it, and more"),
    Temper.GARBAGE: _garbage,
    Temper.RESETTING_AFTER: lambda random: Reply(_say("200 OK", b"ok"), reset=True),
    Temper.FORGETFUL: lambda random: Reply(reset=True),
}


class _Visit(Protocol):
    """
    A connection to an endpoint: one request after the other.
    """

    transport: Any

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.taken: Taken | None = None
        self._came = bytearray()
        self._is_lost = False
        self._is_busy = False
        self._was_broken = False

    def dataReceived(self, data: bytes) -> None:
        self._came += data
        if self.endpoint.temper is Temper.RESETTING and self.endpoint.is_bad():
            self.transport.abortConnection()
            return
        if not self._is_busy:
            self._read()

    def _read(self) -> None:
        head, end, rest = bytes(self._came).partition(b"\r\n\r\n")
        if not end:
            return
        _, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        size = int(headers["content-length"])
        if len(rest) < size:
            return
        self._came = bytearray(rest[size:])
        self._take(headers, rest[:size])

    def _take(self, headers: Mapping[str, str], body: bytes) -> None:
        endpoint, webhook = self.endpoint, self.endpoint.webhook
        secrets = [secret for secret in (webhook.secret, webhook.previous_secret) if secret]
        times = [signed_at(headers, body, secret, endpoint.prefix) for secret in secrets]
        is_signed = all(time is not None and time == headers[f"{endpoint.prefix}-delivery"] for time in times)
        self.taken = Taken(endpoint.network.seconds(), headers, body, is_signed)
        endpoint.taken.append(self.taken)
        reply = endpoint.answer(self.taken)
        self._is_busy = True
        endpoint.network.callLater(reply.after, self._answer, reply, self.taken)

    def _answer(self, reply: Reply, taken: Taken) -> None:
        if self._is_lost:
            return
        self.transport.write(reply.octets)
        if reply.endless:
            self._go_on(reply.endless)
        elif reply.reset:
            # Once it is carried, if it is; before, if not.
            self.endpoint.network.callLater(0.01 if reply.octets else 0, self.transport.abortConnection)
        elif reply.close:
            self.transport.loseConnection()
        if (taken.said_yes or taken.said_gone) and not reply.reset and not reply.endless:
            self.endpoint.network.callLater(CARRIED, self._make_sure, taken, self.transport.outgoing)
        self._is_busy = not reply.octets
        if not self._is_busy:
            self._read()

    def _make_sure(self, taken: Taken, unsent: bytearray) -> None:
        """
        Did all of it get through?
        """
        taken.is_sure = not unsent and not self._was_broken

    def _go_on(self, octets: bytes) -> None:
        if not self._is_lost:
            self.transport.write(octets)
            self.endpoint.network.callLater(0.01, self._go_on, octets)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._is_lost = True
        self._was_broken = not reason.check(ConnectionDone)
        if self.taken is not None and self._was_broken:
            self.taken.is_sure = False
