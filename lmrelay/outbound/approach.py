"""
The way to a host: its addresses, what the mail asks of a connection there, and the first address that gives one.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from lmrelay.mail.outcome import Delayed, Fault
from lmrelay.outbound.client import Connection
from lmrelay.outbound.connect import Connector, HostFailure, Target
from lmrelay.outbound.dane import Dane
from lmrelay.outbound.pool import Pool
from lmrelay.outbound.route import Router
from lmrelay.outbound.throttle import Throttle
from lmrelay.outbound.tls import Demand
from lmrelay.outbound.tls_sessions import judge_session
from lmrelay.outbound.trip import Office, Trip
from lmrelay.reach import Addresses

IPV6_LAST = 300.0
"""
Seconds for which IPv6 comes last after the machine had no way to an IPv6 address.
"""

AT_ONCE = 0.01
"""
Seconds.
"""

log = Logger()


@define(eq=False)
class Approach:
    """
    Opens connections, whether or not something comes of them.
    """

    office: Office
    reactor: IReactorTime
    connector: Connector
    wall: Callable[[], float]
    random: Random
    router: Router
    dane: Dane
    pool: Pool
    throttle: Throttle
    _openings: set[Deferred[Any]] = field(factory=set, init=False)
    _ipv6_last_until: float = field(default=0.0, init=False)

    def try_anew(self) -> None:
        """
        Forget what was lately in trouble.
        """
        self.pool.forget_dead()
        self._ipv6_last_until = 0.0

    def stop(self) -> None:
        """
        Give up what is being opened.
        """
        for opening in list(self._openings):
            opening.cancel()

    async def connect(self, host: str, trip: Trip) -> Connection | None:
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
            began = self.reactor.seconds()
            last = began < self._ipv6_last_until
            found = await self.router.find_addresses(host, delivery.allow_networks, whose, ipv6_last=last)
            found = trip.work.terms.egress.narrow(found)
            walk.look(found, host, self.reactor.seconds() - began)
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
        self.throttle.make_room(trip.queue)
        began = self.reactor.seconds()
        opening = Deferred.fromCoroutine(self.connector.connect(target, demand))
        self._openings.add(opening)
        try:
            with self.pool.opening(target):
                connection = await opening
        except CancelledError:
            if not self.office.draining:
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
            self.throttle.slow_down(trip.queue, trip.work, connection.outcome)
        self.pool.mark_dead(connection)
        return connection

    def _count(self, trip: Trip, demand: Demand, end: Connection | HostFailure) -> None:
        sessions = judge_session(trip.load, demand, end) if self.office.settings.config.delivery.tls_reports else ()
        try:
            for session in sessions:
                self.office.count_session(*session)
        except Exception:  # noqa: BLE001 - our own fault, logged; what is only counted stops no mail
            log.failure("a session could not be counted", site=trip.site.name)

    def _is_over(self, trip: Trip) -> bool:
        return self.office.draining or trip.queue.suspended
