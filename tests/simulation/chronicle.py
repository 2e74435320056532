"""
What happened in a story, in the order in which it did: written down for whoever wants to know how a promise was broken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from attrs import define, field


class Entry(NamedTuple):
    """
    At a time of the story, C{who} did something, or something was done to it.
    """

    at: float
    who: str
    what: str


@define(eq=False)
class Chronicle:
    """
    All that was noted. C{is_detailed}: also what is noted so often that a story takes noticeably longer.
    """

    _seconds: Callable[[], float]
    is_detailed: bool = False
    entries: list[Entry] = field(factory=list, init=False)

    def note(self, who: str, what: str) -> None:
        """
        This happens now.
        """
        self.entries.append(Entry(self._seconds(), who, what))
