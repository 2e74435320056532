"""
An operator at work: mail is held, released, tried now or deleted, and sites are suspended.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field
from sqlalchemy import Connection, select

from lmrelay.ids import make_id
from lmrelay.queue.changes import AnyVerb, Order, write_order
from lmrelay.queue.orders import Selector, SiteVerb, Verb
from lmrelay.queue.schema import HELD, recipient, site, site_domain
from lmrelay.queue.sites import end_suspension, write_suspension
from tests.simulation.scene import DOMAINS
from tests.simulation.troubles.trouble import Trouble

AGAIN = 30.0
"""
Seconds until an order is given again that nobody has carried out, for nobody was there or its time was over.
"""


@define(eq=False)
class Orders(Trouble):
    """
    Orders by domain, as the operator's command leaves them in the store for the daemon. In the end nothing is held.
    """

    _is_calm: bool = field(default=False, init=False)

    def begin(self) -> None:
        for _ in range(self.some(8)):
            self.sometime(self._change)
        for _ in range(self.some(2)):
            self.sometime(self._suspend)

    def _change(self) -> None:
        verb = self.chance.choice((Verb.RETRY, Verb.HOLD, Verb.HOLD, Verb.DELETE))
        domain = self.chance.choice(DOMAINS)
        self._order(verb, Selector(domains=(domain,)))
        if verb is Verb.HOLD:
            self.story.at(self.chance.uniform(5, 100), self._order, Verb.RELEASE, Selector(domains=(domain,)))

    def _suspend(self) -> None:
        if sites := self.story.world.read(_read_sites):
            hosts = self.chance.choice(sites)
            now = self.story.world.wall()
            self.story.world.write(lambda connection: write_suspension(connection, hosts, "for a while", now))
            self._order(SiteVerb.SUSPEND, Selector(sites=(hosts,)))
            self.story.at(self.chance.uniform(5, 60), self._resume, hosts)

    def _resume(self, hosts: str) -> None:
        self.story.world.write(lambda connection: end_suspension(connection, hosts, self.story.world.wall()))
        self._order(SiteVerb.RESUME, Selector(sites=(hosts,)))

    def _order(self, verb: AnyVerb, selector: Selector) -> None:
        if self.story.world.relay is None:
            return
        now = self.story.world.wall()
        self.story.note("operator", f"{verb.value} {' '.join((*selector.domains, *selector.sites))}")
        order = Order(make_id(now, self.chance.randbytes), verb, selector, now)
        self.story.world.write(lambda connection: write_order(connection, order))

    def calm(self) -> None:
        for hosts in self.story.world.read(_read_suspended):
            self._resume(hosts)
        self._release()

    def _release(self) -> None:
        if self.story.world.read(_read_held):
            self._order(Verb.RELEASE, Selector())
            self.story.at(AGAIN, self._release)
        else:
            self._is_calm = True

    def is_over(self) -> bool:
        return self._is_calm


def _read_sites(connection: Connection) -> list[Any]:
    return list(connection.execute(select(site_domain.c.hosts).distinct().order_by(site_domain.c.hosts)).scalars())


def _read_suspended(connection: Connection) -> list[Any]:
    return list(connection.execute(select(site.c.hosts).where(site.c.suspended_at.is_not(None))).scalars())


def _read_held(connection: Connection) -> list[Any]:
    return list(connection.execute(select(recipient.c.address).where(recipient.c.state == HELD)).scalars())
