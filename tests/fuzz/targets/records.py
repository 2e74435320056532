"""
What domains say of themselves in TXT records: MTA-STS, TLS reports, DKIM, SPF; and policy files of MTA-STS.
"""

from __future__ import annotations

import re

from lmrelay.cli.spf import check_host
from lmrelay.errors import DnsError, SyntaxRefused
from lmrelay.interfaces import Answer, MxRecord
from lmrelay.mail import tlsrpt
from lmrelay.mail.dkim_record import compare, make_record, split_record, zone_line
from lmrelay.mail.head import Head
from lmrelay.outbound.sts import MAX_AGE, MAX_OCTETS, MAX_PATTERNS, StsMode, join_strings, parse_policy, parse_record
from tests.fuzz.reading import BARE
from tests.fuzz.shared import sentences

WORDS = (
    b"v=STSv1;",
    b"v=STSv1; id=20260101;",
    b"id=",
    b";",
    b" ",
    b"\t",
    b"v=TLSRPTv1;",
    b"rua=mailto:a@b.example",
    b"rua=https://b.example/x,",
    b"mailto:a%0d%0a@b.example",
    b"https://u:p@b.example/",
    b"v=DKIM1; k=rsa; p=",
    b"AAAA",
    b"v=spf1 ",
    b"include:b.example ",
    b"redirect=b.example",
    b"a/24 ",
    b"ip4:192.0.2.0/24 ",
    b"mx ",
    b"exists:%{i}.x ",
    b"version: STSv1\r\n",
    b"mode: enforce\n",
    b"mx: *.b.example\r\n",
    b"max_age: 86400\n",
    b"mode: none\n",
    b"\r",
    b"\n",
    b"ptr ",
    b"-all",
    b"ip6:::/0 ",
    b"max_age: 99999999999",
    b"mx: *.*\n",
    b"\xc2\xa0",
    b"\xff",
    b"https://[::1",
    b"%ff",
)

examples = sentences(WORDS, 10)

KEY = b"a public key"


def target(data: bytes) -> None:
    """
    The data as each of them, as one string and as a record's strings.
    """
    strings = b"".join(bytes([len(data[at : at + 255])]) + data[at : at + 255] for at in range(0, len(data), 255))
    assert data == join_strings(strings)
    for rdata in (strings, data):
        _check_sts_record(rdata)
    _check_policy(data)
    _check_reports(data)
    _check_dkim(data.decode("utf-8", "replace"))
    _check_spf(data.decode("utf-8", "replace"))


def _check_sts_record(rdata: bytes) -> None:
    found = parse_record([rdata])
    assert found is None or re.fullmatch("[A-Za-z0-9]{1,32}", found)
    # Two valid ones are none.
    assert found is None or parse_record([rdata, rdata]) is None
    assert found is None or found == parse_record([b"\x04spam", rdata, "no octets"])


def _check_policy(data: bytes) -> None:
    try:
        published = parse_policy(data)
    except SyntaxRefused as error:
        assert str(error).isprintable()
        return
    policy = published.policy
    assert len(data) <= MAX_OCTETS
    assert 0 <= published.max_age <= MAX_AGE
    assert bool(policy.mx) or policy.mode is StsMode.NONE
    assert len(policy.mx) <= MAX_PATTERNS
    for pattern in policy.mx:
        assert re.fullmatch(r"(\*\.)?[a-z0-9.-]+", pattern)
        host = pattern.replace("*", "mx", 1)
        assert policy.matches(host)
        assert not policy.matches(f"not.{host}") or any(one in (f"not.{host}", f"*.{host}") for one in policy.mx)
    lines = [f"mx: {pattern}" for pattern in policy.mx]
    again = "\r\n".join(["version: STSv1", f"mode: {policy.mode.value}", *lines, f"max_age: {published.max_age}", ""])
    assert published == parse_policy(again.encode())


def _check_reports(data: bytes) -> None:
    found = tlsrpt.find_destinations([data])
    assert len(found.mailboxes) + len(found.urls) <= tlsrpt.MAX_DESTINATIONS
    for url in found.urls:
        assert re.fullmatch(r"(?i)https://[!-~]+", url)
        assert "@" not in url.split("/")[2]
    for address in found.mailboxes:
        assert address.is_ascii
        assert not address.is_literal
    if not found.mailboxes:
        return
    report = tlsrpt.Report("r1", "2026-11-20", "b.example", "relay.example", "postmaster@relay.example", ())
    head, body = tlsrpt.compose(report, found.mailboxes, report.to_gzip(), 1_800_000_000.0)
    assert list(found.mailboxes) == [one.address for one in Head.parse(head).mailboxes("To")]
    assert not BARE.search(head + body)


def _check_dkim(text: str) -> None:
    assert compare("rsa", KEY, [make_record("rsa", KEY)]).is_right
    published = compare("rsa", KEY, [text])
    assert published.is_right == (not published.reason)
    assert not compare("rsa", KEY, [make_record("rsa", KEY), make_record("rsa", KEY)]).is_right
    assert text == "".join(split_record(text))
    line = zone_line("s._domainkey.b.example", make_record("rsa", text.encode()))
    assert re.fullmatch(r's\._domainkey\.b\.example\. IN TXT ("[^"\\]{1,255}" ?)+', line)


def _check_spf(text: str) -> None:
    asked: list[str] = []

    pieces = [text[at : at + 60].encode() for at in range(0, len(text), 60)]
    rdata = b"".join(bytes([len(piece)]) + piece for piece in pieces)

    def ask(name: str, type: int) -> Answer:
        asked.append(name)
        if len(name) > 253 or not name.isascii():
            raise DnsError("there can be no such name")
        if type == 16:
            return Answer((rdata,))
        return Answer((MxRecord(1, "b.example"),) if type == 15 else ())

    check_host(ask, "192.0.2.7", "b.example")
    # RFC 7208 §4.6.4: ten terms that ask, of which an mx may ask for ten hosts.
    assert len(asked) <= 130
