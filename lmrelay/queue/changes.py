"""
An operator's order carried out on the rows, slice by slice.

A slice is one short transaction, which also records how far the order has come. So a huge
selection keeps nobody waiting, and what a crash cut off goes on where it was, counted once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from typing import Any

from attrs import asdict, evolve, frozen
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    case,
    delete,
    insert,
    literal_column,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate

from lmrelay.interfaces import RecipientKey
from lmrelay.queue.orders import LATE, Change, Selector, SiteVerb, Verb
from lmrelay.queue.rows import dump
from lmrelay.queue.schema import DELETED, HELD, OPEN, QUEUED, WAITING, command, recipient, worker
from lmrelay.queue.selection import find_page
from lmrelay.queue.settle import drop_bodies
from lmrelay.queue.statements import find_rows, name_given

SLICE = 500
"""
Recipients changed in one transaction.
"""

AnyVerb = Verb | SiteVerb

APPLIES_TO: Mapping[AnyVerb, tuple[str, ...]] = {
    Verb.RETRY: WAITING,
    Verb.HOLD: WAITING,
    Verb.RELEASE: (HELD,),
    Verb.DELETE: OPEN,
}
"""
The states that a verb can change.
"""

_VERBS: dict[str, AnyVerb] = {verb.value: verb for verb in (*Verb, *SiteVerb)}


@frozen
class Order:
    """
    What the operator wants, and how far it has come.

    C{ordered_at} is what the selector's ages are counted from; C{after} is the last
    recipient that was looked at.
    """

    id: str
    verb: AnyVerb
    selector: Selector
    ordered_at: float
    after: RecipientKey | None = None
    changed: int = 0
    in_flight: int = 0
    late: tuple[str, ...] = ()
    done: bool = False

    def tell(self, *, by_daemon: bool) -> Change:
        """
        What became of it.
        """
        return Change(self.changed, self.in_flight, by_daemon, self.late)


def write_order(connection: Connection, order: Order) -> None:
    """
    Leave an order for the daemon.
    """
    row = {"id": order.id, "verb": order.verb.value, "selector": dump(asdict(order.selector))}
    progress = {"ordered_at": order.ordered_at, "changed": 0, "in_flight": 0, "late": "[]"}
    connection.execute(insert(command), [{**row, **progress}])


def read_order(row: Row[Any]) -> Order:
    """
    The order of a row.
    """
    return Order(
        row.id,
        _VERBS[row.verb],
        Selector(**json.loads(row.selector)),
        row.ordered_at,
        None if row.after_message is None else (row.after_message, row.after_number),
        row.changed,
        row.in_flight,
        tuple(json.loads(row.late)),
        row.done_at is not None,
    )


def find_order(connection: Connection, id_: str) -> Order | None:
    """
    The order of that id, as far as it has come.
    """
    row = connection.execute(select(command).where(command.c.id == id_)).first()
    return None if row is None else read_order(row)


def find_undone(connection: Connection) -> list[Order]:
    """
    The orders that wait or are being carried out, the oldest first.
    """
    return [read_order(row) for row in connection.execute(_UNDONE)]


_UNDONE = select(command).where(command.c.done_at.is_(None)).order_by(command.c.id)


def _nobody_has_it(me: str) -> ColumnElement[bool]:
    by = command.c.worker
    return or_(by.is_(None), by == me, by.not_in(select(worker.c.id)))


def claim_orders(connection: Connection, items: Sequence[tuple[str, str]]) -> list[Order | None]:
    """
    Take orders (id, worker) that no living worker has; None where one has.
    """
    found = []
    for id_, me in items:
        mine = command.c.id == id_, command.c.done_at.is_(None), _nobody_has_it(me)
        claimed = connection.execute(update(command).where(*mine).values(worker=me)).rowcount
        found.append(find_order(connection, id_) if claimed else None)
    return found


def take_back(connection: Connection, id_: str) -> Order | None:
    """
    Remove an order that no living worker has; the answer is how far it had come, None if one has it.
    """
    row = connection.execute(select(command).where(command.c.id == id_)).first()
    unclaimed = command.c.id == id_, command.c.done_at.is_(None), _nobody_has_it("")
    gone = connection.execute(delete(command).where(*unclaimed)).rowcount
    return read_order(row) if row is not None and gone else None


def find_slice(connection: Connection, order: Order) -> list[Row[Any]]:
    """
    The next recipients that the order is about: message, number, owner.
    """
    columns = (recipient.c.message, recipient.c.number, recipient.c.owner)
    changeable = recipient.c.state.in_(APPLIES_TO[order.verb])
    return find_page(connection, columns, order.selector, order.ordered_at, order.after, SLICE, changeable)


@frozen
class Slice:
    """
    Recipients to change next (as L{find_slice} found them), those of them that C{worker} withdrew from
    its delivery, and the time now.
    """

    order: Order
    rows: Sequence[Row[Any]]
    now: float
    worker: str = ""
    withdrawn: Collection[RecipientKey] = ()


def write_slices(connection: Connection, items: Sequence[Slice]) -> list[Order]:
    """
    Change them, and record it with the order; the answers are how far the orders have come.
    """
    return [_write_slice(connection, one) for one in items]


def _write_slice(connection: Connection, slice_: Slice) -> Order:
    order, rows = slice_.order, slice_.rows
    mine = set(slice_.withdrawn)
    free = [(row.message, row.number) for row in rows if row.owner is None]
    changed = _change(connection, order.verb, free, None, slice_.now)
    changed += _change(connection, order.verb, mine, slice_.worker, slice_.now)
    if order.verb is Verb.DELETE:
        drop_bodies(connection, sorted({one for one, _ in (*free, *mine)}))
    late = [row.message for row in rows if row.owner is not None and (row.message, row.number) not in mine]
    if changed < len(free) + len(mine):
        late += _taken_meanwhile(connection, {*free, *mine})
    order = evolve(
        order,
        after=(rows[-1].message, rows[-1].number) if rows else order.after,
        changed=order.changed + changed,
        in_flight=order.in_flight + len(late),
        late=tuple(dict.fromkeys((*order.late, *late)))[:LATE],
        done=len(rows) < SLICE,
    )
    _record(connection, order, slice_.now)
    return order


def _change(
    connection: Connection, verb: AnyVerb, keys: Collection[RecipientKey], owner: str | None, now: float
) -> int:
    """
    Change those that are still as they were found, with that owner; how many that were.
    """
    # Many in one run: between two of them a reactor that is busy has its turn, and that is long.
    return len(list(find_rows(connection, _make_change(verb), [(*key, owner, now) for key in sorted(keys)])))


@cache
def _make_change(verb: AnyVerb) -> Callable[[int], ReturningUpdate[Any]]:
    """
    What gives the change of so many recipients.
    """

    @cache
    def make(size: int) -> ReturningUpdate[Any]:
        given = name_given(size, recipient.c.message, recipient.c.number, recipient.c.owner, recipient.c.due)
        now, none = given.c.due, null()
        values: dict[AnyVerb, dict[str, Any]] = {
            Verb.RETRY: {"next_attempt": now, "due": now},
            Verb.HOLD: {"state": _quote(HELD), "due": none, "held_at": now},
            Verb.RELEASE: {
                "state": _quote(QUEUED),
                "next_attempt": now,
                "due": now,
                "held_at": none,
                "extended": _extend(now),
            },
            Verb.DELETE: {"state": _quote(DELETED), "next_attempt": none, "due": none, "ended_at": now},
        }
        return (
            update(recipient)
            .where(
                recipient.c.message == given.c.message,
                recipient.c.number == given.c.number,
                recipient.c.owner.is_not_distinct_from(given.c.owner),
                recipient.c.state.in_([_quote(state) for state in APPLIES_TO[verb]]),
            )
            .values(owner=none, **values[verb])
            .returning(recipient.c.number)
        )

    return make


def _quote(state: str) -> ColumnElement[str]:
    """
    A state as a literal: all parameters of the statement are those of the recipients.
    """
    return literal_column(f"'{state}'")


def _extend(now: ColumnElement[Any]) -> ColumnElement[float]:
    """
    The time for which a recipient was held, added to that it has: while held it does not expire.
    """
    held = recipient.c.held_at
    return case((held < now, recipient.c.extended + now - held), else_=recipient.c.extended)


def _taken_meanwhile(connection: Connection, keys: set[RecipientKey]) -> list[str]:
    """
    Those that a worker took between the read and the write: once for each recipient, its message.
    """
    messages = sorted({one for one, _ in keys})
    query = select(recipient.c.message, recipient.c.number).where(
        recipient.c.message.in_(messages), recipient.c.owner.is_not(None), recipient.c.state.in_(OPEN)
    )
    return [row.message for row in connection.execute(query) if (row.message, row.number) in keys]


def _record(connection: Connection, order: Order, now: float) -> None:
    after = order.after or (None, None)
    connection.execute(
        update(command)
        .where(command.c.id == order.id)
        .values(
            after_message=after[0],
            after_number=after[1],
            changed=order.changed,
            in_flight=order.in_flight,
            late=dump(order.late),
            done_at=now if order.done else None,
        )
    )


def finish_orders(connection: Connection, items: Sequence[tuple[Order, float]]) -> list[None]:
    """
    Record that these are carried out (at that time), as they say.
    """
    for order, now in items:
        _record(connection, evolve(order, done=True), now)
    return [None] * len(items)


def drop_orders(connection: Connection, items: Sequence[str]) -> list[None]:
    """
    Remove orders that nobody waits for any more.
    """
    connection.execute(delete(command).where(command.c.id.in_(list(items)), command.c.done_at.is_(None)))
    return [None] * len(items)
