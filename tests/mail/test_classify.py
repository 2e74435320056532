"""
What remote words mean: one table, held against words as receivers say them.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrelay.mail.classify import TABLE, Reason, classify
from lmrelay.mail.outcome import Fault


@pytest.mark.parametrize(
    ("status", "text", "reason"),
    [
        ("5.1.1", "The email account that you tried to reach does not exist.", Reason.UNKNOWN_USER),
        ("5.1.1", "blocked by Spamhaus", Reason.UNKNOWN_USER),
        ("5.1.10", "Recipient domain has a null MX", Reason.BAD_DOMAIN),
        ("5.1.10", "RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup", Reason.UNKNOWN_USER),
        ("5.4.1", "Recipient address rejected: Access denied.", Reason.UNKNOWN_USER),
        ("4.4.1", "No answer from host", Reason.RECEIVER),
        ("5.0.0", "User unknown in virtual mailbox table", Reason.UNKNOWN_USER),
        ("5.0.0", "Unknown user; blocked using zen.spamhaus.org", Reason.REPUTATION),
        ("5.1.0", "Address rejected", Reason.UNKNOWN_USER),
        ("", "delivery error: dd This user doesn\u2019t have a yahoo.com account", Reason.UNKNOWN_USER),
        ("4.2.2", "The recipient's inbox is out of storage space", Reason.MAILBOX_FULL),
        ("5.0.0", "Mailbox is\r\n full", Reason.MAILBOX_FULL),
        ("5.2.1", "The email account that you tried to reach is disabled", Reason.INACTIVE),
        ("5.2.1", "", Reason.INACTIVE),
        ("4.2.1", "The user you are trying to contact is receiving mail too quickly.", Reason.RATE),
        ("5.2.1", "The user is receiving mail at a rate that prevents additional messages", Reason.RATE),
        ("", "This mailbox is disabled (554.30).", Reason.INACTIVE),
        ("5.7.26", "This mail is unauthenticated", Reason.AUTHENTICATION),
        ("5.7.1", "Email rejected per DMARC policy of b.example", Reason.AUTHENTICATION),
        ("5.7.1", "No such user here", Reason.POLICY),
        ("5.7.1", "Relaying denied", Reason.POLICY),
        ("5.7.99", "", Reason.POLICY),
        ("5.7.1", "Our system has detected that this message is likely unsolicited mail", Reason.CONTENT),
        ("5.7.606", "Access denied, banned sending IP [192.0.2.1]", Reason.REPUTATION),
        ("4.7.0", "[TSS04] Messages from 192.0.2.1 temporarily deferred", Reason.REPUTATION),
        ("4.7.28", "unusual rate of unsolicited mail", Reason.RATE),
        ("4.2.0", "Recipient address rejected: Greylisted", Reason.GREYLISTED),
        ("5.7.10", "Encryption needed", Reason.TLS),
        ("5.3.4", "Message size exceeds fixed limit", Reason.TOO_LARGE),
        ("5.4.6", "", Reason.LOOP),
        ("4.4.7", "Message expired", Reason.EXPIRED),
        ("4.3.0", "Insufficient system storage", Reason.RECEIVER),
        ("4.3.0", "", Reason.RECEIVER),
        ("5.5.2", "Syntax error", Reason.PROTOCOL),
        ("5.1.8", "Sender address rejected: Domain not found", Reason.SENDER),
        ("5.1.0", "Sender address rejected: User unknown in virtual mailbox table", Reason.SENDER),
        ("", "550 <spamhaus@b.example>: no such user", Reason.UNKNOWN_USER),
        ("", "550 User <dkim@b.example> does not exist", Reason.UNKNOWN_USER),
        ("", "550 <mailbox-full@no-such-user.example> is listed in an RBL: spam content", Reason.REPUTATION),
        ("5.0.0", "no", Reason.UNKNOWN),
        ("", "", Reason.UNKNOWN),
        ("nonsense", "\x00", Reason.UNKNOWN),
    ],
)
def test_reason(status: str, text: str, reason: Reason) -> None:
    """
    A telling code first, then the words, then a code that says little.
    """
    assert reason == classify(status, text)


@given(st.integers(0, 999), st.text())
def test_security_is_never_the_recipients(detail: int, text: str) -> None:
    """
    Words cannot make a refusal for policy one that would suppress an address.
    """
    for said in (text, f"{text} user unknown"):
        assert Fault.POLICY is classify(f"5.7.{detail}", said).fault


@given(st.text(), st.text())
def test_class_is_no_matter(status: str, text: str) -> None:
    """
    Whatever comes has a reason, and the first digit of a code changes none.
    """
    assert classify(f"5.{status}", text) is classify(f"4.{status}", text)


def test_table() -> None:
    """
    No code says two things, and words are as they are compared with.
    """
    codes = [code for rule in TABLE for code in (*rule.codes, *rule.vague)]
    assert sorted(set(codes)) == sorted(codes)
    assert all(re.fullmatch(r"\d\.\d{1,3}", code) for code in codes)
    words = [word for rule in TABLE for word in rule.words]
    assert sorted(set(words)) == sorted(words)
    assert [" ".join(word.lower().split()) for word in words] == [word.strip() for word in words]
