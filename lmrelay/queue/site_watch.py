"""
The daemon's side of suspensions: the rows that tell of them are looked at every second, and operators are answered.

The rows say what is to be, whoever wrote them; an order asks to look now, and to tell what is still under way.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, evolve
from sqlalchemy import Connection
from twisted.logger import Logger

from lmrelay.interfaces import IDispatch
from lmrelay.queue.changes import Order, claim_orders, find_undone, finish_orders
from lmrelay.queue.contents import IReader
from lmrelay.queue.orders import SiteVerb
from lmrelay.queue.sites import find_suspended
from lmrelay.queue.writer import IWriter

log = Logger()


def find_wishes(connection: Connection) -> tuple[list[Order], list[str]]:
    """
    Orders about sites that wait, and the sites that are suspended: read after them, so what they are about is seen.
    """
    orders = [order for order in find_undone(connection) if isinstance(order.verb, SiteVerb)]
    return orders, find_suspended(connection)


@define(eq=False)
class SiteWatch:
    """
    Looks for C{worker}. C{wake} is called when mail may go on.
    """

    _writer: IWriter
    _reader: IReader
    _dispatch: IDispatch
    _worker: str
    _wall: Callable[[], float]
    _wake: Callable[[], None]

    async def look(self) -> None:
        """
        Tell delivery which sites are suspended, and those who asked what is under way there.

        @raise StoreError: not now
        """
        orders, suspended = await self._reader.run(find_wishes)
        if self._dispatch.suspend(suspended):
            self._wake()
        for order in orders:
            claimed = await self._writer.submit(claim_orders, (order.id, self._worker))
            if claimed is not None:
                await self._answer(claimed)

    async def _answer(self, order: Order) -> None:
        sites = order.selector.sites
        order = evolve(order, changed=len(sites), in_flight=sum(map(self._dispatch.count_running, sites)))
        await self._writer.submit(finish_orders, (order, self._wall()))
        log.info("order carried out", order=order.id, verb=order.verb.value, sites=sites, in_flight=order.in_flight)
