"""
The replies of a remote server, bounded: octets in, L{Reply}s out (RFC 5321 §4.2.1).

A lone LF ends a line too, as it does for other clients: there is nothing behind a
reply that could be smuggled.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from attrs import define, field

from lmrelay.errors import SyntaxRefused
from lmrelay.smtp.reply import Reply

LINE_LIMIT = 4096
LINES_LIMIT = 128
REPLY_LIMIT = 16 * 1024
"""
Octets of a line, lines, and octets of a reply.
"""

SHORT = 80
"""
Octets of a line that is worth remembering: most replies of a server are the same few.
"""

# A code with nothing after it is the last line of a reply (RFC 5321 §4.2).
_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
_ORDINARY = re.compile(rb"(([245])[0-9]{2}) (\2\.[0-9]{1,3}\.[0-9]{1,3}) +([!-~][ -~]*)\r?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_ENHANCED = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: +|$)")


@define(eq=False)
class ReplyReader:
    """
    Reads the replies of one connection.
    """

    _octets: bytes = b""
    _code: bytes = b""
    _lines: list[bytes] = field(factory=list)
    _size: int = 0

    def feed(self, block: bytes) -> Iterator[Reply]:
        """
        The replies that are whole with this block, one by one.

        Those that came before the nonsense are given before the error is raised: one of
        them may say that a message was accepted.

        @raise SyntaxRefused: this is no SMTP server's talk; the connection is of no more use
        """
        *lines, self._octets = (self._octets + block).split(b"\n")
        for line in lines:
            reply = _read_lone(line) if not self._lines and len(line) < SHORT else None
            if reply is not None or (reply := self._read_line(line)) is not None:
                yield reply
        if len(self._octets) > LINE_LIMIT:
            raise SyntaxRefused("a line of the reply is too long")

    def _read_line(self, line: bytes) -> Reply | None:
        if len(line) >= LINE_LIMIT:
            raise SyntaxRefused("a line of the reply is too long")
        match = _LINE.fullmatch(line.removesuffix(b"\r"))
        if match is None:
            raise SyntaxRefused("a line of the reply does not begin with a reply code")
        if self._lines and match[1] != self._code:
            raise SyntaxRefused("the code changes within the reply")
        self._code = match[1]
        self._lines.append(match[3] or b"")
        self._size += len(line)
        if self._size > REPLY_LIMIT:
            raise SyntaxRefused("the reply is too long")
        if match[2] == b"-":
            if len(self._lines) >= LINES_LIMIT:
                raise SyntaxRefused("the reply has too many lines")
            return None
        lines, self._lines, self._size = self._lines, [], 0
        return _make_reply(int(match[1]), list(map(_read_text, lines)))

    @property
    def pending(self) -> bool:
        """
        Has part of a reply been read? After the 220 of STARTTLS it must not (RFC 3207).
        """
        return bool(self._octets or self._lines)


@lru_cache(maxsize=256)
def _read_lone(line: bytes) -> Reply | None:
    """
    The reply that this line is all of, if it is one.
    """
    ordinary = _ORDINARY.fullmatch(line)
    if ordinary is not None:
        code, _, enhanced, text = ordinary.groups()
        return Reply(int(code), enhanced.decode(), (text.decode(),))
    match = _LINE.fullmatch(line.removesuffix(b"\r"))
    if match is None or match[2] == b"-":
        return None
    return _make_reply(int(match[1]), [_read_text(match[3] or b"")])


def _read_text(line: bytes) -> str:
    """
    The words go into rows, logs and notifications: no control character of the remote's gets
    there, nor one that makes a terminal show another text than the one that is there.
    """
    text = line.decode("utf-8", "replace")
    return text if text.isprintable() else _CONTROL.sub("\ufffd", text.replace("\t", " "))


def _make_reply(code: int, lines: list[str]) -> Reply:
    """
    With the enhanced code split off all lines that have it (RFC 2034 §3), if its class is that of C{code}.
    """
    match = _ENHANCED.match(lines[0])
    if match is None or match[1][0] != str(code)[0]:
        return Reply(code, None, tuple(lines))
    prefix = match[1]
    if len(lines) == 1:
        return Reply(code, prefix, (lines[0][match.end() :],))
    return Reply(code, prefix, tuple(_without(line, prefix) for line in lines))


def _without(line: str, prefix: str) -> str:
    match = _ENHANCED.match(line)
    return line[match.end() :] if match and match[1] == prefix else line
