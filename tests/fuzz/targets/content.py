"""
Content in both directions: DATA and BDAT as they come, cut anywhere, and what leaves for any stored message.

Held against a second reading of RFC 5321 §4.5.2, line by line: only CRLF ends a line, and only a line that is one dot
ends the data.
"""

from __future__ import annotations

from lmrelay.smtp.data import ChunkReader, DataReader
from lmrelay.smtp.newlines import has_bare_newline, has_dotted_line, to_crlf
from lmrelay.smtp.stuffing import Stuffer
from tests.fuzz.reading import BARE, make_crlf, read_data
from tests.fuzz.shared import cuts, sentences

WORDS = (
    b"\r\n",
    b"\r\n.\r\n",
    b".",
    b"..",
    b"\r\n..\r\n",
    b"\n.\n",
    b"\r.\r",
    b"\r\n.\r",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r\r\n.\r\n",
    b"\0",
    b"a",
    b"\xff",
    b"MAIL FROM:<a@b.example>\r\n",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
)

examples = sentences(WORDS, 20)


def target(data: bytes) -> None:
    """
    Read as DATA and as BDAT, and sent.
    """
    _check_newlines(data)
    _check_data(data)
    _check_chunks(data)
    _check_sent(data)


def _check_newlines(data: bytes) -> None:
    assert bool(BARE.search(data)) == has_bare_newline(data)
    assert (b"\r\n." in data) == has_dotted_line(data)
    assert make_crlf(data) == to_crlf(data)


def _check_data(data: bytes) -> None:
    expected = read_data(data)
    for pieces in ([data], *cuts(data)):
        reader = DataReader()
        read = b"".join([reader.read(piece) for piece in pieces])
        assert (expected is not None) == reader.finished
        assert BARE.search(read) is None
        if expected is not None:
            content, rest = expected
            assert make_crlf(content) == read
            assert rest == reader.rest
            assert (bool(BARE.search(content)), b"\0" in content, not content.isascii()) == (
                reader.bare_newline,
                reader.nul,
                reader.eight_bit,
            )


def _check_chunks(data: bytes) -> None:
    expected = make_crlf(data)
    if expected and not expected.endswith(b"\r\n"):
        expected += b"\r\n"
    for pieces in ([data], *cuts(data)):
        reader = ChunkReader()
        read = b"".join([*(reader.read(piece) for piece in pieces), reader.finish()])
        assert expected == read
        assert (bool(BARE.search(data)), b"\0" in data) == (reader.bare_newline, reader.nul)


def _check_sent(data: bytes) -> None:
    expected = make_crlf(data)
    if expected and not expected.endswith(b"\r\n"):
        expected += b"\r\n"
    for pieces in ([data], *cuts(data)):
        stuffer = Stuffer()
        sent = b"".join([*(stuffer.stuff(piece) for piece in pieces), stuffer.finish()])
        # Nothing ends it early for a receiver that takes a bare CR or LF for a line ending either.
        assert BARE.search(sent) is None
        assert sent.endswith(b"\r\n.\r\n") or sent == b".\r\n"
        assert (b"\r\n" + sent).find(b"\r\n.\r\n") == len(sent) - 3
        assert (expected, b"") == read_data(sent)
