"""
A network that breaks connections, at any octet and either way, or lets nothing through for a while or for ever.
"""

from __future__ import annotations

from functools import partial
from random import Random

from attrs import define

from lmrelay.testing.wire import End
from tests.simulation.lines import GIVEN_UP, Line
from tests.simulation.troubles.trouble import Trouble

OFTEN = 0.15
"""
Of all connections so many have trouble.
"""


@define(eq=False)
class Wires(Trouble):
    """
    Connections are reset, go silent one way, wait, or are cut off, after an octet that is drawn.
    """

    def begin(self) -> None:
        self.story.world.network.opened.append(self._opened)
        for _ in range(self.some(6)):
            self.sometime(self._reset)

    def _reset(self) -> None:
        if wires := self.story.world.network.wires:
            wire = self.chance.choice(wires)
            self._note(wire, wire.client, "is reset")
            wire.break_off()

    def _opened(self, wire: Line) -> None:
        if self.story.is_stormy and self.chance.random() < OFTEN * self.weight:
            end = self.chance.choice((wire.client, wire.server))
            wire.tap(end, draw_octets(self.chance), partial(self._happen, wire, end))

    def _happen(self, wire: Line, end: End) -> None:
        what = self.chance.choice(("is reset", "is cut off", "is silent", "waits", "waits", "dribbles"))
        self._note(wire, end, what)
        if what == "is reset":
            wire.break_off()
        elif what == "is cut off":
            wire.cut_off()
        elif what == "is silent":
            # Until the kernel has sent in vain for long enough.
            self.story.at(GIVEN_UP, wire.break_off)
        elif what == "dribbles":
            self._dribble(wire, end)
        elif what == "waits":
            self.story.at(self.chance.uniform(0.1, 50), self._go_on, wire, end)

    def _go_on(self, wire: Line, end: End) -> None:
        wire.taps.pop(end, None)

    def _dribble(self, wire: Line, end: End) -> None:
        """
        A few octets, and a few seconds; it takes minutes to say anything.
        """
        if self.story.is_stormy and not end.disconnected:
            then = partial(self.story.at, self.chance.uniform(1, 10), self._dribble, wire, end)
            wire.tap(end, self.chance.randrange(1, 20), then)
        else:
            self._go_on(wire, end)

    def _note(self, wire: Line, end: End, what: str) -> None:
        near, far = end.host, end.peer
        self.story.note("network", f"{near.host} to {far.host}:{wire.server.host.port} {what}")

    def calm(self) -> None:
        for wire in self.story.world.network.wires:
            # Who is silent then is so for good: nobody waits for ever.
            wire.taps = {end: tap for end, tap in wire.taps.items() if not tap.left}


def draw_octets(chance: Random) -> int:
    """
    How many pass before something happens: mostly in the midst of commands, at times far into a content.
    """
    return chance.choice((chance.randrange(1, 60), chance.randrange(1, 400), chance.randrange(1, 3000), 100_000))
