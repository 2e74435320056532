"""
The DNS as tests want it: a zone written down as data, told by two doubles.

L{FakeResolver} is an C{IResolver} in memory. L{NameServer} answers real questions over
UDP and TCP on a loopback address, truthfully or with any of the faults that a zone names.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Hashable
from ipaddress import ip_address
from typing import Any

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred, DeferredList, fail, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReactorTCP, IReactorTime, IReactorUDP
from twisted.internet.protocol import DatagramProtocol, Protocol, ServerFactory
from twisted.names import dns
from zope.interface import implementer

from lmrelay.errors import DnsError
from lmrelay.interfaces import Answer, IResolver, MxRecord

A, CNAME, SOA, MX, AAAA, OPT = 1, 5, 6, 15, 28, 41
MAX_ALIASES = 8


@frozen
class Said:
    """
    What the zone has to say of one name and type, and how.

    C{rcode} other than 0 and 3 is a failure; C{silent} never answers; C{delay} is in seconds;
    C{truncated} cuts the answer over UDP only; C{wrong_question} answers another question first;
    C{lame} sends the asker to the root.
    """

    records: tuple[object, ...] = ()
    rcode: int = dns.OK
    authenticated: bool = False
    ttl: int = 300
    delay: float = 0.0
    silent: bool = False
    truncated: bool = False
    wrong_question: bool = False
    lame: bool = False


@define(eq=False)
class Zone:
    """
    Everything there is: what is not in it is NXDOMAIN.
    """

    names: dict[str, dict[int, Said]] = field(factory=dict)
    aliases: dict[str, str] = field(factory=dict)
    faults: dict[str, Said] = field(factory=dict)

    def exchanges(self, domain: str, *exchanges: tuple[int, str], authenticated: bool = False, ttl: int = 300) -> Zone:
        """
        MX records as pairs of preference and host; C{(0, "")} is the null MX.
        """
        records = tuple(MxRecord(preference, host) for preference, host in exchanges)
        return self.say(domain, MX, Said(records, authenticated=authenticated, ttl=ttl))

    def addresses(self, name: str, *addresses: str, authenticated: bool = False, ttl: int = 300) -> Zone:
        """
        A and AAAA records; without any the name exists all the same.
        """
        for version, type in ((4, A), (6, AAAA)):
            records = tuple(a for a in addresses if ip_address(a).version == version)
            self.say(name, type, Said(records, authenticated=authenticated, ttl=ttl))
        return self

    def alias(self, name: str, target: str) -> Zone:
        """
        A CNAME.
        """
        self.aliases[name] = target
        return self

    def fault(self, name: str, said: Said) -> Zone:
        """
        The same for every type asked of C{name}: C{Said(rcode=2)}, C{Said(silent=True)} …
        """
        self.faults[name] = said
        return self

    def say(self, name: str, type: int, said: Said) -> Zone:
        """
        Whatever it is, for one type.
        """
        self.names.setdefault(name, {})[type] = said
        return self

    def look_up(self, name: str, type: int) -> Said:
        """
        What is said of that name itself, aliases not followed.
        """
        if name in self.faults:
            return self.faults[name]
        if name not in self.names:
            return Said(rcode=dns.ENAME)
        return self.names[name].get(type, Said())

    def follow(self, name: str, type: int) -> tuple[list[tuple[str, str]], str]:
        """
        The aliases on the way from C{name}, and where it ends (or is cut, in a loop).
        """
        chain: list[tuple[str, str]] = []
        while name in self.aliases and type != CNAME and len(chain) < MAX_ALIASES:
            chain.append((name, self.aliases[name]))
            name = self.aliases[name]
        return chain, name


@implementer(IResolver)
@define(eq=False)
class FakeResolver:
    """
    The zone as an L{IResolver}; C{asked} is every question so far.

    With a C{reactor}, delays take their time on it; what is silent fails at once.
    """

    zone: Zone = field(factory=Zone)
    reactor: IReactorTime | None = None
    asked: list[tuple[str, int]] = field(factory=list)

    def query(self, name: str, type: int, whose: Hashable = None) -> Deferred[Answer]:
        self.asked.append((name, type))
        chain, end = self.zone.follow(name, type)
        said = self.zone.look_up(end, type)
        if self.reactor is None or not said.delay:
            return self._answer(name, said, end, looping=len(chain) == MAX_ALIASES)
        waiting: Deferred[Answer] = Deferred()
        self.reactor.callLater(said.delay, lambda: self._answer(name, said, end, False).chainDeferred(waiting))
        return waiting

    def _answer(self, name: str, said: Said, end: str, looping: bool) -> Deferred[Answer]:
        if said.silent or looping or said.rcode not in (dns.OK, dns.ENAME):
            why = "no answer" if said.silent else "an alias loop" if looping else f"response code {said.rcode}"
            return fail(DnsError(f"{why} for {name}"))
        alias = end if end != name else ""
        return succeed(Answer(said.records, said.rcode == dns.OK, said.authenticated, float(said.ttl), alias))


class _Reactor(IReactorTCP, IReactorUDP, IReactorTime):
    """
    What the name server needs of a reactor.
    """


@define(eq=False)
class NameServer:
    """
    A name server on C{interface}; C{port} is known once it was started.

    C{asked} tells name, type and C{"udp"} or C{"tcp"} of every question.
    """

    reactor: _Reactor
    zone: Zone = field(factory=Zone)
    interface: str = "127.0.0.1"
    port: int = 0
    asked: list[tuple[str, int, str]] = field(factory=list)
    _ports: list[IListeningPort] = field(factory=list)

    def start(self) -> int:
        """
        Listen on one number for both transports, and tell it.
        """
        for _ in range(20):
            datagrams = self.reactor.listenUDP(0, _Datagrams(self), self.interface, 65535)
            host: Any = datagrams.getHost()
            number = int(host.port)
            try:
                streams = self.reactor.listenTCP(number, _Streams(self), 50, self.interface)
            except CannotListenError:
                datagrams.stopListening()
                continue
            self._ports += [datagrams, streams]
            self.port = number
            return number
        raise CannotListenError(self.interface, 0, OSError("no number is free for both transports"))

    def stop(self) -> Deferred[Any]:
        """
        Fires when both ports are closed.
        """
        ports, self._ports = self._ports, []
        return DeferredList([maybeDeferred(port.stopListening) for port in ports])

    def answer(self, octets: bytes, transport: str, reply: Callable[[bytes], None]) -> None:
        """
        Answer one question through C{reply}, now, later or never.
        """
        question = dns.Message()
        question.fromStr(octets)
        name, type = question.queries[0].name.name.decode("ascii").lower(), question.queries[0].type
        self.asked.append((name, type, transport))
        chain, end = self.zone.follow(name, type)
        said = self.zone.look_up(end, type)
        if said.silent:
            return
        if said.wrong_question:
            reply(_message(question, evolve(said, truncated=False), [], end, b"other.example"))
        cut = said.truncated and transport == "udp"
        wire = _message(question, evolve(said, truncated=cut), chain, end, name.encode("ascii"))
        self._after(said.delay, lambda: reply(wire))

    def _after(self, delay: float, tell: Callable[[], None]) -> None:
        if delay:
            self.reactor.callLater(delay, tell)
        else:
            tell()


def _message(question: dns.Message, said: Said, chain: list[tuple[str, str]], end: str, name: bytes) -> bytes:
    message = dns.Message(
        question.id, answer=1, recDes=1, recAv=1, rCode=said.rcode, trunc=int(said.truncated), maxSize=65535
    )
    message.authenticData = int(said.authenticated)
    type = question.queries[0].type
    message.queries = [dns.Query(name, type, dns.IN)]
    if said.lame:
        message.recAv = 0
        message.authority = [dns.RRHeader(b"", dns.NS, dns.IN, said.ttl, dns.Record_NS(b"a.root-servers.example"))]
        return message.toStr()
    if not said.truncated:
        message.answers = [
            dns.RRHeader(a.encode(), CNAME, dns.IN, said.ttl, dns.Record_CNAME(b.encode(), said.ttl)) for a, b in chain
        ]
        message.answers += [
            dns.RRHeader(end.encode(), type, dns.IN, said.ttl, _payload(record)) for record in said.records
        ]
        if not said.records and said.rcode in (dns.OK, dns.ENAME):
            soa = dns.Record_SOA(b"ns.example", b"root.example", 1, 60, 60, 60, said.ttl, said.ttl)
            message.authority = [dns.RRHeader(b"example", SOA, dns.IN, said.ttl, soa)]
    return message.toStr()


def _payload(record: object) -> Any:
    if isinstance(record, MxRecord):
        return dns.Record_MX(record.preference, record.host.encode("ascii"))
    if isinstance(record, bytes):
        return dns.UnknownRecord(record)
    text = str(record)
    return dns.Record_AAAA(text) if ":" in text else dns.Record_A(text)


class _Datagrams(DatagramProtocol):
    def __init__(self, server: NameServer) -> None:
        self.server = server

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        def reply(octets: bytes) -> None:
            if self.transport is not None:
                self.transport.write(octets, addr)

        self.server.answer(datagram, "udp", reply)


class _Stream(Protocol):
    waiting = b""

    def __init__(self, server: NameServer) -> None:
        self.server = server

    def dataReceived(self, data: bytes) -> None:
        self.waiting += data
        while len(self.waiting) >= 2:
            (length,) = struct.unpack("!H", self.waiting[:2])
            if len(self.waiting) < 2 + length:
                return
            octets, self.waiting = self.waiting[2 : 2 + length], self.waiting[2 + length :]
            self.server.answer(octets, "tcp", self.reply)

    def reply(self, octets: bytes) -> None:
        if self.transport is not None:
            self.transport.write(struct.pack("!H", len(octets)) + octets)


class _Streams(ServerFactory):
    noisy = False

    def __init__(self, server: NameServer) -> None:
        self.server = server

    def buildProtocol(self, addr: object) -> Protocol:
        return _Stream(self.server)
