"""
A message as a tree of parts (RFC 2046), for those who only look at it. Whatever the octets, there is a tree.

Bounded in size, depth and number of parts: what is beyond is not looked at. A returned message is one part and no
tree of its own: what it says of other mail is not what is reported.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator

from attrs import define, field, frozen

from lmrelay.errors import Refused, SyntaxRefused
from lmrelay.mail.encoded_words import decode_charset
from lmrelay.mail.head import Head, HeadReader
from lmrelay.smtp.newlines import to_crlf

SIZE_LIMIT = 1024 * 1024
DEPTH_LIMIT = 5
PARTS_LIMIT = 50

_VALUE_LIMIT = 2048
_TYPE = re.compile(r"[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+)")
_PARAMETER = re.compile(r';\s*([!#$%&*+.^_`|~0-9A-Za-z-]+)\s*=\s*(?:"([^"\\]*+(?:\\.[^"\\]*+)*)"|([^\s;"]++))')
_PAIR = re.compile(r"\\(.)")
_NOT_BASE64 = re.sub(rb"[A-Za-z0-9+/]", b"", bytes(range(256)))
_END_OF_MARKER = re.compile(rb"(--)?[ \t]*+(?:\r\n|\Z)")


@frozen
class Part:
    """
    A part: C{type} is in lower case, such as C{text/plain}; C{octets} is its body as it was sent, C{parts} are those
    of a multipart.
    """

    head: Head
    type: str
    parameters: dict[str, str]
    octets: bytes
    parts: tuple[Part, ...] = ()

    def walk(self) -> Iterator[Part]:
        """
        This and all parts within, in their order.
        """
        yield self
        for part in self.parts:
            yield from part.walk()

    def find(self, *types: str) -> Part | None:
        """
        The first of these types, in this or within.
        """
        return next((part for part in self.walk() if part.type in types), None)

    def content(self) -> bytes:
        """
        The body with its transfer encoding undone, as far as that goes (RFC 2045 §6).
        """
        encoding = self.value("Content-Transfer-Encoding").lower()
        if encoding == "base64":
            return _decode_base64(self.octets)
        return binascii.a2b_qp(self.octets) if encoding == "quoted-printable" else self.octets

    def text(self, limit: int) -> str:
        """
        The beginning of the body, at most so many octets, as text.
        """
        return decode_charset(self.content()[:limit], self.parameters.get("charset", "utf-8"))

    def value(self, name: str) -> str:
        """
        The value of the first field of that name, empty where there is none.
        """
        found = self.head.first(name)
        return found.value if found is not None else ""


def read_message(octets: bytes) -> Part:
    """
    The message in C{octets}, whatever its line endings.
    """
    return _Reader().read(to_crlf(octets[:SIZE_LIMIT]), 0)


@define
class _Reader:
    _left: int = field(default=PARTS_LIMIT, init=False)

    def read(self, octets: bytes, depth: int) -> Part:
        head, body = _split(octets)
        type_, parameters = _read_type(head)
        part = Part(head, type_, parameters, body)
        boundary = parameters.get("boundary", "")
        if not type_.startswith("multipart/") or not boundary or depth >= DEPTH_LIMIT:
            return part
        parts = []
        for block in _divide(body, boundary.rstrip().encode("utf-8", "replace")):
            if not self._left:
                break
            self._left -= 1
            parts.append(self.read(block, depth + 1))
        return Part(head, type_, parameters, body, tuple(parts))


def _split(octets: bytes) -> tuple[Head, bytes]:
    reader = HeadReader()
    try:
        body = reader.feed(octets)
        if reader.head is None:
            body = reader.finish()
        return Head.parse(reader.head or b""), body.removeprefix(b"\r\n")
    except (Refused, SyntaxRefused):
        return Head(), octets


def _read_type(head: Head) -> tuple[str, dict[str, str]]:
    found = head.first("Content-Type")
    value = found.value[:_VALUE_LIMIT] if found is not None else ""
    match = _TYPE.match(value)
    if match is None:
        return "text/plain", {}
    parameters: dict[str, str] = {}
    for name, quoted, word in _PARAMETER.findall(value, match.end()):
        parameters.setdefault(name.lower(), word or _PAIR.sub(r"\1", quoted))
    return match[1].lower(), parameters


def _divide(body: bytes, boundary: bytes) -> Iterator[bytes]:
    """
    What stands between the boundaries (RFC 2046 §5.1.1); without a last one the last part ends with the body.
    """
    marker = b"\r\n--" + boundary
    body = b"\r\n" + body
    begin, at = -1, body.find(marker)
    while at >= 0:
        end = _END_OF_MARKER.match(body, at + len(marker))
        if end is not None:
            if begin >= 0:
                yield body[begin:at]
            if end[1]:
                return
            # The line's ending may be the one that the next marker begins with.
            begin = end.end()
        at = body.find(marker, at + len(marker) if end is None else max(at + len(marker), end.end() - 2))
    if begin >= 0:
        yield body[begin:]


def _decode_base64(octets: bytes) -> bytes:
    # Not by a regular expression: it would stop at each line ending, and the interpreter with it.
    kept = octets.translate(None, _NOT_BASE64)
    # A cut end is no reason to read none of it; one character alone is no octet.
    kept = kept[:-1] if len(kept) % 4 == 1 else kept
    return binascii.a2b_base64(kept + b"=" * (-len(kept) % 4))
