"""
A story, drawn from a seed: tenants' mail for an hour, and all that can go wrong meanwhile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from attrs import define, field, frozen
from sqlalchemy import Connection, select

from lmrelay.config.values import DeliveryTimeouts
from lmrelay.mail.parts import Part
from lmrelay.mail.suppression import Suppression, Why
from lmrelay.queue.outbox import write_untold
from lmrelay.queue.schema import WAITING, event, message, recipient
from lmrelay.queue.suppressions import Suppressions
from lmrelay.testing.name_server import Said
from tests.simulation.applications import Letter, To
from tests.simulation.network import cut
from tests.simulation.promises import Promises
from tests.simulation.receivers import Mood, Receiver
from tests.simulation.world import World

LETTERS = 60
STORM = 600.0
"""
Messages handed over, and seconds in which they are and things go wrong; then all that can get well does.
"""

EXPIRE = 600.0
PATIENCE = 7200.0
"""
Seconds after the storm in which everything must have come to its end.
"""

DOMAINS = ("b.example", "c.example", "d.example", "e.example", "slow.example")
REGULARS = ("Ann", "ben")
"""
Who gets more than one letter, and may be suppressed meanwhile.
"""

PARTS = tuple(part.value for part in Part)
SERVFAIL = Said(rcode=2)
DOOMS = ("Acceptance._write", "Settler.write", "Settler.write", "Taker._claim", "write_chunks", "Releases.free")
"""
The writes in which a process may die.
"""

DELIVERY = {
    "retry": (20.0, 60.0, 120.0, 240.0),
    "expire": EXPIRE,
    "connections_per_site": 4,
    "messages_per_connection": 5,
    "timeouts": DeliveryTimeouts(connect=10.0, command=60.0, data=120.0),
}


@frozen
class Ending:
    """
    What came of it. C{digest} is the same whenever the same was played.
    """

    seed: int
    broken: tuple[str, ...]
    accepted: int
    arrived: int
    deaths: int
    seconds: float
    digest: str


@define(eq=False)
class Story:
    """
    One world and its troubles.
    """

    seed: int
    folder: Path
    letters: int = LETTERS
    storm: float = STORM
    world: World = field(init=False)
    promises: Promises = field(init=False)
    chance: Random = field(init=False)
    deaths: int = field(default=0, init=False)
    _doom: str = field(default="", init=False)
    _reprieves: int = field(default=0, init=False)
    _looks: int = field(default=0, init=False)
    _numbers: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self.world = World(self.folder, self.seed, delivery=DELIVERY, chaotic=True, fate=self._fate, died=self._died)
        self.promises = Promises(self.world)
        self.chance = self.world.random("story")

    def play(self) -> Ending:
        """
        From the beginning to the end.
        """
        self.tell()
        ending = self.judge()
        self.world.end()
        return ending

    def tell(self) -> None:
        """
        Until all has come to its end, or it is clear that it will not.
        """
        network = self.world.network
        self._set_scene()
        self._draw_death()
        self.world.begin()
        network.run(self.storm)
        self._calm()
        network.run_until(self._is_over, PATIENCE)

    def judge(self) -> Ending:
        """
        What came of it so far.
        """
        broken = [f"the relay did not start or stop: {fault.value}" for fault in self.world.faults]
        broken += self.promises.find_broken()
        if still := self.promises.find_open():
            broken.append(f"{still} recipients are still queued long after the storm")
        arrived = sum(len(receiver.arrivals) for receiver in self.world.receivers)
        accepted = sum(len(application.accepted) for application in self.promises.applications)
        seconds = self.world.network.seconds()
        return Ending(self.seed, tuple(broken), accepted, arrived, self.deaths, seconds, self._digest())

    def _digest(self) -> str:
        """
        Of all that arrived, and of all events.
        """
        said = hashlib.sha256()
        for receiver in self.world.receivers:
            for one in receiver.arrivals:
                said.update(repr((one.at, one.message.addresses, one.message.content)).encode())
        for row in self.world.read(_read_events):
            said.update(repr(tuple(row)).encode())
        return said.hexdigest()[:16]

    def _is_over(self) -> bool:
        if any(application.outbox for application in self.promises.applications) or self.world.relay is None:
            return False
        # To look costs more than to wait.
        self._looks += 1
        return self._looks % 500 == 0 and not self.promises.find_open()

    # --- the scene -----------------------------------------------------------------------

    def _set_scene(self) -> None:
        world, chance = self.world, self.chance
        moody = [
            world.receiver("b.example", rate=chance.choice((None, 5.0)), most=chance.choice((1, 3, 100))),
            world.receiver("c.example", "d.example", pause=chance.choice((0.0, 0.3))),
            world.receiver("e.example"),
        ]
        # Another host for the same domain, which is asked when the first gives no answer.
        second = world.receiver(rate=10.0)
        world.zone.exchanges("e.example", (10, moody[2].host), (20, second.host))
        # So slow that its mail waits in memory.
        world.receiver("slow.example", pause=chance.uniform(30, 100), most=1)
        world.receiver("acme.example", "beta.example")
        for receiver in (*moody, second):
            self._at(0, self._change_mood, receiver)
        for number, project in enumerate(("acme", "beta", "acme")):
            self.promises.applications.append(world.application(project, number))
        for _ in range(self.letters):
            self._at(chance.uniform(0, self.storm * 0.8), self._write_letter)
        for _ in range(self.letters // 2):
            self._at(chance.uniform(0, self.storm), self._list)
        for _ in range(chance.randrange(6)):
            self._at(chance.uniform(0, self.storm), self._cut)
        for _ in range(chance.randrange(3)):
            self._at(chance.uniform(0, self.storm), self._break_names, chance.choice(DOMAINS))
        if chance.random() < 0.3:
            self._at(chance.uniform(0, self.storm), self._stop)
        if chance.random() < 0.3:
            self._at(chance.uniform(0, self.storm), self._jump)

    def _at(self, after: float, call: Callable[..., object], *arguments: object) -> None:
        self.world.network.callLater(after, call, *arguments)

    def _change_mood(self, receiver: Receiver) -> None:
        if self.world.network.seconds() < self.storm:
            receiver.feel(self.chance.choice((Mood.WELL, Mood.WELL, *Mood)))
            self._at(self.chance.uniform(20, 300), self._change_mood, receiver)

    def _write_letter(self) -> None:
        chance = self.chance
        self._numbers += 1
        name = f"L{self._numbers}"
        application = chance.choice(self.promises.applications)
        addresses = {self._draw_address(f"{name}.{number}".lower()) for number in range(chance.choice((1, 1, 3)))}
        notify = ("", "", "", "NEVER", "FAILURE", "DELAY,FAILURE", "DELAY")
        application.send(
            Letter(
                name,
                tuple(To(address, chance.choice(notify)) for address in sorted(addresses)),
                chance.choice((f"app@{chance.choice(('acme', 'beta'))}.example", "app@acme.example", "")),
                chance.choice(("", "", "news", "quiet")),
                chance.choice(("", name)),
                chance.choice((100, 100, 2000, 400_000)),
            )
        )

    def _draw_address(self, name: str) -> str:
        chance = self.chance
        if chance.random() < 0.15:
            return f"{chance.choice(PARTS)}+{name}@{self.world.testing}"
        local = chance.choice(REGULARS) if chance.random() < 0.4 else name
        return f"{local}@{chance.choice((*DOMAINS, 'nowhere.example'))}"

    def _list(self) -> None:
        """
        The operator suppresses somebody, for ever or for a time, or lets them have mail again.
        """
        chance, now = self.chance, self.world.wall()
        project, route = chance.choice(("acme", "beta")), chance.choice(("", "", "news"))
        address = f"{chance.choice(REGULARS)}@{chance.choice(DOMAINS)}".lower()
        if waiting := self.world.read(_read_waiting) if chance.random() < 0.5 else ():
            project, address = chance.choice(waiting)
        one = Suppression(project, address.lower(), Why.MANUAL, now, route, chance.choice((None, now + 90)))
        remove = chance.random() < 0.3

        def change(connection: Connection) -> None:
            suppressions = Suppressions(chance.randbytes, write_untold)
            if remove:
                suppressions.remove(connection, [one.key], now)
            else:
                suppressions.add(connection, [one], now)

        self.world.write(change)

    # --- troubles ------------------------------------------------------------------------

    def _cut(self) -> None:
        if self.world.network.wires:
            cut(self.chance.choice(self.world.network.wires))

    def _break_names(self, domain: str) -> None:
        self.world.zone.fault(domain, SERVFAIL)
        self._at(self.chance.uniform(10, 200), self.world.zone.faults.pop, domain, None)

    def _jump(self) -> None:
        """
        Somebody sets the clock.
        """
        self.world.skew += self.chance.uniform(-200, 200)

    def _stop(self) -> None:
        self.world.stop().addErrback(self.world.faults.append).addCallback(self._rest)

    def _rest(self, _: object = None) -> None:
        self._at(self.chance.uniform(1, 30), self._begin)

    def _begin(self) -> None:
        if self.world.relay is None:
            self.world.begin()

    def _draw_death(self) -> None:
        """
        Draw in the midst of what the process dies next.
        """
        if self.world.network.seconds() < self.storm:
            self._doom, self._reprieves = self.chance.choice(DOOMS), self.chance.randrange(6)
            self._at(self.chance.uniform(30, 200), self._draw_death)

    def _fate(self, names: frozenset[str]) -> bool | None:
        if self._doom not in names:
            return None
        self._reprieves -= 1
        return self.chance.random() < 0.5 if self._reprieves < 0 else None

    def _died(self) -> None:
        self.deaths += 1
        self.promises.note_death()
        self._doom = ""
        if self.chance.random() < 0.3:
            # So soon again that nothing is in order yet.
            self._doom, self._reprieves = "Lease.enter", 0
        self._rest()

    def _calm(self) -> None:
        """
        All is well again, but for the one or other receiver that is gone for good: its mail expires.
        """
        self._doom = ""
        self.world.zone.faults.clear()
        *moody, senders = self.world.receivers
        senders.feel(Mood.WELL)
        for receiver in moody:
            gone = self.chance.random() < 0.35
            receiver.feel(self.chance.choice((Mood.CLOSED, Mood.SILENT, Mood.STALLING)) if gone else Mood.WELL)


def _read_waiting(connection: Connection) -> list[Any]:
    mine = (message.c.id == recipient.c.message, recipient.c.state.in_(WAITING), ~message.c.notification)
    query = select(recipient.c.project, recipient.c.address).where(*mine)
    return list(connection.execute(query.order_by(recipient.c.message, recipient.c.number)))


def _read_events(connection: Connection) -> list[Any]:
    return list(connection.execute(select(event).order_by(event.c.sequence)))


def play(seed: int, letters: int = LETTERS, storm: float = STORM) -> Ending:
    """
    Play one story, in a folder that is gone afterwards.
    """
    with TemporaryDirectory(prefix="lmrelay-simulation-") as folder:
        return Story(seed, Path(folder) / "relay", letters, storm).play()
