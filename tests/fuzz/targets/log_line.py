"""
A line of the log, whatever a stranger's words are: one line, which no terminal obeys, without what is secret.
"""

from __future__ import annotations

import json
import re

from twisted.logger import LogLevel

from lmrelay.lines import MAX_VALUE, format_json, format_text
from tests.fuzz.shared import sentences

WORDS = (
    b"\n",
    b"\r\n",
    b'"',
    b"\\",
    b"\x1b[2J",
    b"\x9b",
    b"\xe2\x80\xa8",
    b"=",
    b" ",
    b"x=y",
    b"{0}",
    b"{",
    b"lmr_aaaaaaaaaaaa_" + b"b" * 40,
    b"whsec_abcdefghijkl",
    b"AUTH PLAIN AGEAYg==",
    b"auth  login  Zm9v",
    b"\xff",
    b"\0",
    b"\xe2\x80\xae",
    b"\xf3\xa0\x80\x81",
    b"2026-01-01T00:00:00Z",
)

examples = sentences(WORDS, 10)

SECRET = "lmr_" + "a" * 12 + "_" + "b" * 40
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def target(data: bytes) -> None:
    """
    As a value of a field, as text and as octets, in both forms of a line.
    """
    text = data.decode("utf-8", "surrogateescape")
    for value in (text, data, [text], {"a": text}, f"{text} {SECRET}", None):
        event = {
            "log_namespace": "lmrelay.x",
            "log_format": "a fact",
            "log_level": LogLevel.info,
            "log_time": 1.0,
            "words": value,
        }
        line, record = format_text(event), format_json(event)
        for one in (line, record):
            assert not _CONTROL.search(one)
            assert SECRET not in one
            assert len(one) <= 12 * MAX_VALUE
            one.encode("utf-8")
        assert re.match(r"\S+ info a fact words=", line)
        read = json.loads(record)
        assert ("a fact", "info") == (read["fact"], read["level"])
        assert {"time", "level", "fact", "words"} == set(read)
