"""
Random octets without a call into the kernel for each few of them.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from attrs import define, field

STOCK = 4096
"""
Octets that are fetched at a time.
"""


@define(eq=False)
class Entropy:
    """
    Random octets of C{source}, fetched in stock: each call into the kernel lets another thread go first. Any thread may
    ask. For identifiers, not for secrets, which have no business in stock.
    """

    source: Callable[[int], bytes]
    _stock: bytes = field(default=b"", init=False)
    _lock: Lock = field(factory=Lock, init=False)

    def __call__(self, count: int) -> bytes:
        """
        So many octets, none of which anybody else gets.
        """
        with self._lock:
            if len(self._stock) < count:
                self._stock = self.source(max(count, STOCK))
            taken, self._stock = self._stock[:count], self._stock[count:]
            return taken
