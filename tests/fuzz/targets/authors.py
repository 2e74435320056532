"""
Who a From field names: every address that another reader finds in what we take must be one that we found too.
"""

from __future__ import annotations

import contextlib
from email.errors import HeaderParseError
from email.headerregistry import HeaderRegistry
from email.utils import getaddresses

from lmrelay.errors import SyntaxRefused
from lmrelay.mail.address import Address, parse_address
from lmrelay.mail.mailboxes import parse_mailboxes
from tests.fuzz.shared import sentences

WORDS = (
    b"a@b.example",
    b"<a@b.example>",
    b"<",
    b">",
    b'"',
    b"\\",
    b"(",
    b")",
    b",",
    b";",
    b":",
    b"group:",
    b"Name ",
    b" ",
    b"=?utf-8?q?x=40evil.example?=",
    b'"x@evil.example"',
    b"@r.example:",
    b"[192.0.2.1]",
    b".",
    b"@",
    b"\t",
    b"\xc3\xa9",
    b'"a\\"b"@c.example',
    b"<x@evil.example>",
    b"x@evil.example,",
    b"\0",
    b"\x80",
    b"'",
    b"undisclosed-recipients:;",
    b"-",
)

examples = sentences(WORDS, 12)

_REGISTRY = HeaderRegistry()


def target(data: bytes) -> None:
    """
    Read as a list of mailboxes and as an address.
    """
    text = data.decode("utf-8", "replace")
    _check_address(text)
    try:
        found = parse_mailboxes(text)
    except SyntaxRefused as error:
        assert str(error).isprintable()
        return
    ours = {_key(one) for box in found for one in (box.address, box.shown) if one is not None}
    for box in found:
        assert box.address == parse_address(str(box.address))
        # A field made of what was found says the same.
        assert [box.address] == [again.address for again in parse_mailboxes(f"<{box.address}>")]
    if text.isascii():
        assert _others(text) <= ours, "another reader finds somebody else"


def _key(address: Address) -> str:
    return address.key.lower()


def _check_address(text: str) -> None:
    try:
        address = parse_address(text)
    except SyntaxRefused:
        return
    assert address == parse_address(str(address))
    assert address.simplest.key == address.key
    assert address.simplest == parse_address(str(address.simplest))
    assert address.ascii_domain.isascii()
    assert not any(ord(one) < 32 for one in str(address))


def _others(text: str) -> set[str]:
    """
    The addresses that the email package's two readers find, as far as they are addresses.
    """
    found = [address for _, address in getaddresses([text])]
    with contextlib.suppress(HeaderParseError, IndexError, AttributeError, ValueError, TypeError):
        found += [one.addr_spec for one in _REGISTRY("From", text).addresses]
    read = set()
    for one in found:
        try:
            read.add(_key(parse_address(one)))
        except SyntaxRefused:
            continue
    return read
