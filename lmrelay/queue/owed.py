"""
What is to be given back to the store as soon as it can be written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

from attrs import define, field
from sqlalchemy import Connection

from lmrelay.queue.writer import IWriter

K = TypeVar("K", bound=tuple[Any, ...])


@define(eq=False)
class Owed(Generic[K]):
    """
    Rows of this worker that nobody has in memory: written down as its own by a commit that was said to have failed, or
    forgotten when the store could not be written. Until C{free} has written that they are nobody's, nobody would try
    them.
    """

    _writer: IWriter
    _free: Callable[[Connection, Sequence[tuple[K, ...]]], list[None]]
    _keys: set[K] = field(factory=set, init=False)

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, keys: Iterable[K]) -> None:
        """
        These too.
        """
        self._keys.update(keys)

    async def give_back(self) -> bool:
        """
        Give them back; the answer is whether there were any.

        @raise StoreError: not now
        """
        if not self._keys:
            return False
        # In their order, not in that of a set, which is another in each process: a simulation must play again.
        keys = tuple(sorted(self._keys))
        await self._writer.submit(self._free, keys)
        self._keys.difference_update(keys)
        return True
