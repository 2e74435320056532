"""
SPF as receivers see it.
"""

from __future__ import annotations

import pytest

from lmrelay.cli.spf import allow, check_host
from lmrelay.errors import DnsError
from lmrelay.interfaces import Answer
from lmrelay.testing.name_server import Said, Zone
from tests.cli.zone import texts

US, US6 = "192.0.2.1", "2001:db8::1"


def asking(zone: Zone):
    """
    The zone, asked at once.
    """

    def ask(name: str, type: int) -> Answer:
        _, end = zone.follow(name, type)
        said = zone.look_up(end, type)
        if said.rcode not in (0, 3):
            raise DnsError(f"SERVFAIL for {name}")
        return Answer(said.records, said.rcode == 0)

    return ask


def zone(record: str) -> Zone:
    """
    C{a.example} with that record, and names for it to lead to.
    """
    found = Zone()
    for name, text in {
        "a.example": record,
        "ours.example": f"v=spf1 ip4:{US} ip6:{US6} -all",
        "other.example": "v=spf1 ip4:198.51.100.0/24 -all",
        "two.example": "v=spf1 -all",
        "loop.example": "v=spf1 include:loop.example -all",
        "dot.example": "v=spf1 include:ours.example. ?all",
        "plain.example": "no record",
    }.items():
        texts(found, name, text)
    texts(found, "two.example", "v=spf1 -all", "v=spf1 +all")
    found.addresses("host.example", US, US6).addresses("near.example", "192.0.2.77", "2001:db8::77")
    found.exchanges("a.example", (10, "elsewhere.example"), (20, "host.example")).addresses(
        "elsewhere.example", "8.8.8.8"
    )
    found.exchanges("many.example", *((number, f"mx{number}.example") for number in range(11)))
    return found


@pytest.mark.parametrize(
    ("record", "result"),
    [
        (f"v=spf1 ip4:{US} -all", "pass"),
        ("v=spf1 ip4:192.0.2.0/24 -all", "pass"),
        ("V=SPF1 IP4:192.0.2.0/24 -ALL", "pass"),
        ("v=spf1 +ip4:192.0.2.1/32 ~all", "pass"),
        ("v=spf1 -ip4:192.0.2.1 +all", "fail"),
        ("v=spf1 ?ip4:192.0.2.1 -all", "neutral"),
        ("v=spf1 ip4:198.51.100.1 -all", "fail"),
        ("v=spf1 ip4:198.51.100.1 ~all", "softfail"),
        ("v=spf1 ip4:198.51.100.1 ?all", "neutral"),
        ("v=spf1", "neutral"),
        ("v=spf1 mx -all", "pass"),
        ("v=spf1 mx:a.example -all", "pass"),
        ("v=spf1 a -all", "fail"),
        ("v=spf1 a:host.example -all", "pass"),
        ("v=spf1 a:near.example -all", "fail"),
        ("v=spf1 a:near.example/24 -all", "pass"),
        ("v=spf1 a:near.example/24//64 -all", "pass"),
        ("v=spf1 a:near.example//64 -all", "fail"),
        ("v=spf1 include:ours.example -all", "pass"),
        ("v=spf1 include:other.example ~all", "softfail"),
        ("v=spf1 include:dot.example ~all", "pass"),
        ("v=spf1 redirect=ours.example", "pass"),
        ("v=spf1 -all redirect=ours.example", "fail"),
        ("v=spf1 exp=why.example x-new=1 mx -all", "pass"),
        ("no record", "none"),
        ("v=spf10 +all", "none"),
        ("v=spf1 include:plain.example -all", "permerror"),
        ("v=spf1 include:two.example -all", "permerror"),
        ("v=spf1 include:loop.example -all", "permerror"),
        ("v=spf1 redirect=plain.example", "permerror"),
        ("v=spf1 mx:many.example -all", "permerror"),
        (f"v=spf1 ip4:{US} inlcude:ours.example -all", "permerror"),
        ("v=spf1 ip4:192.0.2.1/33 -all", "permerror"),
        ("v=spf1 ip4:2001:db8::1 -all", "permerror"),
        ("v=spf1 ip4 -all", "permerror"),
        ("v=spf1 include -all", "permerror"),
        ("v=spf1 a:host.example/33 -all", "permerror"),
        ("v=spf1 all/8", "permerror"),
        ("v=spf1 a:x1.example a:x2.example a:x3.example ip4:192.0.2.1 -all", "permerror"),
        ("v=spf1 a:x1.example a:x2.example ip4:192.0.2.1 -all", "pass"),
        ("v=spf1 exists:%{i}.x.example ptr ip4:192.0.2.1 -all", "pass"),
    ],
)
def test_check_host(record: str, result: str) -> None:
    """
    Every mechanism that does not hang on a message is read as RFC 7208 has it.
    """
    assert result == check_host(asking(zone(record)), US, "a.example").result


@pytest.mark.parametrize(
    ("record", "result"),
    [
        (f"v=spf1 ip6:{US6} -all", "pass"),
        ("v=spf1 ip6:2001:db8::/32 -all", "pass"),
        (f"v=spf1 ip4:{US} -all", "fail"),
        ("v=spf1 a:host.example -all", "pass"),
        ("v=spf1 a:near.example/24//64 -all", "pass"),
        ("v=spf1 a:near.example/24 -all", "fail"),
        ("v=spf1 include:ours.example -all", "pass"),
    ],
)
def test_check_host_ipv6(record: str, result: str) -> None:
    """
    The same for an IPv6 address.
    """
    assert result == check_host(asking(zone(record)), US6, "a.example").result


def test_lookups() -> None:
    """
    Ten lookups are allowed, an eleventh is an error that names it; those behind a match are not made.
    """
    includes = " ".join(["include:other.example"] * 10)
    found = check_host(asking(zone(f"v=spf1 {includes} ip4:{US} -all")), US, "a.example")
    assert ("pass", 10) == (found.result, found.lookups)
    found = check_host(asking(zone(f"v=spf1 {includes} a:host.example -all")), US, "a.example")
    assert ("permerror", True) == (found.result, "a:host.example" in found.reason)
    found = check_host(asking(zone(f"v=spf1 ip4:{US} {includes} a:host.example -all")), US, "a.example")
    assert ("pass", 0) == (found.result, found.lookups)


def test_unknown() -> None:
    """
    What only a message decides is named.
    """
    found = check_host(asking(zone("v=spf1 exists:%{i}._spf.a.example include:%{d2}.x ptr -all")), US, "a.example")
    assert ("fail", ("exists:%{i}._spf.a.example", "include:%{d2}.x", "ptr")) == (found.result, found.unknown)


def test_no_answer() -> None:
    """
    A DNS that fails is no verdict on the domain.
    """
    for name in ("a.example", "ours.example"):
        broken = zone("v=spf1 include:ours.example -all").fault(name, Said(rcode=2))
        found = check_host(asking(broken), US, "a.example")
        assert ("temperror", True) == (found.result, name in found.reason)


def test_allow() -> None:
    """
    What is missing is put before all else, and the rest stays.
    """
    assert f"v=spf1 ip4:{US} ip6:{US6} mx -all" == allow("v=spf1 mx -all", [US, US6])
    assert f"v=spf1 ip4:{US} ~all" == allow("", [US])
