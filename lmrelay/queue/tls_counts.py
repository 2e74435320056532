"""
Sessions counted for TLS reports (RFC 8460): kept in memory, written now and then in one go, and forgotten with the
report that tells of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import cache, partial

from attrs import define, field, frozen
from sqlalchemy import Connection, Insert, delete, func, select, tuple_
from twisted.internet.defer import Deferred
from zope.interface import implementer

from lmrelay.interfaces import ITlsCounts, Submission
from lmrelay.mail.tlsrpt import TlsCount, day_of
from lmrelay.queue.contents import IReader
from lmrelay.queue.notices import store_own
from lmrelay.queue.schema import tls_count
from lmrelay.queue.statements import make_insert, run_each
from lmrelay.queue.writer import IWriter

MAX_COUNTS = 20_000
MANY = 1_000
"""
Different counts in memory, and those that one write stores: nobody else's is to wait for long.
"""

MAX_READ = 500
"""
Counts in a report, those of the most sessions: one who fails in ever new ways must not make it endless.
"""

DUE = 20
"""
Days that are found at a time.
"""

CLOSED = ""
"""
In place of a policy: of this day and domain nothing more is reported, though a count may still come late.
"""

KEPT_DAYS = 3
"""
Days after which a report that could not be sent is of no more use.
"""

Key = tuple[str, str, str, str]
"""
Day, domain, policy and result.
"""


@cache
def _upsert(dialect: str) -> Insert:
    insert = make_insert(dialect, tls_count)
    return insert.on_conflict_do_update(
        index_elements=list(tls_count.primary_key.columns),
        set_={"sessions": tls_count.c.sessions + insert.excluded.sessions},
    )


def write_counts(connection: Connection, items: Sequence[Mapping[Key, int]]) -> list[None]:
    """
    Add to what is stored.
    """
    sums: dict[Key, int] = {}
    for one in items:
        for key, sessions in one.items():
            sums[key] = sums.get(key, 0) + sessions
    # In order, so that two workers with the same domains wait for each other in one direction.
    rows = [
        {"day": day, "domain": domain, "policy": policy, "result": result, "sessions": sessions}
        for (day, domain, policy, result), sessions in sorted(sums.items())
    ]
    run_each(connection, _upsert(connection.dialect.name), rows)
    return [None] * len(items)


def find_due(connection: Connection, before: str, after: tuple[str, str]) -> list[tuple[str, str]]:
    """
    See L{ITlsCounts}.
    """
    place = (tls_count.c.day, tls_count.c.domain)
    query = select(*place).where(tls_count.c.day < before, tuple_(*place) > tuple_(*after)).group_by(*place)
    query = query.having(func.min(tls_count.c.policy) != CLOSED)
    return [(row.day, row.domain) for row in connection.execute(query.order_by(*place).limit(DUE))]


def read_counts(connection: Connection, day: str, domain: str) -> list[TlsCount]:
    """
    See L{ITlsCounts}.
    """
    query = select(tls_count).where(tls_count.c.day == day, tls_count.c.domain == domain)
    rows = connection.execute(query.order_by(tls_count.c.sessions.desc(), tls_count.c.policy, tls_count.c.result))
    return [TlsCount(row.policy, row.result, row.sessions) for row in rows.fetchmany(MAX_READ)]


@frozen
class Closing:
    """
    A day of a domain that is over, and the message that tells of it, if one does.
    """

    day: str
    domain: str
    report: Submission | None
    text: bytes


def close_days(connection: Connection, items: Sequence[Closing]) -> list[bool]:
    """
    End them, and queue the reports on those that were not ended before.
    """
    return [_close(connection, one) for one in items]


def _close(connection: Connection, one: Closing) -> bool:
    mark = {"day": one.day, "domain": one.domain, "policy": CLOSED, "result": "", "sessions": 0}
    marking = make_insert(connection.dialect.name, tls_count).values(mark).on_conflict_do_nothing()
    if connection.execute(marking.returning(tls_count.c.day)).first() is None:
        return False
    counted = (tls_count.c.day == one.day, tls_count.c.domain == one.domain, tls_count.c.policy != CLOSED)
    connection.execute(delete(tls_count).where(*counted))
    if one.report is not None:
        store_own(connection, one.report, one.text)
    return True


def forget_days(connection: Connection, now: float, most: int) -> int:
    """
    Delete what is too old to be reported; the answer is how many.
    """
    last = day_of(now - timedelta(days=KEPT_DAYS).total_seconds())
    columns = tuple(tls_count.primary_key.columns)
    old = select(*columns).where(tls_count.c.day < last).limit(most)
    return connection.execute(delete(tls_count).where(tuple_(*columns).in_(old))).rowcount


@implementer(ITlsCounts)
@define(eq=False)
class TlsCounts:
    """
    See L{ITlsCounts}. Bounded: what is too much at a time is not counted. C{wake} is called when mail is due.
    """

    _writer: IWriter
    _reader: IReader
    _wall: Callable[[], float]
    _wake: Callable[[], None]
    _counted: dict[Key, int] = field(factory=dict, init=False)

    def count(self, domain: str, policy: str, result: str) -> None:
        """
        See L{ITlsCounts}.
        """
        key = (day_of(self._wall()), domain, policy, result)
        if key in self._counted or len(self._counted) < MAX_COUNTS:
            self._counted[key] = self._counted.get(key, 0) + 1

    async def write(self) -> None:
        """
        Store what was counted, a part at a time.

        @raise StoreError: not now; what is not stored is kept for the next time
        """
        while self._counted:
            part = {key: self._counted.pop(key) for key in list(self._counted)[:MANY]}
            try:
                await self._writer.submit(write_counts, part)
            except BaseException:
                for key, sessions in part.items():
                    self._counted[key] = self._counted.get(key, 0) + sessions
                raise

    def find_due(self, before: str, after: tuple[str, str]) -> Deferred[Sequence[tuple[str, str]]]:
        """
        See L{ITlsCounts}.
        """
        return self._reader.run(partial(find_due, before=before, after=after))

    def read(self, day: str, domain: str) -> Deferred[Sequence[TlsCount]]:
        """
        See L{ITlsCounts}.
        """
        return self._reader.run(partial(read_counts, day=day, domain=domain))

    def close(self, day: str, domain: str, report: Submission | None = None, text: bytes = b"") -> Deferred[bool]:
        """
        See L{ITlsCounts}.
        """
        return Deferred.fromCoroutine(self._close(Closing(day, domain, report, text)))

    async def _close(self, closing: Closing) -> bool:
        closed = await self._writer.submit(close_days, closing)
        if closed and closing.report is not None:
            self._wake()
        return closed
