"""
What is to be seen of the relay, as the roof gives it to this room: values of now, and looks into the store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from lmrelay.interfaces import IOversight, Record


@frozen
class SiteLimit:
    """
    A site that takes less than it might: so many connections at a time, or none while it is C{suspended}.
    """

    site: str
    connections: int
    suspended: bool


@frozen
class Found:
    """
    Messages, the newest first. C{more}: there may be others; C{looked_back_to}: how far was looked, in seconds since
    the epoch, where that is not all.
    """

    records: Sequence[Record]
    more: bool = False
    looked_back_to: float | None = None


class Archive(Protocol):
    """
    The store, to look things up in. All of it fails with L{StoreError}.
    """

    def find(self, fields: Mapping[str, str], limit: int) -> Deferred[Found]:
        """
        Messages that are kept and fit: C{project}, C{route}, C{tag}, C{recipient} (or C{@domain}), C{sender},
        C{subject}, C{state}, C{message_id}. A record is as C{lmrelay messages list --json} has it, its times as
        seconds.
        """

    def tell(self, message: str) -> Deferred[Record | None]:
        """
        The story of the message of that id, or with the only id that begins so, as C{lmrelay explain --json} has it,
        its times as seconds; each recipient also has C{why}, what it waits for in words, and C{end}, why it was
        given up, and each attempt C{way}, where it went. Of many recipients only some are there, and C{left_out} is
        how many are not; of many attempts the last, and C{made} is how many were made. None: there is no such one.
        """

    def sites(self) -> Deferred[Sequence[Record]]:
        """
        The sites that are remembered, as C{lmrelay sites list --json} has them.
        """

    def stop(self) -> None:
        """
        Look no further: what waits for its turn fails.
        """


@frozen(eq=False)
class Sources:
    """
    C{sessions}: clients that are connected; C{running}: transactions with receivers under way; C{in_memory}: recipients
    that are; C{free}: octets of the store's disk. C{troubles}: why the relay is not ready, in words; C{oversight} is
    to be asked only while there is no trouble with the start: before it, and behind the end, there is none.
    C{archive} is for the status page.
    """

    oversight: Callable[[], IOversight | None]
    troubles: Callable[[], Sequence[str]]
    sessions: Callable[[], int]
    running: Callable[[], int]
    in_memory: Callable[[], int]
    free: Callable[[], int]
    sites: Callable[[], Sequence[SiteLimit]]
    archive: Archive
