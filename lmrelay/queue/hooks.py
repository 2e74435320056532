"""
What endpoints are to be told: found without a lock, taken in a short write, and recorded.

A delivery that is being told has an owner, the worker, and is due no more; what a dead worker owned is due again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from itertools import groupby

from attrs import define, field
from sqlalchemy import Connection
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from zope.interface import implementer

from lmrelay.interfaces import Due, Endpoint, IHooks, Telling, Told, Want
from lmrelay.queue.contents import IReader
from lmrelay.queue.endpoints import disable, find_waiting, is_disabled
from lmrelay.queue.owed import Owed
from lmrelay.queue.tellings import (
    Claim,
    Key,
    Record,
    claim,
    find_due,
    find_keys,
    give_up,
    is_due,
    release,
    write_told,
)
from lmrelay.queue.writer import IWriter


@implementer(IHooks)
@define(eq=False)
class Hooks:
    """
    See L{IHooks}. Without C{reactor}: all happens on one thread. C{lives}: do the others know that this worker lives?
    If not, what it takes may be theirs already. C{have_parted}: see L{IHooks}.
    """

    _writer: IWriter
    _reader: IReader
    _worker: str
    _wall: Callable[[], float]
    _reactor: IReactorFromThreads | None
    _lives: Callable[[], bool]
    have_parted: Callable[[], bool]
    _hint: Callable[[Collection[Endpoint]], None] = field(default=lambda _: None, init=False)
    _doubted: Owed[Key] = field(init=False)

    @_doubted.default
    def _make_doubted(self) -> Owed[Key]:
        return Owed(self._writer, self._free)

    def listen(self, hint: Callable[[Collection[Endpoint]], None]) -> None:
        """
        See L{IHooks}.
        """
        self._hint = hint

    def note(self, endpoints: Collection[Endpoint]) -> None:
        """
        These are to be told something. For L{Outbox}, so on any thread.
        """
        if self._reactor is None:
            self._hint(endpoints)
        else:
            self._reactor.callFromThread(self._hint, endpoints)

    def find_waiting(self, after: Endpoint | None) -> Deferred[Due]:
        """
        See L{IHooks}.
        """
        return Deferred.fromCoroutine(self._find_waiting(after))

    async def _find_waiting(self, after: Endpoint | None) -> Due:
        await self._doubted.give_back()
        return await self._reader.run(partial(find_waiting, after=after))

    def take(self, wants: Mapping[Endpoint, Want]) -> Deferred[Mapping[Endpoint, Sequence[Telling]]]:
        """
        See L{IHooks}.
        """
        return Deferred.fromCoroutine(self._take(wants))

    async def _take(self, wants: Mapping[Endpoint, Want]) -> Mapping[Endpoint, Sequence[Telling]]:
        if not self._lives():
            return {}
        # Before anything is taken: given back later, it might be under way by then.
        await self._doubted.give_back()
        now = self._wall()
        found, unreadable = await self._reader.run(partial(find_due, wants=wants, now=now))
        if not found and not unreadable:
            return {}
        wanted = Claim(found, unreadable, now)
        taken: Mapping[Endpoint, Sequence[Telling]] = {}
        try:
            taken = await self._writer.submit(self._claim, wanted)
        finally:
            self._doubted.add(wanted.tried.difference(find_keys(taken)))
        return taken

    def _claim(self, connection: Connection, items: Sequence[Claim]) -> list[Mapping[Endpoint, Sequence[Telling]]]:
        found = [claim(connection, one, self._worker) for one in items]
        for one, taken in zip(items, found, strict=True):
            one.tried.update(find_keys(taken))
        return found

    def _free(self, connection: Connection, items: Sequence[Sequence[Key]]) -> list[None]:
        for keys in items:
            for endpoint, some in groupby(keys, key=lambda key: key[0]):
                self._release(connection, [(endpoint, [sequence for _, sequence in some])])
        return [None] * len(items)

    def record(
        self,
        endpoint: Endpoint,
        told: Told,
        due: Mapping[int, float | None],
        stale: float = 0.0,
        *,
        wordless: bool = False,
    ) -> Deferred[None]:
        """
        See L{IHooks}.
        """
        return self._writer.submit(self._record, Record(endpoint, told, due, stale, wordless))

    def _record(self, connection: Connection, items: Sequence[Record]) -> list[None]:
        write_told(connection, items, self._worker)
        return [None] * len(items)

    def release(self, endpoint: Endpoint, sequences: Sequence[int]) -> Deferred[None]:
        """
        See L{IHooks}.
        """
        return self._writer.submit(self._release, (endpoint, sequences))

    def _release(self, connection: Connection, items: Sequence[tuple[Endpoint, Sequence[int]]]) -> list[None]:
        for endpoint, sequences in items:
            release(connection, endpoint, sequences, self._worker, self._wall())
        return [None] * len(items)

    def end(self, endpoint: Endpoint, reason: str, *, if_disabled: bool = False) -> Deferred[int]:
        """
        See L{IHooks}.
        """
        return self._writer.submit(self._end, (endpoint, reason, if_disabled))

    def _end(self, connection: Connection, items: Sequence[tuple[Endpoint, str, bool]]) -> list[int]:
        now = self._wall()
        return [
            0
            if if_disabled and not is_disabled(connection, one)
            else give_up(connection, one, is_due(one), reason, now)
            for one, reason, if_disabled in items
        ]

    def disable(self, endpoint: Endpoint, reason: str) -> Deferred[bool]:
        """
        See L{IHooks}.
        """
        return self._writer.submit(self._disable, (endpoint, reason))

    def _disable(self, connection: Connection, items: Sequence[tuple[Endpoint, str]]) -> list[bool]:
        return [disable(connection, one, reason, self._wall()) for one, reason in items]
