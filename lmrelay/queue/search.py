"""
A search over all messages that are kept, the newest first.

No index leads from an address, a tag or a subject to its messages: each would have to be written with every message
(one of Message-IDs makes storing it half as dear again), and a search is rare. So they are read, a window of them at a
time, each window in a short transaction of its own, until enough are found or the time is over; what recipients say of
themselves (project, address, state) is asked of their rows alone, which are small.
"""

from __future__ import annotations

import json
import string
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from attrs import frozen
from sqlalchemy import Column, ColumnElement, Connection, Select, and_, func, or_, select

from lmrelay.errors import SyntaxRefused
from lmrelay.ids import first_id
from lmrelay.mail.address import ascii_domain
from lmrelay.queue.orders import Search
from lmrelay.queue.rows import dump
from lmrelay.queue.schema import OPEN, is_open, message, recipient
from lmrelay.queue.selection import EVERYTHING, has_tag, joined

WINDOW = 20_000
"""
Rows of one window: some hundredths of a second, or a second where they have to come from a slow disk.
"""

Record = dict[str, Any]


@frozen
class Window:
    """
    Messages from C{first} to before C{before}, by id. C{is_last}: none are before.
    """

    first: str
    before: str
    is_last: bool


def end_of(search: Search) -> str:
    """
    Where a search begins, going back: before this id.
    """
    return EVERYTHING[1] if search.until is None else first_id(search.until)


def find_window(connection: Connection, search: Search, before: str, rows: int = WINDOW) -> Window:
    """
    The next window, going back from C{before}.
    """
    ids, open_ = _walks(search)
    start = "" if search.since is None else first_id(search.since)
    query = select(ids).where(ids < before, ids >= start).order_by(ids.desc()).offset(rows - 1).limit(1)
    first = connection.execute(query.where(is_open) if open_ else query).scalar()
    return Window(first or start, before, first is None)


def _walks(search: Search) -> tuple[Column[str], bool]:
    """
    What is walked: the ids of messages, or those of recipients where these say enough, of open ones where it is
    those that are meant.
    """
    open_ = bool(search.states) and set(search.states) <= set(OPEN)
    slim = bool(search.states or search.recipients)
    return (recipient.c.message if slim else message.c.id), open_


def find_messages(connection: Connection, search: Search, window: Window, limit: int) -> list[Record]:
    """
    At most C{limit} messages of a window that fit, the newest first.
    """
    ids, open_ = _walks(search)
    query: Select[Any] = select(ids).where(ids < window.before, ids >= window.first)
    if ids is recipient.c.message:
        wanted = [*_of_recipient(search, open_), *_of_message(search)]
        query = query.select_from(joined if _of_message(search) else recipient).where(*wanted).distinct()
    else:
        query = query.where(*_of_message(search))
    found = list(connection.execute(query.order_by(ids.desc()).limit(limit)).scalars())
    return list(_tell(connection, found)) if found else []


def _of_recipient(search: Search, open_: bool) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = [is_open] if open_ else []
    if search.states and not set(search.states) >= set(OPEN) | {"delivered", "failed", "deleted", "suppressed"}:
        found.append(recipient.c.state.in_(search.states))
    if search.projects:
        found.append(recipient.c.project.in_(search.projects))
    if search.recipients:
        found.append(or_(*(_is_to(one) for one in search.recipients)))
    return found


def _of_message(search: Search) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if search.projects and not (search.states or search.recipients):
        found.append(message.c.project.in_(search.projects))
    if search.routes:
        found.append(message.c.route.in_(search.routes))
    if search.tags:
        # The first spares the second, which is exact, for most.
        found.append(
            or_(*(and_(message.c.tags.contains(dump(tag), autoescape=True), has_tag(tag)) for tag in search.tags))
        )
    if search.senders:
        found.append(or_(*(_is_from(sender) for sender in search.senders)))
    if search.message_ids:
        bare = [one.strip().removeprefix("<").removesuffix(">") for one in search.message_ids]
        found.append(message.c.message_id.in_([form for one in bare for form in (one, f"<{one}>")]))
    if search.subject:
        found.append(_contains(message.c.subject, search.subject))
    if not search.redacted:
        found.append(~message.c.redact)
    return found


_CAPITALS = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def _lower(text: str) -> list[str]:
    """
    What a database may make of this text with C{lower}: SQLite, and PostgreSQL in some locales, know no capitals but
    those of ASCII.
    """
    return list(dict.fromkeys((text.translate(_CAPITALS), text.lower())))


def _contains(column: Column[str], text: str) -> ColumnElement[bool]:
    return or_(*(func.lower(column).contains(one, autoescape=True) for one in _lower(text)))


def _is_to(wanted: str) -> ColumnElement[bool]:
    local, _, domain = wanted.rpartition("@")
    there = recipient.c.domain == _domain(domain)
    # The domain may stand in the address in either of its spellings.
    if not local:
        return there
    spelt = (func.lower(recipient.c.address).startswith(f"{one}@", autoescape=True) for one in _lower(local))
    return and_(there, or_(*spelt))


def _is_from(sender: str) -> ColumnElement[bool]:
    if sender.startswith("@"):
        # From may have its address with angle brackets or without.
        ends = [(message.c.reverse_path, ""), (message.c.sender, ""), (message.c.sender, ">")]
        spelt = [(column, f"{one}{end}") for column, end in ends for one in _lower(sender)]
        return or_(*(func.lower(column).endswith(one, autoescape=True) for column, one in spelt))
    return or_(func.lower(message.c.reverse_path).in_(_lower(sender)), _contains(message.c.sender, sender))


def _domain(text: str) -> str:
    try:
        return ascii_domain(text)
    except SyntaxRefused:
        return text.lower()


_TOLD = (
    message.c.id.label("message"),
    message.c.received_at.label("received"),
    message.c.project,
    message.c.route,
    message.c.kind,
    message.c.notification,
    message.c.redact,
    message.c.reverse_path,
    message.c.sender,
    message.c.to,
    message.c.subject,
    message.c.message_id,
    message.c.size,
    message.c.tags,
)


def _tell(connection: Connection, ids: Sequence[str]) -> Iterator[Record]:
    mine = recipient.c.message.in_(ids)
    states: dict[str, dict[str, int]] = defaultdict(dict)
    by = (recipient.c.message, recipient.c.state)
    for row in connection.execute(select(*by, func.count().label("number")).where(mine).group_by(*by).order_by(*by)):
        states[row.message][row.state] = row.number
    first = and_(recipient.c.message == message.c.id, recipient.c.number == 0)
    query = (
        select(*_TOLD, recipient.c.address.label("recipient"))
        .select_from(message.outerjoin(recipient, first))
        .where(message.c.id.in_(ids))
        .order_by(message.c.id.desc())
    )
    for row in connection.execute(query):
        counted = states[row.message]
        yield {
            **row._mapping,
            "tags": json.loads(row.tags),
            "recipients": sum(counted.values()),
            "states": counted,
        }
