"""
Suppressions as the operator's command sees them: synchronous, without a reactor.

What it changes holds from its commit on, whether a daemon runs or not, for daemons ask the store about each message.
However many they are, a change is made of short transactions, between which everything else has its turn.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any, TypeVar

from attrs import define, field
from sqlalchemy import URL, ColumnElement, Connection, Engine, func, select
from zope.interface import implementer

from lmrelay.config.values import Config
from lmrelay.errors import StoreError
from lmrelay.interfaces import ISettings
from lmrelay.mail.suppression import Listed, Suppression
from lmrelay.queue.operations import open_store
from lmrelay.queue.outbox import Outbox
from lmrelay.queue.schema import suppression
from lmrelay.queue.store import make_engine
from lmrelay.queue.suppressions import Key, Suppressions, read_suppression

T = TypeVar("T")

PAGE = 1000
"""
Read in one transaction.
"""

STEP = 200
"""
Changed in one transaction.
"""

BREATH = 0.01
"""
Seconds between two changes: a daemon that waits for the database has its turn.
"""

MOST = 5_000_000
"""
Suppressions of a project that the operator may add to.
"""

_KEY = (suppression.c.project, suppression.c.route, suppression.c.address)


@implementer(ISettings)
@define
class _Fixed:
    """
    A configuration that stays. See L{ISettings}.
    """

    config: Config


@contextmanager
def open_list(
    config: Config, wall: Callable[[], float], sleep: Callable[[float], None] = time.sleep
) -> Iterator[SuppressionList]:
    """
    The suppressions in the store of a configuration.

    @raise StoreError: there is no store yet, or it is of another version, or it cannot be reached
    """
    with open_store(config) as (engine, url):
        yield SuppressionList(engine, url, _Fixed(config), wall, sleep)


@define(eq=False)
class SuppressionList:
    """
    All there are in a store.
    """

    _engine: Engine
    _url: URL
    _settings: ISettings
    _wall: Callable[[], float]
    _sleep: Callable[[float], None]
    _suppressions: Suppressions = field(init=False)

    @_suppressions.default
    def _make_suppressions(self) -> Suppressions:
        return Suppressions(os.urandom, Outbox(self._settings).write)

    def stream(self, listed: Listed) -> Iterator[Suppression]:
        """
        Those that are meant and have not expired, in order, read in pages, however many there are.
        """
        after: Key | None = None
        now = self._wall()
        while True:
            with self._engine.begin() as connection:
                page = read_page(connection, listed, now, after)
            yield from page
            if len(page) < PAGE:
                return
            after = page[-1].key

    def add(self, items: Iterable[Suppression]) -> int:
        """
        Add those that are new, or last longer than what is there; the answer is how many.

        @raise StoreError: there would be too many; those before are added
        """
        counts: dict[str, int] = {}

        def add(connection: Connection, step: Sequence[Suppression]) -> int:
            written = self._suppressions.add(connection, step, self._wall())
            for project in {one.project for one in written}:
                fresh = sum(one.project == project for one in written)
                counts[project] = counts[project] + fresh if project in counts else _count(connection, project)
                if counts[project] > MOST:
                    raise StoreError(f"project {project} would have over {MOST} suppressions")
            return len(written)

        return sum(self._change(items, add))

    def remove(self, listed: Listed) -> list[Suppression]:
        """
        Remove those that are meant; the answer is these.
        """

        def remove(connection: Connection, step: Sequence[Suppression]) -> list[Suppression]:
            return self._suppressions.remove(connection, [one.key for one in step], self._wall())

        return list(chain.from_iterable(self._change(self.stream(listed), remove)))

    def _change(
        self, items: Iterable[Suppression], change: Callable[[Connection, Sequence[Suppression]], T]
    ) -> Iterator[T]:
        writing = make_engine(self._url)
        try:
            for step in _steps(items):
                with writing.begin() as connection:
                    changed = change(connection, step)
                yield changed
                self._sleep(BREATH)
        finally:
            writing.dispose()


def _steps(items: Iterable[Suppression]) -> Iterator[Sequence[Suppression]]:
    rest = iter(items)
    while step := list(islice(rest, STEP)):
        yield step


def read_page(connection: Connection, listed: Listed, now: float, after: Key | None) -> list[Suppression]:
    """
    The next C{PAGE} of those that are meant, behind that key, in the order of keys; fewer: there are no more.
    """
    live = suppression.c.expires_at.is_(None) | (suppression.c.expires_at > now)
    query = select(suppression).where(live).order_by(*_KEY)
    chosen: Sequence[tuple[Any, Sequence[str]]] = (
        (suppression.c.project, listed.projects),
        (suppression.c.route, listed.routes),
        (suppression.c.address, listed.addresses),
        (suppression.c.reason, [why.value for why in listed.reasons]),
    )
    for column, values in chosen:
        if values:
            query = query.where(column.in_(values))
    found: list[Suppression] = []
    for behind in _find_behind(after):
        rows = connection.execute(query.where(*behind).limit(PAGE - len(found)))
        found += map(read_suppression, rows)
        if len(found) == PAGE:
            break
    return found


def _find_behind(after: Key | None) -> Sequence[Sequence[ColumnElement[bool]]]:
    """
    What comes behind that key, one part after the other. Not compared as whole keys: where projects are named SQLite
    would walk through all that a project has for each page of it.
    """
    if after is None:
        return [()]
    project, route, address = after
    same = suppression.c.project == project
    return [
        (same, suppression.c.route == route, suppression.c.address > address),
        (same, suppression.c.route > route),
        (suppression.c.project > project,),
    ]


def _count(connection: Connection, project: str) -> int:
    query = select(func.count()).select_from(suppression).where(suppression.c.project == project)
    return int(connection.execute(query).scalar_one())
