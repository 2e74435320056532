"""
Lines out of blocks.
"""

from __future__ import annotations

import pytest

from lmrelay.smtp.framing import AUTH_LIMIT, Flaw, InputBuffer, Line


def lines(blocks: list[bytes], limit: int = 2048) -> list[Line]:
    buffer = InputBuffer()
    found = []
    for block in blocks:
        buffer.feed(block)
        while (line := buffer.next_line(limit)) is not None:
            found.append(line)
    return found


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        (b"NOOP\r\n", [Line(b"NOOP")]),
        (b"\r\n", [Line(b"")]),
        (b"A\r\nB\r\nC", [Line(b"A"), Line(b"B")]),
        (b"A\nB\r\n", [Line(b"A\nB", Flaw.BARE_NEWLINE)]),
        (b"A\rB\r\n", [Line(b"A\rB", Flaw.BARE_NEWLINE)]),
        (b"A\r\r\n", [Line(b"A\r", Flaw.BARE_NEWLINE)]),
        (b"A\n\r\n", [Line(b"A\n", Flaw.BARE_NEWLINE)]),
        (b"A\0B\r\n", [Line(b"A\0B", Flaw.NUL)]),
        (b"A\n", []),
        (b"12345678\r\n", [Line(b"12345678")]),
        (b"123456789\r\nA\r\n", [Line(b"12345", Flaw.TOO_LONG), Line(b"A")]),
        (b"1234567890\r\nA\r\n", [Line(b"12345", Flaw.TOO_LONG), Line(b"A")]),
        (b"x" * 50 + b"\r\r\nA\r\n", [Line(b"xxxxx", Flaw.TOO_LONG), Line(b"A")]),
    ],
)
def test_lines(wire: bytes, expected: list[Line]) -> None:
    """
    Only CRLF ends a line, a flaw never makes two of one, and the cuts make no difference.
    """
    splits = [[wire], [wire[at : at + 1] for at in range(len(wire))]]
    splits += [[wire[:at], wire[at:]] for at in range(len(wire))]
    for blocks in splits:
        assert expected == lines(blocks, limit=10)


def test_an_endless_line_takes_no_memory() -> None:
    """
    What is over the limit is dropped as it comes, and told once.
    """
    buffer = InputBuffer()
    for _ in range(200):
        buffer.feed(b"x" * 16384 + b"\r")
        assert buffer.next_line() is None
        assert buffer.pending <= 1
    buffer.feed(b"\nNOOP\r\n")
    assert [Line(b"xxxxx", Flaw.TOO_LONG), Line(b"NOOP"), None] == [buffer.next_line() for _ in range(3)]


def test_limit_can_be_raised() -> None:
    """
    A response to AUTH may be longer than a command.
    """
    assert lines([b"x" * 12000 + b"\r\n"], AUTH_LIMIT) == [Line(b"x" * 12000)]


def test_octets_are_counted_out() -> None:
    """
    Octets taken are not lines, whatever they look like, and those given back come first again.
    """
    buffer = InputBuffer()
    buffer.feed(b"ab\r\ncdNOOP\r\n")
    assert (buffer.take(6), buffer.pending) == (b"ab\r\ncd", 6)
    assert buffer.take_all() == b"NOOP\r\n"
    buffer.feed(b"\n")
    buffer.give_back(b"RSET\r")
    assert Line(b"RSET") == buffer.next_line()
    assert buffer.take(5) == b""


def test_clear_forgets() -> None:
    """
    Nothing sent before STARTTLS is left after it, not even that a line was too long.
    """
    buffer = InputBuffer()
    buffer.feed(b"x" * 5000)
    assert buffer.next_line() is None
    buffer.feed(b"y")
    buffer.clear()
    assert buffer.pending == 0
    buffer.feed(b"EHLO x\r\n")
    assert Line(b"EHLO x") == buffer.next_line()
