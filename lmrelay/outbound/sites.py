"""
One site: whose mail waits for it, in fair order, and how many connections it bears.

Pure. Work comes out transactional 9 to broadcast 1, of a kind round robin over the projects,
so that nobody's backlog is before anybody else's next message.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from itertools import chain

from attrs import define, field

from lmrelay.config.words import Kind
from lmrelay.interfaces import Leased, LeasedRecipient, RecipientKey, SiteState
from lmrelay.outbound.pace import Pace
from lmrelay.outbound.route import Site
from lmrelay.outbound.rules import Limits
from lmrelay.outbound.terms import Load, Terms

MAX_RECIPIENTS = 100
"""
Of a transaction: what every receiver has to take (RFC 5321 §4.5.3.1.8).
"""

SHARE = 9
"""
Transactional transactions to one of broadcast, where both wait.
"""

REST = 0.25
LONGEST_REST = 60.0
"""
Seconds for which a site rests that asks for less than one connection at a time, at first and at most.
"""

LATELY = 60.0
"""
Seconds for which a site that took something counts as one that takes mail.
"""


Party = tuple[str, Kind]
"""
A project's mail of one kind.
"""

_TURNS = (Kind.TRANSACTIONAL, Kind.BROADCAST)
_BROADCASTS_TURN = (Kind.BROADCAST, Kind.TRANSACTIONAL)


@define(eq=False)
class Held:
    """
    A recipient that dispatch has. C{is_routing}: it waits for its route. C{work} is the transaction it waits in, if
    there is one. C{throttled} counts how often the site wanted less at a time when it was its turn, C{asked} the
    seconds that the DNS took to name the site for it (0: it was known). C{is_asked_back}: it was under way when
    the queue wanted it, and waits for no other turn.
    """

    leased: Leased
    recipient: LeasedRecipient
    work: Work | None = None
    throttled: int = 0
    asked: float = 0.0
    is_routing: bool = True
    is_asked_back: bool = False
    key: RecipientKey = field(init=False)

    @key.default
    def _make_key(self) -> RecipientKey:
        return self.leased.message_id, self.recipient.number


@define(eq=False)
class Work:
    """
    A transaction to be made: recipients of one message with the same terms, by number. C{site} is where to, as the DNS
    told it of their domains, C{queue} where it waits. C{round} is that of the budget under which it began.
    """

    leased: Leased
    terms: Terms
    site: Site
    queue: SiteQueue
    held: dict[int, Held] = field(factory=dict)
    round: int = 0


@define(eq=False)
class Ring:
    """
    Work in order of arrival within a project, the projects in turn; all of it of one kind.
    """

    _parties: OrderedDict[Party, deque[Work]] = field(factory=OrderedDict, init=False)

    def add(self, work: Work) -> None:
        """
        Behind all else of its project.
        """
        self._parties.setdefault(work.leased.lane.party, deque()).append(work)

    def pop(self, may: Callable[[Party], bool]) -> Work | None:
        """
        The next one of a project that may; the project then waits for the others.
        """
        for party in self._parties:
            if may(party):
                break
        else:
            return None
        queue = self._parties.pop(party)
        work = queue.popleft()
        if queue:
            self._parties[party] = queue
        return work

    def remove(self, work: Work) -> None:
        """
        Take it out of the middle.
        """
        party = work.leased.lane.party
        queue = self._parties[party]
        queue.remove(work)
        if not queue:
            del self._parties[party]

    def works(self) -> Iterator[Work]:
        """
        All of it, project by project.
        """
        return chain.from_iterable(self._parties.values())

    def __iter__(self) -> Iterator[Party]:
        return iter(self._parties)

    def __bool__(self) -> bool:
        return bool(self._parties)


@define(eq=False)
class Budget:
    """
    How many connections at a time, and how fast: half as many at once where the site says "slow down", one
    more for each full window of successes. C{round} counts the halvings: what began in an earlier
    one tells of the load before, and so a burst of refusals halves once. A site that asks for less than one
    rests, twice as long each time until something goes well: else it would refuse all the mail there is, one by one.

    C{since} when there are fewer than C{most}, and for what C{reason}, in the receiver's words; None: there are not.
    """

    most: int
    pace: Pace = field(factory=Pace)
    round: int = field(default=0, init=False)
    since: float | None = field(default=None, init=False)
    reason: str = field(default="", init=False)
    _lowered: int | None = field(default=None, init=False)
    _rest: float = field(default=0.0, init=False)
    _succeeded_at: float | None = field(default=None, init=False)
    _successes: int = field(default=0, init=False)

    @property
    def lowered(self) -> int | None:
        """
        What the site bears, as far as that is less than what is configured; None: it was not asked for less.
        """
        return self._lowered

    @property
    def allowed(self) -> int:
        """
        At least one, at most what is configured now.
        """
        return self.most if self._lowered is None else max(1, min(self._lowered, self.most))

    def slow_down(self, round: int, now: float = 0.0, reason: str = "", clock: float = 0.0) -> bool:
        """
        The site asked for less, of what began in that round. Did that change anything?

        @param now: seconds since the epoch
        @param clock: seconds of the clock that L{Pace} goes by
        """
        if round != self.round:
            return False
        self.round += 1
        if self.allowed == 1:
            self._rest = min(max(REST, 2 * self._rest), LONGEST_REST)
            self.pace.pause(clock + self._rest)
        self.lower(max(1, self.allowed // 2), now if self.since is None else self.since, reason)
        return True

    def lower(self, allowed: int, since: float, reason: str) -> None:
        """
        No more than so many, until successes show that it bears more.
        """
        self._lowered, self._successes = allowed, 0
        self.since, self.reason = since, reason

    def takes_mail(self, clock: float) -> bool:
        """
        Did something go well lately?

        @param clock: as for L{slow_down}
        """
        return self._succeeded_at is not None and clock - self._succeeded_at <= LATELY

    def succeed(self, clock: float = 0.0) -> bool:
        """
        A transaction went well. Did that change anything?

        @param clock: as for L{slow_down}
        """
        self._rest, self._succeeded_at = 0.0, clock
        if self._lowered is None:
            return False
        self._successes += 1
        if self._successes < self.allowed:
            return False
        self._lowered, self._successes = self.allowed + 1, 0
        if self._lowered >= self.most:
            self._lowered, self.since, self.reason = None, None, ""
        return True


@define(eq=False)
class SiteQueue:
    """
    The work that waits for a site: C{waits} counts the transactions. C{running} are under way; none begins while it is
    C{suspended}. C{load} is what the last that began asked of its connection.
    """

    site: Site
    limits: Limits
    suspended: bool = False
    running: int = 0
    waits: int = field(default=0, init=False)
    load: Load | None = field(default=None, init=False)
    hosts: str = field(init=False)
    budget: Budget = field(init=False)
    _rings: dict[Kind, Ring] = field(init=False)
    _open: dict[str, list[Work]] = field(factory=dict, init=False)
    _turn: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self.hosts = self.site.hosts
        self.budget = Budget(self.limits.connections, Pace(self.limits.rate))
        self._rings = {kind: Ring() for kind in Kind}

    def recall(self, state: SiteState) -> None:
        """
        This was known of the site before.
        """
        if state.connections is not None:
            self.budget.lower(state.connections, state.since or 0.0, state.reason)

    @property
    def state(self) -> SiteState:
        """
        What is worth knowing of the site later.
        """
        budget = self.budget
        return SiteState(self.hosts, budget.lowered, budget.since, budget.reason)

    def adopt(self, limits: Limits) -> None:
        """
        These hold from now on.
        """
        self.limits = limits
        self.budget.most = limits.connections
        self.budget.pace.adopt(limits.rate)

    @property
    def is_ready(self) -> bool:
        """
        Does work wait, with a connection to spare for it?
        """
        return self.waits > 0 and not self.suspended and self.running < self.budget.allowed

    @property
    def is_quiet(self) -> bool:
        """
        Neither waiting nor under way: it may be forgotten.
        """
        return not self.running and not self.waits

    def add(self, held: Held, terms: Terms, site: Site) -> None:
        """
        The recipient joins what waits of its message, or waits on its own: always where it gets something of its own.

        @param site: this one, as the DNS told it of the recipient's domain
        """
        leased = held.leased
        alone = leased.is_personal
        work = None if alone else self._find_open(leased.message_id, terms, site)
        if work is None:
            work = Work(leased, terms, site, self)
            if not alone:
                self._open.setdefault(leased.message_id, []).append(work)
            self._rings[leased.lane.kind].add(work)
            self.waits += 1
        work.held[held.recipient.number] = held
        held.work = work
        if len(work.held) >= MAX_RECIPIENTS:
            self._close(work)

    def _find_open(self, message_id: str, terms: Terms, site: Site) -> Work | None:
        for work in self._open.get(message_id, ()):
            if work.terms == terms and work.site == site:
                return work
        return None

    def remove(self, held: Held) -> None:
        """
        It waits no longer.
        """
        work = held.work
        if work is None or work.held.pop(held.recipient.number, None) is None:
            return
        held.work = None
        if not work.held:
            self._close(work)
            self._rings[work.leased.lane.kind].remove(work)
            self.waits -= 1

    def pop(self, may: Callable[[Party], bool] = lambda party: True) -> Work | None:
        """
        The transaction whose turn it is, of those who may.
        """
        for kind in _BROADCASTS_TURN if self._turn >= SHARE else _TURNS:
            work = self._rings[kind].pop(may)
            if work is not None:
                self.waits -= 1
                if kind is Kind.BROADCAST:
                    self._turn = 0
                elif self.waits and self._rings[Kind.BROADCAST]:
                    self._turn += 1
                if self._open:
                    self._close(work)
                return work
        return None

    def waiting(self) -> Iterator[Held]:
        """
        The recipients that wait.
        """
        for ring in self._rings.values():
            for work in ring.works():
                yield from work.held.values()

    def parties(self) -> Iterator[Party]:
        """
        Whose work waits.
        """
        return chain.from_iterable(self._rings.values())

    def _close(self, work: Work) -> None:
        """
        Nobody joins it any more.
        """
        together = self._open.get(work.leased.message_id)
        if together is not None and work in together:
            together.remove(work)
            if not together:
                del self._open[work.leased.message_id]
