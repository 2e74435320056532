"""
Mailboxes and domains.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrelay.errors import SyntaxRefused
from lmrelay.ids import ID_LENGTH, make_id
from lmrelay.mail.address import Address, ascii_domain, parse_address


@pytest.mark.parametrize(
    "text",
    [
        "a@b",
        "a.b+c@d.example",
        '"a b"@c.d',
        '"a\\"b"@c.d',
        '""@c.d',
        "ü@ü.de",
        "a@[192.0.2.1]",
        "a@[IPv6:::1]",
        "a@_x.b",
    ],
)
def test_good(text: str) -> None:
    """
    Addresses stay as they were written.
    """
    assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "@b",
        "a@",
        "a.@b",
        ".a@b",
        "a..b@c",
        "a@b.",
        "a@.b",
        "a@b..c",
        "a@-b.c",
        "a@b c",
        "a b@c",
        "a@b@c",
        "a\n@b",
        "a@b\n",
        '"a@b',
        '"a\n"@b',
        "x" * 65 + "@b",
        "a@" + "x" * 64 + ".b",
        "a@" + ".".join(["x" * 50] * 5),
        "a@[1.2.3]",
        "a@[192.0.2.1",
        "a@[IPv6:x]",
        "\u0085@b",
        "\ud800@b",
        "a\u00a0@b",
        "a\u2028@b",
        "a@\u2028.b",
        "<a@b>",
    ],
)
def test_bad(text: str) -> None:
    """
    What is no address is refused, with no other error.
    """
    with pytest.raises(SyntaxRefused):
        parse_address(text)


@given(st.text(max_size=40))
def test_read_or_refused(text: str) -> None:
    """
    Any text is an address that is written back as it was, or refused.
    """
    for candidate in (text, f"a@{text}", f"{text}@b", f'"{text}"@b'):
        try:
            address = parse_address(candidate)
        except SyntaxRefused:
            continue
        assert str(address) == candidate
        assert ascii_domain(address.ascii_domain) == address.ascii_domain


def test_comparing() -> None:
    """
    Domains compare in A-labels and lower case, local parts without needless quotes.
    """
    assert Address("a", "B.Example").ascii_domain == "b.example"
    assert Address('"a"', "faß.de").key == Address("a", "xn--fa-hia.de").key
    assert Address("a", "ü.de").to_ascii() == Address("a", "xn--tda.de")
    assert Address("ü", "b").to_ascii() is None
    assert (Address("a", "[::1]").is_literal, Address("a", "b").is_ascii) == (True, True)
    with pytest.raises(SyntaxRefused):
        parse_address("ü@b", smtputf8=False)


def test_ids_sort_by_time() -> None:
    """
    Ids have one length, and a later millisecond sorts later whatever the random part.
    """
    early, late = make_id(1.0, lambda n: b"\xff" * n), make_id(1.002, bytes)
    assert (len(early), len(late), early < late) == (ID_LENGTH, ID_LENGTH, True)
    assert make_id(0.0, bytes) == "0" * ID_LENGTH
