"""
A story, drawn from a seed: tenants' mail for some minutes, and all that can go wrong meanwhile.
"""

from __future__ import annotations

import gc
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from attrs import define, field, frozen
from sqlalchemy import Connection, select
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.python.failure import Failure

from lmrelay.errors import StoreError
from lmrelay.queue.schema import event
from tests.simulation.leftovers import find_left, find_undone
from tests.simulation.lines import Line
from tests.simulation.profiles import PROFILES, draw_profile
from tests.simulation.promises import Promises
from tests.simulation.receivers import Receiver
from tests.simulation.scene import DELIVERY, draw_letter, set_receivers
from tests.simulation.troubles.trouble import Trouble
from tests.simulation.world import World

LETTERS = 30
STORM = 150.0
"""
Messages handed over, and seconds in which they are and things go wrong; then all that can get well does.
"""

PATIENCE = 10_800.0
"""
Seconds after the storm in which everything must have come to its end: nothing expires in the hour after the clock was
set, and what an endpoint that is gone for good is to be told after that is kept for one more.
"""

MEMORY = "/dev/shm"
"""
Where the disk is played, if there is such a place: no machine dies in a story, so nothing is waited for.
"""

DRAIN, GRACE = 30.0, 10.0
"""
Seconds in which a relay that is stopped finishes what is in flight, and some more to close.
"""

LOOK = 10.0
"""
Seconds between looks whether it has.
"""


@frozen
class Ending:
    """
    What came of it. C{digest} is the same whenever the same was played.
    """

    seed: int
    profile: str
    broken: tuple[str, ...]
    accepted: int = 0
    arrived: int = 0
    deaths: int = 0
    seconds: float = 0.0
    digest: str = ""


