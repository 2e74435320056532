"""
One transaction's way: connections to the hosts of its site, the dialogue on them, and what comes of it.

It says how it ended and nothing else; whom next, and what is recorded, is for L{lmrelay.outbound.courier}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any, Protocol

from attrs import define, evolve, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from lmrelay.errors import StoreError
from lmrelay.interfaces import IQueue, ISettings
from lmrelay.mail.outcome import Attempt, Delayed, Delivered, Fault
from lmrelay.mail.redact import redact
from lmrelay.mail.signing import Signers
from lmrelay.outbound.client import Connection
from lmrelay.outbound.connect import Connector, HostFailure, Target
from lmrelay.outbound.dane import Dane
from lmrelay.outbound.dispatch import Dispatch
from lmrelay.outbound.personal import Own, render, sign_own
from lmrelay.outbound.pool import Pool
from lmrelay.outbound.route import Router, Site, nowhere
from lmrelay.outbound.sites import SiteQueue, Work
from lmrelay.outbound.terms import Load
from lmrelay.outbound.tls import Demand
from lmrelay.outbound.tls_sessions import CountSession, judge_session
from lmrelay.outbound.verdicts import Cause, Trouble
from lmrelay.outbound.walk import Walk
from lmrelay.reach import Addresses

IPV6_LAST = 300.0
"""
Seconds for which IPv6 comes last after the machine had no way to an IPv6 address.
"""

AT_ONCE = 0.01
"""
Seconds.
"""

MAX_MISSES = 12
MAX_REASON = 500
"""
Addresses tried in vain in one attempt; characters of a receiver's words that are kept.
"""

MAX_THROTTLED = 5
"""
Turns at a site that wants less at a time which are no attempts.
"""

OURS = Delayed("4.3.0", "the relay had an internal error", Fault.OURS)

log = Logger()


class Office(Protocol):
    """
    Who makes the transactions due, and takes how they ended.
    """

    settings: ISettings
    dispatch: Dispatch
    queue: IQueue
    count_session: CountSession

    def settle(self, walk: Walk, attempts: Mapping[int, Attempt], site: str) -> None:
        """
        These of the walk are through.
        """

    def abandon(self, walk: Walk, seconds: float = 0.0) -> None:
        """
        Those left go back to the queue, untried, to come again in so many seconds.
        """


@define(eq=False)
class Trip:
    """
    A transaction that is being made: what, where, under which terms, and how far it has come.
    """

    queue: SiteQueue
    work: Work
    walk: Walk
    load: Load

    @property
    def site(self) -> Site:
        """
        Where to.
        """
        return self.work.site


@define(eq=False)
class Carrier:
    """
    Makes the transactions. C{draining}: nothing new is begun.
    """

    office: Office
    reactor: IReactorTime
    connector: Connector
    wall: Callable[[], float]
    random: Random
    router: Router
    dane: Dane
    pool: Pool
    draining: bool = False
    _signers: Signers = field(init=False)
    _openings: set[Deferred[Any]] = field(factory=set, init=False)
    _ipv6_last_until: float = field(default=0.0, init=False)

    @_signers.default
    def _make_signers(self) -> Signers:
        return Signers(lambda: self.office.settings.config.dkim)

    def try_anew(self) -> None:
        """
        Forget which hosts were lately in trouble.
        """
        self.pool.forget_dead()
        self._ipv6_last_until = 0.0

    def stop(self) -> None:
        """
        Drop the connections, which ends what is under way.
        """
        self.draining = True
        self.pool.close_idle()
        for opening in list(self._openings):
            opening.cancel()
        self.pool.abort_used()

    async def carry(self, queue: SiteQueue, work: Work) -> None:
        """
        Make the transaction, whatever happens: of every recipient one outcome is settled, or it
        goes back to the queue, or waits at the site again.
        """
        trip = Trip(queue, work, Walk(self.wall(), dict(work.held)), _load(work))
        try:
            await self._walk(trip)
        except Exception:  # noqa: BLE001 - our own fault, logged; it delays mail
            log.failure("delivery broke", message=work.leased.message_id, site=trip.site.name)
            self._end_all(trip, OURS)

    def _end_all(self, trip: Trip, outcome: Delayed) -> None:
        attempt = Attempt(trip.walk.started_at, self.wall(), outcome)
        self.office.settle(trip.walk, dict.fromkeys(trip.walk.left, attempt), trip.site.name)

    async def _walk(self, trip: Trip) -> None:
        own = await self._make_own(trip.work)
        if isinstance(own, Delayed):
            self._end_all(trip, own)
            return
        site, walk = trip.site, trip.walk
        walk.own = own
        kept = self.pool.take(site, trip.load, site.groups[0])
        for host in self._hosts(site, kept):
            if self._is_over(trip) or not walk.left or walk.missed >= MAX_MISSES:
                break
            kept = kept or self.pool.take(site, trip.load, [host])
            # One that had idled too long says nothing of its host, which is asked anew.
            if kept is None or await self._deliver(kept, trip):
                fresh = await self._connect(host, trip)
                if fresh is not None:
                    await self._deliver(fresh, trip)
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
        return self.draining or trip.queue.suspended

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

    async def _connect(self, host: str, trip: Trip) -> Connection | None:
        """
        A connection to the first address of C{host} that gives one.
        """
        egress = trip.work.terms.egress
        addresses, demand = await self._look_up(host, trip)
        for address in addresses:
            for source in egress.order_sources(address, self.random):
                if self._is_over(trip):
                    return None
                target = Target(host, address, self.office.settings.config.delivery.port, source, egress.name)
                result = await self._try(target, demand, trip)
                if not isinstance(result, HostFailure):
                    return result
                if result.of_host:
                    return None
                if not result.of_source:
                    break
        return None

    async def _try(self, target: Target, demand: Demand, trip: Trip) -> Connection | HostFailure | None:
        dead = self.pool.find_dead(target, demand)
        if dead is not None:
            trip.walk.pass_over(dead.failure, self.wall(), dead.seconds)
            return dead.failure
        opened = await self._open(target, demand, trip)
        if isinstance(opened, HostFailure):
            trip.walk.miss(opened, self.wall())
        return opened

    async def _look_up(self, host: str, trip: Trip) -> tuple[tuple[str, ...], Demand]:
        """
        The addresses of C{host} to try, and what the mail asks of a connection there. None if a policy says that the
        host is not to be used, whatever it would show.
        """
        walk, whose = trip.walk, trip.work.leased.lane.party
        delivery = self.office.settings.config.delivery
        found: Addresses | Delayed = Addresses()
        demand = trip.load.demand_of(host)
        if demand.barred is None:
            ipv6_last = self.reactor.seconds() < self._ipv6_last_until
            found = await self.router.find_addresses(host, delivery.allow_networks, whose, ipv6_last=ipv6_last)
            found = trip.work.terms.egress.narrow(found)
            walk.look(found)
        addresses = found.addresses if isinstance(found, Addresses) else ()
        if isinstance(found, Addresses) and addresses and demand.starttls and not trip.load.terms.tls_optional:
            demand = trip.load.demand_of(host, await self.dane.find(trip.site, host, found, delivery.port, whose))
        if demand.barred is not None:
            failure = HostFailure(Target(host, ""), demand.barred, of_host=True)
            self._count(trip, demand, failure)
            walk.miss(failure, self.wall())
            return (), demand
        return addresses, demand

    async def _open(self, target: Target, demand: Demand, trip: Trip) -> Connection | HostFailure | None:
        """
        None: it is too late, nothing more is to begin.
        """
        self._make_room(trip.queue)
        began = self.reactor.seconds()
        opening = Deferred.fromCoroutine(self.connector.connect(target, demand))
        self._openings.add(opening)
        try:
            with self.pool.opening(target):
                connection = await opening
        except CancelledError:
            if not self.draining:
                raise
            return None
        finally:
            self._openings.discard(opening)
        self._count(trip, demand, connection)
        if not isinstance(connection, HostFailure):
            if self._is_over(trip):
                connection.close()
                return None
            self.pool.add(connection, demand)
            return connection
        at_once = not connection.of_host and self.reactor.seconds() - began < AT_ONCE
        if ":" in target.address and at_once and connection.outcome.fault is not Fault.OURS:
            # So fast it is this machine that has no way there, or a neighbour that refuses: to
            # be wrong costs no more than to try IPv4 first for a while.
            self._ipv6_last_until = self.reactor.seconds() + IPV6_LAST
        if self.pool.is_refused_more(connection):
            connection = evolve(connection, slow_down=True)
        if connection.slow_down and isinstance(connection.outcome, Delayed):
            self._slow_down(trip.queue, trip.work, connection.outcome)
        self.pool.mark_dead(connection)
        return connection

    def _count(self, trip: Trip, demand: Demand, end: Connection | HostFailure) -> None:
        sessions = judge_session(trip.load, demand, end) if self.office.settings.config.delivery.tls_reports else ()
        try:
            for session in sessions:
                self.office.count_session(*session)
        except Exception:  # noqa: BLE001 - our own fault, logged; what is only counted stops no mail
            log.failure("a session could not be counted", site=trip.site.name)

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
            most = 0 if self.draining else trip.queue.limits.messages_per_connection
            self.pool.put(connection, trip.site, trip.work.terms.egress, most)
        if any(verdict.stale for verdict in verdicts.values()):
            return True
        slower = next((verdict.outcome for verdict in verdicts.values() if verdict.slow_down), None)
        if isinstance(slower, Delayed):
            self._slow_down(trip.queue, trip.work, slower)
        elif any(isinstance(verdict.outcome, Delivered) for verdict in verdicts.values()):
            self._succeed(trip.queue)
        ended = walk.score(verdicts, connection, self.wall())
        waits = bool(ended) and self._may_wait(trip)
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
        held = [trip.walk.left.pop(number) for number in list(trip.walk.left)]
        for each in held:
            each.throttled += trip.walk.was_throttled
        self.office.dispatch.wait_again(trip.queue, held, trip.work)

    def _make_room(self, queue: SiteQueue) -> None:
        """
        Idle connections count for the budgets as those in use do.
        """
        self.pool.make_room(queue.site, queue.budget.allowed - queue.running)
        self.pool.limit(self.office.dispatch.running.free)

    def _succeed(self, queue: SiteQueue) -> None:
        if queue.budget.succeed(self.reactor.seconds()):
            self._remember(queue)

    def _remember(self, queue: SiteQueue) -> None:
        self.office.dispatch.remember(queue.state)
        self.office.queue.note_site(queue.state)

    def _slow_down(self, queue: SiteQueue, work: Work, outcome: Delayed) -> None:
        # Of a site, not of a message: whose mail brought it out is nobody's business.
        addresses = (held.recipient.recipient.address for held in work.held.values())
        reason = redact(str(outcome.reply or outcome.text), (work.leased.reverse_path, *addresses))[:MAX_REASON]
        if not queue.budget.slow_down(work.round, self.wall(), reason, self.reactor.seconds()):
            return
        self._make_room(queue)
        self._remember(queue)
        log.info("site asks for less at a time", site=queue.site.name, connections=queue.budget.allowed, reason=reason)


def _load(work: Work) -> Load:
    # Without MX records the host is the domain that the sender wrote.
    vouched = work.site.authenticated or work.site.implicit
    return Load(work.terms, frozenset(held.leased.lane.domain for held in work.held.values()), vouched)
