"""
What is remembered of sites: what delivery learnt of them, the domains seen there, and which an operator suspended.

What is learnt is kept in memory and written now and then in one go, for it is in nobody's way then. A suspension is a
row that every worker looks for, so it holds for those that start later too.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from attrs import define, field, frozen
from sqlalchemy import ColumnElement, Connection, Insert, Table, delete, func, or_, select, update

from lmrelay.config.values import DAY
from lmrelay.interfaces import SiteState
from lmrelay.queue.schema import is_open, recipient, site, site_domain
from lmrelay.queue.statements import make_insert, run_each
from lmrelay.queue.writer import IWriter

KEPT = 28 * DAY
"""
Seconds for which a site, or a domain there, is remembered without anything new of it.
"""

FRESH = DAY
"""
Seconds for which it need not be written again that a domain was seen.
"""

MAX_KNOWN = 20_000
MAX_PENDING = 20_000
MAX_RECALLED = 5_000
MANY = 500

Record = dict[str, Any]


@cache
def _upsert_state(dialect: str) -> Insert:
    insert = make_insert(dialect, site)
    learnt = ("connections", "lowered_at", "lowered_for", "changed_at")
    return insert.on_conflict_do_update(
        index_elements=[site.c.hosts], set_={name: insert.excluded[name] for name in learnt}
    )


@cache
def _upsert_domain(dialect: str) -> Insert:
    insert = make_insert(dialect, site_domain)
    return insert.on_conflict_do_update(
        index_elements=[site_domain.c.domain], set_={name: insert.excluded[name] for name in ("hosts", "seen_at")}
    )


@cache
def _upsert_suspension(dialect: str) -> Insert:
    insert = make_insert(dialect, site)
    said = ("suspended_at", "reason", "changed_at")
    return insert.on_conflict_do_update(
        index_elements=[site.c.hosts], set_={name: insert.excluded[name] for name in said}
    )


@frozen
class Learnt:
    """
    What was learnt until C{now}: states by hosts, and at which site a domain's mail is.
    """

    states: Mapping[str, SiteState]
    domains: Mapping[str, str]
    now: float


def write_learnt(connection: Connection, items: Sequence[Learnt]) -> list[None]:
    """
    Store it, the later over the earlier; what operators said stays.
    """
    states: dict[str, Record] = {}
    domains: dict[str, Record] = {}
    for one in items:
        for hosts, state in one.states.items():
            learnt = {"connections": state.connections, "lowered_at": state.since, "lowered_for": state.reason}
            states[hosts] = {"hosts": hosts, "suspended_at": None, "reason": "", "changed_at": one.now, **learnt}
        for domain, hosts in one.domains.items():
            domains[domain] = {"domain": domain, "hosts": hosts, "seen_at": one.now}
    # In order, so that two workers with the same sites wait for each other in one direction.
    dialect = connection.dialect.name
    run_each(connection, _upsert_state(dialect), [states[hosts] for hosts in sorted(states)])
    run_each(connection, _upsert_domain(dialect), [domains[domain] for domain in sorted(domains)])
    return [None] * len(items)


def read_states(connection: Connection) -> list[SiteState]:
    """
    The sites that bear less than is allowed, those learnt of last first.
    """
    query = select(site).where(site.c.connections.is_not(None)).order_by(site.c.changed_at.desc()).limit(MAX_RECALLED)
    return [SiteState(row.hosts, row.connections, row.lowered_at, row.lowered_for) for row in connection.execute(query)]


def find_suspended(connection: Connection) -> list[str]:
    """
    The sites that are suspended, by their hosts.
    """
    return list(connection.execute(_SUSPENDED).scalars())


_SUSPENDED = select(site.c.hosts).where(site.c.suspended_at.is_not(None))


def write_suspension(connection: Connection, hosts: str, reason: str, now: float) -> int:
    """
    Suspend a site from now on, for that reason: another takes the place of an earlier one. The answer is 1.
    """
    learnt = {"connections": None, "lowered_at": None, "lowered_for": ""}
    said = {"suspended_at": now, "reason": reason, "changed_at": now}
    run_each(connection, _upsert_suspension(connection.dialect.name), [{"hosts": hosts, **learnt, **said}])
    return 1


def end_suspension(connection: Connection, hosts: str, now: float) -> int:
    """
    Let it go on; the answer is 0 if it was not suspended.
    """
    mine = update(site).where(site.c.hosts == hosts, site.c.suspended_at.is_not(None))
    return connection.execute(mine.values(suspended_at=None, reason="", changed_at=now)).rowcount


def forget_sites(connection: Connection, now: float, most: int) -> int:
    """
    Delete what nothing new was learnt of for long; the answer is the most that went of one table.
    """
    old = now - KEPT
    gone = _forget(connection, site, site.c.hosts, (site.c.changed_at < old, site.c.suspended_at.is_(None)), most)
    return max(gone, _forget(connection, site_domain, site_domain.c.domain, (site_domain.c.seen_at < old,), most))


def _forget(
    connection: Connection, table: Table, key: ColumnElement[str], old: Sequence[ColumnElement[bool]], most: int
) -> int:
    found = select(key).where(*old).limit(most)
    # Asked twice: it may have been seen again since it was found.
    return connection.execute(delete(table).where(key.in_(found), *old)).rowcount


# --- as people see them -------------------------------------------------------------------


def split_hosts(hosts: str) -> list[str]:
    """
    The hosts in the word, the best first.
    """
    return re.split("[,;]", hosts)


def list_sites(connection: Connection) -> list[Record]:
    """
    All that are remembered: C{hosts} (their word), C{domains} and C{waiting} (how many), C{connections},
    C{lowered_at}, C{lowered_for}, C{suspended_at}, C{reason}, C{changed_at}.
    """
    found: dict[str, Record] = {}
    domains = select(site_domain.c.hosts, func.count().label("domains"), func.max(site_domain.c.seen_at).label("at"))
    for row in connection.execute(domains.group_by(site_domain.c.hosts)):
        found[row.hosts] = {**_NOTHING, "hosts": row.hosts, "domains": row.domains, "changed_at": row.at}
    for row in connection.execute(select(site)):
        found[row.hosts] = {**_NOTHING, **found.get(row.hosts, {}), **row._mapping}
    waiting = select(site_domain.c.hosts, func.count().label("waiting")).select_from(_waiting).where(is_open)
    for row in connection.execute(waiting.group_by(site_domain.c.hosts)):
        if row.hosts in found:
            found[row.hosts]["waiting"] = row.waiting
    return list(found.values())


_NOTHING: Record = {
    **dict.fromkeys(("domains", "waiting"), 0),
    **dict.fromkeys(("connections", "lowered_at", "suspended_at")),
    **dict.fromkeys(("lowered_for", "reason"), ""),
}

_waiting = recipient.join(site_domain, site_domain.c.domain == recipient.c.domain)


def list_domains(connection: Connection, hosts: str) -> list[Record]:
    """
    The domains seen at a site: C{domain}, C{waiting} (recipients), C{seen_at}; those with most waiting first.
    """
    mine = select(site_domain.c.domain).where(site_domain.c.hosts == hosts)
    # Once through what is open: no index leads from a domain to its recipients, whatever project's they are.
    counted = select(recipient.c.domain, func.count().label("waiting")).where(is_open, recipient.c.domain.in_(mine))
    waiting = {row.domain: row.waiting for row in connection.execute(counted.group_by(recipient.c.domain))}
    seen = select(site_domain.c.domain, site_domain.c.seen_at).where(site_domain.c.hosts == hosts)
    found = [{**row._mapping, "waiting": waiting.get(row.domain, 0)} for row in connection.execute(seen)]
    return sorted(found, key=lambda one: (-one["waiting"], one["domain"]))


def find_sites(connection: Connection, text: str) -> list[str]:
    """
    The sites that C{text} names: a recipient domain (A-labels), or a site's word, its best host, or any of its hosts.
    """
    named = select(site_domain.c.hosts).where(or_(site_domain.c.domain == text, site_domain.c.hosts == text)).distinct()
    exact = {*connection.execute(named).scalars(), *connection.execute(_words(site.c.hosts == text)).scalars()}
    if exact:
        return sorted(exact)
    has = [column.contains(text, autoescape=True) for column in (site.c.hosts, site_domain.c.hosts)]
    near = {
        *connection.execute(_words(has[0])).scalars(),
        *connection.execute(select(site_domain.c.hosts).where(has[1]).distinct()).scalars(),
    }
    first = sorted(one for one in near if split_hosts(one)[0] == text)
    return first or sorted(one for one in near if text in split_hosts(one))


def _words(condition: ColumnElement[bool]) -> Any:
    return select(site.c.hosts).where(condition)


def find_suspensions(connection: Connection, domains: Iterable[str]) -> dict[str, Record]:
    """
    Of these domains those whose site is suspended: C{site} (its best host), C{hosts}, C{since}, C{reason}.
    """
    query = (
        select(site_domain.c.domain, site.c.hosts, site.c.suspended_at, site.c.reason)
        .join(site, site.c.hosts == site_domain.c.hosts)
        .where(site.c.suspended_at.is_not(None), site_domain.c.domain.in_(sorted(set(domains))))
    )
    return {
        row.domain: {
            "site": split_hosts(row.hosts)[0],
            "hosts": row.hosts,
            "since": row.suspended_at,
            "reason": row.reason,
        }
        for row in connection.execute(query)
    }


# --- as delivery tells of them -------------------------------------------------------------


@define(eq=False)
class SiteMemory:
    """
    What was noted and is not yet written. Bounded: what is lost here is learnt again with the next message.
    """

    _writer: IWriter
    _wall: Callable[[], float]
    _states: dict[str, SiteState] = field(factory=dict, init=False)
    _domains: dict[str, str] = field(factory=dict, init=False)
    _known: OrderedDict[str, tuple[str, float]] = field(factory=OrderedDict, init=False)

    def note_site(self, state: SiteState) -> None:
        """
        See L{lmrelay.interfaces.IQueue}.
        """
        if state.hosts in self._states or len(self._states) < MAX_PENDING:
            self._states[state.hosts] = state

    def note_domain(self, domain: str, hosts: str) -> None:
        """
        See L{lmrelay.interfaces.IQueue}.
        """
        known, now = self._known.get(domain), self._wall()
        if known is not None and known[0] == hosts and abs(now - known[1]) < FRESH:
            return
        if len(self._domains) >= MAX_PENDING:
            return
        self._known[domain] = (hosts, now)
        self._known.move_to_end(domain)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        self._domains[domain] = hosts

    async def write(self) -> None:
        """
        Store what was noted, a part at a time so that nobody else's write waits for long.

        @raise StoreError: not now; what is not stored is kept for the next time
        """
        while self._states or self._domains:
            part = Learnt(_take(self._states), _take(self._domains), self._wall())
            try:
                await self._writer.submit(write_learnt, part)
            except BaseException:
                self._states = {**part.states, **self._states}
                self._domains = {**part.domains, **self._domains}
                raise


def _take(noted: dict[str, Any]) -> dict[str, Any]:
    return {key: noted.pop(key) for key in list(noted)[:MANY]}
