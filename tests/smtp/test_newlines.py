"""
Line endings, found block by block.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrelay.smtp.newlines import has_bare_newline, has_dotted_line, to_crlf

OCTETS = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"a", b"\x00", b"\x85", b"\xff"])).map(b"".join)


@pytest.mark.parametrize(
    ("octets", "bare"),
    [
        (b"", False),
        (b"\r\n", False),
        (b"one\r\ntwo\r\n", False),
        (b"\r\n\r\n", False),
        (b"\n", True),
        (b"\r", True),
        (b"one\r\ntwo\r", True),
        (b"\n\r", True),
        (b"\r\r\n", True),
        (b"\r\n\n", True),
        (b"one\rtwo\nthree", True),
        # Line endings in Unicode and in Latin-1, and none in SMTP.
        (b"\x85\x0b\x0c\xe2\x80\xa8", False),
    ],
)
def test_bare_newlines(octets: bytes, bare: bool) -> None:
    """
    CR and LF belong side by side, in this order.
    """
    assert bare == has_bare_newline(octets)


@given(OCTETS)
def test_bare_newlines_of_anything(octets: bytes) -> None:
    """
    The fast way sees what a pattern sees.
    """
    assert bool(re.search(rb"\r(?!\n)|(?<!\r)\n", octets)) == has_bare_newline(octets)


@given(OCTETS)
def test_dotted_lines_of_anything(octets: bytes) -> None:
    """
    A dot counts behind CRLF alone.
    """
    assert any(line.startswith(b".") for line in octets.split(b"\r\n")[1:]) == has_dotted_line(octets)


@given(OCTETS)
def test_every_line_ending_is_one(octets: bytes) -> None:
    """
    Each CRLF, each bare CR and each bare LF ends one line, whatever stands beside it.
    """
    assert re.sub(rb"\r\n|\r|\n", b"\r\n", octets) == to_crlf(octets)
