"""
Where every event is written, and with it, in the same commit, who is to be told of it.

An event gets a row in C{webhook_delivery}, due at once, for each endpoint of its project that the configuration in
force has and that wants it. Most projects have no endpoint: for theirs this costs a look into a set.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from attrs import define, field, frozen
from sqlalchemy import Connection, select

from lmrelay.config.project import Webhook
from lmrelay.config.values import Config
from lmrelay.interfaces import Endpoint, ISettings
from lmrelay.queue.rows import Row
from lmrelay.queue.schema import event, webhook_delivery, webhook_endpoint
from lmrelay.queue.statements import insert_returning, insert_rows

WAITING, DELIVERED, DEAD = "waiting", "delivered", "dead"
"""
The states of a C{webhook_delivery}.
"""

WriteEvents = Callable[[Connection, Sequence[Row]], None]
"""
Writes events, each a row as L{lmrelay.queue.rows.event_row} makes it; those of a message in their order.
"""


def write_untold(connection: Connection, rows: Sequence[Row]) -> None:
    """
    Write events that nobody is to be told of.
    """
    insert_rows(connection, event, rows)


def delivery_row(sequence: int, row: Row, endpoint: str) -> Row:
    """
    That an endpoint is to be told of an event, at once.
    """
    return {
        "event": sequence,
        "endpoint": endpoint,
        "attempts": 0,
        # In the order in which it all happened, as far as an index can tell.
        "due": row["at"],
        "owner": None,
        "last": "",
        "project": row["project"],
        "state": WAITING,
        "ended_at": None,
        "begun_at": row["at"],
        "earlier": 0,
    }


@frozen(eq=False)
class _Listeners:
    """
    Who wants what, by one configuration.
    """

    config: Config
    _of: Mapping[str, tuple[Webhook, ...]]
    _known: dict[tuple[str, str, str], tuple[str, ...]] = field(factory=dict)

    @classmethod
    def of(cls, config: Config) -> _Listeners:
        """
        Those of a configuration: the projects without any are not looked at again.
        """
        enabled = {
            slug: tuple(one for one in project.webhooks if one.enabled) for slug, project in config.projects.items()
        }
        return cls(config, {slug: hooks for slug, hooks in enabled.items() if hooks})

    def find(self, row: Row) -> tuple[str, ...]:
        """
        The names of the endpoints that want such an event.
        """
        hooks = self._of.get(row["project"])
        if hooks is None:
            return ()
        kind = row["project"], row["route"], row["type"]
        names = self._known.get(kind)
        if names is None:
            names = self._known[kind] = tuple(one.name for one in hooks if one.wants(row["type"], row["route"]))
        return names


@define(eq=False)
class Outbox:
    """
    The way of all events into the store.

    C{told} is called, on the thread that writes and before the commit, with the endpoints that are to be told of it.
    """

    _settings: ISettings
    _told: Callable[[Collection[Endpoint]], object] = lambda _: None
    _listeners: _Listeners | None = field(default=None, init=False)

    def write(self, connection: Connection, rows: Sequence[Row]) -> None:
        """
        Write events as L{WriteEvents} has it, and who is to be told of them.
        """
        listeners = self._find_listeners()
        wanted: Mapping[str, Sequence[str]] = {row["id"]: names for row in rows if (names := listeners.find(row))}
        if not wanted:
            write_untold(connection, rows)
            return
        # All of a project goes one way, so that the sequence of a message's events stays in their order.
        projects = {row["project"] for row in rows if row["id"] in wanted}
        write_untold(connection, [row for row in rows if row["project"] not in projects])
        told = [row for row in rows if row["project"] in projects]
        wanted = _leave_out(wanted, told, _find_disabled(connection, projects))
        write_told(connection, told, wanted)
        # In their order, not in that of a set, which is another in each process: a simulation must play again.
        self._told(dict.fromkeys((row["project"], name) for row in told for name in wanted.get(row["id"], ())))

    def _find_listeners(self) -> _Listeners:
        config, known = self._settings.config, self._listeners
        if known is None or known.config is not config:
            known = self._listeners = _Listeners.of(config)
        return known


def write_told(connection: Connection, rows: Sequence[Row], told: Mapping[str, Sequence[str]]) -> None:
    """
    Write events and, by their id, the endpoints that are to be told of them.
    """
    sequences = {id_: sequence for sequence, id_ in insert_returning(connection, event, rows, ("sequence", "id"))}
    deliveries = [
        delivery_row(sequences[row["id"]], row, endpoint) for row in rows for endpoint in told.get(row["id"], ())
    ]
    insert_rows(connection, webhook_delivery, deliveries)


def _find_disabled(connection: Connection, projects: Collection[str]) -> set[tuple[str, str]]:
    query = select(webhook_endpoint.c.project, webhook_endpoint.c.endpoint).where(
        webhook_endpoint.c.project.in_(sorted(projects)), webhook_endpoint.c.disabled_at.is_not(None)
    )
    return {(row.project, row.endpoint) for row in connection.execute(query)}


def _leave_out(
    wanted: Mapping[str, Sequence[str]], rows: Iterable[Row], disabled: Collection[tuple[str, str]]
) -> Mapping[str, Sequence[str]]:
    if not disabled:
        return wanted
    return {
        row["id"]: [name for name in wanted[row["id"]] if (row["project"], name) not in disabled]
        for row in rows
        if row["id"] in wanted
    }
