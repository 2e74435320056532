"""
DNS messages: a question into octets, octets into what they say of it (RFC 1035, 2308, 6891).

Pure, over the wire codec of C{twisted.names.dns}. An answer to another question, or no answer
at all, reads as None: whoever forges one has to guess the id, the port and the question.
"""

from __future__ import annotations

import re
import struct
from io import BytesIO
from ipaddress import IPv6Address
from typing import Any

from attrs import frozen
from twisted.names import dns

from lmrelay.errors import DnsError
from lmrelay.interfaces import Answer, MxRecord

CNAME, OPT = 5, 41
OK, FORMAT_ERROR, NAME_ERROR = 0, 1, 3
RCODES = {1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}

UDP_SIZE = 1232
"""
What a datagram may hold without fragments nearly everywhere (DNS flag day 2020).
"""

MAX_ALIASES = 8

MIN_TTL, MAX_TTL, MAX_NEGATIVE_TTL = 5.0, 86400.0, 3600.0
"""
Seconds: a TTL of 0 must not mean a question a message, nor a slip of a week a week's mail.
"""

_NAME = re.compile(r"(?=.{1,253}\Z)[\x21-\x2d\x2f-\x7e]{1,63}(?:\.[\x21-\x2d\x2f-\x7e]{1,63})*")


@frozen
class Question:
    """
    A name in A-labels, lower case, without the final dot, and the number of a record type.
    """

    name: str
    type: int


@frozen
class Response:
    """
    What a server said. C{rcode} beyond NOERROR and NXDOMAIN means nothing but that it failed.

    C{alias}: the aliases end at this name, of which it said nothing; it has to be asked for.
    C{lame}: the server sends us on to others, or is none for us: it did not say that there is nothing.
    """

    rcode: int
    truncated: bool
    answer: Answer
    alias: str = ""
    lame: bool = False

    @property
    def is_usable(self) -> bool:
        """
        Does it say anything of the name?
        """
        return self.rcode in (OK, NAME_ERROR) and not self.lame

    @property
    def failure(self) -> str:
        """
        What it said if it is not usable.
        """
        return "a referral" if self.lame else RCODES.get(self.rcode, str(self.rcode))


def parse_question(name: str, type: int) -> Question:
    """
    The question as it is asked.

    @raise DnsError: there can be no such name
    """
    name = name.lower().rstrip(".")
    if not _NAME.fullmatch(name):
        raise DnsError("the name cannot be asked for in the DNS")
    return Question(name, type)


def write_question(question: Question, id: int, *, edns: bool = True) -> bytes:
    """
    The octets of a recursive question that asks for the AD bit (RFC 6840 §5.7).
    """
    message = dns.Message(id, recDes=1, authenticData=1)
    message.queries = [dns.Query(question.name.encode("ascii"), question.type, dns.IN)]
    if edns:
        message.additional = [dns.RRHeader(b"", OPT, UDP_SIZE, 0, dns.UnknownRecord(b""))]
    return message.toStr()


def read_response(octets: bytes, question: Question, id: int) -> Response | None:
    """
    What the octets say of C{question}; None if they are no answer to it.

    @raise DnsError: an answer that cannot be: an alias loop
    """
    message = dns.Message()
    try:
        message.fromStr(octets)
    except (EOFError, ValueError, IndexError, struct.error):
        return None
    if message.id != id or not message.answer or not _asks(message, question):
        return None
    if message.rCode not in (OK, NAME_ERROR) or message.trunc:
        return Response(message.rCode, bool(message.trunc), Answer())
    if _is_cut(message, octets):
        return None
    return _read_answer(message, question)


def _asks(message: dns.Message, question: Question) -> bool:
    if len(message.queries) != 1:
        # Servers that cannot read the question may leave it out of their FORMERR.
        return not message.queries and message.rCode == FORMAT_ERROR
    [asked] = message.queries
    return (_text(asked.name), asked.type, asked.cls) == (question.name, question.type, dns.IN)


def _is_cut(message: dns.Message, octets: bytes) -> bool:
    """
    Has it fewer answers, or less that says why there are none, than its header tells of? The codec leaves out what it
    finds no octets for, and what is left out would be not there, for good.
    """
    _, answers, authority = struct.unpack("!HHH", octets[4:10])
    return (len(message.answers), len(message.authority)) != (answers, authority)


def _read_answer(message: dns.Message, question: Question) -> Response:
    end, ttls = _follow_aliases(message, question)
    found = [record for record in _records(message, question.type) if _text(record.name) == end]
    exists = message.rCode == OK
    if found:
        ttls += [record.ttl for record in found]
        ttl = min(max(float(min(ttls)), MIN_TTL), MAX_TTL)
    else:
        ttl = _negative_ttl(message, ttls)
    name = end if end != question.name else ""
    answer = Answer(tuple(map(_value, found)), exists, bool(message.authenticData), ttl, name)
    unsaid = end != question.name and exists and not found and not _soas(message)
    return Response(message.rCode, False, answer, end if unsaid else "", _is_lame(message))


def _is_lame(message: dns.Message) -> bool:
    """
    NOERROR without an answer and without the SOA that says "no data" (RFC 2308 §2.2), from a
    server that does not recurse or names others to ask: mail must not fail for good by that.
    """
    if message.rCode != OK or message.answers or _soas(message):
        return False
    return not message.recAv or any(record.type == dns.NS for record in message.authority)


def _follow_aliases(message: dns.Message, question: Question) -> tuple[str, list[int]]:
    name = question.name
    ttls: list[int] = []
    if question.type == CNAME:
        return name, ttls
    aliases = {
        _text(record.name): (_text(record.payload.name), record.ttl)
        for record in _records(message, CNAME)
        if isinstance(record.payload, dns.Record_CNAME)
    }
    while name in aliases:
        if len(ttls) == MAX_ALIASES:
            raise DnsError(f"the aliases of {question.name} go in a loop")
        name, ttl = aliases[name]
        ttls.append(ttl)
    return name, ttls


def _records(message: dns.Message, type: int) -> list[Any]:
    return [record for record in message.answers if record.type == type and record.cls == dns.IN]


def _soas(message: dns.Message) -> list[float]:
    soas: list[tuple[int, Any]] = [(record.ttl, record.payload) for record in message.authority]
    return [float(min(ttl, soa.minimum)) for ttl, soa in soas if isinstance(soa, dns.Record_SOA)]


def _negative_ttl(message: dns.Message, aliases: list[int]) -> float:
    """
    RFC 2308 §5: the lesser of the SOA's TTL and its MINIMUM; without one, 0: not to be kept.
    """
    lives = _soas(message)
    return min(*lives, *aliases, MAX_NEGATIVE_TTL) if lives else 0.0


def _text(name: dns.Name | None) -> str:
    return name.name.decode("latin-1").lower().rstrip(".") if name is not None else ""


def _value(record: dns.RRHeader) -> object:
    payload = record.payload
    if isinstance(payload, dns.Record_MX):
        return MxRecord(payload.preference, _text(payload.name))
    if isinstance(payload, (dns.Record_A, dns.Record_AAAA)):
        return payload.dottedQuad() if isinstance(payload, dns.Record_A) else str(IPv6Address(payload.address))
    octets = BytesIO()
    if payload is not None:
        payload.encode(octets)
    return octets.getvalue()
