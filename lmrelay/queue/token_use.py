"""
When tokens were last used: kept in memory, and written now and then in one go, for it is in nobody's way then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache

from attrs import define, field
from sqlalchemy import Connection, Insert, select
from zope.interface import implementer

from lmrelay.interfaces import ITokenUse
from lmrelay.queue.schema import token_use
from lmrelay.queue.statements import make_insert, run_each
from lmrelay.queue.writer import IWriter


@cache
def _upsert(dialect: str) -> Insert:
    insert = make_insert(dialect, token_use)
    return insert.on_conflict_do_update(
        index_elements=[token_use.c.token],
        set_={"used_at": insert.excluded.used_at},
        where=token_use.c.used_at < insert.excluded.used_at,
    )


def write_uses(connection: Connection, items: Sequence[Mapping[str, float]]) -> list[None]:
    """
    Store the times, by token; none goes back.
    """
    # In order, so that two workers with the same tokens wait for each other in one direction.
    found = sorted((token, at) for one in items for token, at in one.items())
    run_each(connection, _upsert(connection.dialect.name), [{"token": token, "used_at": at} for token, at in found])
    return [None] * len(items)


def read_uses(connection: Connection) -> dict[str, float]:
    """
    Seconds since the epoch, by token.
    """
    return {row.token: row.used_at for row in connection.execute(select(token_use))}


@implementer(ITokenUse)
@define(eq=False)
class TokenUse:
    """
    See L{ITokenUse}. There are no more of them than the configuration has tokens.
    """

    _writer: IWriter
    _wall: Callable[[], float]
    _used: dict[str, float] = field(factory=dict, init=False)

    def note(self, token_id: str) -> None:
        """
        See L{ITokenUse}.
        """
        self._used[token_id] = self._wall()

    async def write(self) -> None:
        """
        Store what was noted.

        @raise StoreError: not now; it is kept for the next time
        """
        if not self._used:
            return
        used, self._used = self._used, {}
        try:
            await self._writer.submit(write_uses, used)
        except BaseException:
            self._used = used | self._used
            raise
