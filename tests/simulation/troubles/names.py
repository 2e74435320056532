"""
A DNS that has no answers for a while.
"""

from __future__ import annotations

from attrs import define

from lmrelay.testing.name_server import Said
from tests.simulation.scene import DOMAINS
from tests.simulation.troubles.trouble import Trouble

SERVFAIL = Said(rcode=2)


@define(eq=False)
class Names(Trouble):
    """
    SERVFAIL for one domain or the other.
    """

    def begin(self) -> None:
        for _ in range(self.some(3)):
            self.sometime(self._break, self.chance.choice(DOMAINS))

    def _break(self, domain: str) -> None:
        self.story.note("dns", f"SERVFAIL for {domain}")
        self.story.world.zone.fault(domain, SERVFAIL)
        self.story.at(self.chance.uniform(10, 100), self._mend, domain)

    def _mend(self, domain: str) -> None:
        self.story.note("dns", f"knows {domain} again")
        self.story.world.zone.faults.pop(domain, None)

    def calm(self) -> None:
        self.story.world.zone.faults.clear()
