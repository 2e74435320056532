"""
What a relay promises, held against what came of a story: each broken promise in a line of words.

The applications know what they were told, the receivers what they took, and the store what is recorded.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from attrs import define, field
from sqlalchemy import Connection, select

from lmrelay.mail.address import parse_address
from lmrelay.mail.parts import Part, find_part
from lmrelay.queue.schema import (
    DEFERRED,
    DELIVERED,
    FAILED,
    OPEN,
    SUPPRESSED,
    WAITING,
    attempt,
    chunk,
    event,
    message,
    recipient,
)
from tests.simulation.applications import Application, Letter, To
from tests.simulation.leftovers import find_strays, find_undone
from tests.simulation.receivers import Arrival
from tests.simulation.withheld import Withheld, refuses_for_good
from tests.simulation.world import World

Key = tuple[str, str]
"""
A letter's name and a recipient's address.
"""

FINAL = {
    "delivered": {"message.delivered"},
    "failed": {"message.hard_bounced", "message.failed"},
    "delayed": {"message.soft_bounced", "message.failed"},
}
"""
The event that ends the story of a recipient, by the outcome of its last attempt.
"""

DOUBTFUL = "(the message may be sent more than once)"
"""
In the words of an attempt: the whole content was sent, and no answer to it was heard.
"""

_ABOUT = re.compile(r"^Subject: (\S+)\r?$", re.MULTILINE)
_TO = re.compile(r"^Final-Recipient: rfc822; ?(\S+)\r?$", re.MULTILINE)


@define(eq=False)
class _Store:
    """
    All that is recorded.
    """

    messages: dict[str, Any]
    recipients: dict[str, list[Any]]
    attempts: dict[tuple[str, int], list[Any]]
    events: dict[tuple[str, int | None], list[str]]
    bodies: set[str]
    told: list[Any]

    @property
    def wanted(self) -> set[str]:
        """
        The bodies of what is open.
        """
        return {
            about.body for id_, about in self.messages.items() if any(row.state in OPEN for row in self.recipients[id_])
        }


def _read(connection: Connection) -> _Store:
    messages = {row.id: row for row in connection.execute(select(message))}
    recipients, attempts, events = defaultdict(list), defaultdict(list), defaultdict(list)
    for row in connection.execute(select(recipient).order_by(recipient.c.number)):
        recipients[row.message].append(row)
    for row in connection.execute(select(attempt).order_by(attempt.c.number)):
        attempts[row.message, row.recipient].append(row)
    told = list(connection.execute(select(event).order_by(event.c.sequence)))
    for row in told:
        # The operator's changes of the list of suppressions are of no message.
        if row.message is not None or not row.type.startswith("suppression."):
            events[row.message, row.recipient].append(row.type)
    bodies = set(connection.execute(select(chunk.c.body)).scalars())
    return _Store(messages, recipients, attempts, events, bodies, told)


@define(eq=False)
class Promises:
    """
    The promises of one world. L{note_death} is to be told of each death of the process. C{removed} are projects that
    were gone for a while: nobody knew then which of their routes want no notifications.
    """

    world: World
    applications: list[Application] = field(factory=list)
    cut: Counter[Key] = field(factory=Counter)
    broken: list[str] = field(factory=list)
    removed: set[str] = field(factory=set)

    def note_death(self) -> None:
        """
        The process died: what receivers had taken and was not recorded yet may come once more. And what always holds is
        looked at.
        """
        store = self.world.read(_read)
        self.broken += (line for line in self._check_always(store) if line not in self.broken)
        arrived = _count(self._arrivals())
        for id_, about in store.messages.items():
            for row in store.recipients[id_]:
                key = (about.subject, row.address)
                if row.state not in (DELIVERED, FAILED, SUPPRESSED) and arrived[key] > self._explained(store, row, key):
                    self.cut[key] += 1

    def _explained(self, store: _Store, row: Any, key: Key) -> int:
        """
        How often the recipient may have got it without a fault of the relay's.
        """
        attempts = store.attempts[row.message, row.number]
        doubtful = sum(one.outcome == "delayed" and DOUBTFUL in one.text for one in attempts)
        return int(row.state == DELIVERED) + doubtful + self.cut[key]

    def _arrivals(self) -> Iterator[Arrival]:
        for receiver in self.world.receivers:
            yield from receiver.arrivals

    def find_open(self) -> int:
        """
        Recipients that are still queued.
        """
        query = select(recipient.c.number).where(recipient.c.state.in_(OPEN))
        return len(self.world.read(lambda connection: connection.execute(query).all()))

    def find_broken(self) -> list[str]:
        """
        Every promise that was not kept.
        """
        store = self.world.read(_read)
        return [
            *self.broken,
            *self._check_always(store),
            *self._check_over(store),
            *self._check_notices(store),
            *self._check_withheld(store),
        ]

    def _check_always(self, store: _Store) -> Iterator[str]:
        """
        What holds at each moment at which nothing is in memory.
        """
        yield from self._check_accepted(store)
        yield from self._check_events(store)
        yield from self._check_rows(store)
        yield from self.world.read(lambda connection: list(find_strays(connection)))

    def _check_over(self, store: _Store) -> Iterator[str]:
        """
        What holds when all has come to its end.
        """
        for application in self.applications:
            if application.outbox:
                yield f"{len(application.outbox)} letters were never accepted: {application.refusals[-1:]}"
        yield from self._check_arrivals(store)
        if store.bodies - store.wanted:
            yield f"{len(store.bodies - store.wanted)} bodies are left behind"
        yield from self.world.read(lambda connection: list(find_undone(connection)))

    def _check_accepted(self, store: _Store) -> Iterator[str]:
        """
        What was answered 250 is there, once, and whole.
        """
        times = Counter(about.subject for about in store.messages.values() if not about.notification)
        for application in self.applications:
            for letter in application.accepted:
                yield from _check_letter(store, letter, times[letter.name])
            for letter in application.given_up:
                if times[letter.name] > 1:
                    yield f"{letter.name} was sent once and stored {times[letter.name]} times"

    def _check_arrivals(self, store: _Store) -> Iterator[str]:
        """
        Delivered is what arrived, and nothing arrives twice without a reason.
        """
        arrived = _count(self._arrivals())
        for id_, about in store.messages.items():
            for row in store.recipients[id_] if not about.notification else ():
                key = (about.subject, row.address)
                count, most = arrived.pop(key, 0), self._explained(store, row, key)
                played = row.address.endswith(f"@{self.world.testing}")
                if played and count:
                    yield f"{key} left the relay"
                if row.state == DELIVERED and not count and not played:
                    yield f"{key} is recorded as delivered and never arrived"
                if count > most:
                    yield f"{key} ({row.state}) arrived {count} times, explained are {most}"
        # The relay's own notifications have other subjects, and are looked at apart.
        yield from (f"{key} arrived and is nowhere recorded" for key in arrived if key[0].startswith("L"))

    def _check_events(self, store: _Store) -> Iterator[str]:
        """
        Every change of state has its event, and no other has one.
        """
        for id_, about in store.messages.items():
            created = [] if about.notification else ["message.created"]
            if store.events[id_, None] != created:
                yield f"{about.subject} has the events {store.events[id_, None]}"
            for row in store.recipients[id_]:
                attempts = store.attempts[id_, row.number]
                if [one.number for one in attempts] != list(range(1, row.attempts + 1)):
                    yield f"{about.subject} to {row.address}: {row.attempts} attempts, recorded are {attempts}"
                part = find_part(parse_address(row.address)) if row.domain == self.world.testing else None
                if about.notification:
                    fits = not store.events[id_, row.number]
                else:
                    fits = _fits(store.events[id_, row.number], attempts, row.state, part)
                if not fits:
                    yield f"{about.subject} to {row.address} ({row.state}): events {store.events[id_, row.number]}"

    def _check_withheld(self, store: _Store) -> Sequence[str]:
        """
        Who is suppressed gets no more, whoever refused for good is, and nobody else's mail is withheld.
        """
        testing, jumped = self.world.testing, self.world.jumped
        withheld = Withheld(store.messages, store.recipients, store.attempts, testing, jumped)
        for row in store.told:
            withheld.read(row)
        withheld.end()
        return withheld.broken

    def _check_notices(self, store: _Store) -> Iterator[str]:
        """
        Every failure was told to its sender, once, unless that was not wanted.
        """
        told = _count_notices(self._arrivals())
        open_notices = sum(
            about.notification and store.recipients[about.id][0].state != DELIVERED for about in store.messages.values()
        )
        if open_notices:
            yield f"{open_notices} notifications were not delivered"
        for application in self.applications:
            for letter in application.accepted:
                for to, row in zip(_once(letter.recipients), store.recipients[letter.id], strict=False):
                    expected = int(row.state == FAILED and _is_due(letter, to))
                    is_unknown = letter.route == "quiet" and row.project in self.removed
                    if told[letter.name, row.address] != expected and not is_unknown:
                        yield (
                            f"{letter.name} to {row.address} ({row.state}, {to.notify}): "
                            f"told {told[letter.name, row.address]} times, due {expected}"
                        )

    def _check_rows(self, store: _Store) -> Iterator[str]:
        """
        Bodies are kept for what is open; what is open waits for its time or is being tried.
        """
        for id_, about in store.messages.items():
            for row in store.recipients[id_]:
                if row.state in WAITING and row.due is None and row.owner is None:
                    yield f"{about.subject} to {row.address} ({row.state}) waits for nobody"
                if row.state == DEFERRED and not row.attempts:
                    yield f"{about.subject} to {row.address} was deferred without an attempt"
        if store.wanted - store.bodies:
            yield f"{len(store.wanted - store.bodies)} bodies of open mail are gone"


def _check_letter(store: _Store, letter: Letter, times: int) -> Iterator[str]:
    if times != 1:
        yield f"{letter.name} was accepted as {letter.id} and is stored {times} times"
    rows = {row.address for row in store.recipients[letter.id]}
    if rows != {one.address for one in letter.recipients}:
        yield f"{letter.name} was accepted for other recipients than {sorted(rows)}"


def _fits(events: list[str], attempts: list[Any], state: str, part: Part | None) -> bool:
    if not attempts:
        return events == (["message.suppressed"] if state == SUPPRESSED else [])
    tried = state in (DELIVERED, FAILED)
    deferred = len(attempts) - tried
    expected = ["message.sent", *["message.deferred"] * deferred]
    if events[: len(expected)] != expected:
        return False
    rest = events[len(expected) :]
    if not tried:
        return rest == (["message.suppressed"] if state == SUPPRESSED else [])
    return bool(rest) and rest[0] in FINAL[attempts[-1].outcome] and rest[1:] in _consequences(attempts, part)


def _consequences(attempts: list[Any], part: Part | None) -> list[list[str]]:
    """
    What may follow from the end. Whether a suppression is news is looked at apart.
    """
    if part is not None:
        return [["message.spam_complaint"] if part is Part.SPAM_COMPLAINT else []]
    return [[], ["suppression.added"]] if refuses_for_good(attempts) else [[]]


def _count(arrivals: Iterable[Arrival]) -> Counter[Key]:
    return Counter((one.field("Subject"), address) for one in arrivals for address in one.message.addresses)


def _count_notices(arrivals: Iterable[Arrival]) -> Counter[Key]:
    """
    How often each failure was told, in different notifications.
    """
    texts = {
        one.field("Message-ID"): one.message.content.decode()
        for one in arrivals
        if not one.message.sender and b"Action: failed" in one.message.content
    }
    return Counter((_ABOUT.findall(text)[-1], to) for text in texts.values() for to in _TO.findall(text))


def _once(recipients: Iterable[To]) -> list[To]:
    return list({one.address: one for one in recipients}.values())


def _is_due(letter: Letter, to: To) -> bool:
    """
    Is the sender to be told of a failure?
    """
    wanted = not to.notify or "FAILURE" in to.notify
    return bool(letter.sender) and letter.route != "quiet" and wanted