@define(eq=False)
class Story:
    """
    One world and its troubles, those of the C{profile} (by default drawn from the seed). C{is_told}: all is written
    down, every line on every wire.

    What troubles may use: C{world}, C{moody} (the receivers that may have bad hours), C{letters}, C{storm},
    L{is_stormy}, L{at}, L{note} and L{stop}.
    """

    seed: int
    folder: Path
    letters: int = LETTERS
    storm: float = STORM
    profile: str = ""
    is_told: bool = False
    world: World = field(init=False)
    promises: Promises = field(init=False)
    chance: Random = field(init=False)
    troubles: tuple[Trouble, ...] = field(init=False)
    moody: tuple[Receiver, ...] = field(default=(), init=False)
    deaths: int = field(default=0, init=False)
    _resting: Random = field(init=False)
    _numbers: int = field(default=0, init=False)
    _logged: list[str] = field(factory=list, init=False)
    _looked_at: float = field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        self.profile = self.profile or draw_profile(self.seed)
        self.world = World(self.folder, self.seed, delivery=DELIVERY, chaotic=True, died=self._died)
        self.world.chronicle.is_detailed = self.is_told
        self.promises = Promises(self.world)
        self.chance, self._resting = self.world.random("letters"), self.world.random("rests")
        self.world.network.said = self._said if self.is_told else None
        self.troubles = tuple(family(self, weight) for family, weight in PROFILES[self.profile].items())

    @property
    def is_stormy(self) -> bool:
        """
        May things still go wrong?
        """
        return self.world.network.seconds() < self.storm

    def at(self, after: float, call: Callable[..., object], *arguments: object) -> None:
        """
        Do this in so many seconds.
        """
        self.world.network.callLater(after, call, *arguments)

    def note(self, who: str, what: str) -> None:
        """
        Write down that this happens, for whoever reads how a promise was broken.
        """
        self.world.chronicle.note(who, what)

    def play(self) -> Ending:
        """
        From the beginning to the end.
        """
        try:
            self.tell()
            ending = self.judge()
            self.world.end()
        except Exception as error:  # the others are to be played all the same
            if self.is_told:
                raise
            return Ending(self.seed, self.profile, (f"the story breaks off: {error!r}",))
        return ending

    def tell(self) -> None:
        """
        Until all has come to its end, or it is clear that it will not.
        """
        # What Python closes of processes that are gone complains, so not while this story listens.
        gc.collect()
        gc.disable()
        globalLogPublisher.addObserver(self._hear)
        try:
            self._tell()
        finally:
            globalLogPublisher.removeObserver(self._hear)
            gc.enable()

    def _tell(self) -> None:
        network = self.world.network
        self._set_scene()
        for trouble in self.troubles:
            trouble.begin()
        self._begin()
        network.run(self.storm)
        self.note("story", "calm")
        for trouble in self.troubles:
            trouble.calm()
        if network.run_until(self._is_over, PATIENCE):
            network.run_until(self._is_empty, PATIENCE)

    def judge(self) -> Ending:
        """
        What came of it so far.
        """
        broken = [f"the relay did not start or stop: {fault.value}" for fault in self.world.faults]
        broken += (f"logged: {line}" for line in self._logged)
        broken += self.promises.find_broken()
        if still := self.promises.find_open():
            broken.append(f"{still} recipients are still queued long after the storm")
        for trouble in self.troubles:
            broken += trouble.find_broken()
        if self.world.relay is not None:
            broken += find_left(self.world.relay)
        arrived = sum(len(receiver.arrivals) for receiver in self.world.receivers)
        accepted = sum(len(application.accepted) for application in self.promises.applications)
        seconds = self.world.network.seconds()
        return Ending(self.seed, self.profile, tuple(broken), accepted, arrived, self.deaths, seconds, self._digest())

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

    def _may_look(self) -> bool:
        # To look costs more than to wait.
        now = self.world.network.seconds()
        if now < self._looked_at + LOOK:
            return False
        self._looked_at = now
        return True

    def _is_empty(self) -> bool:
        relay = self.world.relay
        if relay is None or not self._may_look():
            return False
        return not any(find_left(relay)) and not any(self.world.read(lambda connection: list(find_undone(connection))))

    def _is_over(self) -> bool:
        if not self._may_look():
            return False
        if any(application.outbox for application in self.promises.applications) or self.world.relay is None:
            return False
        return not self.promises.find_open() and all(trouble.is_over() for trouble in self.troubles)

    # --- the scene -----------------------------------------------------------------------

    def _set_scene(self) -> None:
        world, chance = self.world, self.chance
        self.moody = set_receivers(world, chance)
        for number, project in enumerate(("acme", "beta", "acme")):
            self.promises.applications.append(world.application(project, number))
        for _ in range(self.letters):
            self.at(chance.uniform(0, self.storm * 0.8), self._write_letter)

    def _write_letter(self) -> None:
        self._numbers += 1
        application = self.chance.choice(self.promises.applications)
        application.send(draw_letter(f"L{self._numbers}", self.chance, self.world.testing))

    # --- the process ---------------------------------------------------------------------

    def stop(self) -> None:
        """
        SIGTERM; and a while after it has ended, a new process.
        """
        self.note("relay", "SIGTERM")
        self.world.stop().addErrback(self.world.faults.append).addCallback(self._stopped, self.world.network.seconds())

    def _stopped(self, _: object, since: float) -> None:
        took = self.world.network.seconds() - since
        if took > DRAIN + GRACE and not self.world.disk.was_slow:
            self._logged.append(f"SIGTERM took {took:.0f} s")
        self._rest()

    def _rest(self) -> None:
        self.at(self._resting.uniform(1, 15), self._begin)

    def _begin(self) -> None:
        if self.world.relay is None:
            self.world.begin().addCallbacks(self._started, self._failed)

    def _said(self, line: Line, by_client: bool, text: str) -> None:
        if text.strip("x") == "" != text:
            # The rest of a content.
            return
        near, far = line.client.host.host, f"{line.server.host.host}:{line.server.host.port}"
        self.world.chronicle.detail(f"wire {line.number}", f"{near} {'>' if by_client else '<'} {far}  {text}")

    def _hear(self, event: LogEvent) -> None:
        """
        What the relay logs: a failure is none that anybody caused here.
        """
        if "log_failure" in event:
            self._logged.append(f"{formatEvent(event)}: {event['log_failure'].value!r}")
        if self.is_told:
            said = (f"{key}={value}" for key, value in event.items() if not key.startswith("log_"))
            self.world.chronicle.detail("log", " ".join((formatEvent(event), *said)))

    def _started(self, _: object) -> None:
        self.note("relay", "is ready")
        for trouble in self.troubles:
            trouble.started()

    def _failed(self, error: Failure) -> None:
        """
        It did not start. With a full disk that is right, and it is tried again.
        """
        self.note("relay", f"does not start: {error.value}")
        if not (self.world.disk.was_full and error.check(StoreError)):
            self.world.faults.append(error)
        self._rest()

    def _died(self) -> None:
        self.deaths += 1
        self.note("relay", "died")
        self.promises.note_death()
        for trouble in self.troubles:
            trouble.died()
        self._rest()


def _read_events(connection: Connection) -> list[Any]:
    return list(connection.execute(select(event).order_by(event.c.sequence)))


def play(seed: int, letters: int = LETTERS, storm: float = STORM, profile: str = "") -> Ending:
    """
    Play one story, in a folder that is gone afterwards.
    """
    with TemporaryDirectory(prefix="lmrelay-simulation-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as folder:
        return Story(seed, Path(folder) / "relay", letters, storm, profile).play()
