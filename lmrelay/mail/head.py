"""
The header block of a message as raw fields: read, looked at, changed, written back
octet for octet (RFC 5322 §2.2, §3.6).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attrs import define, field, frozen

from lmrelay.mail.address import Address

HEAD_LIMIT = 256 * 1024


@define(eq=False)
class HeadReader:
    """
    Parts head from body while the content streams in.

    C{head} is None until the end of the head was read, then its octets; feed no more then.
    """

    head: bytes | None = None

    def feed(self, block: bytes) -> bytes:
        """
        Take a block of content (line endings CRLF). Once C{head} is there, the answer is the body so far, its
        empty line included; before it is empty.

        @raise Refused: the head is over 256 KiB (552 5.3.4)
        """
        raise NotImplementedError

    def finish(self) -> bytes:
        """
        The content ended: C{head} is there, and this is what of it was body after all (mostly empty).
        """
        raise NotImplementedError


@frozen
class Field:
    """
    One header field. C{octets} are all of it, the last line ending included; C{name} is as it was written.
    """

    name: str
    octets: bytes

    @property
    def value(self) -> str:
        """
        Unfolded, without the spaces around; octets that are not UTF-8 become U+FFFD.
        """
        raise NotImplementedError

    @property
    def text(self) -> str:
        """
        The value for people: encoded words decoded (RFC 2047). Never fails.
        """
        raise NotImplementedError


@frozen
class Head:
    """
    The fields in their order. Names are looked up in any case. Changes give a new L{Head}.
    """

    fields: tuple[Field, ...] = field(default=(), converter=tuple)

    @classmethod
    def parse(cls, octets: bytes) -> Head:
        """
        The head in C{octets}; L{to_bytes} gives them back.
        """
        raise NotImplementedError

    def to_bytes(self) -> bytes:
        """
        The head as it goes on the wire.
        """
        raise NotImplementedError

    def all(self, name: str) -> Iterator[Field]:
        """
        The fields of that name.
        """
        raise NotImplementedError

    def first(self, name: str) -> Field | None:
        """
        The first field of that name.
        """
        raise NotImplementedError

    def remove(self, names: Iterable[str]) -> Head:
        """
        Without the fields of those names.
        """
        raise NotImplementedError

    def prepend(self, *fields: Field) -> Head:
        """
        With these before all others.
        """
        raise NotImplementedError

    def append(self, *fields: Field) -> Head:
        """
        With these after all others.
        """
        raise NotImplementedError

    def addresses(self, name: str) -> list[Address]:
        """
        The mailboxes in all fields of that name, groups opened.

        @raise SyntaxRefused: they cannot be read without doubt
        """
        raise NotImplementedError


def make_field(name: str, value: str) -> Field:
    """
    A field of our own, folded at spaces; control characters in C{value} become spaces.
    """
    raise NotImplementedError
