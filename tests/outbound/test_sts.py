"""
MTA-STS records, policy files and patterns, as tables after RFC 8461 §3 and §4.1.
"""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrelay.errors import SyntaxRefused
from lmrelay.outbound.sts import (
    MAX_AGE,
    MAX_OCTETS,
    Published,
    StsMode,
    StsPolicy,
    join_strings,
    parse_policy,
    parse_record,
)
from lmrelay.outbound.tls import Level

ENFORCE, TESTING, NONE = StsMode.ENFORCE, StsMode.TESTING, StsMode.NONE


def txt(*strings: bytes) -> bytes:
    """
    The RDATA of a TXT record.
    """
    return b"".join(bytes([len(one)]) + one for one in strings)


@pytest.mark.parametrize(
    ("expected", "records"),
    [
        ("20160831085700Z", [txt(b"v=STSv1; id=20160831085700Z;")]),
        ("1", [txt(b"v=STSv1;id=1")]),
        ("1", [txt(b"v=STSv1 \t;\t id=1 ; ")]),
        ("a", [txt(b"v=STSv1 \t;\tid=a ; x=y\t ;\t")]),
        ("1", [txt(b"v=STS", b"v1; i", b"d=1;")]),
        ("1", [txt(b"v=STSv1; a.b-c_d=!~; id=1; x=y;")]),
        ("1", [txt(b"v=STSv1; id=1; id=2;")]),
        ("a" * 32, [txt(b"v=STSv1; id=" + b"a" * 32)]),
        ("1", [txt(b"v=spf1 -all"), txt(b"v=STSv1; id=1;"), txt(b"v=STSv2; id=2;"), txt(b"V=STSv1; id=3;"), "x"]),
        (None, []),
        (None, [txt(b"v=STSv1; id=1;"), txt(b"v=STSv1; id=1;")]),
        (None, [txt(b"v=STSv1; id=1;"), txt(b"v=STSv1; broken")]),
        (None, [txt(b"v=STSv1")]),
        (None, [txt(b"v=STSv1;")]),
        (None, [txt(b"v=STSv1; ;id=1")]),
        (None, [txt(b"v=STSv1; id=1;;")]),
        (None, [txt(b"v=STSv1; x=y")]),
        (None, [txt(b"v=STSv1; id=")]),
        (None, [txt(b"v=STSv1; id=1 2")]),
        (None, [txt(b"v=STSv1; id=a-b")]),
        (None, [txt(b"v=STSv1; id=a-b; id=1")]),
        (None, [txt(b"v=STSv1; id=" + b"a" * 33)]),
        (None, [txt(b"v=STSv1; ID=1")]),
        (None, [txt(b"v=STSv1; id = 1")]),
        (None, [txt(b"v=STSv1; id=1; x==y")]),
        (None, [txt(b"v=STSv1; id=1; -x=y")]),
        (None, [txt(b"v=STSv1; id=1; " + b"x" * 33 + b"=y")]),
        (None, [txt(b"v=STSv1; id=1; x=\xc3\xa4")]),
        (None, [txt(b" v=STSv1; id=1;")]),
        (None, [txt(b"id=1; v=STSv1")]),
        (None, [txt(b"v=STSv1; id=1;")[:-1]]),
        (None, [b""]),
    ],
)  # fmt: skip
def test_record(expected: str | None, records: list[object]) -> None:
    """
    Exactly one valid record has the id; what does not begin with the version is of no matter.
    """
    assert expected == parse_record(records)


MX = ("mail.example.com", "*.example.net", "backupmx.example.com")
GOOD = ("version: STSv1\nmode: enforce\n" + "".join(f"mx: {one}\n" for one in MX) + "max_age: 604800\n").encode()


