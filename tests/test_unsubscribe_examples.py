"""
The examples of docs/unsubscribe.md, taken from the document and run.
"""

from __future__ import annotations

import json

import pytest

from lmrelay.mail.unsubscribe import derive_key, make_token
from tests.examples import Document

DOCUMENT = Document("unsubscribe.md")
KEY = derive_key(b"k" * 32, "acme", "news")
TOKEN = make_token(KEY, "acme", "news", "m1", "zoë@b.example", 1_700_000_000.5)
SAID = {"p": "acme", "r": "news", "m": "m1", "a": "zoë@b.example", "t": 1_700_000_000}
FORGED = ("A" + TOKEN[1:], TOKEN[:-2], TOKEN.partition(".")[0], "", TOKEN + "A")


def test_python() -> None:
    """
    The example in Python reads a token, and takes none that was tampered with.
    """
    check = DOCUMENT.python()["check"]
    assert SAID == check(KEY, TOKEN)
    assert [None] * len(FORGED) == [check(KEY, token) for token in FORGED]


@pytest.mark.parametrize(
    ("language", "call"),
    [
        ("javascript", "console.log(JSON.stringify(%s.map((t) => check(%s, t))))"),
        ("php", "echo json_encode(array_map(fn($t) => check(%2$s, $t), %1$s));"),
    ],
)
def test_others(language: str, call: str) -> None:
    """
    So do those in Node and PHP.
    """
    tokens, key = json.dumps([TOKEN, *FORGED]), json.dumps(KEY)
    call = call.replace("%1$s", tokens).replace("%2$s", key) if language == "php" else call % (tokens, key)
    assert [SAID, *[None] * len(FORGED)] == DOCUMENT.run(language, call)
