"""
Who brings mail back without login: how many at a time, how much in a minute, and how much of it in memory.

One client, an IPv6 /64 being one, gets no more than a part of either, so that others are left theirs: whoever gets mail
from here has an address that is signed. Pure but for the clock, which is given.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

from attrs import define, field

from lmrelay.config.values import MIB, Bounces, Config
from lmrelay.errors import Refused
from lmrelay.inbound.limits import client_key
from lmrelay.interfaces import ISettings
from lmrelay.smtp import replies

PART = 4
"""
One client has at most this part of the places, and of the messages in a minute: a fourth.
"""

MINUTE = 60.0

MEMORY = 32 * MIB
"""
Octets of what comes back that are in memory at a time, or one message's.
"""


@define(eq=False)
class Visitors:
    """
    What all sessions share.
    """

    _settings: ISettings
    _clock: Callable[[], float]
    _inside: Counter[str] = field(factory=Counter)
    _lately: deque[tuple[float, str]] = field(factory=deque)
    _counts: Counter[str] = field(factory=Counter)
    _held: int = 0
    _seen: Config | None = None
    _domains: frozenset[str] = frozenset()

    @property
    def domains(self) -> frozenset[str]:
        """
        The return-path domains of all routes now.
        """
        config: Config = self._settings.config
        if config is not self._seen:
            routes = (route for project in config.projects.values() for route in project.routes.values())
            self._domains = frozenset(route.return_path for route in routes if route.return_path)
            self._seen = config
        return self._domains

    @property
    def limits(self) -> Bounces:
        """
        Those in force.
        """
        bounces: Bounces = self._settings.config.bounces
        return bounces

    def enter(self, address: str) -> None:
        """
        A session begins to bring mail; L{leave} when it ends.

        @raise Refused: there are too many (421 4.7.0), and nothing is to be left
        """
        key, most = client_key(address), self.limits.connections
        if self._inside.total() >= most or self._inside[key] >= max(1, most // PART):
            raise Refused(replies.TOO_MANY_CONNECTIONS)
        self._inside[key] += 1

    def leave(self, address: str) -> None:
        """
        A session that entered ended.
        """
        _take_one(self._inside, client_key(address))

    def count(self, address: str) -> None:
        """
        Another message begins.

        @raise Refused: there were too many within the last minute (452 4.7.0)
        """
        now, key, most = self._clock(), client_key(address), self.limits.messages_per_minute
        while self._lately and self._lately[0][0] <= now - MINUTE:
            _take_one(self._counts, self._lately.popleft()[1])
        if len(self._lately) >= most or self._counts[key] >= max(1, most // PART):
            raise Refused(replies.TOO_MUCH_RETURNED)
        self._lately.append((now, key))
        self._counts[key] += 1

    def hold(self, octets: int) -> None:
        """
        So much more is in memory, until L{let_go}.

        @raise Refused: there is no room (452 4.3.1)
        """
        if self._held + octets > max(MEMORY, self.limits.message_size):
            raise Refused(replies.STORE_FULL)
        self._held += octets

    def let_go(self, octets: int) -> None:
        """
        So much is no longer in memory.
        """
        self._held -= octets


def _take_one(counts: Counter[str], key: str) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]
