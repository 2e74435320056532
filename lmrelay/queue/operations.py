"""
The queue as the operator's command sees it: synchronous, without a reactor.

Looking never makes a database, nor changes one. A change is asked of the daemon that runs,
or made here, slice by slice, if none does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from attrs import define, evolve
from sqlalchemy import URL, Connection, Engine, func, select
from sqlalchemy.exc import SQLAlchemyError

from lmrelay.config.values import Config
from lmrelay.errors import StoreError
from lmrelay.ids import make_id, read_time
from lmrelay.interfaces import RecipientKey
from lmrelay.queue import sites, stories
from lmrelay.queue.changes import APPLIES_TO, Order, Slice, find_order, find_slice, take_back, write_order, write_slices
from lmrelay.queue.hook_desk import HookDesk
from lmrelay.queue.leases import find_living, free_dead
from lmrelay.queue.orders import Change, Listing, Search, Selector, SiteVerb, Verb
from lmrelay.queue.schema import recipient
from lmrelay.queue.search import WINDOW, end_of, find_messages, find_window
from lmrelay.queue.selection import conditions, joined, within_ranges
from lmrelay.queue.store import check_version, explain, find_url, make_engine, make_reading_engine
from lmrelay.queue.token_use import read_uses

PATIENCE = 10.0
"""
Seconds without progress after which an answer of the daemon is no longer waited for.
"""

INTERVAL = 0.05
PAGE = 1000
FOUND = 10


@contextmanager
def open_desk(config: Config, wall: Callable[[], float], sleep: Callable[[float], None] = time.sleep) -> Iterator[Desk]:
    """
    The store of a configuration, to look at and change.

    @raise StoreError: there is none yet, or it is of another version, or it cannot be reached
    """
    with open_store(config) as (engine, url):
        yield Desk(engine, url, config.server.state_dir, wall, sleep)


@contextmanager
def open_store(config: Config) -> Iterator[tuple[Engine, URL]]:
    """
    The same, for reading: what reads it, and where it is.

    @raise StoreError: as L{open_desk}, and for whatever goes wrong with the database while it is open
    """
    url = find_url(config)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        raise StoreError(f"{url.database}: there is no queue yet; it is made when the daemon first starts")
    engine = make_reading_engine(url, connections=1)
    try:
        with engine.begin() as connection:
            check_version(connection, current=True)
        yield engine, url
    except SQLAlchemyError as error:
        raise StoreError(" ".join(str(explain(error)).split())) from error
    except (UnicodeEncodeError, OverflowError) as error:
        # What a shell hands over need not be text, nor a number one that a database knows.
        raise StoreError(f"nothing in the store can be like that: {error}") from error
    finally:
        engine.dispose()


@define(eq=False)
class Desk:
    """
    An open store. Records are plain values, times in seconds since the epoch.
    """

    _engine: Engine
    _url: URL
    _state_dir: Path
    _wall: Callable[[], float]
    _sleep: Callable[[float], None]

    def recipients(self, selector: Selector, limit: int | None) -> Sequence[Mapping[str, Any]]:
        """
        One record a recipient, oldest message first.
        """
        return list(islice(self.stream(selector, PAGE if limit is None else min(limit, PAGE)), limit))

    def stream(self, selector: Selector, page: int = PAGE) -> Iterator[Mapping[str, Any]]:
        """
        The same one by one, read in pages, however many there are.
        """
        after: RecipientKey | None = None
        now = self._wall()
        while True:
            with self._engine.begin() as connection:
                records = stories.list_page(connection, selector, now, after, page)
            yield from records
            if len(records) < page:
                return
            after = (records[-1]["message"], records[-1]["number"])

    def messages(self, search: Search, limit: int, seconds: float, rows: int = WINDOW) -> Listing:
        """
        At most C{limit} messages of all that are kept, the newest first. The search ends after so many seconds, with
        what it has by then; C{rows} are looked at in one transaction.
        """
        records: list[dict[str, Any]] = []
        before, ends = end_of(search), self._wall() + seconds
        while True:
            with self._engine.begin() as connection:
                window = find_window(connection, search, before, rows)
                records += find_messages(connection, search, window, limit + 1 - len(records))
            before = window.first
            if len(records) > limit or window.is_last:
                return Listing(tuple(records[:limit]), len(records) > limit)
            if self._wall() >= ends:
                # Of that millisecond there may be some that were not looked at: better twice than never.
                return Listing(tuple(records), True, read_time(window.first) + 0.001)

    def count(self, selector: Selector) -> Sequence[Mapping[str, Any]]:
        """
        Recipients counted by project, domain and state.
        """
        with self._engine.begin() as connection:
            return stories.count(connection, selector, self._wall())

    def find(self, beginning: str) -> Sequence[str]:
        """
        At most ten ids of messages, of any state, that begin so.
        """
        with self._engine.begin() as connection:
            return stories.find_ids(connection, beginning, FOUND)

    def story(self, message: str, bounds: stories.Bounds | None = None) -> Mapping[str, Any]:
        """
        A message with its recipients and their attempts, all of them without C{bounds}.

        @raise StoreError: there is no such message
        """
        with self._engine.begin() as connection:
            return stories.tell(connection, message, self._find_living(connection), bounds)

    def head(self, message: str) -> bytes:
        """
        The header block as recipients get it.
        """
        with self._engine.begin() as connection:
            return stories.read_head(connection, message)

    def token_uses(self) -> Mapping[str, float]:
        """
        When each token was last used, by its id.
        """
        with self._engine.begin() as connection:
            return read_uses(connection)

    def sites(self) -> Sequence[Mapping[str, Any]]:
        """
        All sites that are remembered.
        """
        with self._engine.begin() as connection:
            return sites.list_sites(connection)

    def domains_of(self, hosts: str) -> Sequence[Mapping[str, Any]]:
        """
        The domains seen at a site, those with most waiting first.
        """
        with self._engine.begin() as connection:
            return sites.list_domains(connection, hosts)

    def find_sites(self, text: str) -> Sequence[str]:
        """
        The sites, by their hosts in one word, that a domain, a host or that word means.
        """
        with self._engine.begin() as connection:
            return sites.find_sites(connection, text)

    def change_site(self, verb: SiteVerb, hosts: str, reason: str = "") -> Change:
        """
        Suspend a site, or let it go on; C{changed} is 0 for one that was not suspended.

        @raise StoreError: the daemon runs but does not answer, or the store cannot be written
        """
        now = self._wall()
        order = Order(make_id(now, os.urandom), verb, Selector(sites=(hosts,)), now)
        write = (
            partial(sites.write_suspension, hosts=hosts, reason=reason, now=now)
            if verb is SiteVerb.SUSPEND
            else partial(sites.end_suspension, hosts=hosts, now=now)
        )
        return self._order(order, write)

    def hooks(self) -> HookDesk:
        """
        Its webhooks.
        """
        return HookDesk(self._engine, self._url, self._wall)

    def lives(self) -> bool:
        """
        Does a daemon run?
        """
        with self._engine.begin() as connection:
            return bool(self._find_living(connection))

    def change(self, verb: Verb, selector: Selector, dry_run: bool) -> Change:
        """
        Do it, or with C{dry_run} count what it would change, those in flight by then included.

        @raise StoreError: the daemon runs but does not answer, or the store cannot be written
        """
        if dry_run:
            return self._foresee(verb, selector)
        now = self._wall()
        return self._order(Order(make_id(now, os.urandom), verb, selector, now))

    def _order(self, order: Order, write: Callable[[Connection], int] | None = None) -> Change:
        """
        Have it carried out. C{write} does at once what is only to be told; it says how much that changed.
        """
        writing = make_engine(self._url)
        try:
            with writing.begin() as connection:
                changed = None if write is None else write(connection)
                alive = self._find_living(connection)
                if alive:
                    write_order(connection, order)
            change = self._await_answer(writing, order) if alive else self._carry_out(writing, order)
        finally:
            writing.dispose()
        return change if changed is None else evolve(change, changed=changed)

    def _find_living(self, connection: Connection) -> set[str]:
        return find_living(connection, self._state_dir, self._wall())

    def _foresee(self, verb: Verb, selector: Selector) -> Change:
        query = (
            select(func.count())
            .select_from(joined)
            .where(*conditions(selector, self._wall()), within_ranges(selector))
            .where(recipient.c.state.in_(APPLIES_TO[verb]))
        )
        with self._engine.begin() as connection:
            return Change(connection.execute(query).scalar_one(), by_daemon=bool(self._find_living(connection)))

    def _carry_out(self, writing: Engine, order: Order) -> Change:
        if isinstance(order.verb, SiteVerb):
            return Change(len(order.selector.sites))
        with writing.begin() as connection:
            free_dead(connection, self._state_dir, self._wall())
        while not order.done:
            with writing.begin() as connection:
                rows = find_slice(connection, order)
                (order,) = write_slices(connection, [Slice(order, rows, self._wall())])
        return order.tell(by_daemon=False)

    def _await_answer(self, writing: Engine, order: Order) -> Change:
        waited, seen = 0.0, order
        while waited < PATIENCE:
            self._sleep(INTERVAL)
            waited += INTERVAL
            with self._engine.begin() as connection:
                found = find_order(connection, order.id)
                alive = self._find_living(connection)
            if found is None:
                raise StoreError("the daemon dropped the order as too old; is its clock right?")
            if found.done:
                return found.tell(by_daemon=True)
            if found != seen:
                waited, seen = 0.0, found
            if not alive and (left := self._take_back(writing, order)) is not None:
                return self._carry_out(writing, left)
        return self._give_up(writing, order)

    def _take_back(self, writing: Engine, order: Order) -> Order | None:
        with writing.begin() as connection:
            free_dead(connection, self._state_dir, self._wall())
            return take_back(connection, order.id)

    def _give_up(self, writing: Engine, order: Order) -> Change:
        left = self._take_back(writing, order)
        if left is None:
            raise StoreError(f"the daemon is slow: no progress for {PATIENCE:.0f} s; it goes on with the change")
        if isinstance(order.verb, SiteVerb):
            raise StoreError(f"the daemon has not answered for {PATIENCE:.0f} s; it takes the change over once it does")
        raise StoreError(
            f"the daemon runs but has not answered for {PATIENCE:.0f} s; the change was taken back"
            + (f" when {left.changed} recipients were changed" if left.changed else "")
        )
