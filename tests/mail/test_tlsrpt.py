"""
Who wants TLS reports, what stands in one, and the mail that carries it.
"""

from __future__ import annotations

import email
import email.policy
import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrelay.mail.address import parse_address
from lmrelay.mail.tlsrpt import (
    MAX_DESTINATIONS,
    MEDIA_TYPE,
    Destinations,
    Report,
    TlsCount,
    compose,
    day_of,
    find_destinations,
)

NONE = Destinations()


def to(*mailboxes: str, urls: tuple[str, ...] = ()) -> Destinations:
    return Destinations(tuple(parse_address(one) for one in mailboxes), urls)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ("v=TLSRPTv1; rua=mailto:reports@example.com", to("reports@example.com")),
        ("v=TLSRPTv1;rua=mailto:reports@example.com;", to("reports@example.com")),
        ("v=TLSRPTv1 ; rua=MAILTO:a@b.example , mailto:c@d.example", to("a@b.example", "c@d.example")),
        (
            "v=TLSRPTv1; rua=https://reporting.example.com/v1/tlsrpt",
            to(urls=("https://reporting.example.com/v1/tlsrpt",)),
        ),
        (
            "v=TLSRPTv1; rua=mailto:a@b.example,https://b.example:8443/x?y=z",
            to("a@b.example", urls=("https://b.example:8443/x?y=z",)),
        ),
        ("v=TLSRPTv1; rua=mailto:a%2Bb@b.example?subject=x", to("a+b@b.example")),
        ("v=TLSRPTv1; rua=mailto:a@b.example,mailto:a@b.example", to("a@b.example")),
        ("v=TLSRPTv1; ext=1; rua=mailto:a@b.example", to("a@b.example")),
        ("v=TLSRPTv1; rua=gopher:x,mailto:a@b.example", to("a@b.example")),
    ],
)
def test_destinations(record: str, expected: Destinations) -> None:
    """
    Mailboxes and URLs as the domain names them, each once; what is not understood is passed over.
    """
    assert expected == find_destinations([b"v=spf1 -all", record.encode()])


@pytest.mark.parametrize(
    "record",
    [
        "",
        "v=TLSRPTv1",
        "v=TLSRPTv1;",
        "v=TLSRPTv2; rua=mailto:a@b.example",
        "V=tlsrptv1; rua=mailto:a@b.example",
        "rua=mailto:a@b.example; v=TLSRPTv1;",
        "v=TLSRPTv1; rua=",
        "v=TLSRPTv1; rua=mailto:a@b.example; rua=mailto:c@b.example",
        "v=TLSRPTv1; rua=mailto:",
        "v=TLSRPTv1; rua=mailto:nobody",
        "v=TLSRPTv1; rua=mailto:a@[127.0.0.1]",
        "v=TLSRPTv1; rua=mailto:a%0d%0aBcc:x@b.example",
        "v=TLSRPTv1; rua=mailto:%ff@b.example",
        "v=TLSRPTv1; rua=mailto:%C3%BC@b.example",
        "v=TLSRPTv1; rua=http://b.example/",
        "v=TLSRPTv1; rua=https://",
        "v=TLSRPTv1; rua=https://localhost/",
        "v=TLSRPTv1; rua=https://127.0.0.1/",
        "v=TLSRPTv1; rua=https://[::1]/",
        "v=TLSRPTv1; rua=https://user:secret@b.example/",
        "v=TLSRPTv1; rua=https://b.example:0/",
        "v=TLSRPTv1; rua=https://b.example:99999/",
        "v=TLSRPTv1; rua=https://[b.example/",
    ],
)
def test_no_destinations(record: str) -> None:
    """
    What is no record for this, or leads nowhere that a report may go, asks for nothing.
    """
    assert NONE == find_destinations([record.encode()])
    assert not NONE


def test_two_records() -> None:
    """
    Where two records contradict each other there is none.
    """
    assert NONE == find_destinations([b"v=TLSRPTv1; rua=mailto:a@b.example"] * 2)


def test_many_destinations() -> None:
    """
    Nobody has a report sent all over the world.
    """
    uris = ",".join(f"mailto:a{number}@b.example" for number in range(50))
    assert MAX_DESTINATIONS == len(find_destinations([b"v=TLSRPTv1; rua=" + uris.encode()]).mailboxes)


@given(st.binary(max_size=200))
def test_anything(octets: bytes) -> None:
    """
    Whatever a domain publishes, there is an answer, and it is fit for a header field.
    """
    found = find_destinations([b"v=TLSRPTv1; rua=" + octets])
    assert all(str(one).isprintable() and str(one).isascii() for one in found.mailboxes)
    assert all(one.isprintable() and one.startswith("https:") for one in (url.lower() for url in found.urls))


