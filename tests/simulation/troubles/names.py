"""
A DNS with bad hours: servers in every mood, and zones that say what no zone should.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from attrs import define, field
from sqlalchemy import Connection, select

from lmrelay.interfaces import IResolver
from lmrelay.queue.schema import attempt, recipient
from lmrelay.testing.name_server import Said
from tests.simulation.endpoints import Trap, set_traps
from tests.simulation.name_hosts import FORGED, Mood, NameHost, make_resolver, with_servers
from tests.simulation.network import Machine
from tests.simulation.receivers import PORT
from tests.simulation.scene import DOMAINS
from tests.simulation.troubles.trouble import Trouble
from tests.simulation.world import START
from tests.simulation.zones import WRONGS, Wrong, mend, shorten

SERVERS = ("9.9.9.9", "9.9.9.10")
FORGOTTEN = 60.0
"""
Seconds after which nobody remembers any more what a zone said: by its TTL, in the relay's memory, in attempts under
way.
"""

NOWHERE = "nowhere.example"
"""
A domain that never was.
"""

ROUTING = frozenset({"5.1.2", "5.1.10", "5.4.4", "5.4.6"})
"""
Codes of mail that fails for what the DNS says of its domain.
"""


@define(eq=False)
class Names(Trouble):
    """
    The relay asks two name servers, with its real resolver, and neither they nor the zones are always well. Mail fails
    for good only where a zone said so, and goes nowhere that it should not.
    """

    trap: Trap = field(init=False)
    _good: dict[str, dict[int, Said]] = field(factory=dict, init=False)
    _hosts: list[NameHost] = field(factory=list, init=False)
    _said: list[tuple[str, Wrong, float, float]] = field(factory=list, init=False)

    def begin(self) -> None:
        world = self.story.world
        shorten(world.zone)
        self._good = {domain: dict(world.zone.names[domain]) for domain in DOMAINS}
        self.trap = set_traps(world.network, PORT)
        world.network.servers[FORGED, PORT] = self.trap
        self._hosts = [NameHost(world.network, world.zone, one, world.random(one)) for one in SERVERS]
        world.config = with_servers(world.config, *self._hosts)
        world.make_resolver = self._make_resolver
        for host in self._hosts:
            self._change(host)
        for _ in range(self.some(12)):
            self.sometime(self._break, self.chance.choice(DOMAINS))

    def _make_resolver(self, machine: Machine) -> IResolver:
        world = self.story.world
        return make_resolver(machine, world.config, self._hosts, world.random(f"questions {world.lives}"))

    def _change(self, host: NameHost) -> None:
        if self.story.is_stormy:
            is_bad = self.chance.random() < self.weight * 0.7
            host.mood = self.chance.choice((*Mood,)) if is_bad else Mood.WELL
            self.story.note(host.address, f"is {host.mood.value}")
            self.story.at(self.chance.uniform(0.03, 0.3) * self.story.storm, self._change, host)

    def _break(self, domain: str) -> None:
        world, wrong = self.story.world, self.chance.choice(WRONGS)
        self.story.note("dns", f"{domain} {wrong.words}")
        mend(world.zone, domain, self._good[domain])
        host = next(iter(self._good[domain].values())).records[0].host  # type: ignore[attr-defined]
        address = next(receiver.address for receiver in world.receivers if receiver.host == host)
        wrong.do(world.zone, domain, address, self.chance)
        now, ends = world.network.seconds(), self.chance.uniform(5, 60)
        self._said.append((domain, wrong, now, now + ends))
        self.story.at(ends, self._mend, domain)

    def _mend(self, domain: str) -> None:
        self.story.note("dns", f"{domain} is well again")
        mend(self.story.world.zone, domain, self._good[domain])

    def calm(self) -> None:
        for host in self._hosts:
            host.mood = Mood.WELL
        for domain in DOMAINS:
            self._mend(domain)

    def find_broken(self) -> Iterable[str]:
        yield from (f"mail went to {who}" for who in self.trap.caught)
        yield from self._find_unfounded()

    def _find_unfounded(self) -> Iterator[str]:
        """
        What failed for good for a reason of routing that no zone ever gave.
        """
        for row in self.story.world.read(_read_unrouted):
            at = row.started_at - START
            if row.domain != NOWHERE and not self._is_founded(row.domain, row.status, at):
                yield f"mail to {row.domain} failed at {at:.0f} s with {row.status} ({row.text}), and no zone said so"

    def _is_founded(self, domain: str, code: str, at: float) -> bool:
        slack = FORGOTTEN + self.story.world.jumped
        return any(
            domain == one and code in wrong.codes and begun - slack <= at <= ended + slack
            for one, wrong, begun, ended in self._said
        )


def _read_unrouted(connection: Connection) -> list[Any]:
    mine = (recipient.c.message == attempt.c.message, recipient.c.number == attempt.c.recipient)
    query = select(recipient.c.domain, attempt.c.started_at, attempt.c.status, attempt.c.text).where(
        *mine, attempt.c.outcome == "failed", attempt.c.status.in_(ROUTING), attempt.c.reply.is_(None)
    )
    return list(connection.execute(query.order_by(attempt.c.started_at)))
