"""
What a selector means, in SQL: recipients page by page, in the order of their messages.

A page is one short read that begins where the last one ended, so a queue of any length costs
neither memory nor a long transaction (which would keep SQLite's log from being emptied).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Row, and_, func, or_, select, tuple_

from lmrelay.ids import ID_LENGTH
from lmrelay.interfaces import RecipientKey
from lmrelay.queue.orders import Selector
from lmrelay.queue.rows import dump
from lmrelay.queue.schema import OPEN, is_open, message, recipient

joined = recipient.join(message, message.c.id == recipient.c.message)

Range = tuple[str, str]
"""
The first and the last id that are meant.
"""

EVERYTHING: Range = ("", "z" * ID_LENGTH)

_BEGINNING = re.compile(r"[0-9a-z]+")


def find_ranges(selector: Selector) -> list[Range]:
    """
    The ids that are meant, as ranges that do not overlap, in order.

    What cannot begin an id, the empty text too, means none: a variable that a script
    left empty must not select everything.
    """
    if not selector.messages:
        return [EVERYTHING]
    ranges: list[Range] = []
    for beginning in sorted(one.lower() for one in selector.messages):
        within = bool(ranges) and ranges[-1][0] <= beginning <= ranges[-1][1]
        if not within and _BEGINNING.fullmatch(beginning) and len(beginning) <= ID_LENGTH:
            ranges.append((beginning, beginning.ljust(ID_LENGTH, "z")))
    return ranges


def conditions(selector: Selector, now: float) -> list[ColumnElement[bool]]:
    """
    What else is meant, for rows of L{joined}; C{now} is what ages are counted from.
    """
    found = _states(selector.states)
    for column, values in (
        (recipient.c.project, selector.projects),
        (message.c.route, selector.routes),
        (recipient.c.domain, selector.domains),
    ):
        if values:
            found.append(column.in_(values))
    if selector.recipients:
        lowered = [one.lower() for one in selector.recipients]
        found.append(
            or_(recipient.c.address.in_(selector.recipients), func.lower(recipient.c.address).in_(lowered)),
        )
    if selector.tags:
        found.append(or_(*(has_tag(tag) for tag in selector.tags)))
    # The sum keeps the planner from walking messages by age, which would sort all of them for each page.
    age = now - (message.c.received_at + 0)
    if selector.older_than is not None:
        found.append(age > selector.older_than)
    if selector.younger_than is not None:
        found.append(age < selector.younger_than)
    return found


def _states(states: Sequence[str]) -> list[ColumnElement[bool]]:
    if not states or set(states) == set(OPEN):
        return [is_open]
    narrowed: list[ColumnElement[bool]] = [recipient.c.state.in_(states)]
    return [is_open, *narrowed] if set(states) <= set(OPEN) else narrowed


def has_tag(tag: str) -> ColumnElement[bool]:
    """
    Is it one of the message's tags? Exactly, in case too, which LIKE of SQLite would not mind.

    Tags are a JSON list; within a string a quote has a backslash before it, so these two
    texts stand only where a tag begins.
    """
    quoted = dump(tag)
    return or_(*(func.replace(message.c.tags, f"{before}{quoted}", "") != message.c.tags for before in "[,"))


def find_page(
    connection: Connection,
    columns: Sequence[Column[Any]],
    selector: Selector,
    now: float,
    after: RecipientKey | None,
    limit: int,
    *more: ColumnElement[bool],
) -> list[Row[Any]]:
    """
    At most C{limit} of the recipients that are meant, behind C{after}; fewer: there are no more.
    """
    rows: list[Row[Any]] = []
    where = and_(*conditions(selector, now), *more)
    key = (recipient.c.message, recipient.c.number)
    for first, last in find_ranges(selector):
        if after is not None and last < after[0]:
            continue
        query = select(*columns).select_from(joined).where(where).order_by(*key).limit(limit - len(rows))
        if (first, last) != EVERYTHING:
            query = query.where(recipient.c.message.between(max(first, after[0] if after else ""), last))
        if after is not None:
            query = query.where(tuple_(*key) > tuple_(*after))
        rows += connection.execute(query)
        if len(rows) == limit:
            break
    return rows


def within_ranges(selector: Selector) -> ColumnElement[bool]:
    """
    Is the message's id one that is meant?
    """
    return or_(False, *(recipient.c.message.between(first, last) for first, last in find_ranges(selector)))
