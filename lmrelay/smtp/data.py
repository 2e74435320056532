"""
The content of DATA and BDAT: blocks from the wire in, content octets out (RFC 5321 §4.5.2).

Only CRLF "." CRLF ends DATA. No bare CR or LF is ever in what comes out: each is
turned into CRLF and flagged. Flaws never stop the reading: the session refuses the
message at its end, else the rest of it would become commands.
"""

from __future__ import annotations

from attrs import define

from lmrelay.smtp.newlines import is_bare, to_crlf

_START = b"\r\n"
_END = b"\r\n.\r\n"
_DOTTED = _END[:3]
_BEGINNINGS = tuple(_END[:length] for length in range(len(_END) - 1, 0, -1))


@define(eq=False)
class DataReader:
    """
    Reads one DATA.

    C{finished}: its end was read, and C{rest} is what came after it. C{bare_newline},
    C{nul}, C{eight_bit}: seen so far (C{eight_bit}: an octet beyond ASCII).
    """

    finished: bool = False
    rest: bytes = b""
    bare_newline: bool = False
    nul: bool = False
    eight_bit: bool = False
    # The data begins as if after a line ending (RFC 5321 §4.1.1.4), which is no content.
    _held: bytes = _START
    _before: int = len(_START)

    def read(self, block: bytes) -> bytes:
        """
        The content in C{block}, dots unstuffed, every line ending CRLF. May be empty.

        Once C{finished}, all of C{block} is added to C{rest}.
        """
        if self.finished:
            self.rest += block
            return b""
        if self._before and self._held == _START and block and not block.startswith(b"."):
            # Only for a dot it matters what is before: without it the block need not be copied.
            self._held, self._before = b"", 0
        octets = self._held + block
        # Only between the first and the last dot, which are found many octets at a time: what is long is mostly base64,
        # which has none. From behind, which is quicker; and of most messages the only line with a dot is the end.
        start, stop = max(octets.find(b".") - 2, 0), octets.rfind(b".") + 1
        last = octets.rfind(_DOTTED, start, stop)
        dotted = octets.rfind(_DOTTED, start, max(last, 0)) >= 0
        if dotted:
            end = octets.find(_END)
        else:
            end = last if octets.startswith(_END, last) else -1
        if end >= 0:
            self.finished = True
            self.rest = octets[end + len(_END) :]
            self._held = b""
            return self._content(octets[: end + 2], dotted)
        # What may be the start of the end waits for more, so no CRLF and no dot after one is ever cut in two.
        self._held = next(filter(octets.endswith, _BEGINNINGS), b"")
        return self._content(octets[: len(octets) - len(self._held)], last >= 0)

    def _content(self, octets: bytes, dotted: bool) -> bytes:
        """
        C{dotted}: a line of it may begin with a dot.
        """
        if not octets:
            return octets
        # Before bare line endings are made whole: a dot after one of those is content, not stuffing.
        if dotted:
            octets = octets.replace(_DOTTED, b"\r\n")
        latin = octets.decode("latin-1")
        self.nul = self.nul or "\0" in latin
        # Text knows this of itself; octets would have to be gone through once more.
        self.eight_bit = self.eight_bit or not latin.isascii()
        if is_bare(latin):
            self.bare_newline = True
            octets = to_crlf(octets)
        if self._before:
            octets, self._before = octets[self._before :], 0
        return octets


@define(eq=False)
class ChunkReader:
    """
    Reads the chunks of one BDAT message (RFC 3030), which have no dots to unstuff. Flags as in L{DataReader}.
    """

    bare_newline: bool = False
    nul: bool = False
    eight_bit: bool = False
    _held: bytes = b""
    _open: bool = False

    def read(self, block: bytes) -> bytes:
        """
        The content in C{block}, every line ending CRLF.
        """
        octets = self._held + block
        self._held = b"\r" if octets.endswith(b"\r") else b""
        if self._held:
            octets = octets[:-1]
        if not octets:
            return octets
        latin = octets.decode("latin-1")
        self.nul = self.nul or "\0" in latin
        self.eight_bit = self.eight_bit or not latin.isascii()
        if is_bare(latin):
            self.bare_newline = True
            octets = to_crlf(octets)
        self._open = not octets.endswith(b"\r\n")
        return octets

    def finish(self) -> bytes:
        """
        What closes the content after its last octet: the CRLF that it may lack, or nothing.
        """
        closing = b"\r\n" if self._held or self._open else b""
        self.bare_newline = self.bare_newline or bool(self._held)
        self._held, self._open = b"", False
        return closing
