"""
Whose key signs what.
"""

from __future__ import annotations

import pytest

from lmrelay.config.values import DkimKey
from lmrelay.mail.dkim import hash_body
from lmrelay.mail.head import Head
from lmrelay.mail.signing import Keys, Signers
from tests.mail.test_dkim import private_key

PRIVATE = private_key("ed25519")


def key(domain: str, selector: str = "s1", *, active: bool = True) -> DkimKey:
    return DkimKey(domain, selector, "ed25519", PRIVATE, active)


KEYS: Keys = {
    "acme.example": (key("acme.example"), key("acme.example", "s2"), key("acme.example", "s0", active=False)),
    "news.acme.example": (key("news.acme.example"),),
    "old.acme.example": (key("old.acme.example", active=False),),
    "off.example": (key("off.example", active=False),),
}


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ("acme.example", ["s1.acme.example", "s2.acme.example"]),
        ("mail.acme.example", ["s1.acme.example", "s2.acme.example"]),
        ("a.b.acme.example", ["s1.acme.example", "s2.acme.example"]),
        ("news.acme.example", ["s1.news.acme.example"]),
        ("x.news.acme.example", ["s1.news.acme.example"]),
        ("old.acme.example", ["s1.acme.example", "s2.acme.example"]),
        ("off.example", []),
        ("notacme.example", []),
        ("example", []),
        ("[192.0.2.1]", []),
        ("", []),
    ],
)
def test_find(domain: str, expected: list[str]) -> None:
    """
    A domain's own active keys sign, else those of the nearest parent that has some; all of them, and no retired one.
    """
    assert expected == [f"{one.selector}.{one.domain}" for one in Signers(lambda: KEYS).find(domain)]


def test_made_once() -> None:
    """
    A signer is kept while the configuration is the same one, and made anew with the next.
    """
    keys = [KEYS]
    signers = Signers(lambda: keys[0])
    before = signers.find("acme.example")
    assert signers.find("www.acme.example") is before
    keys[0] = {"acme.example": (key("acme.example", "s3"),)}
    assert ["s3"] == [one.selector for one in signers.find("acme.example")]
    keys[0] = {}
    assert () == signers.find("acme.example")


def test_sign() -> None:
    """
    Every active key's signature stands on top, and a head of a domain without keys stays as it is.
    """
    head = Head.parse(b"From: a@acme.example\r\nTo: b@b.example\r\n")
    signed = Signers(lambda: KEYS).sign(head, "acme.example", hash_body(b""), 0.0)
    assert ["DKIM-Signature", "DKIM-Signature", "From", "To"] == [one.name for one in signed.fields]
    assert head is Signers(lambda: KEYS).sign(head, "b.example", hash_body(b""), 0.0)
