"""
A process that dies, or is stopped, at any time.
"""

from __future__ import annotations

from attrs import define, field

from tests.simulation.troubles.trouble import Trouble

DOOMS = ("Acceptance._write", "Settler.write", "Settler.write", "Taker._claim", "write_chunks", "Releases.free")
"""
Writes in which it is most worthwhile to die.
"""


@define(eq=False)
class Crashes(Trouble):
    """
    kill -9 in a commit, before or after it.
    """

    _doom: str = field(default="", init=False)
    _reprieves: int = field(default=0, init=False)

    def begin(self) -> None:
        self.story.world.fate = self._fate
        self._draw()

    def _draw(self) -> None:
        """
        Draw in the midst of what the process dies next.
        """
        if self.story.is_stormy:
            self._doom, self._reprieves = self.chance.choice(DOOMS), self.chance.randrange(6)
            self.story.at(self.chance.uniform(0.05, 0.3) * self.story.storm / self.weight, self._draw)

    def _fate(self, names: frozenset[str]) -> bool | None:
        if self._doom not in names:
            return None
        self._reprieves -= 1
        return self.chance.random() < 0.5 if self._reprieves < 0 else None

    def died(self) -> None:
        self._doom = ""
        if self.chance.random() < 0.3:
            # So soon again that nothing is in order yet.
            self._doom, self._reprieves = "Lease.enter", 0

    def calm(self) -> None:
        self._doom = ""


@define(eq=False)
class Stops(Trouble):
    """
    SIGTERM.
    """

    def begin(self) -> None:
        for _ in range(self.some(3)):
            self.sometime(self.story.stop)
