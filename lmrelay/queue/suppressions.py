"""
Suppressions as rows, each change in one commit with its event.

Whether a recipient is suppressed is asked within the commit that accepts or takes its message, so nothing that is
added before is missed, whoever added it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby
from typing import Any

from attrs import frozen
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    delete,
    insert,
    or_,
    select,
)
from twisted.logger import Logger

from lmrelay.mail.suppression import Suppression, Why
from lmrelay.queue.outbox import WriteEvents
from lmrelay.queue.rows import Entropy, Row, dump, event_row, format_time
from lmrelay.queue.schema import suppression, suppression_news, worker
from lmrelay.queue.statements import find_rows, make_insert, make_plain, name_given

Key = tuple[str, str, str]
"""
Project, route, and address in the form that all spellings have in common.
"""

_KEY = (suppression.c.project, suppression.c.route, suppression.c.address)

MANY = 200
"""
Addresses in one statement.
"""

log = Logger()


@cache
def _select_projects(size: int) -> Select[Any]:
    given = name_given(size, suppression.c.project)
    return select(given.c.project).where(select(1).where(suppression.c.project == given.c.project).exists())


@cache
def _select_rows(size: int) -> Select[Any]:
    given = name_given(size, *_KEY)
    same = and_(*(suppression.c[one.name] == one for one in given.c))
    return select(suppression).select_from(given.join(suppression, same))


def find_having(connection: Connection, projects: Iterable[str]) -> set[str]:
    """
    Those of these projects that have any: most have none, and for theirs all there is to do is this.
    """
    keys = [(one,) for one in sorted(set(projects))]
    return {row[0] for row in find_rows(connection, _select_projects, keys)}


def find_suppressed(connection: Connection, wanted: Iterable[Key], now: float) -> dict[Key, Suppression]:
    """
    What suppresses mail of these projects and routes to these addresses; of two what holds for the whole project.
    """
    asked = set(wanted)
    both = sorted({*asked, *((project, "", address) for project, _, address in asked)})
    rows = map(read_suppression, find_rows(connection, _select_rows, both))
    live = {one.key: one for one in rows if not has_expired(one, now)}
    found = {}
    for key in asked:
        one = live.get((key[0], "", key[2])) or live.get(key)
        if one is not None:
            found[key] = one
    return found


def has_expired(one: Suppression, now: float) -> bool:
    """
    Does it suppress nothing any more?
    """
    return one.expires_at is not None and one.expires_at <= now


def read_suppression(row: Any) -> Suppression:
    """
    The suppression of a row.
    """
    project, route, address, why, added_at, expires_at, message, text, redact = row
    # A reason of a later version must not keep mail from being accepted.
    known = _WHYS.get(why, Why.MANUAL)
    return Suppression(project, address, known, added_at, route, expires_at, message, text=text, redact=bool(redact))


_WHYS = {why.value: why for why in Why}


def _make_row(one: Suppression) -> Row:
    return {
        "project": one.project,
        "route": one.route,
        "address": one.address,
        "reason": one.why.value,
        "added_at": one.added_at,
        "expires_at": one.expires_at,
        "message": one.message,
        # Of others' words, and so perhaps with what no database stores.
        "text": make_plain(one.text),
        "redact": one.redact,
    }


@frozen(eq=False)
class Suppressions:
    """
    Changes them, and tells of it.
    """

    entropy: Entropy
    write_events: WriteEvents

    def add(self, connection: Connection, items: Sequence[Suppression], now: float) -> list[Suppression]:
        """
        Add those that are new; the answer is these. One that is there already stays as it is, unless the other lasts
        longer.
        """
        # In order, so that two workers with the same addresses wait for each other in one direction.
        wanted = {one.key: one for one in sorted(items, key=lambda one: one.key)}
        if not wanted:
            return []
        for these in _choose(wanted):
            self._end(connection, these, now)
        insert = make_insert(connection.dialect.name, suppression)
        given = insert.excluded
        upsert = insert.on_conflict_do_update(
            index_elements=list(_KEY),
            set_={one.name: given[one.name] for one in suppression.c if not one.primary_key},
            where=and_(
                suppression.c.expires_at.is_not(None),
                or_(given.expires_at.is_(None), given.expires_at > suppression.c.expires_at),
            ),
        ).returning(*_KEY)
        written = {tuple(row) for row in connection.execute(upsert, [_make_row(one) for one in wanted.values()])}
        added = [one for key, one in wanted.items() if key in written]
        _leave_news(connection, added)
        self._tell(connection, "suppression.added", added, now)
        for one in added:
            log.info("suppression added", expires=one.expires_at, message=one.message or "", **_facts(one))
        return added

    def remove(self, connection: Connection, keys: Sequence[Key], now: float) -> list[Suppression]:
        """
        Remove these; the answer is those that were in force.
        """
        removed: list[Suppression] = []
        for these in _choose(keys):
            self._end(connection, these, now)
            removed += self._delete(connection, these)
        self._tell(connection, "suppression.removed", removed, now, "removed")
        for one in removed:
            log.info("suppression removed", **_facts(one))
        return removed

    def expire(self, connection: Connection, now: float, most: int) -> int:
        """
        Remove those whose time is over, but no more than that; the answer is how many.
        """
        query = select(*_KEY).where(suppression.c.expires_at <= now).order_by(suppression.c.expires_at).limit(most)
        keys = [(row.project, row.route, row.address) for row in connection.execute(query)]
        return sum(self._end(connection, these, now) for these in _choose(keys))

    def _end(self, connection: Connection, these: ColumnElement[bool], now: float) -> int:
        """
        Those of these whose time is over end. Asked again here: another worker may have made one last longer.
        """
        ended = self._delete(connection, and_(these, suppression.c.expires_at <= now))
        self._tell(connection, "suppression.removed", ended, now, "expired")
        for one in ended:
            log.info("suppression expired", **_facts(one))
        return len(ended)

    def _delete(self, connection: Connection, these: ColumnElement[bool]) -> list[Suppression]:
        rows = connection.execute(delete(suppression).where(these).returning(*suppression.c))
        return sorted(map(read_suppression, rows), key=lambda one: one.key)

    def _tell(
        self, connection: Connection, type_: str, items: Iterable[Suppression], now: float, how: str = ""
    ) -> None:
        """
        C{how} is how they ended; they are told without their message then, which may be forgotten by now.
        """
        events = []
        for one in items:
            source = (None, None) if how else (one.message, one.number)
            document = dump({**describe(one), **({"cause": how} if how else {})})
            events.append(event_row(self.entropy, type_, now, (one.project, one.route), source, document))
        self.write_events(connection, events)


_LEAVE_NEWS = insert(suppression_news).from_select(
    ["worker", *(one.name for one in _KEY)],
    # One statement for both: L{lmrelay.queue.leases.Lease.enter} relies on workers not being read before the table is
    # locked for what is inserted.
    select(worker.c.id, *(bindparam(f"new_{one.name}", type_=one.type) for one in _KEY)),
)


def _leave_news(connection: Connection, added: Sequence[Suppression]) -> None:
    """
    Let each worker look whether it has mail for these in memory.
    """
    if added:
        names = [f"new_{one.name}" for one in _KEY]
        connection.execute(_LEAVE_NEWS, [dict(zip(names, one.key, strict=True)) for one in added])


def drop_stray_news(connection: Connection, most: int) -> bool:
    """
    Delete so many news for workers that are gone. Were there as many?
    """
    nobodys = suppression_news.c.worker.not_in(select(worker.c.id))
    numbers = connection.execute(select(suppression_news.c.number).where(nobodys).limit(most)).scalars().all()
    drop_news(connection, numbers)
    return len(numbers) == most


def drop_news(connection: Connection, numbers: Sequence[int]) -> None:
    """
    Nobody needs to look at these any more.
    """
    if numbers:
        connection.execute(delete(suppression_news).where(suppression_news.c.number.in_(numbers)))


def _choose(keys: Iterable[Key]) -> Iterator[ColumnElement[bool]]:
    """
    These, so many at a time, in order. Addresses of one project and route together: lists of whole keys SQLite compares
    with each row there is.
    """
    for (project, route), some in groupby(sorted(keys), key=lambda key: key[:2]):
        addresses = [key[2] for key in some]
        for start in range(0, len(addresses), MANY):
            named = suppression.c.address.in_(addresses[start : start + MANY])
            yield and_(suppression.c.project == project, suppression.c.route == route, named)


def describe(one: Suppression) -> Mapping[str, Any]:
    """
    What events tell of it.
    """
    return {
        "recipient": None if one.redact else one.address,
        "reason": one.why.value,
        "scope": "route" if one.route else "project",
        "expires_at": None if one.expires_at is None else format_time(one.expires_at),
    }


def _facts(one: Suppression) -> Mapping[str, str]:
    """
    What the log tells of it.
    """
    recipient = "" if one.redact else one.address
    return {"project": one.project, "route": one.route, "recipient": recipient, "reason": one.why.value}
