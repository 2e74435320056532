from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrelay.mail.address import parse_address
from lmrelay.mail.redact import redact


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("550 5.1.1 <jane@b.example>: no such user", "550 5.1.1 <[redacted]>: no such user"),
        ("user JANE@B.Example unknown", "user [redacted] unknown"),
        ('"jane doe"@b.example is full', "[redacted] is full"),
        ("see https://b.example/why?for=jane%40b.example now", "see [redacted] now"),
        ("bounces+jane=b.example@acme.example", "[redacted]"),
        ("no such user: Jane", "no such user: [redacted]"),
        ("janet is not known", "janet is not known"),
        ("jane@[192.0.2.1]", "[redacted]"),
        ("250 2.0.0 queued as 4F2", "250 2.0.0 queued as 4F2"),
        ("", ""),
    ],
)
def test_redacts(text: str, expected: str) -> None:
    """
    Addresses go, and the name of the mailbox alone; all else of a reply stays.
    """
    assert expected == redact(text, (parse_address("jane@b.example"), None))


@given(st.text(), st.text())
def test_no_address_is_left(before: str, after: str) -> None:
    """
    Whatever stands around it, an address does not come through, in any case of letters.
    """
    assert "jane@b.example" not in redact(f"{before}Jane@B.example{after}", (parse_address("jane@b.example"),)).lower()


@pytest.mark.parametrize("unit", ['"', "a", '"\\', "a@", "@", '"a'])
def test_long(unit: str) -> None:
    """
    A reply of any make is looked through in one go, and what it has of addresses is gone.
    """
    assert "a@" not in redact(unit * 50_000)
