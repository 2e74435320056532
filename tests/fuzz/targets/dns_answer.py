"""
An answer of a hostile name server, held against dnspython's reading of it.
"""

from __future__ import annotations

import struct
from ipaddress import ip_address

import dns.exception
import dns.message
import dns.rdatatype
from hypothesis import strategies as st

from lmrelay.dns.message import (
    MAX_ALIASES,
    MAX_NEGATIVE_TTL,
    MAX_TTL,
    Question,
    Response,
    parse_question,
    read_response,
    write_question,
)
from lmrelay.errors import DnsError
from lmrelay.interfaces import MxRecord
from lmrelay.mail.dkim_record import is_testing, parse_tags
from lmrelay.outbound.dane import TLSA, parse_tlsa
from lmrelay.outbound.sts import join_strings
from tests.fuzz.shared import sentences

TYPES = (15, 1, 28, 16, TLSA, 5)
NAME = b"\x01b\x07example\x00"


def _message(type: int, flags: bytes = b"\x81\x80", counts: bytes = b"\0\1\0\1\0\0\0\0") -> bytes:
    return b"\x12\x34" + flags + counts + NAME + struct.pack("!HH", type, 1)


def _record(type: int, data: bytes, owner: bytes = b"\xc0\x0c", ttl: int = 300) -> bytes:
    return owner + struct.pack("!HHIH", type, 1, ttl, len(data)) + data


WORDS = (
    b"\xc0\x0c",
    b"\xc0\x0d",
    NAME,
    b"\x00",
    b"\x3f",
    b"\x40",
    b"\xff\xff",
    b"\x00\x01\x00\x01",
    b"\x00\x0f\x00\x01",
    _record(1, b"\x7f\0\0\1"),
    _record(15, b"\0\x0a\xc0\x0c"),
    _record(15, b"\0\0\0"),
    _record(28, b"\0" * 15 + b"\1"),
    _record(5, b"\xc0\x0c"),
    _record(5, b"\x01c\xc0\x0e"),
    _record(16, b"\x0bv=STSv1; id"),
    _record(16, b"\xff"),
    _record(52, b"\3\1\1" + b"x" * 32),
    _record(6, b"\0\0" + b"\0" * 20),
    _record(1, b"\1"),
    _record(41, b"", b"\0"),
    _record(1, b"\x7f\0\0\1", b"\x01c\xc0\x0e"),
    _record(2, b"\xc0\x0c"),
    _record(15, b"\0\1\x03a.b\xc0\x0c", ttl=0xFFFFFFFF),
)

examples = st.tuples(
    st.sampled_from([bytes([number]) + _message(type) for number, type in enumerate(TYPES)]), sentences(WORDS, 6)
).map(b"".join)


def target(data: bytes) -> None:
    """
    An answer to a question of the type that the first octet chooses, with the id that it has itself.
    """
    question = Question("b.example", TYPES[data[0] % len(TYPES)] if data else 15)
    octets = data[1:]
    id = int.from_bytes(octets[:2], "big")
    assert read_response(write_question(question, id), question, id) is None
    assert read_response(octets, question, id ^ 1) is None
    try:
        response = read_response(octets, question, id)
    except DnsError:
        return
    if response is not None:
        _check(response, question)
        _compare(response, question, octets)
    _check_rdata(octets)


def _check(response: Response, question: Question) -> None:
    answer = response.answer
    assert 0 <= answer.ttl <= max(MAX_TTL, MAX_NEGATIVE_TTL)
    assert response.is_usable or not answer.records
    assert not (response.alias and answer.records)
    for record in answer.records:
        if question.type == 15:
            assert isinstance(record, MxRecord)
            assert 0 <= record.preference <= 0xFFFF
            assert not record.host.endswith(".")
            _check_asked(record.host)
        elif question.type in (1, 28):
            assert ip_address(str(record)).version == (4 if question.type == 1 else 6)
        else:
            assert isinstance(record, bytes)
            _check_rdata(record)
    if response.alias:
        _check_asked(response.alias)


def _check_asked(name: str) -> None:
    """
    A name out of an answer is asked for, or it is none that can be; the question then says what was meant.
    """
    try:
        question = parse_question(name, 1)
    except DnsError:
        return
    asked = dns.message.from_wire(write_question(question, 7)).question[0]
    assert question.name == asked.name.to_text(omit_final_dot=True).replace("\\", "")


def _compare(response: Response, question: Question, octets: bytes) -> None:
    """
    Who reads it by another library finds no record that we did not, nor we one that it does not.
    """
    if not response.is_usable or response.truncated or question.type not in (1, 28, 15):
        return
    try:
        other = dns.message.from_wire(octets, ignore_trailing=True, one_rr_per_rrset=True)
        name, records = other.question[0].name.canonicalize(), []
        named = [one for one in other.answer if (one.rdtype, one.rdclass) == (5, 1)]
        aliases = {one.name.canonicalize(): one[0].target.canonicalize() for one in named}
        for _ in range(MAX_ALIASES + 1):
            name = aliases.get(name, name)
        for one in other.answer:
            if (one.rdtype, one.rdclass, one.name.canonicalize()) == (question.type, 1, name):
                records += list(one)
    except (dns.exception.DNSException, ValueError, struct.error, IndexError):
        return
    if not all(_is_plain(one) for one in (*aliases, *aliases.values(), name, *(one.name for one in other.answer))):
        return
    if question.type == 15:
        ours = [(one.preference, one.host) for one in response.answer.records if isinstance(one, MxRecord)]
        theirs = [(one.preference, str(one.exchange.canonicalize()).rstrip(".")) for one in records]
        assert sorted(theirs) == sorted(ours) or not all(_is_plain(one.exchange) for one in records)
    else:
        assert sorted(one.address for one in records) == sorted(map(str, response.answer.records))


def _is_plain(name: object) -> bool:
    """
    Is it without what the libraries write down in different ways?
    """
    return all(one.isascii() and (one.isalnum() or one in ".-_") for one in str(name))


def _check_rdata(octets: bytes) -> None:
    record = parse_tlsa(octets)
    assert record is None or (record.usage in (2, 3) and record.selector in (0, 1) and record.matching in (0, 1, 2))
    text = join_strings(octets)
    assert text is None or len(text) <= len(octets)
    tags = (text or octets).decode("utf-8", "replace")
    assert all(name == name.strip() for name in parse_tags(tags))
    assert is_testing(tags) in (True, False)
