"""
Reading content: where it ends, what comes out, whatever the cuts.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrelay.smtp.data import ChunkReader, DataReader
from lmrelay.smtp.stuffing import Stuffer


def cuts(octets: bytes, size: int) -> list[bytes]:
    return [octets[at : at + size] for at in range(0, len(octets), size)]


def in_two(octets: bytes) -> list[list[bytes]]:
    return [[octets[:at], octets[at:]] for at in range(len(octets) + 1)]


def every_cut(octets: bytes) -> list[list[bytes]]:
    return [[octets], cuts(octets, 1), cuts(octets, 2), cuts(octets, 3), *in_two(octets)]


def read(blocks: list[bytes]) -> tuple[bytes, DataReader]:
    reader = DataReader()
    return b"".join(map(reader.read, blocks)), reader


ENDING = [
    (b".\r\n", b"", b""),
    (b"\r\n.\r\n", b"\r\n", b""),
    (b"a\r\n.\r\nQUIT\r\n", b"a\r\n", b"QUIT\r\n"),
    (b"a\r\n.\r\n.\r\n", b"a\r\n", b".\r\n"),
    (b"..\r\n.\r\n", b".\r\n", b""),
    (b"..a\r\n...\r\n.b\r\n.\r\n", b".a\r\n..\r\nb\r\n", b""),
    (b"a.\r\n.\r\n", b"a.\r\n", b""),
]


@pytest.mark.parametrize(("wire", "content", "rest"), ENDING)
def test_data_ends_at_its_dot(wire: bytes, content: bytes, rest: bytes) -> None:
    """
    CRLF dot CRLF ends the data, and what follows it is left alone, wherever the cuts fall.
    """
    for blocks in every_cut(wire):
        got, reader = read(blocks)
        assert (content, rest, True, False) == (got, reader.rest, reader.finished, reader.bare_newline)


SMUGGLING = [
    (b"a\n.\r\nb", b"a\r\n.\r\nb"),
    (b"a\n.\nb", b"a\r\n.\r\nb"),
    (b"a\r\n.\nb", b"a\r\n\r\nb"),
    (b"a\r.\r\nb", b"a\r\n.\r\nb"),
    (b"a\r.\rb", b"a\r\n.\r\nb"),
    (b"a\r\n.\rb", b"a\r\n\r\nb"),
    (b"a\n.\rb", b"a\r\n.\r\nb"),
    (b"a\r.\nb", b"a\r\n.\r\nb"),
    (b"a\r\n.\r\r\nb", b"a\r\n\r\n\r\nb"),
    (b"\n.\r\nb", b"\r\n.\r\nb"),
    (b".\nb", b"\r\nb"),
    (b"a\r\r\nb", b"a\r\n\r\nb"),
    (b"a\n\r\nb", b"a\r\n\r\nb"),
    (b"a\n..\r\nb", b"a\r\n..\r\nb"),
]


@pytest.mark.parametrize(("wire", "content"), SMUGGLING)
def test_nothing_else_ends_it(wire: bytes, content: bytes) -> None:
    """
    No other dot between line endings ends the data; bare endings are made whole and flagged.
    """
    for blocks in every_cut(wire + b"\r\n.\r\nQUIT\r\n"):
        got, reader = read(blocks)
        assert (content + b"\r\n", b"QUIT\r\n", True, True) == (
            got,
            reader.rest,
            reader.finished,
            reader.bare_newline,
        )


@pytest.mark.parametrize(("wire", "content"), SMUGGLING)
def test_smuggled_dots_leave_stuffed(wire: bytes, content: bytes) -> None:
    """
    What was no end on the way in is no end on the way out: the next reader reads the same content, without a flaw.
    """
    got, _ = read([wire + b"\r\n.\r\n"])
    for blocks in every_cut(got):
        stuffer = Stuffer()
        again, reader = read([*map(stuffer.stuff, blocks), stuffer.finish()])
        assert (got, True, b"", False) == (again, reader.finished, reader.rest, reader.bare_newline)


@pytest.mark.parametrize("make", [DataReader, ChunkReader])
def test_flags(make: Callable[[], DataReader | ChunkReader]) -> None:
    """
    NUL and octets beyond ASCII are kept, and told.
    """
    reader = make()
    assert (reader.read(b"plain\r\nx")[:7], reader.nul, reader.eight_bit) == (b"plain\r\n", False, False)
    reader.read(b"\0\r\n")
    assert (reader.nul, reader.eight_bit) == (True, False)
    reader.read(b"\xff\r\n.")
    assert (reader.nul, reader.eight_bit) == (True, True)


def test_a_flaw_does_not_stop_the_reading() -> None:
    """
    A NUL in the first line leaves the end where it is, else the rest became commands.
    """
    got, reader = read([b"\0\n.\r\n", b"RCPT TO:<x>\r\n", b".\r\nQUIT\r\n"])
    assert (got, reader.rest) == (b"\0\r\n.\r\nRCPT TO:<x>\r\n", b"QUIT\r\n")


def test_octets_after_the_end_are_all_kept() -> None:
    """
    A block fed after the end is added to the rest.
    """
    _, reader = read([b".\r\nNO", b"OP\r\n"])
    assert reader.rest == b"NOOP\r\n"


CHUNKS = [
    (b"", b"", False),
    (b"a", b"a\r\n", False),
    (b"a\r\n", b"a\r\n", False),
    (b".\r\n..\r\n", b".\r\n..\r\n", False),
    (b"a\r", b"a\r\n", True),
    (b"\r", b"\r\n", True),
    (b"a\nb\rc\r\n", b"a\r\nb\r\nc\r\n", True),
    (b"a\r\r\n", b"a\r\n\r\n", True),
    (b"\n", b"\r\n", True),
]


@pytest.mark.parametrize(("wire", "content", "bare"), CHUNKS)
def test_chunks(wire: bytes, content: bytes, bare: bool) -> None:
    """
    Chunks are content with dots as they are, whole line endings, and one at the end.
    """
    for blocks in every_cut(wire):
        reader = ChunkReader()
        got = b"".join([*map(reader.read, blocks), reader.finish()])
        assert (content, bare) == (got, reader.bare_newline)


octets_with_line_ends = st.lists(
    st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"\r\n.", b"a", b"\xff", b"MAIL FROM:<x@y>"]), max_size=30
).map(b"".join)


@given(octets_with_line_ends, st.integers(1, 7))
def test_stuffing_undone_is_the_content(octets: bytes, size: int) -> None:
    """
    Any content, cut anywhere, comes out of the next reader whole, once its line endings are.
    """
    chunks = ChunkReader()
    content = chunks.read(octets) + chunks.finish()
    for source in (octets, content):
        stuffer = Stuffer()
        wire = b"".join([*map(stuffer.stuff, cuts(source, size)), stuffer.finish()])
        got, reader = read(cuts(wire, size))
        assert (content, b"", True, False) == (got, reader.rest, reader.finished, reader.bare_newline)


def reference(wire: bytes) -> bytes | None:
    """
    RFC 5321 §4.5.2 in the plainest words, or None where the data did not end.
    """
    lines = wire.split(b"\r\n")
    for number, line in enumerate(lines[:-1]):
        if line == b".":
            kept = [line.removeprefix(b".") for line in lines[:number]]
            content = b"".join(line + b"\r\n" for line in kept)
            return content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    return None


@given(octets_with_line_ends, st.integers(1, 7))
def test_reading_is_as_the_standard_says(wire: bytes, size: int) -> None:
    """
    The block-wise reader does what a plain one does line by line.
    """
    got, reader = read(cuts(wire, size))
    expected = reference(wire)
    assert (expected is not None) == reader.finished
    if expected is not None:
        assert expected == got
