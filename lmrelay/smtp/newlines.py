"""
Bare CR and bare LF, found and made whole, block by block and never line by line.
"""

from __future__ import annotations


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
    # Three passes in C: a regular expression takes ten times as long, and whoever sends can make every octet a line.
    return octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
