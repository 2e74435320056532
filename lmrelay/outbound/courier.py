"""
The delivery service: leased recipients in, one settled attempt for each of them out.

Finds routes, makes the transactions that L{Dispatch} says are due, walks the MX hosts, and
gives every outcome to the queue. Whatever breaks on the way delays mail, and loses none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from random import Random

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from lmrelay.interfaces import IDispatch, IQueue, IResolver, ISettings, Lane, Leased, RecipientKey, SiteState
from lmrelay.mail.outcome import Attempt, Delayed, Failed
from lmrelay.outbound.approach import Approach
from lmrelay.outbound.carrier import Carrier
from lmrelay.outbound.connect import Connector
from lmrelay.outbound.dane import Dane
from lmrelay.outbound.dispatch import Dispatch
from lmrelay.outbound.pool import Pool
from lmrelay.outbound.report import report
from lmrelay.outbound.route import Router, Site
from lmrelay.outbound.routing import FindPolicy, Routing, no_policy
from lmrelay.outbound.rules import Rules
from lmrelay.outbound.sites import Held, SiteQueue, Work
from lmrelay.outbound.stage import Stage
from lmrelay.outbound.sts import StsPolicy
from lmrelay.outbound.suspension import Suspension
from lmrelay.outbound.terms import KnownTerms
from lmrelay.outbound.throttle import Throttle
from lmrelay.outbound.tls_sessions import CountSession
from lmrelay.outbound.trace import join, step
from lmrelay.outbound.walk import Walk
from lmrelay.tasks import Tasks

LEAST_REST = 0.001
"""
Seconds.
"""

AT_ONCE = 200
"""
Messages without a site whose outcome is recorded at a time.
"""

log = Logger()


@implementer(IDispatch)
@define(eq=False)
class Courier:
    """
    Delivery. C{wall()} is seconds since the epoch. Where the queue is made with this, set
    C{queue} before the first L{take}. C{find_policy} tells what a recipient domain published by MTA-STS,
    C{count_session} takes what reports tell of sessions.
    """

    reactor: IReactorTime
    settings: ISettings
    resolver: IResolver
    connector: Connector
    wall: Callable[[], float]
    random: Random
    queue: IQueue
    dispatch: Dispatch = field(factory=Dispatch)
    find_policy: FindPolicy = no_policy
    count_session: CountSession = lambda domain, policy, result: None
    pool: Pool = field(init=False)
    routing: Routing = field(init=False)
    draining: bool = field(default=False, init=False)
    _stage: Stage = field(init=False)
    _tasks: Tasks = field(factory=Tasks, init=False)
    _approach: Approach = field(init=False)
    _carrier: Carrier = field(init=False)
    _rules: Rules = field(init=False)
    _terms: KnownTerms = field(factory=KnownTerms, init=False)
    _suspension: Suspension = field(init=False)
    _unsent: deque[tuple[list[Held], Attempt]] = field(factory=deque, init=False)
    _ending_unsent: bool = field(default=False, init=False)
    _pumping: bool = field(default=False, init=False)
    _alarm: IDelayedCall | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.pool = Pool(self.reactor)
        self._rules = Rules(self.settings)
        self._stage = Stage(self.settings)
        self._suspension = Suspension(self.reactor)
        router = Router(self.resolver, self.random)
        self.routing = Routing(self.reactor, router, self.settings, self._route, self.find_policy)
        dane, throttle = Dane(self.resolver, self.settings), Throttle(self, self.reactor, self.wall, self.pool)
        self._approach = Approach(
            self, self.reactor, self.connector, self.wall, self.random, router, dane, self.pool, throttle
        )
        self._carrier = Carrier(self, self.reactor, self.wall, self.random, self.pool, self._approach, throttle)

    # IDispatch

    def reserve(self, lane: Lane, recipients: int) -> bool:
        return not (self.draining or self._suspension.bars(lane.domain)) and self.dispatch.windows.reserve(
            lane, recipients
        )

    def cancel(self, lane: Lane, recipients: int) -> None:
        self.dispatch.windows.free(lane, recipients)

    def take(self, leased: Sequence[Leased]) -> None:
        admitted = self.dispatch.admit(leased)
        if self.draining:
            self._release(self.dispatch.waiting())
            return
        domains: dict[str, list[Held]] = {}
        for held in self._stage.admit(admitted):
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
        self._approach.try_anew()
        self.routing.forget()

    def recall(self, states: Sequence[SiteState]) -> None:
        for state in reversed(states):
            self.dispatch.remember(state)

    def suspend(self, suspended: Collection[str]) -> bool:
        resumed = self._suspension.change(suspended)
        if resumed is not None:
            self._hold_back(self.dispatch.suspend(self._suspension.sites))
        # Said every second, so that what a reload allows does not wait for mail to move.
        self._pump()
        return bool(resumed)

    def count_running(self, hosts: str) -> int:
        return self.dispatch.count_running(hosts)

    def _hold_back(self, recipients: Iterable[Held]) -> None:
        """
        Their site is suspended: they wait in the queue, where they take nobody's room.
        """
        held = list(recipients)
        for domain in {each.leased.lane.domain for each in held}:
            self._suspension.bar(domain)
        self._release([each.key for each in held])

    # The end

    def drain(self) -> Deferred[None]:
        """
        Begin nothing more; what waits goes back to the queue. Fires when what was under way
        has ended and is recorded.
        """
        self.draining = True
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self.pool.close_idle()
        self._release(self.dispatch.waiting())
        return self._tasks.wait()

    def stop(self) -> None:
        """
        The time for L{drain} is over: drop the connections, which ends what is under way. What a receiver
        may have taken, its end of data being sent, is an attempt and waits for the next as any
        other; all else goes back as if it had not been tried.
        """
        self.draining = True
        self._carrier.stop()

    def _release(self, keys: Iterable[RecipientKey]) -> None:
        withdrawn = self.dispatch.withdraw(keys)
        if withdrawn:
            self._tasks.run(self._give_back(withdrawn))

    async def _give_back(self, keys: Collection[RecipientKey], seconds: float = 0.0) -> None:
        if seconds:
            await self.queue.postpone(keys, seconds)
        else:
            await self.queue.release(keys)

    # From a recipient to its site

    def _route(self, recipients: Sequence[Held], found: Site | Failed | Delayed, policy: StsPolicy | None) -> None:
        """
        The route of these, all of one domain, is known.
        """
        waiting = [held for held in recipients if held.is_routing]
        if isinstance(found, Site):
            self._place(waiting, found, policy)
            return
        messages: dict[str, list[Held]] = {}
        for held in waiting:
            self.dispatch.start(held)
            messages.setdefault(held.leased.message_id, []).append(held)
        trace = join([step("mx", waiting[0].asked or None, found.text)]) if waiting else ""
        attempt = Attempt(self.wall(), self.wall(), found, trace=trace)
        self._unsent += ((together, attempt) for together in messages.values())
        if not self._ending_unsent:
            self._tasks.run(self._end_unsent())

    async def _end_unsent(self) -> None:
        """
        Record the outcome of what has no site, some messages at a time: a newsletter to names that do not exist comes
        in thousands at once, and clients would wait for the reactor and the store meanwhile.
        """
        self._ending_unsent = True
        try:
            while self._unsent:
                recorded = []
                for _ in range(min(len(self._unsent), AT_ONCE)):
                    together, attempt = self._unsent.popleft()
                    attempts = {held.recipient.number: attempt for held in together}
                    recorded.append(self._tasks.start(self._record(together, attempts)))
                    report(together, attempts, "")
                for each in recorded:
                    await each
        finally:
            self._ending_unsent = False

    def _place(self, recipients: Sequence[Held], site: Site, policy: StsPolicy | None) -> None:
        if not recipients:
            return
        config = self.settings.config
        queue = self.dispatch.find_queue(site, self._rules.find(site))
        self.queue.note_domain(recipients[0].leased.lane.domain, queue.hosts)
        if queue.suspended:
            self._hold_back(recipients)
            return
        for held in recipients:
            self.dispatch.place(held, queue, site, self._terms.find(config, held.leased, policy))
        self._pump()

    def _pump(self) -> None:
        """
        Begin every transaction that may begin.
        """
        if self._pumping:
            # The outer loop takes up what this call was for; recursion would have no bound.
            return
        if self._rules.have_changed():
            self.dispatch.relimit(self._rules.find)
        if not (self.dispatch.has_work or self._stage.has_work):
            return
        self._pumping = True
        try:
            if self._stage.has_work:
                self._play()
            while not self.draining and (due := self.dispatch.begin(self.reactor.seconds())) is not None:
                self._tasks.run(self._carrier.carry(*due))
        finally:
            self._pumping = False
        if self._alarm is not None or self.dispatch.wakes_at is not None:
            self._set_alarm()

    def _play(self) -> None:
        """
        Begin every part that may be played.
        """
        while not (self.draining or self.dispatch.paused) and (turn := self._stage.begin()) is not None:
            party, recipients = turn
            playing = [held for held in recipients if held.is_routing]
            for held in playing:
                self.dispatch.start(held)
            self._tasks.run(self._perform(party, playing))

    async def _perform(self, party: Hashable, held: list[Held]) -> None:
        try:
            if held:
                attempts = self._stage.play(held, self.wall())
                report(held, attempts, "")
                await self._record(held, attempts)
        finally:
            self._stage.end(party)
            self._pump()

    def _set_alarm(self) -> None:
        """
        Go on when the first of the sites that rest may: one timer for all of them.
        """
        until = self.dispatch.wakes_at
        if self._alarm is not None and (until is None or until + LEAST_REST < self._alarm.getTime()):
            self._alarm.cancel()
            self._alarm = None
        if self._alarm is None and until is not None and not self.draining:
            # Never at once: a clock that shows a little less than it was asked for would be asked without end.
            self._alarm = self.reactor.callLater(max(until - self.reactor.seconds(), LEAST_REST), self._wake)

    def _wake(self) -> None:
        self._alarm = None
        self._pump()

    def end(self, queue: SiteQueue, work: Work) -> None:
        """
        A transaction is through: what waited for its place goes on.
        """
        self.dispatch.end(queue, work)
        if queue.suspended:
            self._hold_back(queue.waiting())
        self._pump()

    # Outcomes

    def settle(self, walk: Walk, attempts: Mapping[int, Attempt], site: str) -> None:
        """
        These of the walk are through. The commit does not hold up the connection's next message.
        """
        self._finish([walk.left.pop(number) for number in attempts], attempts, site)

    def _finish(self, held: list[Held], attempts: Mapping[int, Attempt], site: str) -> None:
        if held:
            self._tasks.run(self._record(held, attempts))
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

    def abandon(self, walk: Walk, seconds: float = 0.0) -> None:
        """
        Those without an outcome go back to the queue, untried, to come again in so many seconds.
        """
        held = [walk.left.pop(number) for number in list(walk.left)]
        if held:
            self.dispatch.leave(held)
            self._tasks.run(self._give_back([each.key for each in held], seconds))
