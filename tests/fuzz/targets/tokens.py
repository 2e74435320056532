"""
Tokens as strangers write them, signed addresses and links that nobody signed, and encodings of what is in them.
"""

from __future__ import annotations

import itertools
import re

from lmrelay.errors import SyntaxRefused
from lmrelay.mail.address import Address, parse_address
from lmrelay.mail.return_path import make_return_path, read_return_path
from lmrelay.mail.unsubscribe import derive_key, make_token, read_token
from lmrelay.projects import tokens
from lmrelay.smtp.xtext import decode_utf8_address, decode_xtext, encode_utf8_address, encode_xtext
from tests.fuzz.shared import sentences

KEY = b"k" * 32
LINK_KEY = derive_key(KEY, "acme", "outgoing")
SIGNED = str(make_return_path(KEY, "bounce.example", "01jd3k8t5v0000000000000000", 7)).encode()
LINK = make_token(LINK_KEY, "acme", "outgoing", "m1", "b@b.example", 1.0).encode()
_COUNTED = itertools.count()
TOKEN = tokens.make_token("lmr_", lambda count: bytes(next(_COUNTED) % 248 for _ in range(count)))[0].encode()

WORDS = (
    b"lmr_",
    b"_",
    TOKEN,
    TOKEN[:30],
    SIGNED,
    SIGNED.upper(),
    LINK,
    b".",
    b"0",
    b"bounces+",
    b"@bounce.example",
    b"+2B",
    b"+",
    b"+00",
    b"\\x{E9}",
    b"\\x{D800}",
    b"\\x{10FFFF}",
    b"\\x{",
    b"}",
    b"\xc3\xa9",
    b"\xff",
    b"\0",
    b"=",
    b" ",
    b"\\",
    b"lttr_",
    b"\xc2\xa0",
    b"\xf3\xa0\x80\x81",
)

examples = sentences(WORDS, 6)


def target(data: bytes) -> None:
    """
    The data as each of them.
    """
    text = data.decode("utf-8", "replace")
    _check_token(text)
    _check_made(data)
    _check_signed(text)
    _check_link(text)
    _check_encodings(text)


def _check_token(text: str) -> None:
    for prefix in ("lmr_", "", "lttr_"):
        mistyped = tokens.is_mistyped(text, prefix)
        assert not mistyped or (prefix and text.startswith(prefix))
        if prefix and text.startswith(prefix) and not mistyped:
            assert re.fullmatch(re.escape(prefix) + "[A-Za-z0-9]{12}_[A-Za-z0-9]{40}", text)
    assert re.fullmatch("[0-9a-f]{64}", tokens.digest(text))
    assert not tokens.is_foreign(text) or (text.isascii() and len(text) >= 16)


def _check_made(data: bytes) -> None:
    """
    Of any entropy a token is made, and any slip of the pen shows.
    """
    octets = itertools.chain(data, itertools.cycle(range(248)))
    token, token_id = tokens.make_token("lmr_", lambda count: bytes(itertools.islice(octets, count)))
    assert re.fullmatch("lmr_[A-Za-z0-9]{12}_[A-Za-z0-9]{40}", token)
    assert token.split("_")[1] == token_id
    assert not tokens.is_mistyped(token, "lmr_")
    at = 4 + len(data) % 53
    slip = "A" if token[at] != "A" else "B"
    assert tokens.is_mistyped(token[:at] + slip + token[at + 1 :], "lmr_")
    assert tokens.is_mistyped(token[:at], "lmr_")
    assert tokens.is_mistyped(token + slip, "lmr_")


def _check_signed(text: str) -> None:
    try:
        address = parse_address(text)
        origin = read_return_path(KEY, address)
    except SyntaxRefused:
        return
    again = make_return_path(KEY, address.ascii_domain, origin.message_id, origin.number)
    assert again == Address(address.local.lower(), address.ascii_domain)
    # Only one of these was ever made; whoever finds another has broken the signature.
    assert str(again).encode() == SIGNED


def _check_link(text: str) -> None:
    try:
        read_token(LINK_KEY, text)
    except SyntaxRefused:
        return
    assert text.encode() == LINK


def _check_encodings(text: str) -> None:
    for encode, decode in ((encode_xtext, decode_xtext), (encode_utf8_address, decode_utf8_address)):
        try:
            encoded = encode(text)
        except SyntaxRefused:
            pass
        else:
            assert encoded.isascii()
            assert not re.search(r"[\s=]", encoded)
            assert not encoded or text == decode(encoded)
        try:
            decoded = decode(text)
        except SyntaxRefused:
            continue
        assert not re.search(r"[\x00-\x1f\x7f-\x9f]", decoded)
        assert decoded == decode(encode(decoded))
