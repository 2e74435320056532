"""
The queue as people see it: the queue offers it, the web uses it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from zope.interface import Interface

Record = Mapping[str, Any]
"""
What the operator's command shows with C{--json}: plain values, times in seconds since the epoch.
"""


@frozen
class Waiting:
    """
    Recipients that are not final, of one project, route and state. C{oldest} is when the first of them was accepted.
    """

    project: str
    route: str
    state: str
    recipients: int
    oldest: float


@frozen
class Untold:
    """
    What an endpoint of a project's is still to be told: so many events, of which the first is due at C{due}.

    C{disabled_at}: it gets nothing since then, for that C{reason}; None: it does.
    """

    project: str
    endpoint: str
    events: int = 0
    due: float | None = None
    disabled_at: float | None = None
    reason: str = ""


class IOversight(Interface):
    """
    Looks into the store that hold up no mail: they have connections of their own, and long ones are made in steps.
    All but L{find_troubles} fail with L{lmrelay.errors.StoreError}.
    """

    def count_waiting() -> Deferred[Sequence[Waiting]]:
        """
        Everything that is not final, counted in one walk through it.
        """

    def count_untold() -> Deferred[Sequence[Untold]]:
        """
        Endpoints that are still to be told something, or get nothing since they were disabled.
        """

    def find_troubles() -> Sequence[str]:
        """
        Why mail can neither be stored nor sent now, in words for people; nothing: it can. Immediate.
        """
