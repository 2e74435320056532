"""
Leases that end without an attempt: what delivery gives back, due at once or later.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from attrs import define
from sqlalchemy import Connection, bindparam, or_, update
from twisted.logger import Logger

from lmrelay.errors import StoreError
from lmrelay.interfaces import RecipientKey
from lmrelay.queue.schema import WAITING, recipient
from lmrelay.queue.writer import IWriter

Keys = tuple[RecipientKey, ...]

log = Logger()


@define(eq=False)
class Releases:
    """
    Ends leases of C{worker}. C{wake} is called when mail may be due, C{strand} with what could not be given back yet.
    """

    _writer: IWriter
    _worker: str
    _wall: Callable[[], float]
    _wake: Callable[[], None]
    _strand: Callable[[Collection[RecipientKey]], None]

    async def release(self, keys: Keys) -> None:
        """
        They are due at once.
        """
        try:
            await self._writer.submit(self.free, keys)
        except StoreError as error:
            log.warn("leases end when the store can be written", recipients=len(keys), reason=str(error))
            self._strand(keys)
            return
        self._wake()

    async def postpone(self, keys: Keys, seconds: float) -> None:
        """
        They are due in so many seconds.
        """
        try:
            await self._writer.submit(self._set_due, (keys, self._wall() + seconds))
        except StoreError:
            await self.release(keys)

    def free(self, connection: Connection, items: Sequence[Keys]) -> list[None]:
        """
        Write that these are due now, and nobody's.
        """
        now = self._wall()
        return self._set_due(connection, [(keys, now) for keys in items])

    def _set_due(self, connection: Connection, items: Sequence[tuple[Keys, float]]) -> list[None]:
        named = [{"of": one, "which": number, "until": until} for keys, until in items for one, number in keys]
        if named:
            connection.execute(
                update(recipient)
                .where(
                    recipient.c.message == bindparam("of"),
                    recipient.c.number == bindparam("which"),
                    recipient.c.owner == self._worker,
                    or_(*(recipient.c.state == state for state in WAITING)),
                )
                .values(owner=None, due=bindparam("until"), next_attempt=bindparam("until")),
                named,
            )
        return [None] * len(items)
