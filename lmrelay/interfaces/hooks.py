"""
Webhooks: the queue remembers who is to be told of what, events tell them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from attrs import frozen
from twisted.internet.defer import Deferred
from zope.interface import Interface

Endpoint = tuple[str, str]
"""
A project's slug, and the name of one of its endpoints.
"""


@frozen
class Telling:
    """
    An event that this worker is to tell an endpoint now.

    C{sequence} names it in the store, C{id} to the endpoint; C{document} is its JSON. C{attempts} were made before, of
    them C{earlier} before it was last begun with, at C{begun_at}.
    """

    sequence: int
    id: str
    type: str
    document: bytes
    attempts: int = 0
    earlier: int = 0
    begun_at: float = 0.0


@frozen
class Told:
    """
    How an endpoint took it: the HTTP C{status}, or in C{text} why there was none; C{body} is the beginning of what it
    said.
    """

    started_at: float
    ended_at: float
    status: int | None = None
    text: str = ""
    body: str = ""

    @property
    def is_success(self) -> bool:
        """
        Did it take it?
        """
        return self.status is not None and 200 <= self.status < 300


@frozen
class Want:
    """
    How much one endpoint is to be told next: so many events at most, and, but for the first, so many octets.
    """

    number: int
    octets: int


@frozen
class Due:
    """
    Endpoints that are to be told something, and when the first of it is due; C{disabled} are those that are told
    nothing. C{after}: where to go on; None: that is all.
    """

    soonest: Mapping[Endpoint, float]
    disabled: Collection[Endpoint] = ()
    after: Endpoint | None = None


class IHooks(Interface):
    """
    What endpoints are to be told. All of it but L{listen} and L{have_parted} fails with L{lmrelay.errors.StoreError}.
    """

    def listen(hint: Callable[[Collection[Endpoint]], None]) -> None:
        """
        C{hint} is called soon after something was written that these are to be told, if by this worker. No more than
        a hint: it may come before the commit, and what others write has none.
        """

    def find_waiting(after: Endpoint | None) -> Deferred[Due]:
        """
        Who waits, some endpoints at a time, in their order.
        """

    def take(wants: Mapping[Endpoint, Want]) -> Deferred[Mapping[Endpoint, Sequence[Telling]]]:
        """
        What is due, and this worker's from now on: the longest due first.
        """

    def record(
        endpoint: Endpoint, told: Told, due: Mapping[int, float | None], stale: float = 0.0, *, wordless: bool = False
    ) -> Deferred[None]:
        """
        Record it for these events (by sequence): when each is due again; None: never, it was delivered or is given up.

        @param stale: what else is due there and was begun with before this is given up too
        @param wordless: write only what becomes of the events, since how it went cannot be written
        """

    def release(endpoint: Endpoint, sequences: Sequence[int]) -> Deferred[None]:
        """
        These (by sequence) were taken and not told: they are due at once, to whoever takes them.
        """

    def have_parted() -> bool:
        """
        Has the wall clock been set lately, so that nothing may be given up for its age by that clock? Never fails.
        """

    def end(endpoint: Endpoint, reason: str, *, if_disabled: bool = False) -> Deferred[int]:
        """
        Give up some of what that endpoint is to be told: how much. To be asked until it is none.

        @param if_disabled: only while the endpoint is told nothing
        """

    def disable(endpoint: Endpoint, reason: str) -> Deferred[bool]:
        """
        Tell that endpoint nothing more. The result: it was not so before.
        """
