"""
What a relay promises of webhooks, held against what endpoints took: each broken promise in a line of words.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any

from attrs import define, field
from sqlalchemy import Connection, select

from lmrelay.events.schedule import lifetime
from lmrelay.queue.outbox import DEAD, DELIVERED, WAITING
from lmrelay.queue.schema import event, webhook_attempt, webhook_delivery, webhook_endpoint
from tests.simulation.endpoints import Endpoint, Taken, Trap
from tests.simulation.world import World

SOON = 60.0
"""
Seconds after a 410 in which requests that were under way may still come.
"""

SLACK = 5.0
"""
Seconds from when something happens until it is written.
"""

Key = tuple[str, str]
"""
An endpoint's project and name.
"""


@define(eq=False)
class _Store:
    """
    What is recorded: events by id, and when they were written; deliveries and attempts by endpoint and event's id.
    """

    events: dict[str, Any]
    written: dict[str, float]
    deliveries: dict[Key, dict[str, Any]]
    attempts: dict[tuple[Key, str], list[Any]]
    disabled: dict[Key, float]
    strays: int


def _read(connection: Connection) -> _Store:
    events = {row.sequence: row for row in connection.execute(select(event).order_by(event.c.sequence))}
    deliveries: dict[Key, dict[str, Any]] = defaultdict(dict)
    strays = 0
    for row in connection.execute(select(webhook_delivery)):
        if row.event in events:
            deliveries[row.project, row.endpoint][events[row.event].id] = row
        else:
            strays += 1
    attempts: dict[tuple[Key, str], list[Any]] = defaultdict(list)
    for row in connection.execute(select(webhook_attempt).order_by(webhook_attempt.c.number)):
        if (about := events.get(row.event)) is not None:
            attempts[(about.project, row.endpoint), about.id].append(row)
    off = select(webhook_endpoint).where(webhook_endpoint.c.disabled_at.is_not(None))
    disabled = {(row.project, row.endpoint): row.disabled_at for row in connection.execute(off)}
    named = {row.id: row for row in events.values()}
    return _Store(named, find_written(events.values()), deliveries, attempts, disabled, strays)


def find_written(events: Iterable[Any]) -> dict[str, float]:
    """
    When each was written, more or less: that an attempt began is written when it ended, with how it went; and none
    before those that have lower numbers. A message is of the time at which its content began to come.
    """
    rows, last, known = list(events), {}, []
    for row in reversed(rows):
        place = row.message, row.recipient
        known.append(last.get(place, row.at) if row.type == "message.sent" else row.at)
        last[place] = row.at
    return {row.id: at for row, at in zip(rows, accumulate(reversed(known), max), strict=True)}


@define(eq=False)
class Tellings:
    """
    The promises of one world. L{note_end} is to be told of each end of the process. C{was_away}: was a project not
    configured for a while, so that its endpoints were told nothing, and what they were to be told given up?
    """

    world: World
    endpoints: Sequence[Endpoint]
    trap: Trap = field(factory=Trap)
    was_away: Callable[[str], bool] = lambda project: False

    def note_end(self) -> None:
        """
        What endpoints took and was not recorded yet may come once more.
        """
        store = self.world.read(_read)
        for endpoint in self.endpoints:
            waiting = store.deliveries[_key(endpoint)]
            for taken in endpoint.taken:
                if any(one["id"] in waiting and waiting[one["id"]].state == WAITING for one in taken.events):
                    taken.is_sure = False

    def find_open(self) -> int:
        """
        Events that still are to be told.
        """
        query = select(webhook_delivery.c.event).where(webhook_delivery.c.state == WAITING)
        return len(self.world.read(lambda connection: connection.execute(query).all()))

    def find_broken(self) -> Iterator[str]:
        """
        Every promise that was not kept.
        """
        store = self.world.read(_read)
        known = {_key(endpoint) for endpoint in self.endpoints}
        yield from (
            f"{len(rows)} events are for {key}, which is nobody"
            for key, rows in store.deliveries.items()
            if key not in known and rows
        )
        if store.strays:
            yield f"{store.strays} deliveries are of no event"
        yield from (f"the relay connected to {who}" for who in self.trap.caught)
        for endpoint in self.endpoints:
            name = f"{endpoint.project}/{endpoint.webhook.name} ({endpoint.temper.value})"
            for broken in (
                *self._check_written(store, endpoint),
                *self._check_states(store, endpoint),
                *_check_taken(store, endpoint),
            ):
                yield f"{name}: {broken}"

    def _check_written(self, store: _Store, endpoint: Endpoint) -> Iterator[str]:
        """
        Whatever it wants is to be told to it, and nothing else.
        """
        deliveries, off = store.deliveries[_key(endpoint)], store.disabled.get(_key(endpoint))
        is_away = self.was_away(endpoint.project)
        for id_, about in store.events.items():
            is_wanted = about.project == endpoint.project and endpoint.webhook.wants(about.type, about.route)
            if id_ in deliveries:
                if not is_wanted:
                    yield f"{about.type} of {about.project} is to be told, and was never wanted"
            elif (
                is_wanted
                and not is_away
                and about.message is not None
                and (off is None or store.written[id_] < off - self._slack)
            ):
                yield f"{about.type} ({about.sequence}) is told to nobody"

    @property
    def _slack(self) -> float:
        # What happened while a commit was on its way to the disk is written by the next one.
        return SLACK + self.world.jumped + 2 * self.world.disk.slowest

    def _check_states(self, store: _Store, endpoint: Endpoint) -> Iterator[str]:
        """
        Delivered is what it took; given up is what it had every chance to take, or what it wanted no more.
        """
        retry, key = self.world.config.webhooks.retry, _key(endpoint)
        took = {one["id"] for taken in endpoint.taken if taken.said_yes for one in taken.events}
        for id_, row in store.deliveries[key].items():
            about, tried = store.events[id_], store.attempts[key, id_]
            what = f"{about.type} ({about.sequence})"
            if [one.number for one in tried] != list(range(1, row.attempts + 1)):
                yield f"{what} was tried {row.attempts} times, recorded are {len(tried)}"
            if any(_is_success(one) for one in tried[:-1]):
                yield f"{what} was told again after it was taken"
            if row.state == DELIVERED and not (id_ in took and tried and _is_success(tried[-1])):
                yield f"{what} is recorded as delivered, and was not taken"
            is_old = row.ended_at is not None and row.ended_at - row.begun_at >= lifetime(retry) - self._slack
            is_spent = row.attempts - row.earlier > len(retry)
            # What was under way when its endpoint went is given up with what that attempt came to.
            is_gone = self.was_away(key[0])
            if row.state == DEAD and not (is_spent or is_old or is_gone or key in store.disabled):
                yield f"{what} was given up after {row.attempts} attempts: {row.last}"
            if row.state == WAITING:
                yield f"{what} still waits after {row.attempts} attempts: {row.last}"


def _key(endpoint: Endpoint) -> Key:
    return endpoint.project, endpoint.webhook.name


def _is_success(attempt: Any) -> bool:
    return attempt.status is not None and 200 <= attempt.status < 300


def _check_taken(store: _Store, endpoint: Endpoint) -> Iterator[str]:
    """
    What it took is true, signed, and the same each time; and comes again only where that is not known to have come.
    """
    deliveries = store.deliveries[_key(endpoint)]
    told: dict[str, tuple[dict[str, Any], Taken]] = {}
    gone_at: float | None = None
    for taken in endpoint.taken:
        if gone_at is not None and taken.at > gone_at + SOON:
            yield f"it was told something {taken.at - gone_at:.0f} s after its 410"
        if not taken.is_signed:
            yield f"a request was not signed: {taken.headers}"
        if taken.said_gone and taken.is_sure and gone_at is None:
            gone_at = taken.at
        for document in taken.events:
            id_ = document["id"]
            if id_ not in deliveries:
                yield f"it was told {document['event']} of {document['context']['project']}, which is not for it"
                continue
            if (wrong := _contradict(store.events[id_], document)) is not None:
                yield wrong
            before = told.get(id_)
            if before is not None and before[0] != document:
                yield f"{document['event']} was told again in other words: {document}"
            if before is not None and before[1].is_sure and before[1].said_yes:
                what = f"{document['event']} ({document['sequence']})"
                yield f"{what} came again, {taken.at - before[1].at:.1f} s after it was taken"
            told[id_] = (document, taken)


def _contradict(row: Any, document: dict[str, Any]) -> str | None:
    """
    What is told otherwise than it is written.
    """
    written = (row.sequence, row.type, row.project, row.route or None, row.message)
    context = document["context"]
    said = (
        document["sequence"],
        document["event"],
        context["project"],
        context["route"],
        document["data"].get("message_id"),
    )
    own = json.loads(row.document)
    if written != said or any(document["data"].get(name) != value for name, value in own.items()):
        return f"{written} was told as {said}"
    return None
