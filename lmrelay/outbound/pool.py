"""
Connections to MX hosts: those that idle for their next message, and hosts lately found dead.

The caller opens them; the pool says when one may be used again, for whom, and closes what has
idled for some seconds or stands in the way of a new one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Union

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from lmrelay.mail.outcome import Fault
from lmrelay.outbound.client import Connection
from lmrelay.outbound.connect import HostFailure, Target
from lmrelay.outbound.route import Groups, Site
from lmrelay.outbound.terms import Load
from lmrelay.outbound.tls import Demand

IDLE = 5.0
"""
Seconds; long enough for the next message of a burst, too short for a receiver to mind.
"""

DEAD = 30.0
"""
Seconds for which a host that did not answer is passed over; then one message tries it for all.
"""

MAX_DEAD = 5_000

DeadKey = tuple[str, str, str, Union[Demand, None]]
"""
A host, one of its addresses (empty: all), the source that was used, and the demand for which it is dead (None: any).
What it says to one of our addresses, it need not say to another.
"""

PASSED_LATER = 0.1
PASSED_LATEST = 300.0
"""
Seconds by which each that passed a dead host over comes later than the one before, and at most:
else all the backlog of a dead site would come round every time that a few of it can be tried.
"""


Way = tuple[str, str, str]
"""
A host, the address of it, and the source.
"""


def _way(target: Target) -> Way:
    return target.host, target.address, target.source


@define(eq=False)
class Dead:
    """
    A host or an address that is passed over until then. C{seconds} from now it is worth a try
    for the one that passes it over now.
    """

    failure: HostFailure
    until: float
    seconds: float = 0.0
    passed: int = 0


@define(eq=False)
class Idle:
    """
    An idle connection, of which site it is, what it carried last, and since when it idles.
    """

    connection: Connection
    site: Site
    load: Load
    since: float

    def demand_for(self, load: Load, site: Site, hosts: Sequence[str]) -> Demand | None:
        """
        What such mail asks of it, if it goes to one of these hosts and the connection is good enough for it. One in
        plaintext is only if it was opened for the same demand: STARTTLS was then tried as this one wants it.
        """
        connection = self.connection
        if connection.host not in hosts or load.terms.egress != self.load.terms.egress:
            return None
        if site.authenticated and not self.site.authenticated:
            # What the DNS says of the host was not looked up when it was opened.
            return None
        demand = load.demand_of(connection.host, connection.demand.found)
        if demand.barred is not None or demand.doubt(connection.shown) is not None:
            return None
        good = demand == connection.demand if connection.shown is None else demand.starttls
        return demand if good else None


@define(eq=False)
class Pool:
    """
    All connections that exist or are being opened, by the site whose budget they count for.
    """

    clock: IReactorTime
    idle_seconds: float = IDLE
    dead_seconds: float = DEAD
    _idle: OrderedDict[Connection, Idle] = field(factory=OrderedDict, init=False)
    _of_site: dict[Groups, OrderedDict[Connection, Idle]] = field(factory=dict, init=False)
    _used: dict[Connection, None] = field(factory=dict, init=False)
    _opening: list[Way] = field(factory=list, init=False)
    _dead: OrderedDict[DeadKey, Dead] = field(factory=OrderedDict, init=False)
    _sweep: IDelayedCall | None = field(default=None, init=False)

    @property
    def idle(self) -> int:
        """
        How many idle.
        """
        return len(self._idle)

    @contextmanager
    def opening(self, target: Target) -> Iterator[None]:
        """
        As long as a connection there is being opened.
        """
        self._opening.append(_way(target))
        try:
            yield
        finally:
            self._opening.remove(_way(target))

    def add(self, connection: Connection, demand: Demand) -> None:
        """
        A new connection, opened for that demand and in use from now on. Its host is not dead.
        """
        self._used[connection] = None
        for address, lacked in (("", None), (connection.address, None), ("", demand)):
            self._dead.pop((connection.host, address, connection.source, lacked), None)
        connection.notify_lost(self._lose)

    def take(self, site: Site, load: Load, hosts: Sequence[str]) -> Connection | None:
        """
        An idle connection that may carry such a message, now in use.
        """
        for idle in reversed(self._of_site.get(site.groups, {}).values()):
            connection = idle.connection
            if not connection.is_usable:
                continue
            if idle.load is not load or idle.site is not site or connection.host not in hosts:
                demand = idle.demand_for(load, site, hosts)
                if demand is None:
                    continue
                connection.serve(demand)
            # What asks for the same as the mail before it finds the connection as that left it.
            self._drop(connection)
            self._used[connection] = None
            return connection
        return None

    def put(self, connection: Connection, site: Site, load: Load, most_messages: int) -> None:
        """
        It carried that and is not in use any more: idle, or closed if it served long enough.
        """
        self._used.pop(connection, None)
        if not connection.is_usable:
            return
        if connection.transactions >= most_messages:
            connection.close()
            return
        idle = Idle(connection, site, load, self.clock.seconds())
        self._idle[connection] = idle
        self._of_site.setdefault(site.groups, OrderedDict())[connection] = idle
        if self._sweep is None:
            self._sweep = self.clock.callLater(self.idle_seconds, self._close_old)

    def make_room(self, site: Site, most: int) -> None:
        """
        Close the oldest that idle for the site until at most C{most} do.
        """
        idle = self._of_site.get(site.groups, OrderedDict())
        while len(idle) > max(0, most):
            self._close(next(iter(idle)))

    def limit(self, most: int) -> None:
        """
        Close the oldest that idle, of any site, until at most C{most} do.
        """
        while len(self._idle) > max(0, most):
            self._close(next(iter(self._idle)))

    def _close_old(self) -> None:
        self._sweep = None
        horizon = self.clock.seconds() - self.idle_seconds
        while self._idle:
            oldest = next(iter(self._idle.values()))
            if oldest.since > horizon:
                self._sweep = self.clock.callLater(oldest.since - horizon, self._close_old)
                return
            self._close(oldest.connection)

    def _close(self, connection: Connection) -> None:
        self._drop(connection)
        connection.close()

    def _drop(self, connection: Connection) -> None:
        idle = self._idle.pop(connection, None)
        if idle is None:
            return
        of_site = self._of_site[idle.site.groups]
        del of_site[connection]
        if not of_site:
            del self._of_site[idle.site.groups]

    def _lose(self, connection: Connection) -> None:
        self._drop(connection)
        self._used.pop(connection, None)

    def close_idle(self) -> None:
        """
        QUIT on all that idle.
        """
        self.limit(0)
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None

    def abort_used(self) -> None:
        """
        Drop all that are in use.
        """
        for connection in list(self._used):
            connection.abort()

    def mark_dead(self, failure: HostFailure) -> None:
        """
        Pass it over for a while, unless another connection to it works right now, or the fault is
        ours. One that lacks the TLS that some mail demands is passed over for that mail alone.
        """
        target = failure.target
        if failure.outcome.fault is Fault.OURS or self.is_refused_more(failure):
            return
        key = (target.host, "" if failure.of_host else target.address, target.source, failure.demand)
        self._dead[key] = Dead(failure, self.clock.seconds() + self.dead_seconds)
        self._dead.move_to_end(key)
        while len(self._dead) > MAX_DEAD:
            self._dead.popitem(last=False)

    def is_refused_more(self, failure: HostFailure) -> bool:
        """
        Does another connection to it work right now, so that it is only a further one that it does not want? Where it
        says that there are too many, one that is being opened may be about to.
        """
        if failure.outcome.fault is Fault.OURS or failure.demand is not None:
            return False
        return self._works(failure.target) or (failure.slow_down and _way(failure.target) in self._opening)

    def forget_dead(self) -> None:
        """
        Pass nobody over any more.
        """
        self._dead.clear()

    def works_at(self, site: Site) -> bool:
        """
        Is there a connection to a host of the site that carries mail right now, or may be about to?
        """
        hosts = set(chain.from_iterable(site.groups))
        return any(connection.host in hosts for connection in self._used) or any(
            way[0] in hosts for way in self._opening
        )

    def _works(self, target: Target) -> bool:
        return any((c.host, c.address, c.source) == _way(target) for c in (*self._used, *self._idle))

    def find_dead(self, target: Target, demand: Demand) -> Dead | None:
        """
        Why it is passed over for mail with that demand, if it is.
        """
        host, source = target.host, target.source
        keys = ((host, "", source, None), (host, target.address, source, None), (host, "", source, demand))
        found = [self._dead[key] for key in keys if key in self._dead]
        now = self.clock.seconds()
        dead = next((dead for dead in found if dead.until > now), None)
        if dead is not None:
            dead.seconds = min(dead.until - now + dead.passed * PASSED_LATER, PASSED_LATEST)
            dead.passed += 1
        else:
            self._let_one_try(found, now)
        return dead

    def _let_one_try(self, found: Sequence[Dead], now: float) -> None:
        """
        It was dead for long enough. One finds out for all: were it still silent, everybody would hang at it again.
        """
        for dead in found:
            dead.until, dead.passed = now + self.dead_seconds, 0
