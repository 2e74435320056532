"""
Somebody sets the clock.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import define, field
from sqlalchemy import Connection, func, select

from lmrelay.queue.schedule import MAX_DRIFT, MAX_SLEW, SETTLED_AFTER
from lmrelay.queue.schema import event, message, recipient
from tests.simulation.troubles.trouble import Trouble

JUMPS = (3.0, 200.0, 3600.0, 86_400.0)
"""
Seconds by which it is set at most, forth or back.
"""

UNDER_WAY = 2.0
"""
Seconds, beside what a slow disk takes, in which an attempt that had ended before may still be recorded.
"""


@define(eq=False)
class Clocks(Trouble):
    """
    The wall's clock jumps, forth and back. The reactor's is the monotonic one, which nobody can set.

    While the two have parted since the process began, nothing may expire: C{_parted} says so, with what C{_expired}
    before.
    """

    _ahead: float = field(default=0.0, init=False)
    _parted: bool = field(default=False, init=False)
    _jumps: int = field(default=0, init=False)
    _expired: frozenset[tuple[str, int]] = field(default=frozenset(), init=False)
    _broken: list[str] = field(factory=list, init=False)

    def begin(self) -> None:
        for _ in range(self.some(4)):
            self.sometime(self._jump)

    def _jump(self) -> None:
        most = self.chance.choice(JUMPS)
        self._set(self.chance.uniform(-most, most))

    def _set(self, seconds: float) -> None:
        self._look()
        self.story.note("clock", f"is set by {seconds:+.0f} s")
        self.story.world.set_clock(seconds)
        self._jumps += 1
        self._ahead += seconds
        self._parted = False
        if abs(self._ahead) > MAX_DRIFT + MAX_SLEW:
            wait = UNDER_WAY + 3 * self.story.world.disk.seconds
            self.story.at(wait, self._part, self._jumps)
            self.story.at(SETTLED_AFTER - 1, self._look, self._jumps)

    def _part(self, jump: int) -> None:
        if jump == self._jumps:
            self._expired, self._parted = self._read(), True

    def _look(self, jump: int | None = None) -> None:
        """
        Did anything expire that may not have?
        """
        if self._parted and jump in (None, self._jumps):
            self._broken += (f"{one} expired while the clocks had parted" for one in self._read() - self._expired)
            self._parted = False

    def _read(self) -> frozenset[tuple[str, int]]:
        return self.story.world.read(lambda connection: read_expired(connection, self.story.world.testing))

    def died(self) -> None:
        self._look()
        self._jumps += 1

    def started(self) -> None:
        # It takes the clock for what it finds.
        self._look()
        self._jumps += 1
        self._ahead = 0.0

    def calm(self) -> None:
        # Mail that was accepted by a clock that was ahead lives longer by as much when that is set back, which nobody
        # waits for here.
        world = self.story.world
        latest = world.read(lambda connection: connection.execute(select(func.max(message.c.received_at))).scalar())
        if latest is not None and latest > world.wall():
            self._set(latest - world.wall())

    def find_broken(self) -> Iterator[str]:
        self._look()
        yield from self._broken


def read_expired(connection: Connection, testing: str) -> frozenset[tuple[str, int]]:
    """
    The recipients that were given up after temporary failures, those of the test addresses apart, which play it.
    """
    both = (event.c.message == recipient.c.message, event.c.recipient == recipient.c.number)
    query = select(event.c.message, event.c.recipient).join(recipient, both[0] & both[1])
    rows = connection.execute(query.where(event.c.type == "message.soft_bounced", recipient.c.domain != testing))
    return frozenset((row.message, row.recipient) for row in rows)
