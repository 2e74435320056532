"""
The statements that every message needs: made by SQLAlchemy's compiler once for each database, then run as text.

Rows are mappings by column name. Running a statement through SQLAlchemy prepares each row
anew, which costs more than SQLite needs to store it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

from attrs import frozen
from sqlalchemy import (
    CTE,
    BindParameter,
    ClauseElement,
    Column,
    Connection,
    Dialect,
    Insert,
    Select,
    Table,
    and_,
    bindparam,
    column,
    delete,
    insert,
    literal_column,
    select,
    update,
    values,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import psycopg

from lmrelay.interfaces import RecipientKey
from lmrelay.queue.driver import SQLITE, count_changes, run_text
from lmrelay.queue.schema import is_open, message, recipient

_DIALECTS: dict[str, Callable[[], Dialect]] = {
    sqlite.dialect.name: lambda: sqlite.dialect(paramstyle="qmark"),
    postgresql.dialect.name: lambda: psycopg.dialect(paramstyle="format"),  # type: ignore[no-untyped-call]
}

READ_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 32, 64, 256)
"""
How many keys one read looks for: few sizes, so few texts that the database has to keep ready.
"""

WRITE_SIZES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 24, 32, 64)
"""
How many rows one statement writes, likewise. A batch of a busy relay is often below ten, with two events a message
that is settled, and each run has its price.
"""

PLAIN = "plain_text"
"""
The option of a connection that makes all text storable. Almost all is, so that is found out by trying.
"""


@frozen(eq=False)
class _Text:
    """
    A statement for the driver; C{pick} takes its parameters, in order, out of a row.
    """

    text: str
    names: tuple[str, ...]
    pick: Callable[[Any], tuple[Any, ...]]


@cache
def _compile(dialect: str, statement: ClauseElement, columns: tuple[str, ...] | None = None) -> _Text:
    compiled = statement.compile(
        dialect=_DIALECTS[dialect](), column_keys=columns, compile_kwargs={"render_postcompile": True}
    )
    names = tuple(compiled.positiontup or ())  # type: ignore[attr-defined]
    return _Text(str(compiled), names, itemgetter(*names) if len(names) > 1 else lambda row: (row[names[0]],))


@cache
def _compile_insert(dialect: str, table: Table) -> _Text:
    given = tuple(column.name for column in table.columns if column is not table.autoincrement_column)
    return _compile(dialect, insert(table).inline(), given)


def insert_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """
    Insert rows that have all columns, but for the number that the database gives.
    """
    if rows:
        how = _compile_insert(connection.dialect.name, table)
        _run(connection, how, rows, lambda size: _repeat_insert(how, size))


def insert_returning(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], names: tuple[str, ...]
) -> list[Any]:
    """
    Insert rows as L{insert_rows} does; the answer is what those columns of them hold then, in no order.
    """
    if not rows:
        return []
    how = _compile_insert(connection.dialect.name, table)
    found: list[Any] = []
    for size, part in _gather(_pick(connection, how, rows)):
        text = f"{_repeat_insert(how, size)} RETURNING {', '.join(names)}"
        found += run_text(connection, text, part)
    return found


@cache
def _repeat_insert(how: _Text, size: int) -> str:
    head, values, row = how.text.partition(" VALUES ")
    return f"{head}{values}{', '.join([row] * size)}"


def make_insert(dialect: str, table: Table) -> sqlite.Insert | postgresql.Insert:
    """
    An insert that can say what happens where there is such a row: both dialects say it alike.
    """
    return sqlite.insert(table) if dialect == sqlite.dialect.name else postgresql.insert(table)


def update_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """
    Change the rows that have the primary keys of these to what else these have: the same columns, each of them.
    """
    if rows:
        columns = tuple(rows[0])
        how = _compile_update(connection.dialect.name, table, columns)
        _run(connection, how, rows, lambda size: _compile_updates(table, columns, size))


def knows_changes(connection: Connection) -> bool:
    """
    Can L{update_first} be asked of this database?
    """
    return connection.dialect.name == SQLITE


def update_first(connection: Connection, owner: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    """
    As L{update_rows} with recipients, but no other than those that are open, with this owner, and were not tried yet.
    Were these all of them?
    """
    if not rows:
        return True
    before, columns = count_changes(connection), tuple(rows[0])
    how = _compile_update(SQLITE, recipient, columns)
    for size, part in _gather(_pick(connection, how, rows)):
        run_text(connection, _compile_first(columns, size), (*part, owner))
    return count_changes(connection) - before == len(rows)


@cache
def _compile_first(columns: tuple[str, ...], size: int) -> str:
    untried = and_(is_open, recipient.c.attempts == literal_column("0"), recipient.c.owner == bindparam("owner"))
    return f"{_compile_updates(recipient, columns, size)} AND {_compile(SQLITE, untried).text}"


@cache
def _compile_update(dialect: str, table: Table, columns: tuple[str, ...]) -> _Text:
    keys = [column.name for column in table.primary_key]
    # SQLAlchemy keeps the columns' own names for itself.
    given = {name: bindparam(f"given_{name}", type_=table.c[name].type) for name in columns}
    where = [table.c[name] == given[name] for name in keys]
    text = _compile(dialect, update(table).where(*where).values({n: given[n] for n in columns if n not in keys}))
    names = tuple(name.removeprefix("given_") for name in text.names)
    return _Text(text.text, names, itemgetter(*names))


@cache
def _compile_updates(table: Table, columns: tuple[str, ...], size: int) -> str:
    keys = [column.name for column in table.primary_key]
    ordered = _compile_update(SQLITE, table, columns).names

    def compile_for(count: int) -> str:
        rows: list[tuple[Any, ...]] = [tuple(bindparam(f"{name}_{row}") for name in ordered) for row in range(count)]
        given = values(*map(column, ordered), name="given").data(rows).cte("given")
        where = [table.c[name] == given.c[name] for name in keys]
        change = {name: given.c[name] for name in columns if name not in keys}
        return _compile(SQLITE, update(table).where(*where).values(change)).text

    return _grow(compile_for, size)


def _grow(compile_for: Callable[[int], str], size: int) -> str:
    """
    The text for so many rows or keys. What each further one adds is what the text for two has more than that for one;
    the compiler would take milliseconds for each size.
    """
    one, two = compile_for(1), compile_for(2)
    place = next(at for at, (before, after) in enumerate(zip(one, two, strict=False)) if before != after)
    added = two[place : place + len(two) - len(one)]
    return one[:place] + added * (size - 1) + one[place:]


def delete_rows(connection: Connection, chosen: Column[Any], keys: Sequence[Any]) -> None:
    """
    Delete the rows of a table with one of these in that column.
    """
    for part in _parts(keys):
        text = _compile_delete(connection.dialect.name, chosen, len(part))
        run_text(connection, text, tuple(part))


def run_each(connection: Connection, statement: Insert, rows: Sequence[Mapping[str, Any]]) -> None:
    """
    Run one statement, which lives as long as the process, for each of the rows.
    """
    if rows:
        _run(connection, _compile(connection.dialect.name, statement), rows)


@cache
def _compile_delete(dialect: str, chosen: Column[Any], size: int) -> str:
    def compile_for(count: int) -> str:
        given: BindParameter[Any] = bindparam("key", [""] * count, expanding=True)
        return _compile(dialect, delete(chosen.table).where(chosen.in_(given))).text

    return _grow(compile_for, size)


def _run(
    connection: Connection,
    how: _Text,
    rows: Sequence[Mapping[str, Any]],
    together: Callable[[int], str] | None = None,
) -> None:
    """
    Run a statement for each of the rows; C{together} is its text for so many of them at once.

    SQLite's driver lets the interpreter's other threads go first at each run of a statement, and waits long for its own
    next turn where they are busy; so one run takes many rows.
    """
    given = _pick(connection, how, rows)
    if together is None or connection.dialect.name != SQLITE:
        connection.exec_driver_sql(how.text, given)
        return
    for size, part in _gather(given):
        run_text(connection, together(size) if size > 1 else how.text, part)


def _pick(connection: Connection, how: _Text, rows: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    """
    A statement's parameters for each of the rows.
    """
    given = list(map(how.pick, rows))
    if connection.get_execution_options().get(PLAIN):
        return [tuple(map(make_plain, one)) for one in given]
    return given


def _gather(given: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """
    The parameters of as many rows at a time as there are texts for, and how many rows that is.
    """
    start, left = 0, len(given)
    while left:
        size = WRITE_SIZES[bisect_right(WRITE_SIZES, left) - 1]
        yield size, tuple(chain.from_iterable(given[start : start + size]))
        start, left = start + size, left - size


def make_plain(value: Any) -> Any:
    """
    Text without what no database stores: halves of surrogate pairs, and in PostgreSQL NUL.
    """
    if isinstance(value, str):
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
    return value


class Open(NamedTuple):
    """
    A recipient that is not final, with what is asked of its message when an attempt is over.
    """

    message: str
    number: int
    address: str
    notify: str | None
    orcpt_type: str | None
    orcpt: str | None
    attempts: int
    owner: str | None
    delay_told: bool
    extended: float
    project: str
    route: str
    notification: bool
    received_at: float
    body: str
    redact: bool
    reverse_path: str | None


_OPEN = (
    recipient.c.message,
    recipient.c.number,
    recipient.c.address,
    recipient.c.notify,
    recipient.c.orcpt_type,
    recipient.c.orcpt,
    recipient.c.attempts,
    recipient.c.owner,
    recipient.c.delay_told,
    recipient.c.extended,
    message.c.project,
    message.c.route,
    message.c.notification,
    message.c.received_at,
    message.c.body,
    message.c.redact,
    message.c.reverse_path,
)


@cache
def name_given(size: int, *columns: Column[Any]) -> CTE:
    """
    So many rows that a statement brings along, named C{given}, with columns as these. To be joined with what is looked
    for: of a list of keys that have several columns each SQLite compares every row of the table with all of them.
    """
    named = [column(one.name, one.type) for one in columns]
    rows: list[tuple[Any, ...]] = [
        tuple(bindparam(f"{one.name}_{number}", type_=one.type) for one in columns) for number in range(size)
    ]
    return values(*named, name="given").data(rows).cte("given")


@cache
def _select_open(size: int) -> Select[Any]:
    given = name_given(size, recipient.c.message, recipient.c.number)
    both = given.join(recipient, and_(recipient.c.message == given.c.message, recipient.c.number == given.c.number))
    return select(*_OPEN).select_from(both.join(message, message.c.id == recipient.c.message)).where(is_open)


@cache
def _select_over(size: int) -> Select[Any]:
    mine = select(recipient.c.number).where(recipient.c.message == message.c.id, is_open)
    ids: BindParameter[Any] = bindparam("key", [""] * size, expanding=True)
    return select(message.c.id).where(message.c.id.in_(ids), ~mine.exists())


@cache
def _compile_read(dialect: str, make: Callable[[int], ClauseElement], size: int) -> str:
    return _grow(lambda count: _compile(dialect, make(count)).text, size)


def find_open(connection: Connection, keys: Sequence[RecipientKey]) -> dict[RecipientKey, Open]:
    """
    Those recipients that are not final.
    """
    return {(row.message, row.number): row for row in map(Open._make, find_rows(connection, _select_open, keys))}


def find_rows(
    connection: Connection, make: Callable[[int], ClauseElement], keys: Sequence[tuple[Any, ...]]
) -> Iterator[Any]:
    """
    What is found for these keys, or changed; C{make} gives the statement, always the same one, for so many at a time.
    """
    for part in _parts(keys):
        text = _compile_read(connection.dialect.name, make, len(part))
        yield from run_text(connection, text, tuple(chain.from_iterable(part)))


def find_over(connection: Connection, ids: Sequence[str]) -> set[str]:
    """
    Those messages that have no recipient left who is not final.
    """
    found: set[str] = set()
    for part in _parts(ids):
        text = _compile_read(connection.dialect.name, _select_over, len(part))
        found.update(row[0] for row in run_text(connection, text, tuple(part)))
    return found


def _parts(keys: Sequence[Any]) -> list[Sequence[Any]]:
    """
    Parts of the sizes that there are texts for, the last filled up with its last key.
    """
    largest = READ_SIZES[-1]
    parts: list[Sequence[Any]] = []
    for start in range(0, len(keys), largest):
        part = list(keys[start : start + largest])
        size = READ_SIZES[bisect_left(READ_SIZES, len(part))]
        parts.append(part + part[-1:] * (size - len(part)))
    return parts
