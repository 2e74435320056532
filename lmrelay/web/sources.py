"""
What is to be seen of the relay, as the roof gives it to this room: values of now, and looks into the store.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import frozen

from lmrelay.interfaces import IOversight


@frozen
class SiteLimit:
    """
    A site that takes less than it might: so many connections at a time, or none while it is C{suspended}.
    """

    site: str
    connections: int
    suspended: bool


@frozen(eq=False)
class Sources:
    """
    C{sessions}: clients that are connected; C{running}: transactions with receivers under way; C{in_memory}: recipients
    that are; C{free}: octets of the store's disk. C{troubles}: why the relay is not ready, in words; C{oversight} is
    to be asked only while there is no trouble with the start: before it, and behind the end, there is none.
    """

    oversight: Callable[[], IOversight | None]
    troubles: Callable[[], Sequence[str]]
    sessions: Callable[[], int]
    running: Callable[[], int]
    in_memory: Callable[[], int]
    free: Callable[[], int]
    sites: Callable[[], Sequence[SiteLimit]]
