"""
What is to be tried, by whom and when: windows, sites in turn, transactions to begin.

Pure bookkeeping over everything that was taken and is not yet settled, in bounded memory.
A recipient is in one of three places: it waits for its route, waits at a site, or is under way.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence

from attrs import define, field

from lmrelay.config.values import TlsPolicy
from lmrelay.interfaces import Lane, Leased, RecipientKey
from lmrelay.outbound.route import Site
from lmrelay.outbound.sites import Budget, Held, SiteQueue, Work

LANE_WINDOW = 500
TOTAL_WINDOW = 20_000
MAX_RUNNING = 2_000
MAX_SITES = 5_000
"""
Recipients a lane and in all, transactions under way, sites whose budget is remembered.
"""


@define(eq=False)
class Windows:
    """
    How many recipients of a lane, and of all, may be in memory.
    """

    lane: int = LANE_WINDOW
    total: int = TOTAL_WINDOW
    _lanes: dict[Lane, int] = field(factory=dict, init=False)
    _used: int = field(default=0, init=False)

    def reserve(self, lane: Lane, recipients: int) -> bool:
        """
        Take room for so many, if there is some. A message of more recipients than a window
        passes alone, else it never would.
        """
        used = self._lanes.get(lane, 0)
        if (used and used + recipients > self.lane) or (self._used and self._used + recipients > self.total):
            return False
        self._lanes[lane] = used + recipients
        self._used += recipients
        return True

    def free(self, lane: Lane, recipients: int = 1) -> None:
        """
        Give room back.
        """
        left = self._lanes.get(lane, 0) - recipients
        self._used -= recipients
        if left > 0:
            self._lanes[lane] = left
        else:
            self._lanes.pop(lane, None)

    @property
    def used(self) -> int:
        """
        Recipients in memory or about to be.
        """
        return self._used


@define(eq=False)
class Dispatch:
    """
    The whole of it.
    """

    windows: Windows = field(factory=Windows)
    max_running: int = MAX_RUNNING
    max_sites: int = MAX_SITES
    paused: bool = False
    running: int = 0
    _held: dict[RecipientKey, Held] = field(factory=dict, init=False)
    _routing: dict[RecipientKey, Held] = field(factory=dict, init=False)
    _sites: OrderedDict[tuple[tuple[str, ...], ...], SiteQueue] = field(factory=OrderedDict, init=False)
    _queues: dict[Work, SiteQueue] = field(factory=dict, init=False)
    _ready: OrderedDict[SiteQueue, None] = field(factory=OrderedDict, init=False)

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
                self._held[held.key] = self._routing[held.key] = held
                admitted.append(held)
        return admitted

    def is_waiting(self, held: Held) -> bool:
        """
        Does it still wait for its route?
        """
        return self._routing.get(held.key) is held

    def place(self, held: Held, site: Site, policy: TlsPolicy, connections: int) -> None:
        """
        Its route is known: it waits at the site now, if it still does.
        """
        if self._routing.pop(held.key, None) is None:
            return
        queue = self._find_queue(site, connections)
        queue.add(held, policy)
        if held.work is not None:
            self._queues[held.work] = queue
        self._mark(queue)

    def _find_queue(self, site: Site, connections: int) -> SiteQueue:
        queue = self._sites.get(site.groups)
        if queue is None:
            queue = self._sites[site.groups] = SiteQueue(site, Budget(connections))
            self._forget_sites()
        else:
            queue.budget.most = connections
            self._sites.move_to_end(site.groups)
        return queue

    def _forget_sites(self) -> None:
        for _ in range(2):
            if len(self._sites) <= self.max_sites:
                return
            groups, oldest = self._sites.popitem(last=False)
            if not oldest.is_quiet:
                # Busy ones are bounded by the windows; it comes up again behind the others.
                self._sites[groups] = oldest

    def _mark(self, queue: SiteQueue) -> None:
        if queue.is_ready:
            self._ready.setdefault(queue)

    def begin(self) -> tuple[SiteQueue, Work] | None:
        """
        The next transaction to make, its recipients under way now; the sites take turns.
        """
        while self._ready and not self.paused and self.running < self.max_running:
            queue, _ = self._ready.popitem(last=False)
            work = queue.pop() if queue.is_ready else None
            if work is None:
                continue
            queue.running += 1
            self.running += 1
            self._mark(queue)
            self._queues.pop(work, None)
            for held in work.held.values():
                held.work = None
            return queue, work
        return None

    def end(self, queue: SiteQueue) -> None:
        """
        A transaction is through; the site has a connection to spare again.
        """
        queue.running -= 1
        self.running -= 1
        self._mark(queue)

    def start(self, held: Held) -> None:
        """
        Its attempt ends without a site: it does not wait any more.
        """
        self._routing.pop(held.key, None)

    def forget(self, held: Iterable[Held]) -> None:
        """
        They are settled or released: their keys are unknown from now on, their room is still taken.
        """
        for each in held:
            self._held.pop(each.key, None)

    def free(self, held: Iterable[Held]) -> None:
        """
        Their room is free.
        """
        for each in held:
            self.windows.free(each.leased.lane)

    def withdraw(self, keys: Iterable[RecipientKey]) -> set[RecipientKey]:
        """
        Forget those that only wait, and give their room back.
        """
        return {key for key in keys if (held := self._held.get(key)) is not None and self._withdraw(held)}

    def _withdraw(self, held: Held) -> bool:
        work = held.work
        if work is not None:
            self._queues[work].remove(held)
            if not work.held:
                del self._queues[work]
        elif self._routing.pop(held.key, None) is None:
            return False
        del self._held[held.key]
        self.windows.free(held.leased.lane)
        return True

    def waiting(self) -> Sequence[RecipientKey]:
        """
        Everything that is not under way.
        """
        return [key for key, held in self._held.items() if held.work is not None or key in self._routing]

    def holds(self) -> Iterator[RecipientKey]:
        """
        Everything taken and not yet settled, released or withdrawn.
        """
        return iter(self._held)
