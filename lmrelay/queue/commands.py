"""
The daemon's side of an operator's orders: looked for every second, carried out slice by slice.

What this worker has in memory is asked back from delivery first; an attempt that is under way
is never torn off, but reported as in flight.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial

from attrs import define, field
from sqlalchemy import Connection
from twisted.logger import Logger

from lmrelay.errors import StoreError
from lmrelay.interfaces import IDispatch, RecipientKey
from lmrelay.queue.changes import Order, Slice, claim_orders, drop_orders, find_slice, find_undone, write_slices
from lmrelay.queue.contents import IReader
from lmrelay.queue.orders import SiteVerb, Verb
from lmrelay.queue.owed import Owed
from lmrelay.queue.writer import IWriter

STALE = 300.0
"""
Seconds after which nobody waits for an order any more: carried out so late it would surprise.
"""

log = Logger()


@define(eq=False)
class Obedience:
    """
    Carries out the orders for C{worker}. C{wake} is called when mail may be due, C{free} writes that
    recipients are no longer this worker's.
    """

    _writer: IWriter
    _reader: IReader
    _dispatch: IDispatch
    _worker: str
    _wall: Callable[[], float]
    _wake: Callable[[], None]
    _free: Callable[[Connection, Sequence[tuple[RecipientKey, ...]]], list[None]]
    _stranded: Owed[RecipientKey] = field(init=False)
    _stopped: bool = field(default=False, init=False)

    @_stranded.default
    def _make_stranded(self) -> Owed[RecipientKey]:
        return Owed(self._writer, self._free)

    def stop(self) -> None:
        """
        Begin no further slice: the rest of an order is for whoever comes next.
        """
        self._stopped = True

    async def obey(self) -> None:
        """
        Carry out the orders that wait.

        @raise StoreError: not now; what is done is recorded, the rest is for the next time
        """
        # Until that is through nobody would ever try it.
        if await self._stranded.give_back():
            self._wake()
        for order in await self._reader.run(find_undone):
            if isinstance(order.verb, SiteVerb):
                # Of those there is another who carries them out, so that none of them waits for a long one of these.
                continue
            if self._wall() - order.ordered_at > STALE:
                await self._writer.submit(drop_orders, order.id)
                log.warn("stale order dropped", order=order.id, verb=order.verb.value, changed=order.changed)
                continue
            claimed = await self._writer.submit(claim_orders, (order.id, self._worker))
            if claimed is not None:
                await self._carry_out(claimed)

    async def _carry_out(self, order: Order) -> None:
        if order.verb is Verb.RETRY:
            self._dispatch.try_anew()
        while not order.done:
            if self._stopped:
                return
            order = await self._carry_out_slice(order)
            self._wake()
        log.info(
            "order carried out",
            order=order.id,
            verb=order.verb.value,
            changed=order.changed,
            in_flight=order.in_flight,
        )

    async def _carry_out_slice(self, order: Order) -> Order:
        rows = await self._reader.run(partial(find_slice, order=order))
        withdrawn: set[RecipientKey] = set()
        # Delivery already has what it owns: trying that now is what it is about to do.
        if order.verb is not Verb.RETRY:
            mine = [(row.message, row.number) for row in rows if row.owner == self._worker]
            withdrawn = self._dispatch.withdraw(mine) if mine else withdrawn
        try:
            return await self._writer.submit(write_slices, Slice(order, rows, self._wall(), self._worker, withdrawn))
        except StoreError:
            self.strand(withdrawn)
            raise

    def strand(self, keys: Collection[RecipientKey]) -> None:
        """
        Delivery has forgotten these, and that could not be written: free them as soon as it can.
        """
        self._stranded.add(keys)
