from __future__ import annotations

import pytest
from twisted.names import dns

from lmrelay.dns.cache import FAILURE_TTL, Cache
from lmrelay.dns.message import (
    MAX_TTL,
    MIN_TTL,
    Question,
    parse_question,
    read_response,
    write_question,
)
from lmrelay.errors import DnsError
from lmrelay.interfaces import Answer, MxRecord

A, MX, TLSA = 1, 15, 52
ASKED = Question("b.example", MX)


def octets(
    *answers: dns.RRHeader,
    id: int = 7,
    name: str = "b.example",
    type: int = MX,
    soa: tuple[int, int] | None = None,
    **fields: int,
) -> bytes:
    message = dns.Message(id, **{"answer": 1, "maxSize": 65535, **fields})  # type: ignore[arg-type]
    message.queries = [dns.Query(name.encode(), type, dns.IN)]
    message.answers = list(answers)
    if soa is not None:
        ttl, minimum = soa
        record = dns.Record_SOA(b"ns.example", b"root.example", 1, 1, 1, 1, minimum, ttl)
        message.authority = [dns.RRHeader(b"example", dns.SOA, dns.IN, ttl, record)]
    return message.toStr()


def mx(host: str, preference: int = 10, ttl: int = 300, name: str = "b.example") -> dns.RRHeader:
    return dns.RRHeader(name.encode(), MX, dns.IN, ttl, dns.Record_MX(preference, host.encode()))


def cname(name: str, target: str, ttl: int = 300) -> dns.RRHeader:
    return dns.RRHeader(name.encode(), dns.CNAME, dns.IN, ttl, dns.Record_CNAME(target.encode()))


def read(wire: bytes, asked: Question = ASKED) -> Answer:
    response = read_response(wire, asked, 7)
    assert response is not None
    return response.answer


NS = dns.RRHeader(b"example", dns.NS, dns.IN, 300, dns.Record_NS(b"ns.example"))


@pytest.mark.parametrize(
    ("recurses", "authority", "soa", "usable"),
    [
        (1, [], None, True),
        (0, [], None, False),
        (1, [NS], None, False),
        (0, [NS], None, False),
        (0, [], (60, 60), True),
        (1, [], (60, 60), True),
    ],
)
def test_nothing_said_is_not_nothing_there(
    recurses: int, authority: list[dns.RRHeader], soa: tuple[int, int] | None, usable: bool
) -> None:
    """
    NOERROR without an answer counts only from who knows: by its SOA, or by asking on for us.
    """
    message = dns.Message()
    message.fromStr(octets(soa=soa, recAv=recurses))
    message.authority += authority
    response = read_response(message.toStr(), ASKED, 7)
    assert response is not None
    assert usable == response.is_usable


def test_question() -> None:
    """
    A question asks for recursion and the AD bit, and takes datagrams of 1232 octets.
    """
    message = dns.Message()
    message.fromStr(write_question(ASKED, 513))
    [query], [opt] = message.queries, message.additional
    assert (513, 1, 1, b"b.example", MX) == (
        message.id,
        message.recDes,
        message.authenticData,
        query.name.name,
        query.type,
    )
    assert (dns.OPT, 1232) == (opt.type, opt.cls)


def test_question_without_edns() -> None:
    """
    For old servers the OPT record is left out.
    """
    message = dns.Message()
    message.fromStr(write_question(ASKED, 1, edns=False))
    assert [] == message.additional


@pytest.mark.parametrize(
    "name", ["", ".", "a..b", "a" * 64 + ".x", ".".join(["a" * 60] * 5), "ü.example", "a b.x", "a\0.x"]
)
def test_name_that_cannot_be_asked_for(name: str) -> None:
    """
    What is no name fails without a question.
    """
    with pytest.raises(DnsError):
        parse_question(name, MX)


def test_name_is_normalized() -> None:
    """
    Case and the final dot make no other question.
    """
    assert ASKED == parse_question("B.Example.", MX)


def test_answer() -> None:
    """
    Records come in lower case, with the AD bit and the least TTL.
    """
    said = read(octets(mx("MX1.b.Example", ttl=90), mx("mx2.b.example", 20), authenticData=1))
    assert Answer((MxRecord(10, "mx1.b.example"), MxRecord(20, "mx2.b.example")), True, True, 90.0) == said


def test_null_mx() -> None:
    """
    The root as host is the null MX.
    """
    assert (MxRecord(0, ""),) == read(octets(mx("", 0))).records


def test_unknown_type_gives_octets() -> None:
    """
    A type without a class of its own comes as its raw octets.
    """
    record = dns.RRHeader(b"b.example", TLSA, dns.IN, 60, dns.UnknownRecord(b"\3\1\1abc"))
    assert (b"\3\1\1abc",) == read(octets(record, type=TLSA), Question("b.example", TLSA)).records


@pytest.mark.parametrize(
    "wire",
    [
        octets(mx("evil.x"), id=8),
        octets(mx("evil.x"), name="c.example"),
        octets(mx("evil.x"), type=A),
        octets(mx("evil.x"), answer=0),
        write_question(ASKED, 7),
        octets(mx("evil.x"))[:20],
        b"",
        b"\0" * 12,
        b"\xff" * 40,
    ],
)
def test_no_answer_to_the_question(wire: bytes) -> None:
    """
    Another id, another question, an echo and garbage are passed over.
    """
    assert read_response(wire, ASKED, 7) is None


