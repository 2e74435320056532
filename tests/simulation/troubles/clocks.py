"""
Somebody sets the clock.
"""

from __future__ import annotations

from attrs import define

from tests.simulation.troubles.trouble import Trouble

JUMPS = (3.0, 200.0, 3600.0, 86_400.0)
"""
Seconds by which it is set at most, forth or back.
"""


@define(eq=False)
class Clocks(Trouble):
    """
    The wall's clock jumps, forth and back. The reactor's is the monotonic one, which nobody can set.
    """

    def begin(self) -> None:
        for _ in range(self.some(4)):
            self.sometime(self._jump)

    def _jump(self) -> None:
        most = self.chance.choice(JUMPS)
        seconds = self.chance.uniform(-most, most)
        self.story.note("clock", f"is set by {seconds:+.0f} s")
        self.story.world.set_clock(seconds)

    def calm(self) -> None:
        if self.chance.random() < 0.7:
            self.story.note("clock", "is right again")
            self.story.world.set_clock(-self.story.world.skew)
