"""
The header block of a message as raw fields: read, looked at, changed, written back
octet for octet (RFC 5322 §2.2, §3.6).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property

from attrs import define, field, frozen

from lmrelay.errors import Refused, SyntaxRefused
from lmrelay.mail.encoded_words import decode_words
from lmrelay.mail.mailboxes import Mailbox, parse_mailboxes
from lmrelay.smtp import replies

HEAD_LIMIT = 256 * 1024
MAX_FIELDS = 2000
"""
Each is looked at on its own: tens of thousands that say nothing would hold up all other sessions.
"""
FOLD_AT = 78
LINE_LIMIT = 998

# A space before the colon is obsolete syntax that readers still take for a field (RFC 5322 §4.5), so the rules
# for From hold for "From :" too. Possessive but for what comes last, so that no head makes the match slow. A dot steps
# over a line five times as fast as a set of all but CR and LF: that no CR is within one is the promise of who feeds, or
# is looked at apart.
_LINES = re.compile(rb"(?:(?:[!-9;-~]++[ \t]*+:|[ \t]).*+(?<=\r)\n)*")
_FIELDS = re.compile(rb"([!-9;-~]++)([ \t]*+:.*+\n(?:[ \t].*+\n)*)")
_VALUES = re.compile(r"([!-9;-~]++)[ \t]*+:(.*+\n(?:[ \t].*+\n)*)")
_FOLDED = re.compile(rf".{{1,{FOLD_AT}}}(?= |\Z)")
_FIELD_NAME = re.compile(r"[!-9;-~]+")
_UNSAFE = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029]+")


@define(eq=False)
class HeadReader:
    """
    Parts head from body while the content streams in.

    C{head} is None until the end of the head was read, then its octets; feed no more then.
    """

    head: bytes | None = None
    _octets: bytearray = field(factory=bytearray)
    _read: int = 0

    def feed(self, block: bytes) -> bytes:
        """
        Take a block of content (every line ending of it CRLF). Once C{head} is there, the answer is the body so far,
        its empty line included; before it is empty.

        A line that is no field ends the head too; an empty line is then put before it.

        @raise Refused: the head is over 256 KiB, or has over 2,000 fields (552 5.3.4)
        """
        if not self._octets and (end := _end_of_fields(block)) and block.startswith(b"\r\n", end):
            # All of it came at once, as that of most messages does.
            self._end(block[:end])
            return block[end:]
        self._octets += block
        # Without a line ending in it a block ends nothing, and what is there is not searched again.
        if b"\n" in block:
            self._read_lines()
            if self._octets.find(b"\r\n", self._read) >= 0:
                return self.finish()
        self._check_size(len(self._octets))
        return b""

    def finish(self) -> bytes:
        """
        The content ended: C{head} is there, and this is what of it was body after all (mostly empty).

        @raise Refused: as L{feed}
        """
        self._read_lines()
        self._end(bytes(self._octets[: self._read]))
        body = bytes(self._octets[self._read :])
        self._octets.clear()
        return body if not body or body.startswith(b"\r\n") else b"\r\n" + body

    @property
    def size(self) -> int:
        """
        Octets of the head, and as long as it has not ended those of all that was fed.
        """
        return len(self._octets) if self.head is None else len(self.head)

    def _read_lines(self) -> None:
        self._read = _end_of_fields(self._octets, self._read)

    def _end(self, head: bytes) -> None:
        self._check_size(len(head))
        # Every line is a field, but for those that go on with one.
        fields = head.count(b"\n") - head.count(b"\n ") - head.count(b"\n\t")
        if fields > MAX_FIELDS:
            raise Refused(replies.TOO_MANY_FIELDS)
        self.head = head

    def _check_size(self, size: int) -> None:
        if size > HEAD_LIMIT:
            raise Refused(replies.HEADER_TOO_LARGE)


def _end_of_fields(octets: bytes | bytearray, start: int = 0) -> int:
    """
    Where what are whole lines of fields from C{start} on ends. The first line of all cannot go on with a field.
    """
    if start == 0 and octets.startswith((b" ", b"\t")):
        return 0
    match = _LINES.match(octets, start)
    return match.end() if match else start


@frozen
class Field:
    """
    One header field. C{octets} are all of it, the last line ending included; C{name} is as it was written.
    """

    name: str
    octets: bytes

    @property
    def unfolded(self) -> bytes:
        """
        The value, unfolded, without the spaces around.
        """
        return self.octets.partition(b":")[2].replace(b"\r\n", b"").strip(b" \t")

    @property
    def value(self) -> str:
        """
        Unfolded, without the spaces around; octets that are not UTF-8 become U+FFFD.
        """
        return self.unfolded.decode("utf-8", "replace")

    @property
    def text(self) -> str:
        """
        The value for people: encoded words decoded (RFC 2047). Never fails.
        """
        return decode_words(self.value)


@frozen
class Head:
    """
    The fields in their order, as the octets that they are. Names are looked up in any case. Changes give a new
    L{Head}. What nobody asks for is never taken apart.
    """

    octets: bytes = b""

    @classmethod
    def parse(cls, octets: bytes) -> Head:
        """
        The head in C{octets}; L{to_bytes} gives them back.

        @raise SyntaxRefused: these are not fields from the first octet to the last
        """
        # Each LF has its CR, so as many of both means that no CR stands alone.
        if _end_of_fields(octets) != len(octets) or octets.count(b"\r") != octets.count(b"\n"):
            raise SyntaxRefused("a line of the head is no field")
        return cls(octets)

    @classmethod
    def of(cls, fields: Iterable[Field]) -> Head:
        """
        A head of those fields.
        """
        return cls(b"".join([field.octets for field in fields]))

    def to_bytes(self) -> bytes:
        """
        The head as it goes on the wire.
        """
        return self.octets

    @cached_property
    def fields(self) -> tuple[Field, ...]:
        """
        All of them.
        """
        return tuple([Field(name.decode("ascii"), name + rest) for name, rest in _FIELDS.findall(self.octets)])

    @cached_property
    def values(self) -> Mapping[str, Sequence[str]]:
        """
        What the fields of each name say, names in lower case; see L{Field.value}.
        """
        found: dict[str, list[str]] = {}
        for name, rest in _VALUES.findall(self.octets.decode("utf-8", "replace")):
            value = rest.strip(" \t\r\n")
            if "\n" in value:
                value = value.replace("\r\n", "")
            name = name.lower()
            if name in found:
                found[name].append(value)
            else:
                found[name] = [value]
        return found

    def all(self, name: str) -> Iterator[Field]:
        """
        The fields of that name.
        """
        wanted = name.lower()
        return (field for field in self.fields if field.name.lower() == wanted) if wanted in self.values else iter(())

    def first(self, name: str) -> Field | None:
        """
        The first field of that name.
        """
        return next(self.all(name), None)

    def remove(self, names: Iterable[str]) -> Head:
        """
        Without the fields of those names.
        """
        unwanted = {name.lower() for name in names}
        if unwanted.isdisjoint(self.values):
            return self
        return Head.of(field for field in self.fields if field.name.lower() not in unwanted)

    def prepend(self, *fields: Field) -> Head:
        """
        With these before all others.
        """
        return Head(b"".join([*[field.octets for field in fields], self.octets]))

    def append(self, *fields: Field) -> Head:
        """
        With these after all others.
        """
        return Head(b"".join([self.octets, *[field.octets for field in fields]]))

    def mailboxes(self, name: str) -> list[Mailbox]:
        """
        The mailboxes in all fields of that name, groups opened.

        @raise SyntaxRefused: they cannot be read without doubt
        """
        return [mailbox for value in self.values.get(name.lower(), ()) for mailbox in parse_mailboxes(value)]


def make_field(name: str, value: str) -> Field:
    """
    A field of our own, folded at spaces; control characters in C{value} become spaces.

    Lines are at most 998 octets: a longer word is broken.

    @raise SyntaxRefused: C{name} is no field name
    """
    if not _FIELD_NAME.fullmatch(name):
        raise SyntaxRefused("not a field name")
    if not value.isprintable():
        value = _UNSAFE.sub(" ", value)
    line = f"{name}: {value}"
    if line.isascii():
        lines = _FOLDED.findall(line)
        # Nothing was left out, so no word is too long to be folded before; nor does the name stand on a line alone.
        if len("".join(lines)) == len(line) and " " in lines[0] and "  " not in line and not line.endswith(" "):
            return Field(name, ("\r\n".join(lines) + "\r\n").encode("ascii"))
    return Field(name, _fold(name, value))


def _fold(name: str, value: str) -> bytes:
    """
    The octets of a field, whatever its words are like.
    """
    line = name.encode("ascii") + b":"
    lines: list[bytes] = []
    for word in value.split(" "):
        octets = word.encode("utf-8", "replace")
        if octets and len(line) + 1 + len(octets) <= FOLD_AT:
            line += b" " + octets
            continue
        for at in range(0, len(octets), LINE_LIMIT - 1):
            piece = octets[at : at + LINE_LIMIT - 1]
            # The name's own line may not stay without a word, else some readers see an empty field.
            too_long = len(line) + 1 + len(piece) > (FOLD_AT if lines or b": " in line else LINE_LIMIT)
            if too_long:
                lines.append(line)
                line = b""
            line += b" " + piece
    return b"\r\n".join([*lines, line]) + b"\r\n"
