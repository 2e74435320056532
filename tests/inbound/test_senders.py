"""
Who a message may be from: every address of From and Sender, however they are written (RFC 5322 §3.6.2).
"""

from __future__ import annotations

import pytest

from lmrelay.errors import Refused
from lmrelay.mail.head import Head
from lmrelay.mail.prepare import prepare
from lmrelay.projects.senders import is_allowed

DOMAINS = ("acme.example", ".sub.example", "xn--bcher-kva.example")
OK = ""
IN_CODE = "554 5.6.0 Bad From header: an encoded word within an address"
UNPRINTABLE = "554 5.6.0 Bad From header: the address has characters that are not printable"
NO_SENDER = "554 5.6.0 Message has several From addresses, so it needs a Sender header"


def judge(head: bytes) -> str:
    """
    The refusal of a head; of a domain that is not allowed only the domain; empty where all is well.
    """
    try:
        prepared = prepare(Head.parse(head), id="m", hostname="mx.example.org", now=0.0)
    except Refused as error:
        return str(error.reply)
    foreign = {address.ascii_domain for address in prepared.senders}
    return ",".join(sorted(domain for domain in foreign if not is_allowed(domain, DOMAINS)))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("From: a@acme.example", OK),
        ("From: A <a@ACME.example>", OK),
        ("From : a@acme.example", OK),
        ("from:\r\n A\r\n\t<a@acme.example>", OK),
        ("From: a@x.sub.example", OK),
        ("From: a@sub.example", "sub.example"),
        ("From: a@x.acme.example", "x.acme.example"),
        ("From: a@bücher.example", OK),
        ("From: a@BÜCHER.example", OK),
        ("From: a@xn--bcher-kva.example", OK),
        ("From: a@evil.example", "evil.example"),
        # names
        ("From: =?utf-8?q?Caf=C3=A9=2C_Bar?= <a@acme.example>", OK),
        ("From: =?utf-8?q?x_=3Cb=40evil.example=3E?= <a@acme.example>", OK),
        ('From: "b@evil.example" <a@acme.example>', OK),
        ("From: b@acme.example <a@acme.example>", OK),
        ("From: b@evil.example <a@acme.example>", "evil.example"),
        ("From: a@acme.example <b@evil.example>", "evil.example"),
        ('From: "a@acme.example" <b@evil.example>', "evil.example"),
        ("From: Acme, Inc. <a@acme.example>", "554 5.6.0 Bad From header: it has no address"),
        # comments
        ("From: a@acme.example (b@evil.example)", OK),
        ("From: (a@acme.example) b@evil.example", "evil.example"),
        ("From: a(x)@(y)acme.example", OK),
        ("From: a@(acme.example)evil.example", "evil.example"),
        ("From: a@acme.example(", "554 5.6.0 Bad From header: a comment is not closed"),
        ("From: <a@acme.example>(\\)b) ", OK),
        # groups
        ("From: Team: a@acme.example;", OK),
        ("From: Team: A <a@evil.example>;", "evil.example"),
        ("From: Team:;", "554 5.6.0 Bad From header: it has no address"),
        ("From: Team: a@acme.example", "554 5.6.0 Bad From header: a group is not closed"),
        ("From: A: B: a@acme.example;;", "554 5.6.0 Bad From header: a colon where none may be"),
        # several
        ("From: a@acme.example, b@acme.example", NO_SENDER),
        ("From: Team: a@acme.example, b@acme.example;", NO_SENDER),
        ("From: a@acme.example, b@acme.example\r\nSender: c@acme.example", OK),
        ("From: a@acme.example, b@evil.example\r\nSender: a@acme.example", "evil.example"),
        ("From: a@acme.example, b@acme.example\r\nSender: c@evil.example", "evil.example"),
        ("From: a@acme.example, b@acme.example\r\nSender:", NO_SENDER),
        ("From: a@acme.example\r\nSender: b@evil.example", "evil.example"),
        (
            "From: a@acme.example\r\nSender: b@acme.example, c@acme.example",
            "554 5.6.0 Bad Sender header: it has more than one address",
        ),
        (
            "From: a@acme.example\r\nSender: a@acme.example\r\nsender : a@acme.example",
            "554 5.6.0 Message has more than one Sender header",
        ),
        (
            "From: a@acme.example\r\nFrom : a@acme.example",
            "554 5.6.0 Message has more than one From header",
        ),
        ("To: a@acme.example", "554 5.6.0 Message has no From header"),
        ("From:", "554 5.6.0 Bad From header: it has no address"),
        ("From: <>", "554 5.6.0 Bad From header: it has no address"),
        # what stands elsewhere is not asked
        ("From: a@acme.example\r\nResent-From: b@evil.example\r\nReply-To: c@evil.example", OK),
        # odd syntax
        ("From: <@evil.example:a@acme.example>", "554 5.6.0 Bad From header: more than one @ in an address"),
        ("From: <a@acme.example> b@evil.example", "554 5.6.0 Bad From header: something follows an address"),
        ("From: <a@acme.example> <b@evil.example>", "554 5.6.0 Bad From header: something follows an address"),
        ("From: <a@acme.example", "554 5.6.0 Bad From header: angle brackets are not closed"),
        ("From: a@acme.example\x00@evil.example", "554 5.6.0 Bad From header: '\\x00' where none may be"),
        ('From: "a\\"@evil.example" <a@acme.example>', OK),
        ('From: "a b"@acme.example', OK),
        ("From: a b@acme.example", "554 5.6.0 Bad From header: a space within an address"),
        ("From: a@[192.0.2.1]", "[192.0.2.1]"),
        ("From: a . b @ acme . example", OK),
        # encoded words: readers decode them before they look for the address, or behind
        ("From: =?utf-8?q?b=40evil.example=3E?=.a@acme.example", IN_CODE),
        ("From: A <x=?utf-8?q?b=40evil.example=3E?=@acme.example>", IN_CODE),
        ('From: "=?utf-8?b?YkBldmlsLmV4YW1wbGU+?="@acme.example', IN_CODE),
        ("From: a?=b=?c@acme.example", OK),
        # only space and tab are spaces of the syntax
        ("From: Jean\u00a0Dupont <a@acme.example>", OK),
        ("From: a\x1f@acme.example", "554 5.6.0 Bad From header: '\\x1f' where none may be"),
        ("From: b@evil.example\x0b<a@acme.example>", "554 5.6.0 Bad From header: '\\x0b' where none may be"),
        ("From: b@evil.example\u2028<a@acme.example>", UNPRINTABLE),
    ],
)
def test_policy(fields: str, expected: str) -> None:
    """
    Nobody sends as a domain that is not the project's, and nobody who may is kept from it.
    """
    assert expected == judge(fields.encode() + b"\r\n")
