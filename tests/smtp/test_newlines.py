"""
Bare CR and LF made whole.
"""

from __future__ import annotations

import pytest

from lmrelay.smtp.newlines import has_bare_newline, to_crlf


@pytest.mark.parametrize(
    ("octets", "whole"),
    [
        (b"", b""),
        (b"a\r\nb\r\n", b"a\r\nb\r\n"),
        (b"a\nb\rc", b"a\r\nb\r\nc"),
        (b"\r\r\n", b"\r\n\r\n"),
        (b"\n\r\n", b"\r\n\r\n"),
        (b"\r\n\r", b"\r\n\r\n"),
        (b"\n\r", b"\r\n\r\n"),
        (b"\n\n\r\r", b"\r\n" * 4),
    ],
)
def test_every_line_ending_is_one(octets: bytes, whole: bytes) -> None:
    """
    Each CRLF, each bare CR and each bare LF ends one line, whatever stands beside it.
    """
    assert whole == to_crlf(octets)
    assert (octets != whole) is has_bare_newline(octets)