@pytest.mark.parametrize(
    ("expected", "octets"),
    [
        (Published(StsPolicy(ENFORCE, MX), 604800), GOOD),
        (Published(StsPolicy(ENFORCE, MX), 604800), GOOD.replace(b"\n", b"\r\n")),
        (Published(StsPolicy(ENFORCE, MX), 604800), GOOD.rstrip()),
        (Published(StsPolicy(ENFORCE, MX), 604800), GOOD + b"\r\n\n"),
        (Published(StsPolicy(ENFORCE, MX), 604800), GOOD + b"x: y\n" * 494),
        (Published(StsPolicy(ENFORCE, MX), 604800), GOOD.replace(b": ", b":").replace(b"\n", b" \t\n")),
        (Published(StsPolicy(TESTING, ("a.b",)), 0), b"max_age: 0\nmx: A.B\nmx: a.b\nmode: testing\nversion: STSv1"),
        (Published(StsPolicy(NONE, ()), 60), b"version: STSv1\nmode: none\nmax_age: 60\n"),
        (Published(StsPolicy(NONE, ("a.b",)), 60), b"version: STSv1\nmode: none\nmx: a.b\nmax_age: 60\n"),
        (Published(StsPolicy(NONE, ()), MAX_AGE), b"version: STSv1\nmode: none\nmax_age: 9999999999\n"),
        (Published(StsPolicy(NONE, ()), 60),
         "version: STSv1\nnew: ä = b; c d\nVersion: x\nmode: none\nmode: enforce\nmax_age: 60\nmax_age: x\n".encode()),
        (Published(StsPolicy(ENFORCE, ("xn--bcher-kva.example",)), 60),
         b"version: STSv1\nmode: enforce\nmx: xn--bcher-kva.example\nmax_age: 60\n"),
    ],
)  # fmt: skip
def test_policy(expected: Published, octets: bytes) -> None:
    """
    Either line ending, any order, other fields passed over, the first of a field that comes again, a year at most.
    """
    assert expected == parse_policy(octets)


@pytest.mark.parametrize(
    ("words", "octets"),
    [
        ("line 1", b""),
        ("version", b"mode: none\nmax_age: 1\n"),
        ("version", GOOD.replace(b"STSv1", b"STSv2")),
        ("version", GOOD.replace(b"STSv1", b"stsv1")),
        ("version", GOOD.replace(b"version", b"Version")),
        ("version", b"version: STSv2\n" + GOOD),
        ("mode", GOOD.replace(b"enforce", b"Enforce")),
        ("mode", GOOD.replace(b"enforce", b"report")),
        ("mode", GOOD.replace(b"mode", b"node")),
        ("names no mx", GOOD.replace(b"mx:", b"my:")),
        ("mx", GOOD.replace(b"mail.example.com", b"*")),
        ("mx", GOOD.replace(b"mail.example.com", b"*.")),
        ("mx", GOOD.replace(b"mail.example.com", b"*.*.example.com")),
        ("mx", GOOD.replace(b"mail.example.com", b"mail.*.com")),
        ("mx", GOOD.replace(b"mail.example.com", b"*mail.example.com")),
        ("mx", GOOD.replace(b"mail.example.com", b".example.com")),
        ("mx", GOOD.replace(b"mail.example.com", b"mail.example.com.")),
        ("mx", GOOD.replace(b"mail.example.com", b"mail..example.com")),
        ("mx", GOOD.replace(b"mail.example.com", b"-mail.example.com")),
        ("mx", GOOD.replace(b"mail.example.com", b"mail.example.com, b.example")),
        ("mx", GOOD.replace(b"mail.example.com", b"a" * 64 + b".example")),
        ("mx", GOOD.replace(b"mail.example.com", b"a." * 130 + b"example")),
        ("mx", GOOD.replace(b"mail.example.com", "bücher.example".encode())),
        ("max_age", GOOD.replace(b"604800", b"-1")),
        ("max_age", GOOD.replace(b"604800", b"1.5")),
        ("max_age", GOOD.replace(b"604800", b"1d")),
        ("max_age", GOOD.replace(b"604800", b"12345678901")),
        ("max_age", GOOD.replace(b"604800", "٦".encode())),
        ("max_age", GOOD.replace(b"max_age", b"max-age")),
        ("line 1", b"\n" + GOOD),
        ("line 3", b"version: STSv1\nmode: none\nnonsense\n"),
        ("line 3", GOOD.replace(b"mx:", b"\nmx:", 1)),
        ("line 2", GOOD.replace(b"mode: enforce", b"mode:")),
        ("line 2", GOOD.replace(b"mode", b" mode")),
        ("line 2", GOOD.replace(b"mode:", b"mode :")),
        ("line 2", GOOD.replace(b"enforce", b"enf\x00orce")),
        ("line 1", GOOD.replace(b"\n", b"\r")),
        ("line 1", b"<html></html>"),
        ("more than 100 mx", GOOD + b"mx: a.example\n" * 100),
        ("more than 500 lines", GOOD + b"x: y\n" * 495),
        ("UTF-8", GOOD + b"x: \xff\n"),
        ("octets", GOOD + b"x: " + b"y" * MAX_OCTETS),
    ],
)  # fmt: skip
def test_no_policy(words: str, octets: bytes) -> None:
    """
    Whatever is malformed is no policy, and says why.
    """
    with pytest.raises(SyntaxRefused, match=words):
        parse_policy(octets)