STS = {
    "policy-type": "sts",
    "policy-string": ["version: STSv1", "mode: testing", "mx: *.mail.company-y.example", "max_age: 86400"],
    "policy-domain": "company-y.example",
    "mx-host": ["*.mail.company-y.example"],
}
EXPIRED = {
    "result-type": "certificate-expired",
    "sending-mta-ip": "2001:db8:abcd:0012::1",
    "receiving-mx-hostname": "mx1.mail.company-y.example",
}
NO_TLS = {
    "result-type": "starttls-not-supported",
    "sending-mta-ip": "2001:db8:abcd:0013::1",
    "receiving-mx-hostname": "mx2.mail.company-y.example",
    "receiving-ip": "203.0.113.56",
}
OTHER = {"policy-type": "no-policy-found", "policy-domain": "company-y.example"}
REPORT = Report(
    "2016-04-01_company-y.example",
    "2016-04-01",
    "company-y.example",
    "mta.company-x.example",
    "sts-reporting@company-x.example",
    (
        TlsCount(json.dumps(STS), "", 5326),
        TlsCount(json.dumps(STS), json.dumps(NO_TLS), 200),
        TlsCount(json.dumps(STS), json.dumps(EXPIRED), 100),
        TlsCount(json.dumps(OTHER), "", 7),
    ),
)


def test_json() -> None:
    """
    As the example of RFC 8460 appendix B has it: each policy with its sums, and what failed under it.
    """
    expected: dict[str, Any] = {
        "organization-name": "mta.company-x.example",
        "date-range": {"start-datetime": "2016-04-01T00:00:00Z", "end-datetime": "2016-04-01T23:59:59Z"},
        "contact-info": "sts-reporting@company-x.example",
        "report-id": "2016-04-01_company-y.example",
        "policies": [
            {
                "policy": STS,
                "summary": {"total-successful-session-count": 5326, "total-failure-session-count": 300},
                "failure-details": [
                    {**NO_TLS, "failed-session-count": 200},
                    {**EXPIRED, "failed-session-count": 100},
                ],
            },
            {
                "policy": OTHER,
                "summary": {"total-successful-session-count": 7, "total-failure-session-count": 0},
            },
        ],
    }
    assert expected == json.loads(REPORT.to_json())
    assert REPORT.to_json() == gzip.decompress(REPORT.to_gzip())
    # Who gets it twice can tell.
    assert REPORT.to_gzip() == REPORT.to_gzip()


def test_mail() -> None:
    """
    As RFC 8460 §5.3 has it: the fields, a text and the report, whose name says by whom, for whom and of when it is.
    """
    octets = REPORT.to_gzip()
    head, body = compose(REPORT, to("a@b.example", "c@d.example").mailboxes, octets, 1459555200.0)
    message = email.message_from_bytes(head + body, policy=email.policy.default)
    expected = {
        "Date": "Sat, 02 Apr 2016 00:00:00 +0000",
        "From": "Mail Delivery System <sts-reporting@company-x.example>",
        "To": "a@b.example, c@d.example",
        "Subject": "Report Domain: company-y.example Submitter: mta.company-x.example"
        " Report-ID: <2016-04-01_company-y.example@mta.company-x.example>",
        "Message-ID": "<2016-04-01_company-y.example@mta.company-x.example>",
        "TLS-Report-Domain": "company-y.example",
        "TLS-Report-Submitter": "mta.company-x.example",
        "TLS-Required": "No",
        "Auto-Submitted": "auto-generated",
    }
    assert expected == {name: " ".join(str(message[name]).split()) for name in expected}
    assert ("multipart/report", "tlsrpt") == (
        message.get_content_type(),
        message["Content-Type"].params["report-type"],
    )
    words, part = message.iter_parts()
    assert "text/plain" == words.get_content_type()
    assert MEDIA_TYPE == part.get_content_type()
    name = "mta.company-x.example!company-y.example!1459468800!1459555199!2016-04-01_company-y.example.json.gz"
    assert name == part.get_filename()
    assert octets == part.get_content()
    assert [] == message.defects + part.defects


def test_long_names() -> None:
    """
    With the longest of names no line is longer than SMTP allows.
    """
    label = "x" * 63
    domain = f"{label}.{label}.{label}.{'y' * 61}"
    report = Report(f"2016-04-01_{domain}", "2016-04-01", domain, domain, f"a@{domain}", REPORT.counts)
    head, body = compose(report, to("a@b.example").mailboxes, report.to_gzip(), 0.0)
    assert max(len(line) for line in (head + body).split(b"\r\n")) <= 998
    assert not (head + body).replace(b"\r\n", b"").count(b"\n")


def test_days() -> None:
    """
    A day is one of UTC.
    """
    assert ["2016-04-01", "2016-04-02"] == [day_of(at) for at in (1459555199.9, 1459555200.0)]
