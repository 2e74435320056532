"""
A network that breaks connections.
"""

from __future__ import annotations

from attrs import define

from tests.simulation.network import cut
from tests.simulation.troubles.trouble import Trouble


@define(eq=False)
class Wires(Trouble):
    """
    Connections are reset.
    """

    def begin(self) -> None:
        for _ in range(self.some(6)):
            self.sometime(self._cut)

    def _cut(self) -> None:
        if wires := self.story.world.network.wires:
            cut(self.chance.choice(wires))
