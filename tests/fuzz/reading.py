"""
A second reading of content, line by line and from the words of the RFC alone, to hold the relay's own against.
"""

from __future__ import annotations

import re

BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
"""
A CR or LF that is no line ending.
"""


def make_crlf(octets: bytes) -> bytes:
    """
    Every line ending as CRLF.
    """
    return re.sub(rb"\r\n|\r|\n", b"\r\n", octets)


def read_data(octets: bytes) -> tuple[bytes, bytes] | None:
    """
    What follows the 354 (RFC 5321 §4.5.2): the content, and what is behind its end; None: it has no end.
    """
    lines = octets.split(b"\r\n")
    try:
        # The last piece has no line ending, so it is no line.
        end = lines[:-1].index(b".")
    except ValueError:
        return None
    content = b"".join(line.removeprefix(b".") + b"\r\n" for line in lines[:end])
    return content, b"\r\n".join(lines[end + 1 :])
