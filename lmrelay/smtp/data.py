"""
The content of DATA and BDAT: blocks from the wire in, content octets out (RFC 5321 §4.5.2).

Only CRLF "." CRLF ends DATA. No bare CR or LF is ever in what comes out: each is
turned into CRLF and flagged. Flaws never stop the reading: the session refuses the
message at its end, else the rest of it would become commands.
"""

from __future__ import annotations

from attrs import define


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

    def read(self, block: bytes) -> bytes:
        """
        The content in C{block}, dots unstuffed, every line ending CRLF. May be empty.
        """
        raise NotImplementedError


@define(eq=False)
class ChunkReader:
    """
    Reads the chunks of one BDAT message (RFC 3030), which have no dots to unstuff. Flags as in L{DataReader}.
    """

    bare_newline: bool = False
    nul: bool = False
    eight_bit: bool = False

    def read(self, block: bytes) -> bytes:
        """
        The content in C{block}, every line ending CRLF.
        """
        raise NotImplementedError

    def finish(self) -> bytes:
        """
        What closes the content after its last octet: the CRLF that it may lack, or nothing.
        """
        raise NotImplementedError
