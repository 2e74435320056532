"""
The player itself: it fails when it should.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dialogues.player import Player, read_dialogue, to_octets
from tests.inbound.doubles import Relay
from tests.inbound.peers import MemoryPeer

BANNER = "S: 220 {host} ESMTP lmrelay\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("S: 220 other\n", "expected '220 other'"),
        (BANNER + "C: NOOP\nS: 250 2.0.0 O\n", "got '250 2.0.0 OK"),
        (BANNER + "@closed\n", "nothing"),
        (BANNER + "C: QUIT\nS: 221 2.0.0 Bye\nS: 250 more\n", "the server closed"),
        (BANNER + "C: NOOP\n@closed\n", "not closed"),
        ("@sing\n", "unknown"),
    ],
)
def test_differences_fail(tmp_path: Path, text: str, complaint: str) -> None:
    """
    A server that says something else, more, less or nothing fails the dialogue.
    """
    path = tmp_path / "wrong.txt"
    path.write_text(text)
    with pytest.raises(AssertionError, match=complaint.replace("(", r"\(")):
        Player(MemoryPeer(Relay()), {"host": "mx.example.org"}).play(read_dialogue(path))


def test_words_and_escapes() -> None:
    """
    What the README says of C{C} lines.
    """
    expected = b"a\r\n\x00\xff\\x AHVzZXIAdA== bbb"
    assert expected == to_octets("a\\r\\n\\0\\xff\\\\x {base64:\\0user\\0{token}} {3*b}", {"token": "t"})
