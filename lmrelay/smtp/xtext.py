"""
The encodings of the values of ENVID and ORCPT (RFC 3461 §4, RFC 6533 §3).
"""

from __future__ import annotations

import re

from lmrelay.errors import SyntaxRefused

_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
_ESCAPE = re.compile(r"\+([0-9A-F]{2})")
_TO_ESCAPE = re.compile(r"[^!-*,-<>-~]")
_UTF8_XTEXT = re.compile(r"(?:[!-*,-<>-\[\]-~\u00a0-\U0010ffff]|\\x\{[1-9A-F][0-9A-F]{1,5}\})*")
_UTF8_ESCAPE = re.compile(r"\\x\{([0-9A-F]{2,6})\}")
_UTF8_TO_ESCAPE = re.compile(r"[^!-*,-<>-\[\]-~]")


def encode_xtext(text: str) -> str:
    """
    C{text}, printable ASCII, as xtext.

    @raise SyntaxRefused: it is not printable ASCII
    """
    _check_printable(text)
    if not text.isascii():
        raise SyntaxRefused("xtext is for ASCII")
    return _TO_ESCAPE.sub(lambda match: f"+{ord(match[0]):02X}", text)


def decode_xtext(text: str) -> str:
    """
    What was encoded.

    @raise SyntaxRefused: it is no xtext, or hides what is not printable ASCII
    """
    if not _XTEXT.fullmatch(text):
        raise SyntaxRefused("not valid xtext")
    decoded = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)
    # RFC 3461 §4.4; else a line ending would come out of it into a notification's fields.
    _check_printable(decoded)
    if not decoded.isascii():
        raise SyntaxRefused("xtext is for ASCII")
    return decoded


def encode_utf8_address(text: str) -> str:
    """
    An address as C{utf-8-addr-xtext}, which is ASCII (RFC 6533 §3).

    @raise SyntaxRefused: it has control characters
    """
    _check_printable(text)
    return _UTF8_TO_ESCAPE.sub(lambda match: f"\\x{{{ord(match[0]):02X}}}", text)


def decode_utf8_address(text: str) -> str:
    """
    What was encoded, from C{utf-8-addr-xtext} or C{utf-8-addr-unitext}.

    @raise SyntaxRefused: it is neither, or hides a control character
    """
    if not _UTF8_XTEXT.fullmatch(text):
        raise SyntaxRefused("not a valid UTF-8 address")
    points = [int(point, 16) for point in _UTF8_ESCAPE.findall(text)]
    if any(point > 0x10FFFF or 0xD800 <= point <= 0xDFFF for point in points):
        raise SyntaxRefused("no such character")
    decoded = _UTF8_ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)
    _check_printable(decoded)
    return decoded


def _check_printable(text: str) -> None:
    if not text.replace(" ", "").isprintable():
        raise SyntaxRefused("characters that are not printable")
