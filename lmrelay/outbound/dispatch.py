"""
What is to be tried, by whom and when: windows, sites in turn, transactions to begin.

Pure bookkeeping over everything that was taken and is not yet settled, in bounded memory.
A recipient is in one of three places: it waits for its route, waits at a site, or is under way.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from heapq import heappop, heappush

from attrs import define, field

from lmrelay.config.words import Kind
from lmrelay.interfaces import Lane, Leased, RecipientKey, SiteState
from lmrelay.outbound.route import Groups, Site
from lmrelay.outbound.rules import Limits
from lmrelay.outbound.sites import Held, Party, SiteQueue, Work
from lmrelay.outbound.terms import Terms
from lmrelay.shares import Shares

LANE_WINDOW = 500
TOTAL_WINDOW = 20_000
LEAST_WINDOW = 100
MAX_RUNNING = 2_000
LEAST_RUNNING = 20
MAX_SITES = 5_000
"""
Recipients a lane, in all, and those that a project may have of a kind whatever the others
have; transactions under way likewise; sites whose budget is remembered.
"""


@define(eq=False)
class Windows:
    """
    How many recipients of a lane, of a project, and of all, may be in memory.
    """

    lane: int = LANE_WINDOW
    shares: Shares = field(factory=lambda: Shares(TOTAL_WINDOW, LEAST_WINDOW))
    _lanes: dict[tuple[str, Kind, str], int] = field(factory=dict, init=False)

    def reserve(self, lane: Lane, recipients: int) -> bool:
        """
        Take room for so many, if there is some. A message of more recipients than a window
        passes alone, else it never would.
        """
        key, party = (lane.project, lane.kind, lane.domain), lane.party
        used = self._lanes.get(key, 0)
        if used and used + recipients > self.lane:
            return False
        if not self.shares.has_room(party, recipients, fresh=not used):
            return False
        self._lanes[key] = used + recipients
        self.shares.take(party, recipients)
        return True

    def free(self, lane: Lane, recipients: int = 1) -> None:
        """
        Give room back.
        """
        key = (lane.project, lane.kind, lane.domain)
        left = self._lanes.get(key, 0) - recipients
        self.shares.give_back(lane.party, recipients)
        if left > 0:
            self._lanes[key] = left
        else:
            self._lanes.pop(key, None)

    @property
    def used(self) -> int:
        """
        Recipients in memory or about to be.
        """
        return self.shares.used


@define(eq=False)
class Dispatch:
    """
    The whole of it.
    """

    windows: Windows = field(factory=Windows)
    running: Shares = field(factory=lambda: Shares(MAX_RUNNING, LEAST_RUNNING))
    max_sites: int = MAX_SITES
    paused: bool = False
    _held: dict[RecipientKey, Held] = field(factory=dict, init=False)
    _sites: OrderedDict[Groups, SiteQueue] = field(factory=OrderedDict, init=False)
    _ready: OrderedDict[SiteQueue, None] = field(factory=OrderedDict, init=False)
    _barred: dict[tuple[Party, bool], OrderedDict[SiteQueue, None]] = field(factory=dict, init=False)
    _states: OrderedDict[str, SiteState] = field(factory=OrderedDict, init=False)
    _suspended: frozenset[str] = field(default=frozenset(), init=False)
    _resting: dict[SiteQueue, float] = field(factory=dict, init=False)
    _alarms: list[tuple[float, int, SiteQueue]] = field(factory=list, init=False)
    _numbers: Iterator[int] = field(factory=itertools.count, init=False)

    def admit(self, leased: Iterable[Leased]) -> list[Held]:
        """
        These came; they wait for their routes.
        """
        admitted = []
        for each in leased:
            for recipient in each.recipients:
                held = Held(each, recipient)
                if held.key in self._held:
                    # Given twice it would be delivered twice.
                    self.windows.free(each.lane)
                    continue
                self._held[held.key] = held
                admitted.append(held)
        return admitted

    def place(self, held: Held, queue: SiteQueue, site: Site, terms: Terms) -> None:
        """
        Its route is known: it waits at the site now, if it still does.
        """
        if held.is_routing:
            held.is_routing = False
            queue.add(held, terms, site)
            self._mark(queue)

    def find_queue(self, site: Site, limits: Limits) -> SiteQueue:
        """
        The site's, made where there is none yet: with what is remembered of it.
        """
        # One for all domains there, whether or not the DNS vouched for them: the hosts are the same.
        queue = self._sites.get(site.groups)
        if queue is None:
            queue = self._sites[site.groups] = SiteQueue(Site(site.groups), limits)
            queue.suspended = queue.hosts in self._suspended
            if queue.hosts in self._states:
                queue.recall(self._states[queue.hosts])
            self._forget_sites()
        else:
            self._sites.move_to_end(site.groups)
        return queue

    def remember(self, state: SiteState) -> None:
        """
        This is known of a site, for when its queue has to be made anew.
        """
        self._states.pop(state.hosts, None)
        if state.connections is not None:
            self._states[state.hosts] = state
        while len(self._states) > self.max_sites:
            self._states.popitem(last=False)

    def suspend(self, suspended: frozenset[str]) -> list[Held]:
        """
        Begin nothing at these sites, and at no others any more; the answer is what waits there.
        """
        self._suspended = suspended
        for queue in self._sites.values():
            queue.suspended = queue.hosts in suspended
            self._mark(queue)
        return [held for queue in self._sites.values() if queue.suspended for held in queue.waiting()]

    def count_running(self, hosts: str) -> int:
        """
        How many transactions are under way at the site of these.
        """
        return sum(queue.running for queue in self._sites.values() if queue.hosts == hosts)

    def narrowed(self) -> list[SiteQueue]:
        """
        The sites that asked for less at a time, or are suspended.
        """
        return [queue for queue in self._sites.values() if queue.suspended or queue.budget.lowered is not None]

    def relimit(self, find: Callable[[Site], Limits]) -> None:
        """
        What sites take may be otherwise from now on: C{find} says what of each.
        """
        for queue in self._sites.values():
            queue.adopt(find(queue.site))
            # A rate that was raised must not wait for the old one's time.
            self._resting.pop(queue, None)
            self._mark(queue)

    def _forget_sites(self) -> None:
        for _ in range(2):
            if len(self._sites) <= self.max_sites:
                return
            groups, oldest = self._sites.popitem(last=False)
            if not oldest.is_quiet:
                # Busy ones are bounded by the windows; it comes up again behind the others.
                self._sites[groups] = oldest

    def _mark(self, queue: SiteQueue) -> None:
        if queue.is_ready and queue not in self._resting:
            self._ready.setdefault(queue)

    @property
    def has_work(self) -> bool:
        """
        Might L{begin} find something?
        """
        return bool(self._ready or self._barred or self._alarms)

    @property
    def wakes_at(self) -> float | None:
        """
        When a site that rests may go on; None: none rests.
        """
        return self._alarms[0][0] if self._alarms else None

    def _rest(self, queue: SiteQueue, until: float) -> None:
        self._resting[queue] = until
        heappush(self._alarms, (until, next(self._numbers), queue))

    def _wake(self, now: float) -> None:
        while self._alarms and self._alarms[0][0] <= now:
            until, _, queue = heappop(self._alarms)
            if self._resting.get(queue) == until:
                del self._resting[queue]
                self._mark(queue)

    def begin(self, now: float) -> tuple[SiteQueue, Work] | None:
        """
        The next transaction to make, its recipients under way now; the sites take turns.

        @param now: seconds of a clock that never goes back, as all that is said of rates
        """
        if self._alarms:
            self._wake(now)
        while (self._ready or self._barred) and not self.paused and (queue := self._next_queue()) is not None:
            if not queue.is_ready:
                continue
            pace, has_room = queue.budget.pace, self.running.has_room
            ready_at = pace.ready_at
            if ready_at > now:
                self._rest(queue, ready_at)
                continue
            # What a site has nothing of yet may go further into the supply.
            work = queue.pop(has_room if queue.running else partial(has_room, fresh=True))
            if work is None:
                self._bar(queue)
                continue
            queue.running += 1
            if pace.rate is not None:
                pace.take(now)
            work.round = queue.budget.round
            self.running.take(work.leased.lane.party)
            if queue.waits:
                self._mark(queue)
            for held in work.held.values():
                held.work = None
            return queue, work
        return None

    def _next_queue(self) -> SiteQueue | None:
        # Those first that had to wait: what hangs leads to more that does, and would have all the room that it gives.
        for (party, fresh), queues in self._barred.items():
            if self.running.has_room(party, fresh=fresh):
                queue, _ = queues.popitem(last=False)
                if not queues:
                    del self._barred[party, fresh]
                return queue
        return self._ready.popitem(last=False)[0] if self._ready else None

    def _bar(self, queue: SiteQueue) -> None:
        """
        Whoever waits here has enough under way: until that changes the site is not looked at again. It changes
        sooner for a site where nothing is under way.
        """
        for party in queue.parties():
            self._barred.setdefault((party, not queue.running), OrderedDict()).setdefault(queue)

    def end(self, queue: SiteQueue, work: Work) -> None:
        """
        A transaction is through; the site has a connection to spare again.
        """
        queue.running -= 1
        self.running.give_back(work.leased.lane.party)
        if queue.waits:
            self._mark(queue)

    def start(self, held: Held) -> None:
        """
        Its attempt ends without a site: it does not wait any more.
        """
        held.is_routing = False

    def wait_again(self, queue: SiteQueue, held: Iterable[Held], work: Work) -> None:
        """
        Their transaction was not made after all: they wait at the site, behind what waits there.
        """
        for each in held:
            queue.add(each, work.terms, work.site)
        self._mark(queue)

    def leave(self, held: Iterable[Held]) -> None:
        """
        Their outcome is recorded, or they go back to the queue: unknown from now on, and their room is free.
        """
        for each in held:
            if self._held.pop(each.key, None) is not None:
                self.windows.free(each.leased.lane)

    def withdraw(self, keys: Iterable[RecipientKey]) -> set[RecipientKey]:
        """
        Forget those that only wait, and give their room back; remember that the others are asked back.
        """
        return {key for key in keys if (held := self._held.get(key)) is not None and self._withdraw(held)}

    def _withdraw(self, held: Held) -> bool:
        if held.work is not None:
            held.work.queue.remove(held)
        elif not held.is_routing:
            held.is_asked_back = True
            return False
        held.is_routing = False
        del self._held[held.key]
        self.windows.free(held.leased.lane)
        return True

    def waiting(self) -> Sequence[RecipientKey]:
        """
        Everything that is not under way.
        """
        return [key for key, held in self._held.items() if held.work is not None or held.is_routing]
