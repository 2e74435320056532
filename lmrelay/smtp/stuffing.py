"""
Content on its way out: dots stuffed, bare line endings made whole, the end marked (RFC 5321 §4.5.2).

Whatever the content and wherever the blocks are cut, CRLF "." CRLF leaves once: at the end.
"""

from __future__ import annotations

from attrs import define

from lmrelay.smtp.newlines import has_bare_newline, has_dotted_line, to_crlf


@define(eq=False)
class Stuffer:
    """
    Writes one DATA.
    """

    _held: bytes = b""
    _at_line_start: bool = True

    def stuff(self, block: bytes) -> bytes:
        """
        What of the content can be sent with this block.
        """
        octets = self._held + block if self._held else block
        # A CR at the end is sent once it is known whether a LF follows it.
        self._held = b"\r" if octets.endswith(b"\r") else b""
        if self._held:
            octets = octets[:-1]
        if not octets:
            return octets
        if has_bare_newline(octets):
            octets = to_crlf(octets)
        stuffed = octets.replace(b"\r\n.", b"\r\n..") if has_dotted_line(octets) else octets
        # A dot that opens a block may open a line too; unstuffed, it could end the data and make commands of the rest.
        if self._at_line_start and stuffed.startswith(b"."):
            stuffed = b"." + stuffed
        self._at_line_start = octets.endswith(b"\r\n")
        return stuffed

    def finish(self) -> bytes:
        """
        What closes the DATA: the CRLF that the content may lack, and the final dot.
        """
        return b".\r\n" if self._at_line_start and not self._held else b"\r\n.\r\n"
