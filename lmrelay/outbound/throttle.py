"""
How many connections a site bears, as its answers tell: the budget follows them, and idle connections make way.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from lmrelay.mail.outcome import Delayed
from lmrelay.mail.redact import redact
from lmrelay.outbound.pool import Pool
from lmrelay.outbound.sites import SiteQueue, Work
from lmrelay.outbound.trip import Office

MAX_REASON = 500
"""
Characters of a receiver's words that are kept.
"""

log = Logger()


@define(eq=False)
class Throttle:
    """
    Learns from what went well, and from what was too much.
    """

    office: Office
    clock: IReactorTime
    wall: Callable[[], float]
    pool: Pool

    def make_room(self, queue: SiteQueue) -> None:
        """
        Idle connections count for the budgets as those in use do.
        """
        self.pool.make_room(queue.site, queue.budget.allowed - queue.running)
        self.pool.limit(self.office.dispatch.running.free)

    def succeed(self, queue: SiteQueue) -> None:
        """
        A transaction went well.
        """
        if queue.budget.succeed(self.clock.seconds()):
            self._remember(queue)

    def _remember(self, queue: SiteQueue) -> None:
        self.office.dispatch.remember(queue.state)
        self.office.queue.note_site(queue.state)

    def slow_down(self, queue: SiteQueue, work: Work, outcome: Delayed) -> None:
        """
        The receiver asked for less at a time, in answer to this.
        """
        # Of a site, not of a message: whose mail brought it out is nobody's business.
        addresses = (held.recipient.recipient.address for held in work.held.values())
        reason = redact(str(outcome.reply or outcome.text), (work.leased.reverse_path, *addresses))[:MAX_REASON]
        if not queue.budget.slow_down(work.round, self.wall(), reason, self.clock.seconds()):
            return
        self.make_room(queue)
        self._remember(queue)
        log.info("site asks for less at a time", site=queue.site.name, connections=queue.budget.allowed, reason=reason)