def test_megabytes_of_blanks() -> None:
    """
    A record takes time that grows with its length alone, whatever is in it. If it grew with the square, a domain would
    stop the relay for hours with these, and for seconds with a record that fits an answer.
    """
    assert join_strings(b"\0" * 2**22) == b""
    for blank in (b" ", b"\t"):
        for text in (b"", b"v=STSv1; id=a", b"v=STSv1"):
            assert parse_record([(b"\xff" + blank * 255) * 2**13 + bytes([len(text)]) + text]) is None


@given(st.binary(max_size=300), st.lists(st.binary(max_size=60), max_size=4))
def test_any_octets(octets: bytes, records: list[bytes]) -> None:
    """
    Nothing but a value or the one refusal comes of octets.
    """
    assert parse_record(records) is None or records
    with suppress(SyntaxRefused):
        assert parse_policy(octets).max_age <= MAX_AGE


@pytest.mark.parametrize(
    ("host", "matches"),
    [
        ("mail.example.com", True),
        ("backupmx.example.com", True),
        ("a.mail.example.com", False),
        ("example.com", False),
        ("mx1.example.net", True),
        ("example.net", False),
        ("a.b.example.net", False),
        ("mx1.badexample.net", False),
        ("net", False),
        ("", False),
    ],
)
def test_patterns(host: str, matches: bool) -> None:
    """
    A star stands for exactly one label, the leftmost.
    """
    assert matches == parse_policy(GOOD).policy.matches(host)


@pytest.mark.parametrize("mode", StsMode)
@pytest.mark.parametrize("host", ["mail.example.com", "mx.evil.example"])
def test_rules(mode: StsMode, host: str) -> None:
    """
    Enforced it bars a host that it does not name and asks a certificate of the others; in testing it only watches.
    """
    policy = StsPolicy(mode, MX)
    asked, watched = list(policy.asks(host)), list(policy.watches(host))
    assert (mode is ENFORCE, mode is TESTING) == (bool(asked), bool(watched))
    barred = host == "mx.evil.example"
    expected = [("mta-sts", Level.AUTHENTICATED, barred)] if mode is not NONE else []
    found = [(rule.policy, rule.required, rule.barred is not None) for rule in (*asked, *watched)]
    assert expected == found


@pytest.mark.parametrize(
    "begins", [b"", b"v=STSv1", b"v=STSv1;", b"v=STSv1; id=1", b"v=STSv1; id=1;" + b" " * 30_000 + b"x=y"]
)
def test_endless_blanks(begins: bytes) -> None:
    """
    A record is read in a moment, however many blanks its owner put there: all mail waits meanwhile.
    """
    text = begins + b" " * (60_000 - len(begins)) + b"x"
    assert parse_record([txt(*(text[at : at + 255] for at in range(0, len(text), 255)))]) is None


@given(st.lists(st.sampled_from([b";", b" ", b"\t", b"v=STSv1", b"id=a", b"x=y"]), max_size=12))
def test_blanks(words: list[bytes]) -> None:
    """
    Blanks around semicolons count for nothing, blanks anywhere else for what they are.
    """
    text = b"".join(words)
    dense = re.sub(rb"[ \t]*;[ \t]*", b";", text)
    assert parse_record([txt(dense)]) == parse_record([txt(text)])
