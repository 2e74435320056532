"""
A process that dies, or is stopped, at any time.
"""

from __future__ import annotations

from functools import partial

from attrs import define, field

from tests.simulation.lines import Line
from tests.simulation.troubles.trouble import Trouble
from tests.simulation.troubles.wires import draw_octets
from tests.simulation.world import RELAY

DOOMS = ("Acceptance._write", "Settler.write", "Settler.write", "Taker._claim", "write_chunks", "Releases.free")
"""
Writes in which it is most worthwhile to die.
"""

ANY = ""


@define(eq=False)
class Crashes(Trouble):
    """
    kill -9: in a commit, before or after it; or with an octet on its way, in or out.

    C{_doom} names the writes in which it dies, ANY is in all of them; C{_reprieves} are left before that.
    """

    _doom: str | None = field(default=None, init=False)
    _reprieves: int = field(default=0, init=False)
    _wires: int = field(default=0, init=False)

    def begin(self) -> None:
        self.story.world.fate = self._fate
        self.story.world.network.opened.append(self._opened)
        self._draw()

    def _draw(self) -> None:
        """
        Draw in the midst of what the process dies next.
        """
        if not self.story.is_stormy:
            return
        kind = self.chance.random()
        if kind < 0.4:
            self._doom, self._reprieves = self.chance.choice(DOOMS), self.chance.randrange(6)
        elif kind < 0.7:
            self._doom, self._reprieves = ANY, self.chance.randrange(60)
        else:
            self._wires = self.chance.randrange(1, 6)
        self.story.at(self.chance.uniform(0.05, 0.3) * self.story.storm / self.weight, self._draw)

    def _fate(self, names: frozenset[str]) -> bool | None:
        if self._doom is None or (self._doom != ANY and self._doom not in names):
            return None
        self._reprieves -= 1
        if self._reprieves >= 0:
            return None
        is_after = self.chance.random() < 0.5
        self.story.note("relay", f"dies {'after' if is_after else 'before'} the commit of {', '.join(sorted(names))}")
        return is_after

    def _opened(self, wire: Line) -> None:
        mine = RELAY in (wire.client.host.host, wire.server.host.host)
        if not (self._wires and mine):
            return
        self._wires -= 1
        if not self._wires:
            end = self.chance.choice((wire.client, wire.server))
            wire.tap(end, draw_octets(self.chance), partial(self._die_at, self.story.world.lives))

    def _die_at(self, life: int) -> None:
        if life == self.story.world.lives and self.story.is_stormy:
            self.story.note("relay", "dies with an octet on its way")
            self.story.world.crash()

    def died(self) -> None:
        self._doom, self._wires = None, 0
        again = self.chance.random()
        if again < 0.2:
            # So soon again that nothing is in order yet.
            self._doom, self._reprieves = "Lease.enter", 0
        elif again < 0.4:
            self._doom, self._reprieves = ANY, self.chance.randrange(5)

    def calm(self) -> None:
        self._doom, self._wires = None, 0


@define(eq=False)
class Stops(Trouble):
    """
    SIGTERM.
    """

    def begin(self) -> None:
        for _ in range(self.some(3)):
            self.sometime(self.story.stop)
