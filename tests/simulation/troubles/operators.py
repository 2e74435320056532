"""
An operator at work: suppressions by hand.
"""

from __future__ import annotations

from typing import Any

from attrs import define
from sqlalchemy import Connection, select

from lmrelay.mail.suppression import Suppression, Why
from lmrelay.queue.outbox import write_untold
from lmrelay.queue.schema import WAITING, message, recipient
from lmrelay.queue.suppressions import Suppressions
from tests.simulation.scene import DOMAINS, REGULARS
from tests.simulation.troubles.trouble import Trouble


@define(eq=False)
class Lists(Trouble):
    """
    The operator suppresses somebody, for ever or for a time, or lets them have mail again.
    """

    def begin(self) -> None:
        for _ in range(self.some(self.story.letters)):
            self.sometime(self._list)

    def _list(self) -> None:
        chance, world = self.chance, self.story.world
        now = world.wall()
        project, route = chance.choice(("acme", "beta")), chance.choice(("", "", "news"))
        address = f"{chance.choice(REGULARS)}@{chance.choice(DOMAINS)}".lower()
        if waiting := world.read(_read_waiting) if chance.random() < 0.5 else ():
            project, address = chance.choice(waiting)
        one = Suppression(project, address.lower(), Why.MANUAL, now, route, chance.choice((None, now + 90)))
        remove = chance.random() < 0.3

        def change(connection: Connection) -> None:
            suppressions = Suppressions(chance.randbytes, write_untold)
            if remove:
                suppressions.remove(connection, [one.key], now)
            else:
                suppressions.add(connection, [one], now)

        self.story.note("operator", f"{'lets' if remove else 'suppresses'} {one.key}")
        world.write(change)


def _read_waiting(connection: Connection) -> list[Any]:
    mine = (message.c.id == recipient.c.message, recipient.c.state.in_(WAITING), ~message.c.notification)
    query = select(recipient.c.project, recipient.c.address).where(*mine)
    return list(connection.execute(query.order_by(recipient.c.message, recipient.c.number)))
