"""
What the parts of a transaction's way share: who ordered it, and how far it has come.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from attrs import define

from lmrelay.interfaces import IQueue, ISettings
from lmrelay.mail.outcome import Attempt
from lmrelay.outbound.dispatch import Dispatch
from lmrelay.outbound.route import Site
from lmrelay.outbound.sites import SiteQueue, Work
from lmrelay.outbound.terms import Load
from lmrelay.outbound.tls_sessions import CountSession
from lmrelay.outbound.walk import Walk


class Office(Protocol):
    """
    Who makes the transactions due, and takes how they ended. C{draining}: nothing new is begun.
    """

    draining: bool
    settings: ISettings
    dispatch: Dispatch
    queue: IQueue
    count_session: CountSession

    def settle(self, walk: Walk, attempts: Mapping[int, Attempt], site: str) -> None:
        """
        These of the walk are through.
        """

    def end(self, queue: SiteQueue, work: Work) -> None:
        """
        The transaction is through, however it went.
        """

    def abandon(self, walk: Walk, seconds: float = 0.0) -> None:
        """
        Those left go back to the queue, untried, to come again in so many seconds.
        """


@define(eq=False)
class Trip:
    """
    A transaction that is being made: what, where to, under which terms, and how far it has come.
    """

    queue: SiteQueue
    work: Work
    site: Site
    walk: Walk
    load: Load


def find_load(queue: SiteQueue, work: Work) -> Load:
    """
    What the transaction asks of the connection that carries it: the same value, where it is the same as of the one
    that began before it.
    """
    # Without MX records the host is the domain that the sender wrote.
    vouched = work.site.authenticated or work.site.implicit
    domains = frozenset([held.leased.lane.domain for held in work.held.values()])
    last = queue.load
    if last is None or last.terms is not work.terms or last.domains != domains or last.vouched != vouched:
        last = queue.load = Load(work.terms, domains, vouched)
    return last
