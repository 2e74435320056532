"""
An SMTP reply as a value (RFC 5321 §4.2, RFC 2034), the same in both directions.
"""

from __future__ import annotations

from attrs import field, frozen

LINE_LIMIT = 512
"""
Octets of a reply line, code and CRLF included (RFC 5321 §4.5.3.1.5).
"""


@frozen
class Reply:
    """
    A reply: three digits, an enhanced status code where there is one, and text.

    C{lines} has at least one line, without code, enhanced code or line ending.
    Text of a remote server is decoded as UTF-8, octets that are not become U+FFFD.
    """

    code: int
    enhanced: str | None
    lines: tuple[str, ...]
    _wire: bytes | None = field(default=None, init=False, eq=False, repr=False)

    @property
    def text(self) -> str:
        """
        The lines as one.
        """
        return " ".join(self.lines)

    def is_positive(self) -> bool:
        """
        2xx or 3xx?
        """
        return 200 <= self.code < 400

    def is_temporary(self) -> bool:
        """
        4xx?
        """
        return 400 <= self.code < 500

    def is_permanent(self) -> bool:
        """
        5xx?
        """
        return 500 <= self.code < 600

    def __str__(self) -> str:
        enhanced = f" {self.enhanced}" if self.enhanced else ""
        return f"{self.code}{enhanced} {self.text}".rstrip()

    def to_wire(self) -> bytes:
        """
        The octets that go to a client, all lines with their endings.

        Text that a client could have chosen is made harmless: no control
        character reaches the wire, and no line is longer than a client must be ready for.
        """
        wire = self._wire
        if wire is None:
            wire = self._write()
            # Most that is said is said over and over; a value that is found from the others changes none of them.
            object.__setattr__(self, "_wire", wire)
        return wire

    def _write(self) -> bytes:
        prefix = f"{self.enhanced} " if self.enhanced else ""
        if len(self.lines) == 1:
            return b"%d %s\r\n" % (self.code, _harmless(prefix + self.lines[0]))
        last = len(self.lines) - 1
        return b"".join(
            b"%d%s%s\r\n" % (self.code, b" " if number == last else b"-", _harmless(prefix + line))
            for number, line in enumerate(self.lines)
        )


def reply(code: int, enhanced: str | None, *lines: str) -> Reply:
    """
    Short for a L{Reply} of those lines.
    """
    return Reply(code, enhanced, lines or ("",))


def _harmless(text: str) -> bytes:
    if not text.isprintable():
        text = "".join(c if c.isprintable() else "?" for c in text)
    octets = text.encode("utf-8", "replace")
    room = LINE_LIMIT - len("250 \r\n")
    return octets if len(octets) <= room else octets[:room].decode("utf-8", "ignore").encode("utf-8")
