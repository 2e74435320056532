"""
Replies in both directions, and what EHLO offers.
"""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrelay.errors import SyntaxRefused
from lmrelay.smtp import replies
from lmrelay.smtp.extensions import parse_extensions, size_limit
from lmrelay.smtp.reply import Reply, reply
from lmrelay.smtp.reply_reader import ReplyReader

READ = [
    (b"250 OK\r\n", [Reply(250, None, ("OK",))]),
    (b"250\r\n", [Reply(250, None, ("",))]),
    (b"250 OK\n", [Reply(250, None, ("OK",))]),
    (b"250 2.1.5 OK\r\n", [Reply(250, "2.1.5", ("OK",))]),
    (b"250 2.1.5\r\n", [Reply(250, "2.1.5", ("",))]),
    (b"550 2.1.5 no\r\n", [Reply(550, None, ("2.1.5 no",))]),
    (b"550 5.1.1.1 no\r\n", [Reply(550, None, ("5.1.1.1 no",))]),
    (b"550-5.1.1 no\r\n550-\r\n550 5.1.1 such\r\n", [Reply(550, "5.1.1", ("no", "", "such"))]),
    (b"250 a\r\n354 b\r\n", [Reply(250, None, ("a",)), Reply(354, None, ("b",))]),
    (b"550 \xff\r\n", [Reply(550, None, ("\ufffd",))]),
]


@pytest.mark.parametrize(("wire", "expected"), READ)
def test_reads(wire: bytes, expected: list[Reply]) -> None:
    """
    Replies of all shapes, whatever the cuts.
    """
    splits = [[wire], [wire[at : at + 1] for at in range(len(wire))]]
    splits += [[wire[:at], wire[at:]] for at in range(len(wire))]
    for blocks in splits:
        reader = ReplyReader()
        assert [one for block in blocks for one in reader.feed(block)] == expected
        assert not reader.pending


@pytest.mark.parametrize(
    "wire",
    [
        b"hello\r\n",
        b"+22 x\r\n",
        b"2_0 x\r\n",
        b"150 x\r\n",
        b"600 x\r\n",
        b"250x\r\n",
        b"\r\n",
        b"25\r\n",
        b"250-a\r\n251 b\r\n",
        b"250-a\r\nb\r\n",
        b"250-a\r\n" * 129,
        (b"550-" + b"x" * 4000 + b"\r\n") * 5,
        b"250 " + b"x" * 5000,
        b"250 " + b"x" * 5000 + b"\r\n",
        b"\xd9\xa2\xd9\xa5\xd9\xa0 x\r\n",
    ],
)
def test_nonsense(wire: bytes) -> None:
    """
    What is no reply is refused, in bounded memory.
    """
    with pytest.raises(SyntaxRefused):
        list(ReplyReader().feed(wire))


def test_replies_before_nonsense_count() -> None:
    """
    The 250 that says that a message was taken is not lost with what follows it.
    """
    found = ReplyReader().feed(b"250 taken\r\nnonsense\r\n")
    assert next(found) == Reply(250, None, ("taken",))
    with pytest.raises(SyntaxRefused):
        next(found)


def test_control_characters() -> None:
    """
    What a server says can neither end a line nor move a cursor, and is no NUL for a database.
    """
    [read] = ReplyReader().feed("250-2.0.0 ok\0\x1b[2J\tno\xa0w\r\n250 2.0.0 \u202eü\r\n".encode())
    assert read == Reply(250, "2.0.0", ("ok\ufffd\ufffd[2J no\xa0w", "\ufffdü"))


def test_pending() -> None:
    """
    A reply that has begun is told, be it a whole line of it.
    """
    reader = ReplyReader()
    assert (list(reader.feed(b"220-x\r\n")), reader.pending) == ([], True)
    assert (len(list(reader.feed(b"220 x\r\n2"))), reader.pending) == (1, True)


@given(st.binary(max_size=60), st.integers(1, 5))
def test_any_octets(octets: bytes, size: int) -> None:
    """
    Nothing but the one error ever comes of what a server says.
    """
    reader = ReplyReader()
    with suppress(SyntaxRefused):
        for at in range(0, len(octets), size):
            assert all(200 <= one.code < 600 for one in reader.feed(octets[at : at + size]))


def test_extensions() -> None:
    """
    Keywords in any case; the greeting and blank lines are none.
    """
    said = reply(250, None, "STARTTLS greets you", "", "starttls", "SIZE 100", "AUTH PLAIN", "AUTH=LOGIN", "?")
    assert parse_extensions(said) == {"STARTTLS": (), "SIZE": ("100",), "AUTH": ("PLAIN", "LOGIN")}


@pytest.mark.parametrize(
    ("parameters", "limit"), [((), None), (("0",), None), (("100",), 100), (("x",), None), (("-1",), None)]
)
def test_size_limit(parameters: tuple[str, ...], limit: int | None) -> None:
    """
    SIZE with no number, or 0, is no limit.
    """
    assert size_limit({"SIZE": parameters}) == limit
    assert size_limit({}) is None


def test_every_reply_has_its_enhanced_code() -> None:
    """
    In the table, all but the greeting, EHLO and 3xx have one of their class.
    """
    table = [value for value in vars(replies).values() if isinstance(value, Reply)]
    assert len(table) > 40
    assert [one for one in table if one.code >= 400 and (one.enhanced or "?")[0] != str(one.code)[0]] == []
    assert [one for one in table if one.enhanced is None] == [replies.GO_AHEAD]


def test_wire() -> None:
    """
    A reply as octets; nothing quoted from a client adds a line.
    """
    assert reply(250, None, "a", "b").to_wire() == b"250-a\r\n250 b\r\n"
    assert reply(550, "5.7.1", "a\r\n250 b\0").to_wire() == b"550 5.7.1 a??250 b?\r\n"
    assert reply(221, "2.0.0").to_wire() == b"221 2.0.0 \r\n"


@given(st.text())
def test_wire_is_one_line(text: str) -> None:
    """
    Whatever the text.
    """
    wire = reply(550, "5.0.0", text).to_wire()
    assert (wire.count(b"\n"), wire.count(b"\r"), wire[-2:]) == (1, 1, b"\r\n")


def test_lines_on_the_wire_are_bounded() -> None:
    """
    What a client made long is cut, and never within a character.
    """
    lines = reply(555, "5.5.4", "x" * 2000, "ü" * 2000, "y" * 500).to_wire().split(b"\r\n")
    assert [510, 510, 510, 0] == [len(line) for line in lines]
    assert lines[1].decode().endswith("ü")
