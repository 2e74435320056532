"""
Content on its way out: dots stuffed, bare line endings made whole, the end marked (RFC 5321 §4.5.2).

Whatever the content and wherever the blocks are cut, CRLF "." CRLF leaves once: at the end.
"""

from __future__ import annotations

from attrs import define


@define(eq=False)
class Stuffer:
    """
    Writes one DATA.
    """

    def stuff(self, block: bytes) -> bytes:
        """
        What of the content can be sent with this block.
        """
        raise NotImplementedError

    def finish(self) -> bytes:
        """
        What closes the DATA: the CRLF that the content may lack, and the final dot.
        """
        raise NotImplementedError
