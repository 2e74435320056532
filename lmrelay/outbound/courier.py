"""
The delivery service: leased recipients in, one settled attempt for each of them out.

Finds routes, makes the transactions that L{Dispatch} says are due, walks the MX hosts, and
gives every outcome to the queue. Whatever breaks on the way delays mail, and loses none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from random import Random
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from lmrelay.interfaces import IDispatch, IQueue, IResolver, ISettings, Lane, Leased, RecipientKey
from lmrelay.mail.outcome import Attempt, Delayed, Delivered, Failed, Fault
from lmrelay.outbound.client import Connection
from lmrelay.outbound.connect import Connector, HostFailure, Target
from lmrelay.outbound.dispatch import Dispatch
from lmrelay.outbound.personal import render_fields
from lmrelay.outbound.pool import Pool
from lmrelay.outbound.report import report
from lmrelay.outbound.requirement import find_policy
from lmrelay.outbound.route import Addresses, Router, Site, nowhere
from lmrelay.outbound.routing import Routing
from lmrelay.outbound.sites import Held, SiteQueue, Work
from lmrelay.outbound.tls import Demand, configured
from lmrelay.outbound.verdicts import Cause, Trouble
from lmrelay.outbound.walk import Walk
from lmrelay.tasks import Tasks

IPV6_LAST = 300.0
"""
Seconds for which IPv6 comes last after the machine had no way to an IPv6 address.
"""

AT_ONCE = 0.01
"""
Seconds.
"""

MAX_MISSES = 12
"""
Addresses tried in vain in one attempt.
"""

OURS = Delayed("4.3.0", "the relay had an internal error", Fault.OURS)

log = Logger()


@implementer(IDispatch)
@define(eq=False)
class Courier:
    """
    Delivery. C{wall()} is seconds since the epoch. Where the queue is made with this, set
    C{queue} before the first L{take}.
    """

    reactor: IReactorTime
    settings: ISettings
    resolver: IResolver
    connector: Connector
    wall: Callable[[], float]
    random: Random
    queue: IQueue
    dispatch: Dispatch = field(factory=Dispatch)
    pool: Pool = field(init=False)
    routing: Routing = field(init=False)
    _router: Router = field(init=False)
    _tasks: Tasks = field(factory=Tasks, init=False)
    _openings: set[Deferred[Any]] = field(factory=set, init=False)
    _ipv6_last_until: float = field(default=0.0, init=False)
    _draining: bool = field(default=False, init=False)
    _pumping: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.pool = Pool(self.reactor)
        self._router = Router(self.resolver, self.random)
        self.routing = Routing(self.reactor, self._router, self.settings, self._route)

    # IDispatch

    def reserve(self, lane: Lane, recipients: int) -> bool:
        return not self._draining and self.dispatch.windows.reserve(lane, recipients)

    def cancel(self, lane: Lane, recipients: int) -> None:
        self.dispatch.windows.free(lane, recipients)

    def take(self, leased: Sequence[Leased]) -> None:
        admitted = self.dispatch.admit(leased)
        if self._draining:
            self._release(self.dispatch.waiting())
            return
        domains: dict[str, list[Held]] = {}
        for held in admitted:
            domains.setdefault(held.leased.lane.domain, []).append(held)
        # All of a message finds its site before anything begins, so that it goes as one.
        pumping, self._pumping = self._pumping, True
        try:
            for domain, recipients in domains.items():
                self.routing.add(domain, recipients)
        finally:
            self._pumping = pumping
        self._pump()

    def withdraw(self, keys: Collection[RecipientKey]) -> set[RecipientKey]:
        return self.dispatch.withdraw(keys)

    def pause(self) -> None:
        self.dispatch.paused = True

    def resume(self) -> None:
        self.dispatch.paused = False
        self._pump()

    def try_anew(self) -> None:
        self.pool.forget_dead()
        self.routing.forget()
        self._ipv6_last_until = 0.0

    # The end

    def drain(self) -> Deferred[None]:
        """
        Begin nothing more; what waits goes back to the queue. Fires when what was under way
        has ended and is recorded.
        """
        self._draining = True
        self.pool.close_idle()
        self._release(self.dispatch.waiting())
        return self._tasks.wait()

    def stop(self) -> None:
        """
        The time for L{drain} is over: drop the connections, which ends what is under way. What a receiver
        may have taken, its end of data being sent, is an attempt and waits for the next as any
        other; all else goes back as if it had not been tried.
        """
        self._draining = True
        self.pool.close_idle()
        for opening in list(self._openings):
            opening.cancel()
        self.pool.abort_used()

    def _release(self, keys: Iterable[RecipientKey]) -> None:
        withdrawn = self.dispatch.withdraw(keys)
        if withdrawn:
            self._tasks.start(self._give_back(withdrawn))

    async def _give_back(self, keys: Collection[RecipientKey], seconds: float = 0.0) -> None:
        if seconds:
            await self.queue.postpone(keys, seconds)
        else:
            await self.queue.release(keys)

    # From a recipient to its site

    def _route(self, recipients: Sequence[Held], found: Site | Failed | Delayed) -> None:
        """
        The route of these, all of one domain, is known.
        """
        waiting = [held for held in recipients if self.dispatch.is_waiting(held)]
        if isinstance(found, Site):
            self._place(waiting, found)
            return
        messages: dict[str, list[Held]] = {}
        for held in waiting:
            self.dispatch.start(held)
            messages.setdefault(held.leased.message_id, []).append(held)
        attempt = Attempt(self.wall(), self.wall(), found)
        for together in messages.values():
            self._finish(together, {held.recipient.number: attempt for held in together}, "")

    def _place(self, recipients: Sequence[Held], site: Site) -> None:
        config = self.settings.config
        for held in recipients:
            lane = held.leased.lane
            policy = find_policy(config, lane.project, held.leased.route, lane.domain, held.leased.tls)
            self.dispatch.place(held, site, policy, config.delivery.connections_per_site)
        self._pump()

    def _pump(self) -> None:
        """
        Begin every transaction that may begin.
        """
        if self._pumping:
            # The outer loop takes up what this call was for; recursion would have no bound.
            return
        self._pumping = True
        try:
            while not self._draining and (due := self.dispatch.begin()) is not None:
                self._tasks.start(self._carry(*due))
        finally:
            self._pumping = False

    # A transaction

    async def _carry(self, queue: SiteQueue, work: Work) -> None:
        """
        Make the transaction, whatever happens: of every recipient one outcome is settled, or it
        goes back to the queue, or waits at the site again.
        """
        walk = Walk(self.wall(), dict(work.held))
        try:
            await self._walk(queue, work, walk)
        except Exception:  # noqa: BLE001 - our own fault, logged; it delays mail
            log.failure("delivery broke", message=work.leased.message_id, site=queue.site.name)
            ours = Attempt(walk.started_at, self.wall(), OURS)
            self._settle(walk, dict.fromkeys(walk.left, ours), queue.site.name)
        finally:
            self.dispatch.end(queue, work)
            self._pump()

    async def _walk(self, queue: SiteQueue, work: Work, walk: Walk) -> None:
        fields = render_fields(self.settings.config.token_key, work)
        if isinstance(fields, Delayed):
            untold = Attempt(walk.started_at, self.wall(), fields)
            self._settle(walk, dict.fromkeys(walk.left, untold), queue.site.name)
            return
        walk.fields = fields
        site, demand = queue.site, configured(work.policy)
        kept = self.pool.take(site, demand, site.groups[0])
        for host in self._hosts(site, kept):
            if self._draining or not walk.left or walk.missed >= MAX_MISSES:
                break
            kept = kept or self.pool.take(site, demand, [host])
            # One that had idled too long says nothing of its host, which is asked anew.
            if kept is None or await self._deliver(kept, queue, work, walk, demand):
                fresh = await self._connect(host, queue, work, walk, demand)
                if fresh is not None:
                    await self._deliver(fresh, queue, work, walk, demand)
            kept = None
        if walk.left:
            self._end(queue, work, walk)

    def _hosts(self, site: Site, kept: Connection | None) -> Iterator[str]:
        """
        The hosts in the order in which they are asked, that of the kept connection first.
        """
        if kept is not None:
            yield kept.host
        yield from (host for host in site.order(self.random) if kept is None or host != kept.host)

    def _end(self, queue: SiteQueue, work: Work, walk: Walk) -> None:
        """
        What becomes of those that no host took.
        """
        age = self.wall() - work.leased.received_at
        if self._draining:
            self._abandon(walk)
        elif walk.was_refused and self.pool.works_at(queue.site):
            # The site takes mail, only not over so many connections: what ends makes way for this.
            self.dispatch.wait_again(queue, [walk.left.pop(number) for number in list(walk.left)], work.policy)
        elif walk.passed_for is not None and age < self.settings.config.delivery.expire:
            self._abandon(walk, walk.passed_for)
        else:
            self._settle(walk, walk.give_up(self.wall(), nowhere(queue.site)), queue.site.name)

    async def _connect(self, host: str, queue: SiteQueue, work: Work, walk: Walk, demand: Demand) -> Connection | None:
        """
        A connection to the first address of C{host} that gives one.
        """
        delivery = self.settings.config.delivery
        ipv6_last = self.reactor.seconds() < self._ipv6_last_until
        found = await self._router.find_addresses(
            host, delivery.allow_networks, work.leased.lane.party, ipv6_last=ipv6_last
        )
        walk.look(found)
        for address in found.addresses if isinstance(found, Addresses) else ():
            if self._draining:
                break
            target = Target(host, address, delivery.port)
            dead = self.pool.find_dead(target, demand)
            if dead is not None:
                walk.pass_over(dead.failure, self.wall(), dead.seconds)
                failure = dead.failure
            else:
                opened = await self._open(target, queue, work, demand)
                if not isinstance(opened, HostFailure):
                    return opened
                walk.miss(opened, self.wall())
                failure = opened
            if failure.of_host:
                break
        return None

    async def _open(
        self, target: Target, queue: SiteQueue, work: Work, demand: Demand
    ) -> Connection | HostFailure | None:
        """
        None: it is too late, the relay is stopping.
        """
        self._make_room(queue)
        began = self.reactor.seconds()
        opening = Deferred.fromCoroutine(self.connector.connect(target, demand))
        self._openings.add(opening)
        try:
            connection = await opening
        except CancelledError:
            if not self._draining:
                raise
            return None
        finally:
            self._openings.discard(opening)
        if not isinstance(connection, HostFailure):
            if self._draining:
                connection.close()
                return None
            self.pool.add(connection)
            return connection
        at_once = not connection.of_host and self.reactor.seconds() - began < AT_ONCE
        if ":" in target.address and at_once and connection.outcome.fault is not Fault.OURS:
            # So fast it is this machine that has no way there, or a neighbour that refuses: to
            # be wrong costs no more than to try IPv4 first for a while.
            self._ipv6_last_until = self.reactor.seconds() + IPV6_LAST
        if connection.slow_down:
            self._slow_down(queue, work)
        self.pool.mark_dead(connection)
        return connection

    async def _deliver(self, connection: Connection, queue: SiteQueue, work: Work, walk: Walk, demand: Demand) -> bool:
        """
        Make the transaction on this connection, which may then serve others. Was it stale, so
        that nothing is known by it?
        """
        recipients: Any = [held.recipient for held in walk.left.values()]
        leased = evolve(work.leased, recipients=recipients, size=work.leased.size + len(walk.fields))
        try:
            verdicts = await connection.deliver(leased, self.queue.open_content(leased.message_id, walk.fields))
        except Exception:
            # Nobody knows what it has said by now.
            connection.abort(Trouble(Cause.OURS, "the relay had an internal error"))
            raise
        finally:
            most = 0 if self._draining else self.settings.config.delivery.messages_per_connection
            self.pool.put(connection, queue.site, demand, most)
        if any(verdict.stale for verdict in verdicts.values()):
            return True
        if any(verdict.slow_down for verdict in verdicts.values()):
            self._slow_down(queue, work)
        elif any(isinstance(verdict.outcome, Delivered) for verdict in verdicts.values()):
            queue.budget.succeed()
        self._settle(walk, walk.score(verdicts, connection, self.wall()), queue.site.name)
        return False

    def _make_room(self, queue: SiteQueue) -> None:
        """
        Idle connections count for the budgets as those in use do.
        """
        self.pool.make_room(queue.site, queue.budget.allowed - queue.running)
        self.pool.limit(self.dispatch.running.free)

    def _slow_down(self, queue: SiteQueue, work: Work) -> None:
        if not queue.budget.slow_down(work.round):
            return
        self._make_room(queue)
        log.info("site asks for less at a time", site=queue.site.name, connections=queue.budget.allowed)

    # Outcomes

    def _settle(self, walk: Walk, attempts: Mapping[int, Attempt], site: str) -> None:
        """
        These are through. The commit does not hold up the connection's next message.
        """
        self._finish([walk.left.pop(number) for number in attempts], attempts, site)

    def _finish(self, held: list[Held], attempts: Mapping[int, Attempt], site: str) -> None:
        if held:
            self._tasks.start(self._record(held, attempts))
            report(held, attempts, site)

    async def _record(self, held: list[Held], attempts: Mapping[int, Attempt]) -> None:
        message_id = held[0].leased.message_id
        try:
            await self.queue.settle(message_id, attempts)
        except Exception:  # noqa: BLE001 - our own fault, logged; it delays mail
            log.failure("an outcome could not be recorded", message=message_id)
            # Tried again it may come twice; kept by us it would never come.
            self.dispatch.leave(held)
            await self.queue.release([each.key for each in held])
        else:
            self.dispatch.leave(held)

    def _abandon(self, walk: Walk, seconds: float = 0.0) -> None:
        """
        Those without an outcome go back to the queue, untried, to come again in so many seconds.
        """
        held = [walk.left.pop(number) for number in list(walk.left)]
        if held:
            self.dispatch.leave(held)
            self._tasks.start(self._give_back([each.key for each in held], seconds))