@pytest.mark.parametrize(
    "whole",
    [octets(mx("mx1.b.example"), mx("mx2.b.example")), octets(soa=(60, 60), rCode=dns.ENAME), octets(soa=(60, 60))],
    ids=["records", "no such name", "none of the type"],
)
def test_cut_short(whole: bytes) -> None:
    """
    An answer that was cut short on its way says nothing: else what was cut off would be not there, and mail would fail
    for good.
    """
    assert read_response(whole, ASKED, 7) is not None
    assert [] == [size for size in range(len(whole)) if read_response(whole[:size], ASKED, 7) is not None]


def test_records_of_other_names_are_ignored() -> None:
    """
    What an answer says of names nobody asked for does not count.
    """
    assert (MxRecord(10, "mx1.x"),) == read(octets(mx("evil.x", name="c.example"), mx("mx1.x"))).records


@pytest.mark.parametrize(("ttl", "expected"), [(0, MIN_TTL), (300, 300.0), (10**9, MAX_TTL)])
def test_ttl_has_bounds(ttl: int, expected: float) -> None:
    """
    A TTL is neither nothing nor for ever.
    """
    assert expected == read(octets(mx("a.x", ttl=ttl))).ttl


@pytest.mark.parametrize(
    ("soa", "expected"), [((600, 60), 60.0), ((60, 600), 60.0), ((10**6, 10**6), 3600.0), (None, 0.0)]
)
@pytest.mark.parametrize(("rcode", "exists"), [(0, True), (3, False)])
def test_negative_answer(soa: tuple[int, int] | None, expected: float, rcode: int, exists: bool) -> None:
    """
    "None" lives for the lesser of the SOA's TTL and MINIMUM (RFC 2308 §5).
    """
    assert Answer((), exists, False, expected) == read(octets(soa=soa, rCode=rcode))


def test_aliases() -> None:
    """
    The records at the end of a chain are the answer, which says where that is; its TTL counts too.
    """
    said = read(
        octets(cname("b.example", "B1.example"), cname("b1.example", "b2.example", 20), mx("m.x", name="b2.example"))
    )
    assert ((MxRecord(10, "m.x"),), 20.0, "b2.example") == (said.records, said.ttl, said.name)


def test_alias_that_ends_in_nothing_said() -> None:
    """
    Where the chain leaves the answer, its end has to be asked for.
    """
    response = read_response(octets(cname("b.example", "c.example")), ASKED, 7)
    assert response is not None
    assert "c.example" == response.alias


def test_alias_loop() -> None:
    """
    A loop of aliases is refused.
    """
    with pytest.raises(DnsError):
        read_response(octets(cname("b.example", "c.example"), cname("c.example", "b.example")), ASKED, 7)


def test_failure_says_nothing() -> None:
    """
    SERVFAIL is an answer, but of no use.
    """
    response = read_response(octets(rCode=2), ASKED, 7)
    assert response is not None
    assert not response.is_usable


def test_cache_keeps_for_the_ttl() -> None:
    """
    An answer counts down and ends with its TTL.
    """
    cache = Cache()
    cache.keep(ASKED, Answer(ttl=10.0), 100.0)
    assert [Answer(ttl=10.0), Answer(ttl=1.0), None] == [cache.find(ASKED, now) for now in (100.0, 109.0, 110.0)]
    assert 0 == len(cache)


def test_cache_is_bounded() -> None:
    """
    The questions asked longest ago go first.
    """
    cache = Cache(2)
    questions = [Question(f"{letter}.x", MX) for letter in "abc"]
    for question in questions[:2]:
        cache.keep(question, Answer(ttl=9.0), 0.0)
    cache.find(questions[0], 1.0)
    cache.keep(questions[2], Answer(ttl=9.0), 1.0)
    assert [True, False, True] == [cache.find(question, 2.0) is not None for question in questions]


@pytest.mark.parametrize("record", [MxRecord(10, "m" * 200), "2" * 200, b"2" * 200])
def test_cache_is_bounded_by_what_it_takes(record: object) -> None:
    """
    Few long answers push out others as many short ones do, and one that is longer than all may be is not kept at all.
    """
    cache = Cache(octets=200_000)
    for number in range(500):
        cache.keep(Question(f"{number}.x", MX), Answer((record,) * 50, ttl=9.0), 0.0)
    kept = [number for number in range(500) if cache.find(Question(f"{number}.x", MX), 1.0)]
    assert 500 - len(kept) == kept[0]
    assert 5 < len(kept) < 20
    cache.keep(ASKED, Answer((record,) * 2000, ttl=9.0), 1.0)
    assert 0 == len(cache)


def test_cache_forgets_what_it_took() -> None:
    """
    What expired, was asked anew or was forgotten takes nothing: the same may come for ever.
    """
    cache, long = Cache(octets=2000), Answer(("2" * 1000,), ttl=9.0)
    for now in range(100):
        cache.keep(ASKED, long, float(now))
        assert cache.find(ASKED, float(now)) is not None
    assert cache.find(ASKED, 200.0) is None
    cache.keep(ASKED, long, 200.0)
    cache.clear()
    cache.keep(ASKED, long, 200.0)
    assert cache.find(ASKED, 200.0) is not None


def test_cache_keeps_failures_briefly_and_no_ttl_not_at_all() -> None:
    """
    A failure counts for seconds; what has no TTL is asked again.
    """
    cache = Cache()
    cache.keep(ASKED, DnsError("x"), 0.0)
    assert [True, False] == [cache.find(ASKED, now) is not None for now in (FAILURE_TTL - 1, FAILURE_TTL)]
    cache.keep(ASKED, Answer(), 0.0)
    assert cache.find(ASKED, 0.0) is None
