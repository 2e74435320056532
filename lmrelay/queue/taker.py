"""
Taking due work: the parties (a project's mail of one kind) in turn, and round robin over the lanes of each, as much as
delivery has room for.

A lane is found by one step down an index, however long its backlog is, and a party has its turn in each pass, however
many lanes the others have; so a dead site or a newsletter costs the others nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice

from attrs import define, evolve, field, frozen
from sqlalchemy import Connection, bindparam, func, select, update
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from lmrelay.errors import StoreError
from lmrelay.interfaces import IDispatch, Lane, Leased, RecipientKey
from lmrelay.queue.ahead import Ahead
from lmrelay.queue.claims import Claim, LaneKey, claim_lane, find_keys, in_lane, unless_unreadable
from lmrelay.queue.owed import Owed
from lmrelay.queue.releases import Releases
from lmrelay.queue.rows import read_kind
from lmrelay.queue.schema import HELD, recipient
from lmrelay.queue.suppressions import Suppressions
from lmrelay.queue.writer import IWriter
from lmrelay.tasks import Tasks

LANES = 64
"""
Parties, and lanes, looked at in one pass.
"""

SHARE = 100
"""
Recipients taken from one lane in one pass.
"""

INTERVAL = 5.0
SOON = 0.05

AGAIN = 60.0
"""
Seconds after which mail is taken again over which delivery broke: at once, it would most likely break again, at once.
"""

log = Logger()

_lane = (recipient.c.project, recipient.c.kind, recipient.c.domain)
_party = tuple[str, str]


@frozen
class Round:
    """
    How far a round over all lanes has got.

    C{party} was the last to have its turn, None: the first is next. C{met} are those that had theirs since the first,
    C{domains} the last lane of each that has more, and C{through} those whose lanes have all been looked at.
    """

    party: _party | None = None
    met: frozenset[_party] = frozenset()
    domains: Mapping[_party, str] = field(factory=dict)
    through: frozenset[_party] = frozenset()

    @property
    def is_fresh(self) -> bool:
        """
        Has nothing been looked at?
        """
        return self.party is None and not self.domains

    @property
    def is_over(self) -> bool:
        """
        Has every lane been looked at?
        """
        return self.party is None and self.domains.keys() <= self.through


@frozen
class Seen:
    """
    What a pass found: lanes with the number of recipients due (up to C{SHARE}), where to go on, and when something is
    due next.
    """

    lanes: list[tuple[Lane, int]]
    round: Round
    soonest: float | None


_soonest = select(func.min(recipient.c.due)).where(recipient.c.due.is_not(None))
_project, _kind, _domain = _lane
_FIRST_PARTY = select(_project, _kind).where(recipient.c.due.is_not(None)).order_by(_project, _kind).limit(1)
_PARTY_BEHIND = (
    # Not compared as pairs: for that SQLite walks through all that is due of the last party to get out of it.
    _FIRST_PARTY.where(_project == bindparam("of"), _kind > bindparam("which")),
    _FIRST_PARTY.where(_project > bindparam("of")),
)
_DOMAIN_BEHIND = (
    select(_domain, recipient.c.due)
    .where(_project == bindparam("of"), _kind == bindparam("which"), _domain > bindparam("after"))
    .where(recipient.c.due.is_not(None))
    .order_by(_domain, recipient.c.due)
    .limit(1)
)
"""
When something is due next, and the steps from a party to the next and from a lane to the next: they are run in each
pass, and to make a statement costs more than to run it.
"""


def find_lanes(connection: Connection, items: Sequence[tuple[Round, float]]) -> list[Seen]:
    """
    The next lanes in which something is due at that time.
    """
    return [_find_lanes(connection, round, now) for round, now in items]


def _find_lanes(connection: Connection, round: Round, now: float) -> Seen:
    found: list[tuple[Lane, int]] = []
    soonest: float | None = connection.execute(_soonest).scalar()
    if soonest is None or soonest > now:
        return Seen(found, Round(), soonest)
    parties = list(islice(_find_parties(connection, round.party), LANES))
    domains, through = dict(round.domains), set(round.through)
    each = LANES // max(1, len(parties))
    for party in parties:
        lanes = list(islice(_find_domains(connection, party, domains.pop(party, "")), each))
        for domain, due in lanes:
            if due <= now:
                found += _count_due(connection, (*party, domain), now)
        if len(lanes) == each:
            domains[party] = lanes[-1][0]
        else:
            through.add(party)
    met = round.met.union(parties)
    if len(parties) == LANES:
        return Seen(found, Round(parties[-1], met, domains, frozenset(through)), soonest)
    # Who has nothing left is not waited for.
    left = {party: domain for party, domain in domains.items() if party in met}
    return Seen(found, Round(None, frozenset(), left, frozenset(through)), soonest)


def _find_parties(connection: Connection, after: _party | None) -> Iterator[_party]:
    while True:
        given = None if after is None else {"of": after[0], "which": after[1]}
        steps = (_FIRST_PARTY,) if after is None else _PARTY_BEHIND
        row = next(filter(None, (connection.execute(one, given).first() for one in steps)), None)
        if row is None:
            return
        after = (row.project, row.kind)
        yield after


def _find_domains(connection: Connection, party: _party, after: str) -> Iterator[tuple[str, float]]:
    """
    The domains of a party after that one, and when something is due there next.
    """
    while True:
        row = connection.execute(_DOMAIN_BEHIND, {"of": party[0], "which": party[1], "after": after}).first()
        if row is None:
            return
        after = row.domain
        yield after, row.due


def _count_due(connection: Connection, key: LaneKey, now: float) -> list[tuple[Lane, int]]:
    due = select(recipient.c.number).where(*in_lane(key), recipient.c.due <= now).limit(SHARE).subquery()
    number = connection.execute(select(func.count()).select_from(due)).scalar_one()
    kind = unless_unreadable(partial(read_kind, key[1]))
    if kind is not None:
        return [(Lane(key[0], kind, key[2]), number)]
    log.error("a lane that cannot be read is held", project=key[0], domain=key[2])
    lane = update(recipient).where(*in_lane(key), recipient.c.due.is_not(None))
    connection.execute(lane.values(state=HELD, held_at=now, due=None))
    return []


@define(eq=False)
class Taker:
    """
    Takes due work for C{worker}, unless that C{lives} no more as far as the others know.
    """

    _writer: IWriter
    _dispatch: IDispatch
    _worker: str
    _reactor: IReactorTime
    _wall: Callable[[], float]
    _tasks: Tasks
    _lives: Callable[[], bool]
    _suppressions: Suppressions
    _ahead: Ahead
    _releases: Releases
    _doubted: Owed[RecipientKey] = field(init=False)
    _round: Round = field(factory=Round, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)
    _running: bool = field(default=False, init=False)
    _asked: float = field(default=INTERVAL, init=False)
    _backlog: bool = field(default=False, init=False)
    _stopped: bool = field(default=True, init=False)

    @_doubted.default
    def _make_doubted(self) -> Owed[RecipientKey]:
        return Owed(self._writer, self._releases.free)

    def start(self) -> None:
        """
        Begin with what is due.
        """
        self._stopped = False
        self._schedule(0)

    def stop(self) -> None:
        """
        Take no more.
        """
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def wake(self, after: float = SOON) -> None:
        """
        Look again that soon at the latest.
        """
        self._backlog = True
        self._schedule(after)

    def doubt(self, keys: Iterable[RecipientKey]) -> None:
        """
        Give these back, which delivery has not got, if they are this worker's by a commit that was said to have failed.
        """
        self._doubted.add(keys)
        self._schedule(SOON)

    def room_was_made(self) -> None:
        """
        An attempt is over: take what delivery had no room for.
        """
        if self._backlog:
            self._schedule(SOON)

    def _schedule(self, after: float) -> None:
        if self._stopped:
            return
        if self._running:
            # What was to be seen may have come after the pass under way looked.
            self._asked = min(self._asked, after)
            return
        if self._timer is not None:
            if self._timer.getTime() <= self._reactor.seconds() + after:
                return
            self._timer.cancel()
        self._timer = self._reactor.callLater(after, self._begin)

    def _begin(self) -> None:
        self._timer = None
        self._running = True
        self._tasks.start(self._pass())

    async def _pass(self) -> None:
        self._backlog = False
        self._asked = after = INTERVAL
        try:
            after = await self._take_due()
        except StoreError as error:
            log.warn("due mail could not be taken", reason=str(error))
        finally:
            self._running = False
            self._schedule(min(after, self._asked))

    async def _take_due(self) -> float:
        """
        One round; the answer is when to look again.
        """
        if not self._lives():
            return INTERVAL
        # Before anything is leased: given back only later, what was taken meanwhile might be under way.
        await self._doubted.give_back()
        now, before = self._wall(), self._round
        seen = await self._writer.submit(find_lanes, (before, now))
        is_over = seen.round.is_over
        self._round = evolve(seen.round, through=frozenset()) if is_over else seen.round
        reserved = [(lane, number) for lane, number in seen.lanes if not self._stopped and self._reserve(lane, number)]
        if reserved:
            await self._take(reserved)
        if reserved and len(reserved) == len(seen.lanes) and any(number == SHARE for _, number in reserved):
            # There is more, and room so far: what is taken is sent sooner than a pause is over.
            return 0.0
        if not is_over or any(number == SHARE for _, number in reserved) or (reserved and not before.is_fresh):
            return SOON
        if seen.soonest is None or seen.soonest <= now:
            return INTERVAL
        return min(max(seen.soonest - now, SOON), INTERVAL)

    def _reserve(self, lane: Lane, number: int) -> bool:
        if self._dispatch.reserve(lane, number):
            return True
        self._backlog = True
        return False

    async def _take(self, reserved: list[tuple[Lane, int]]) -> None:
        taken: list[Leased] = []
        claim = Claim(reserved)
        try:
            taken = await self._writer.submit(self._claim, claim)
        except BaseException:
            for lane, number in reserved:
                self._dispatch.cancel(lane, number)
            raise
        finally:
            self._doubted.add(claim.tried.difference(find_keys(taken)))
        # Leased: nobody else tries these, and this worker no more if they do not get to delivery, whatever breaks.
        reading = self._ahead.read(taken)
        try:
            self._cancel_rest(reserved, taken)
        except Exception:  # noqa: BLE001 - it can be sent without
            log.failure("room for what was not taken could not be given back")
        by_message: dict[str, list[Leased]] = {}
        for one in taken:
            by_message.setdefault(one.message_id, []).append(one)
        # While it is read, not after: what is nowhere in memory nobody could ask back.
        for leased in by_message.values():
            self._hand_over(leased)
        try:
            await reading
        except Exception:  # noqa: BLE001 - it can be sent without
            log.failure("what was taken could not be read ahead")

    def _cancel_rest(self, reserved: list[tuple[Lane, int]], taken: list[Leased]) -> None:
        numbers: dict[Lane, int] = {}
        for one in taken:
            numbers[one.lane] = numbers.get(one.lane, 0) + len(one.recipients)
        for lane, number in reserved:
            if number > numbers.get(lane, 0):
                self._dispatch.cancel(lane, number - numbers.get(lane, 0))

    def _hand_over(self, leased: list[Leased]) -> None:
        """
        Let delivery have these, which are of one message.
        """
        try:
            self._dispatch.take(leased)
        except Exception:  # noqa: BLE001 - a fault of ours must not strand the mail
            log.failure("mail could not be handed to delivery", message=leased[0].message_id)
            keys = find_keys(leased)
            # What it knows already it would not take again.
            self._dispatch.withdraw(keys)
            self._tasks.run(self._releases.postpone(keys, AGAIN))

    def _claim(self, connection: Connection, items: Sequence[Claim]) -> list[list[Leased]]:
        now, claim = self._wall(), partial(claim_lane, connection, self._suppressions, self._worker)
        found = [[one for lane, number in item.lanes for one in claim(lane, number, now)] for item in items]
        for item, taken in zip(items, found, strict=True):
            item.tried.update(find_keys(taken))
        return found
