"""
What happened in a story, in the order in which it did: written down for whoever wants to know how a promise was broken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from attrs import define, field


class Entry(NamedTuple):
    """
    At a time of the story, C{who} did something, or something was done to it. A detail concerns some mail alone.
    """

    at: float
    who: str
    what: str
    is_detail: bool = False


@define(eq=False)
class Chronicle:
    """
    All that was noted. C{is_detailed}: the details too, which are so many that a story takes noticeably longer.
    """

    _seconds: Callable[[], float]
    is_detailed: bool = False
    entries: list[Entry] = field(factory=list, init=False)

    def note(self, who: str, what: str) -> None:
        """
        This happens now.
        """
        self.entries.append(Entry(self._seconds(), who, what))

    def detail(self, who: str, what: str) -> None:
        """
        This happens now, to some mail.
        """
        if self.is_detailed:
            self.entries.append(Entry(self._seconds(), who, what, True))
