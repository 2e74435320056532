"""
What becomes of mail for recipients that are suppressed: accepted, not sent, and told of in the same commit.

Asked when a message is accepted, and again whenever a recipient that waits in the store is taken to be tried.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from attrs import evolve
from sqlalchemy import Connection, select
from twisted.logger import Logger

from lmrelay.interfaces import Leased, LeasedRecipient
from lmrelay.mail.suppression import Suppression, key_of
from lmrelay.queue.rows import Row, dump, event_row, format_time, read_address
from lmrelay.queue.schema import SUPPRESSED, recipient
from lmrelay.queue.settle import drop_bodies
from lmrelay.queue.statements import update_rows
from lmrelay.queue.suppressions import Key, Suppressions, describe, find_having, find_suppressed

Withheld = Mapping[int, Suppression]
"""
The recipients of a message that are not sent to, by number, and what suppresses each.
"""

log = Logger()


def find_withheld(
    connection: Connection, messages: Sequence[tuple[Row, Sequence[Row]]], now: float
) -> dict[str, Withheld]:
    """
    Of messages to be stored, each with its recipients: those that are suppressed, by the message's id.
    """
    having = find_having(connection, (about["project"] for about, _ in messages))
    if not having:
        return {}
    asked: dict[Key, list[tuple[str, int]]] = {}
    for about, recipients in messages:
        if about["project"] not in having:
            continue
        for row in recipients:
            address = read_address(row["address"])
            if address is not None:
                key = about["project"], about["route"], key_of(address)
                asked.setdefault(key, []).append((about["id"], row["number"]))
    found: dict[str, dict[int, Suppression]] = {}
    for key, one in find_suppressed(connection, asked, now).items():
        for id_, number in asked[key]:
            found.setdefault(id_, {})[number] = one
    return {**found}


def read_withheld(connection: Connection, id_: str) -> frozenset[int]:
    """
    Those of a stored message's recipients, by number, that were suppressed when it was accepted.
    """
    mine = (recipient.c.message == id_, recipient.c.state == SUPPRESSED)
    return frozenset(connection.execute(select(recipient.c.number).where(*mine)).scalars())


def end_row(row: Row, one: Suppression, now: float) -> Row:
    """
    The row of a recipient that is not sent to.
    """
    return {**row, **_END, "ended_at": now, "last": in_words(one)}


_END = {"state": SUPPRESSED, "next_attempt": None, "due": None, "owner": None}


def in_words(one: Suppression) -> str:
    """
    Why a recipient is not sent to, for people.
    """
    scope = f"route {one.route}" if one.route else f"project {one.project}"
    return f"suppressed: {one.why.value} of {format_time(one.added_at)}, for {scope}"


def tell_withheld(
    suppressions: Suppressions, about: Row, recipients: Sequence[Row], withheld: Withheld, now: float
) -> list[Row]:
    """
    The events of a message's recipients that are not sent to; C{about} has its id, project, route and C{redact}.
    """
    events = []
    for row in recipients:
        one = withheld.get(row["number"])
        if one is not None:
            context, key = (about["project"], about["route"]), (about["id"], row["number"])
            document = dump({"suppression": _describe(one)})
            events.append(event_row(suppressions.entropy, "message.suppressed", now, context, key, document))
            log.info(
                "recipient suppressed",
                message=about["id"],
                number=row["number"],
                recipient="" if about["redact"] else row["address"],
                project=about["project"],
                route=about["route"],
                reason=one.why.value,
            )
    return events


def _describe(one: Suppression) -> Row:
    """
    What suppresses it; whom, the event says anyway, unless it must not.
    """
    told = {name: value for name, value in describe(one).items() if name != "recipient"}
    return {**told, "added_at": format_time(one.added_at)}


def withhold(connection: Connection, suppressions: Suppressions, leased: Sequence[Leased], now: float) -> list[Leased]:
    """
    Of mail that is about to be tried what may be; the rest ends here. The relay's own notifications are never withheld.
    """
    having = find_having(connection, (one.lane.project for one in leased))
    wanted = {
        (one.message_id, member.number): (one.lane.project, one.route, key_of(member.recipient.address))
        for one in leased
        if not one.notification and one.lane.project in having
        for member in one.recipients
    }
    found = find_suppressed(connection, wanted.values(), now) if wanted else {}
    if not found:
        return list(leased)
    states: list[Row] = []
    events: list[Row] = []
    left: list[Leased] = []
    for one in leased:
        withheld = {
            member.number: found[key]
            for member in one.recipients
            if (key := wanted.get((one.message_id, member.number))) is not None and key in found
        }
        about = {"id": one.message_id, "project": one.lane.project, "route": one.route, "redact": one.redact}
        rows = [_name_row(one, member) for member in one.recipients if member.number in withheld]
        states += [
            end_row({key: row[key] for key in ("message", "number")}, withheld[row["number"]], now) for row in rows
        ]
        events += tell_withheld(suppressions, about, rows, withheld, now)
        left += _leave_out(one, withheld)
    update_rows(connection, recipient, states)
    suppressions.write_events(connection, events)
    drop_bodies(connection, sorted({row["message"] for row in states}))
    return left


def _name_row(leased: Leased, member: LeasedRecipient) -> Row:
    return {"message": leased.message_id, "number": member.number, "address": str(member.recipient.address)}


def _leave_out(leased: Leased, numbers: Collection[int]) -> list[Leased]:
    if not numbers:
        return [leased]
    # Any: mypy cannot see through a field whose converter is the class tuple.
    kept: Any = tuple(member for member in leased.recipients if member.number not in numbers)
    return [evolve(leased, recipients=kept)] if kept else []
