"""
Who may connect, and what guessing costs: counts by client address, in bounded memory.

An IPv6 client is its /64, for it owns every address in there. Pure but for the time, which is given.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

from attrs import define, field

from lmrelay.config.values import Limits

MAX_ADDRESSES = 20_000
HALF_LIFE = 600.0
FIRST_DELAY = 0.25
LONGEST_DELAY = 15.0


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
    Open connections, in all and by client. C{limits} gives those in force.
    """

    limits: Callable[[], Limits]
    total: int = 0
    _open: dict[str, int] = field(factory=dict)

    def enter(self, address: str) -> bool:
        """
        Count a connection; False (and not counted) if it is one too many.
        """
        limits, key = self.limits(), client_key(address)
        count = self._open.get(key, 0)
        if self.total >= limits.connections or count >= limits.connections_per_address:
            return False
        self.total += 1
        self._open[key] = count + 1
        return True

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
    Failed logins by client; they fade by half every ten minutes.
    """

    clock: Callable[[], float]
    _failures: OrderedDict[str, tuple[float, float]] = field(factory=OrderedDict)

    def note(self, address: str) -> float:
        """
        Count a failure. The answer is how many seconds the client has to wait for its reply.
        """
        key, now = client_key(address), self.clock()
        count, at = self._failures.pop(key, (0.0, now))
        count = count * 0.5 ** ((now - at) / HALF_LIFE) + 1
        self._failures[key] = (count, now)
        if len(self._failures) > MAX_ADDRESSES:
            self._failures.popitem(last=False)
        return float(min(FIRST_DELAY * 2 ** min(count - 1, 30), LONGEST_DELAY))
