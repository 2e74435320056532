"""
One transaction's way: connections to the hosts of its site, the dialogue on them, and what comes of it.

It says how it ended and nothing else; whom next, and what is recorded, is for L{lmrelay.outbound.courier}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from attrs import define, evolve, field
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from lmrelay.errors import StoreError
from lmrelay.mail.outcome import Delayed, Delivered, Fault
from lmrelay.mail.signing import Signers
from lmrelay.outbound.approach import Approach
from lmrelay.outbound.client import Connection
from lmrelay.outbound.personal import Own, render, sign_own
from lmrelay.outbound.pool import Pool
from lmrelay.outbound.route import Site, nowhere
from lmrelay.outbound.sites import SiteQueue, Work
from lmrelay.outbound.throttle import Throttle
from lmrelay.outbound.trip import Office, Trip, find_load
from lmrelay.outbound.verdicts import Cause, Trouble
from lmrelay.outbound.walk import Walk

MAX_MISSES = 12
"""
Addresses tried in vain in one attempt.
"""

MAX_THROTTLED = 5
"""
Turns at a site that wants less at a time which are no attempts.
"""

OURS = Delayed("4.3.0", "the relay had an internal error", Fault.OURS)

log = Logger()


@define(eq=False)
class Carrier:
    """
    Makes the transactions.
    """

    office: Office
    reactor: IReactorTime
    wall: Callable[[], float]
    random: Random
    pool: Pool
    approach: Approach
    throttle: Throttle
    _signers: Signers = field(init=False)

    @_signers.default
    def _make_signers(self) -> Signers:
        return Signers(lambda: self.office.settings.config.dkim)

    def stop(self) -> None:
        """
        Drop the connections, which ends what is under way.
        """
        self.pool.close_idle()
        self.approach.stop()
        self.pool.abort_used()

    async def carry(self, queue: SiteQueue, work: Work) -> None:
        """
        Make the transaction, whatever happens: of every recipient one outcome is settled, or it
        goes back to the queue, or waits at the site again.
        """
        trip = Trip(queue, work, work.site, Walk.begin(self.wall(), work.held, queue.hosts), find_load(queue, work))
        try:
            await self._walk(trip)
        except Exception:  # noqa: BLE001 - our own fault, logged; it delays mail
            log.failure("delivery broke", message=work.leased.message_id, site=trip.site.name)
            self._end_all(trip, OURS)
        finally:
            self.office.end(queue, work)

    def _end_all(self, trip: Trip, outcome: Delayed) -> None:
        self.office.settle(trip.walk, trip.walk.end_all(self.wall(), outcome), trip.site.name)

    async def _walk(self, trip: Trip) -> None:
        site, walk, leased = trip.site, trip.walk, trip.work.leased
        if leased.is_personal or leased.body_hash:
            own = await self._make_own(trip.work)
            if isinstance(own, Delayed):
                self._end_all(trip, own)
                return
            walk.own = own
        kept = self.pool.take(site, trip.load, site.groups[0])
        for host in self._hosts(site, kept):
            if self._is_over(trip) or not walk.left or walk.missed >= MAX_MISSES:
                break
            kept = kept or self.pool.take(site, trip.load, [host])
            # One that had idled too long says nothing of its host, which is asked anew.
            if kept is None or await self._deliver(kept, trip):
                fresh = await self.approach.connect(host, trip)
                if fresh is not None:
                    await self._deliver(fresh, trip)
            if not walk.left:
                return
            kept = None
        if walk.left:
            self._end(trip)

    async def _make_own(self, work: Work) -> Own | Delayed:
        leased, config = work.leased, self.office.settings.config
        own = render(config.token_key, work)
        if isinstance(own, Delayed) or not (leased.body_hash and config.dkim):
            return own
        try:
            head = await self.office.queue.open_content(leased.message_id).read_head()
        except StoreError:
            return Delayed("4.3.0", "the relay could not read the message", Fault.OURS)
        return sign_own(self._signers, own, head, leased)

    def _is_over(self, trip: Trip) -> bool:
        """
        Must nothing more begin: does the relay stop, or did an operator suspend the site?
        """
        return self.office.draining or trip.queue.suspended

    def _hosts(self, site: Site, kept: Connection | None) -> Iterator[str]:
        """
        The hosts in the order in which they are asked, that of the kept connection first.
        """
        if kept is not None:
            yield kept.host
        yield from (host for host in site.order(self.random) if kept is None or host != kept.host)

    def _end(self, trip: Trip) -> None:
        """
        What becomes of those that no host took.
        """
        walk, age = trip.walk, self.wall() - trip.work.leased.received_at
        if self._is_over(trip):
            self.office.abandon(walk)
        elif self._may_wait(trip) or (walk.was_refused and self.pool.works_at(trip.site)):
            # The site takes mail, only not over so many connections, or so fast: what ends makes way for this.
            self._wait(trip)
        elif walk.passed_for is not None and age < self.office.settings.config.delivery.expire:
            self.office.abandon(walk, walk.passed_for)
        else:
            self.office.settle(walk, walk.give_up(self.wall(), nowhere(trip.site)), trip.site.name)

    async def _deliver(self, connection: Connection, trip: Trip) -> bool:
        """
        Make the transaction on this connection, which may then serve others. Was it stale, so
        that nothing is known by it?
        """
        work, walk = trip.work, trip.walk
        leased = work.leased
        recipients: Any = tuple([held.recipient for held in walk.left.values()])
        if recipients != leased.recipients:
            leased = evolve(leased, recipients=recipients)
        leased = walk.own.apply(leased)
        content = self.office.queue.open_content(leased.message_id, walk.own.fields, walk.own.above)
        try:
            verdicts = await connection.deliver(leased, content)
        except Exception:
            # Nobody knows what it has said by now.
            connection.abort(Trouble(Cause.OURS, "the relay had an internal error"))
            raise
        finally:
            most = 0 if self.office.draining else trip.queue.limits.messages_per_connection
            self.pool.put(connection, trip.site, trip.load, most)
        walk.hear(verdicts, connection, leased)
        slower, took = None, False
        for verdict in verdicts.values():
            if verdict.stale:
                return True
            if verdict.slow_down:
                slower = slower or verdict.outcome
            took = took or type(verdict.outcome) is Delivered
        if isinstance(slower, Delayed):
            self.throttle.slow_down(trip.queue, trip.work, slower)
        elif took:
            self.throttle.succeed(trip.queue)
        ended = walk.score(verdicts, connection, self.wall())
        waits = bool(ended) and walk.was_throttled and self._may_wait(trip)
        if not waits:
            self.office.settle(walk, ended, trip.site.name)
        if waits or (walk.was_cut and not self._is_over(trip)):
            self._wait(trip)
        return False

    def _may_wait(self, trip: Trip) -> bool:
        """
        Does the site take mail, only not so fast? Then one tenant's newsletter must not cost another's message an
        attempt, and the time until the next. But not for ever: a receiver can mean this message, whatever it says.
        """
        walk = trip.walk
        if not walk.was_throttled or self._is_over(trip) or not trip.queue.budget.takes_mail(self.reactor.seconds()):
            return False
        return all(held.throttled < MAX_THROTTLED for held in walk.left.values())

    def _wait(self, trip: Trip) -> None:
        walk = trip.walk
        held = [walk.left.pop(number) for number, each in list(walk.left.items()) if not each.is_asked_back]
        for each in held:
            each.throttled += walk.was_throttled
        self.office.dispatch.wait_again(trip.queue, held, trip.work)
        # Its turn may come at once, and then the queue would have asked in vain, however often it does.
        self.office.abandon(walk)
