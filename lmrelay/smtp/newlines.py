"""
Bare CR and bare LF, found and made whole, block by block and never line by line.
"""

from __future__ import annotations

import re

_NEWLINE = re.compile(rb"\r\n|\r|\n")


def has_bare_newline(octets: bytes) -> bool:
    """
    Is there a CR without LF after it, or a LF without CR before it?
    """
    pairs = octets.count(b"\r\n")
    return octets.count(b"\n") != pairs or octets.count(b"\r") != pairs


def to_crlf(octets: bytes) -> bytes:
    """
    Turn every line ending into CRLF.
    """
    return _NEWLINE.sub(b"\r\n", octets)
