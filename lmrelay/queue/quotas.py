"""
Limits of messages for projects and routes: whether one more may pass, decided in the commit that stores it.

Each message that counts has a number within its project or route. One may pass when that which lies as many numbers
back as the limit allows is older than the period: exact for every stretch of time, by one look-up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime

from attrs import define, field, frozen
from sqlalchemy import Connection, bindparam, delete, func, select, text, tuple_, update

from lmrelay.config.project import Project, Route
from lmrelay.config.values import DAY, HOUR, Config
from lmrelay.errors import Refused
from lmrelay.interfaces import ISettings
from lmrelay.queue.rows import Row
from lmrelay.queue.schema import usage
from lmrelay.queue.statements import insert_rows
from lmrelay.smtp import replies

WHOLE = ""
"""
In place of a route: the project as a whole.
"""

AHEAD = 60.0
"""
Seconds by which the clocks of two workers may differ.
"""

Party = tuple[str, str]
"""
A project, and one of its routes or L{WHOLE}.
"""

_last = select(func.max(usage.c.number)).where(
    usage.c.project == bindparam("project"), usage.c.route == bindparam("route")
)
_at = select(usage.c.at).where(
    usage.c.project == bindparam("project"),
    usage.c.route == bindparam("route"),
    usage.c.number == bindparam("number"),
)


@frozen
class Limit:
    """
    At most C{messages} in C{seconds}; C{period} names these.
    """

    party: Party
    messages: int
    seconds: float
    period: str

    @property
    def whose(self) -> str:
        """
        For people.
        """
        project, route = self.party
        return f"route {route} of project {project}" if route else f"project {project}"


@frozen
class Over:
    """
    A limit is reached, until then. C{has_keys}: messages of the project were stored under idempotency keys that hold.
    """

    limit: Limit
    until: float
    has_keys: bool = False

    def refusal(self) -> Refused:
        """
        In words for the client, with the first whole second at which the next one passes.
        """
        lifts_at = datetime.fromtimestamp(math.ceil(self.until), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        limit = self.limit
        return Refused(replies.over_quota(limit.messages, limit.period, limit.whose, lifts_at))


def _limits_of(party: Party, of: Project | Route) -> Iterator[Limit]:
    if of.max_messages_per_hour is not None:
        yield Limit(party, of.max_messages_per_hour, HOUR, "hour")
    if of.max_messages_per_day is not None:
        yield Limit(party, of.max_messages_per_day, DAY, "day")


def find_limits(config: Config, project: str, route: str | None = None) -> list[Limit]:
    """
    What holds for a message: the project's limits, and those of the route.
    """
    tenant = config.projects.get(project)
    if tenant is None:
        return []
    limits = list(_limits_of((project, WHOLE), tenant))
    if route is not None:
        chosen = tenant.route(route)
        limits += _limits_of((project, chosen.slug), chosen)
    return limits


@define(eq=False)
class Count:
    """
    The messages of one commit, counted in their order at C{now}.
    """

    _connection: Connection
    _now: float
    _last: dict[Party, int] = field(factory=dict, init=False)
    _stored: dict[Party, int] = field(factory=dict, init=False)

    def lock(self, limits: Iterable[Sequence[Limit]]) -> None:
        """
        Let no other worker count for these projects before the commit. SQLite has one writer.
        """
        if self._connection.dialect.name == "postgresql":
            lock = text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))")
            for project in sorted({limit.party[0] for some in limits for limit in some}):
                self._connection.execute(lock, {"key": project})

    def find_over(self, limits: Sequence[Limit]) -> Over | None:
        """
        The limit that keeps one more from passing; of several that which does so for the longest.
        """
        reached = [Over(limit, until) for limit in limits if (until := self._lifts_at(limit)) > self._now]
        return max(reached, key=lambda over: over.until, default=None)

    def add(self, limits: Sequence[Limit]) -> None:
        """
        One more passes.
        """
        for party in {limit.party for limit in limits}:
            self._last[party] = self._find_last(party) + 1

    def take_back(self, limits: Sequence[Limit]) -> None:
        """
        One that passed is not stored after all.
        """
        for party in {limit.party for limit in limits}:
            self._last[party] -= 1

    def write(self) -> None:
        """
        Store what was added.
        """
        rows: list[Row] = [
            {"project": party[0], "route": party[1], "number": number, "at": self._now}
            for party, last in self._last.items()
            for number in range(self._stored[party] + 1, last + 1)
        ]
        insert_rows(self._connection, usage, rows)

    def _find_last(self, party: Party) -> int:
        if party not in self._last:
            found = self._connection.execute(_last, {"project": party[0], "route": party[1]}).scalar()
            self._last[party] = self._stored[party] = found or 0
        return self._last[party]

    def _lifts_at(self, limit: Limit) -> float:
        number = self._find_last(limit.party) + 1 - limit.messages
        if number > self._stored[limit.party]:
            return self._now + limit.seconds
        if number < 1:
            return self._now
        project, route = limit.party
        given = {"project": project, "route": route, "number": number}
        at: float | None = self._connection.execute(_at, given).scalar()
        # What is not there any more is too old to count. What is of the future, for the clock was set back, counts as
        # of now: else setting it would lift the limit, or keep the project out for as long as it was wrong.
        return self._now if at is None else min(at, self._now) + limit.seconds


def forget_counts(connection: Connection, now: float, most: int) -> int:
    """
    Delete what counts no more; the answer is how many.
    """
    key = (usage.c.project, usage.c.route, usage.c.number)
    old = usage.c.at < now - DAY - AHEAD
    # Asked twice: once all of a party is gone, its numbers begin anew, and another worker may have used them since.
    return connection.execute(delete(usage).where(tuple_(*key).in_(select(*key).where(old).limit(most)), old)).rowcount


def cap_counts(connection: Connection, now: float) -> None:
    """
    Let nothing count for longer than what is counted now: what does was counted under a clock that was ahead.
    """
    connection.execute(update(usage).where(usage.c.at > now + AHEAD).values(at=now))


@define(eq=False)
class KnownOver:
    """
    Projects that are over a limit of theirs, as the last refusal said: that spares client and relay the content.
    """

    _settings: ISettings
    _wall: Callable[[], float]
    _over: dict[str, Over] = field(factory=dict, init=False)

    def learn(self, over: Over) -> None:
        """
        A message was refused for this.

        Where there are keys only the content tells whether the next one is a duplicate, which is free.
        """
        project, route = over.limit.party
        if route == WHOLE and not over.has_keys:
            self._over[project] = over

    def check(self, project: str) -> None:
        """
        @raise Refused: it is over a limit that still is the configured one (452 4.7.0)
        """
        over = self._over.get(project)
        if over is None:
            return
        left = over.until - self._wall()
        if 0 < left <= over.limit.seconds and over.limit in find_limits(self._settings.config, project):
            raise over.refusal()
        del self._over[project]
