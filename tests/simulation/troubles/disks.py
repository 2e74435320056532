"""
A disk that is full for a while, or nearly, or slow.
"""

from __future__ import annotations

from attrs import define

from lmrelay.config.values import MIB
from tests.simulation.disk import COMMIT, FREE
from tests.simulation.troubles.trouble import Trouble

RESERVED = 100 * MIB
"""
Free enough that the relay keeps some room for itself.
"""


@define(eq=False)
class Disks(Trouble):
    """
    Writes find no room, less is free than the relay wants to keep, or each commit takes long.
    """

    def begin(self) -> None:
        if self.chance.random() < 0.5:
            self.story.world.disk.free = RESERVED
        for _ in range(self.some(4)):
            self.sometime(self.chance.choice((self._fill, self._fill, self._run_low, self._slow_down)))

    def _fill(self) -> None:
        self.story.note("disk", "is full")
        self.story.world.disk.fill(self.chance.randrange(20))
        self.story.at(self.chance.uniform(0.5, 60), self._mend)

    def _run_low(self) -> None:
        self.story.note("disk", "has less than the reserve")
        self.story.world.disk.free = 10 * MIB
        self.story.at(self.chance.uniform(5, 60), self._mend)

    def _slow_down(self) -> None:
        seconds = self.chance.choice((0.2, 2.0, 8.0, 50.0))
        self.story.note("disk", f"takes {seconds} s for a commit")
        self.story.world.disk.slow_down(seconds)
        self.story.at(self.chance.uniform(10, 80), self._mend)

    def _mend(self) -> None:
        disk = self.story.world.disk
        self.story.note("disk", "is well")
        disk.is_full, disk.seconds = False, COMMIT
        disk.free = RESERVED if disk.free > FREE else FREE

    def calm(self) -> None:
        self._mend()
