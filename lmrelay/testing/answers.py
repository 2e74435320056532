"""
What a scripted server says: how, how late, and which of several.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Union

from attrs import frozen


@frozen
class Answer:
    """
    What is said: octets as they go out, after C{delay} seconds, C{piece} octets a write (0: all at once).

    C{close}: the connection ends after it. No octets and not C{close}: silence for ever.
    """

    octets: bytes = b""
    delay: float = 0.0
    piece: int = 0
    close: bool = False

    @property
    def code(self) -> int:
        """
        Its reply code; 0 where it is none.
        """
        return int(self.octets[:3]) if self.octets[:3].isdigit() else 0


def say(*lines: str, delay: float = 0.0, piece: int = 0, close: bool = False) -> Answer:
    """
    A reply of these lines, each with its code.
    """
    return Answer("".join(f"{line}\r\n" for line in lines).encode(), delay, piece, close)


SILENCE = Answer()
DROP = Answer(close=True)

Choice = Union[Answer, Sequence[Answer], Callable[[str], Answer]]
"""
One answer for always; several, one after the other, the last for ever; or a function of the command's argument.
"""
