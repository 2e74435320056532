"""
Who may connect, and what guessing costs: counts by client address, in bounded memory.

An IPv6 client is its /64, for it owns every address in there. Pure but for the time, which is given.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from attrs import define, field

from lmrelay.config.values import Limits

MAX_REFUSED = 100
"""
Connections that are being told at a time that they are too many; those beyond are closed without a word.
"""
MAX_ADDRESSES = 20_000
HALF_LIFE = 600.0
FIRST_DELAY = 0.25
LONGEST_DELAY = 15.0
MAX_WAITING = 100
"""
Logins of one client that wait at a time.
"""


@lru_cache(maxsize=4096)
def unmap(address: str) -> str:
    """
    The address as limits and logs know it: C{::ffff:192.0.2.1} is C{192.0.2.1}, and a zone is no part of it.
    """
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return str(mapped or parsed)


def client_key(address: str) -> str:
    """
    What one client cannot change: its IPv4 address or its IPv6 /64.
    """
    if ":" not in address:
        return address
    try:
        return str(IPv6Address(int(ip_address(address)) >> 64 << 64))
    except ValueError:
        return address


@define(eq=False)
class ConnectionLimits:
    """
    Open connections, in all and by client. C{limits} gives those in force; C{most} is what the process can bear,
    whatever they say. C{refused}: those that were one too many, and are not closed yet.
    """

    limits: Callable[[], Limits]
    most: int = sys.maxsize
    total: int = 0
    refused: int = 0
    _open: dict[str, int] = field(factory=dict)

    def enter(self, address: str) -> bool:
        """
        Count a connection; False if it is one too many: then L{close_refused} when it is closed.
        """
        limits, key = self.limits(), client_key(address)
        count = self._open.get(key, 0)
        if self.total >= min(limits.connections, self.most) or count >= limits.connections_per_address:
            self.refused += 1
            return False
        self.total += 1
        self._open[key] = count + 1
        return True

    def close_refused(self) -> None:
        """
        A connection that was one too many is closed.
        """
        self.refused -= 1

    @property
    def is_crowded(self) -> bool:
        """
        Are less than a fourth of all connections left?
        """
        return self.total > 0.75 * min(self.limits().connections, self.most)

    @property
    def is_swamped(self) -> bool:
        """
        Are there so many refused ones that the next cannot even be told?
        """
        return self.refused >= MAX_REFUSED

    def leave(self, address: str) -> None:
        """
        A counted connection ended.
        """
        key = client_key(address)
        self.total -= 1
        self._open[key] -= 1
        if not self._open[key]:
            del self._open[key]


@define(eq=False)
class LoginFailures:
    """
    Failed logins by client, and the time that each owes for them; they fade by half every ten minutes.

    The next login pays, not the answer to the last: a client that takes silence for "no" and connects anew has
    gained nothing. A right token from the same address waits no longer than the longest delay.
    """

    clock: Callable[[], float]
    _failures: OrderedDict[str, tuple[float, float]] = field(factory=OrderedDict)
    _waiting: dict[str, int] = field(factory=dict)

    def note(self, address: str) -> float:
        """
        Count a failure. The answer is how many seconds the client's next login has to wait.
        """
        key, now = client_key(address), self.clock()
        count, at = self._failures.pop(key, (0.0, now))
        count = count * 0.5 ** ((now - at) / HALF_LIFE) + 1
        self._failures[key] = (count, now)
        if len(self._failures) > MAX_ADDRESSES:
            self._failures.popitem(last=False)
        return _delay(count)

    def enter(self, address: str) -> float | None:
        """
        A login begins to wait: for so many seconds, then L{leave}. None, and nothing to leave: too many wait.
        """
        key = client_key(address)
        waiting = self._waiting.get(key, 0)
        if waiting >= MAX_WAITING:
            return None
        self._waiting[key] = waiting + 1
        count, at = self._failures.get(key, (0.0, 0.0))
        return max(0.0, at + _delay(count) - self.clock()) if count else 0.0

    def leave(self, address: str) -> None:
        """
        A login waits no more.
        """
        key = client_key(address)
        self._waiting[key] -= 1
        if not self._waiting[key]:
            del self._waiting[key]


def _delay(count: float) -> float:
    return float(min(FIRST_DELAY * 2 ** min(count - 1, 30), LONGEST_DELAY))
