"""
Reading ahead: what was just taken out of the store is about to be sent, so the content of all of it is read at once. To
read it message by message, each with a wait for another thread, costs as much as to send it does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, partial
from typing import Any

from attrs import define
from sqlalchemy import Connection, Select, and_, literal_column, select
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from lmrelay.config.values import MIB
from lmrelay.errors import StoreError
from lmrelay.interfaces import Leased
from lmrelay.queue.contents import Cache, IReader
from lmrelay.queue.schema import chunk, message
from lmrelay.queue.statements import find_rows, name_given

SMALL, AHEAD = 64 * 1024, 8 * MIB
"""
Octets of a message that is read ahead, and of all that are so at a time, at most. What is larger, or more, is read when
its turn comes.
"""

log = Logger()

Whole = tuple[str, bytes, bytes]
"""
A message's id, head and body.
"""


@cache
def _select_whole(size: int) -> Select[Any]:
    given = name_given(size, message.c.id)
    first = and_(chunk.c.body == message.c.body, chunk.c.number == literal_column("0"))
    both = given.join(message, message.c.id == given.c.id).outerjoin(chunk, first)
    return select(message.c.id, message.c.size, message.c.head, chunk.c.octets).select_from(both)


def read_whole(connection: Connection, ids: Sequence[str]) -> list[Whole]:
    """
    Those of these messages whose body is one block, or empty.
    """
    found = {}
    for id_, size, head, octets in find_rows(connection, _select_whole, [(one,) for one in ids]):
        body = octets or b""
        # What is not whole must never be taken for the whole: the one who reads it in blocks knows what to say of it.
        if len(head) + len(body) == size:
            found[id_] = (id_, head, body)
    return list(found.values())


@define(eq=False)
class Ahead:
    """
    Reads into C{cache}, which bounds what is kept in all.
    """

    _reader: IReader
    _cache: Cache

    def read(self, leased: Iterable[Leased]) -> Deferred[None]:
        """
        Have in memory what is small of these, and not there yet. It has begun when this returns: from then on who wants
        one of them waits for that.
        """
        return Deferred.fromCoroutine(self._read(leased))

    async def _read(self, leased: Iterable[Leased]) -> None:
        wanted = self._choose(leased)
        if not wanted:
            return
        self._cache.expect(wanted)
        try:
            for id_, head, body in await self._reader.run(partial(read_whole, ids=wanted)):
                self._cache.put(id_, head, body)
        except StoreError as error:
            log.warn("nothing could be read ahead", messages=len(wanted), reason=str(error))
        finally:
            self._cache.expect_no_more(wanted)

    def _choose(self, leased: Iterable[Leased]) -> list[str]:
        wanted: dict[str, None] = {}
        octets = 0
        for one in leased:
            # A message to several lanes is here several times.
            if one.size <= SMALL and one.message_id not in wanted and self._cache.get(one.message_id) is None:
                octets += one.size
                if octets > AHEAD:
                    break
                wanted[one.message_id] = None
        return list(wanted)
