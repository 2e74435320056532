"""
C{lmrelay messages}: find any message that is kept, and tell its story.

C{lmrelay queue} is about what waits; this is about all there was, within the retention.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click

from lmrelay.cli.explain import tell_story
from lmrelay.cli.main import Invocation, pass_invocation
from lmrelay.cli.output import iso_time
from lmrelay.cli.queue import parse_age, tell_nothing, whole_addresses, with_iso_times
from lmrelay.queue.orders import Search

SECONDS = 10.0
"""
For which a search goes on, unless C{--seconds} says otherwise.
"""

_DATE = re.compile(r"\d{4}-\d\d-\d\d.*")
_KEPT = ("queued", "deferred", "held", "delivered", "failed", "suppressed", "deleted")


@click.group()
def messages() -> None:
    """
    Find messages, delivered ones too, and tell their story.

    All that are kept ([queue] retention), the newest first.
    """


def read_moment(text: str, now: float) -> float:
    """
    A moment on the command line, in seconds since the epoch: so long ago (C{90}, C{5m}, C{2h}, C{3d}), or a date, or a
    date and a time, in UTC unless a zone is given.

    @raise click.BadParameter: it is neither
    """
    if not _DATE.fullmatch(text.strip()):
        try:
            return now - parse_age(text)
        except click.BadParameter as error:
            raise click.BadParameter(
                f"{text!r} is neither an age (5m, 2h, 3d) nor a time (2026-11-20T08:30)"
            ) from error
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no time; write 2026-11-20 or 2026-11-20T08:30") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


@messages.command("list")
@click.option("--project", "projects", multiple=True, metavar="SLUG", help="Mail of this project.")
@click.option("--route", "routes", multiple=True, metavar="SLUG", help="Mail of this route.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Mail with this tag.")
@click.option(
    "--recipient",
    "recipients",
    multiple=True,
    callback=whole_addresses,
    metavar="ADDRESS",
    help="To this address; @DOMAIN: to any there.",
)
@click.option(
    "--sender",
    "senders",
    multiple=True,
    callback=whole_addresses,
    metavar="ADDRESS",
    help="From this address (envelope or From); @DOMAIN: any there.",
)
@click.option("--subject", default="", metavar="TEXT", help="With this in the subject.")
@click.option("--message-id", "message_ids", multiple=True, metavar="ID", help="With this Message-ID field.")
@click.option("--state", "states", multiple=True, type=click.Choice(_KEPT), help="With a recipient in this state.")
@click.option("--since", metavar="TIME", help="Accepted since then: an age (2h, 3d), a date, or a date and time.")
@click.option("--until", metavar="TIME", help="Accepted before then.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many.")
@click.option(
    "--seconds", type=click.FloatRange(0), default=SECONDS, show_default=True, help="Look for no longer than this."
)
@pass_invocation
def list_messages(
    invocation: Invocation, /, since: str | None, until: str | None, limit: int, seconds: float, **selectors: Any
) -> None:
    """
    List messages, the newest first.

    Several values of one selector are alternatives, different selectors narrow down.
    """
    now, output = invocation.wall(), invocation.output
    first, last = (None if text is None else read_moment(text, now) for text in (since, until))
    with invocation.open_desk() as desk:
        found = desk.messages(Search(**selectors, since=first, until=last), limit, seconds)
    back_to = iso_time(found.looked_back_to)
    records = [with_iso_times(one) for one in found.records]
    output.document({"messages": records, "more": found.more, "looked_back_to": back_to})
    if records:
        output.table(TITLES, [_row(one) for one in records])
    elif back_to is None:
        tell_nothing(invocation, selectors["projects"], "Nothing fits.")
    if back_to is not None:
        output.line(f"After {seconds:g} s the search was back at {back_to}; for what is older: --until {back_to}")
    elif found.more:
        output.line(f"There is more: the newest {limit} are shown (--limit).")


TITLES = ("MESSAGE", "ACCEPTED", "PROJECT", "ROUTE", "FROM", "TO", "STATE", "SUBJECT")


def _row(one: Mapping[str, Any]) -> list[str]:
    others = one["recipients"] - 1
    to = f"{one['recipient'] or ''}" + (f" and {others} more" if others > 0 else "")
    return [
        one["message"],
        f"{one['received'][:19]}Z",
        one["project"],
        one["route"],
        one["reverse_path"] or "<>",
        to,
        tell_states(one["states"]),
        one["subject"],
    ]


def tell_states(states: Mapping[str, int]) -> str:
    """
    One state, or how many recipients are in each.
    """
    if len(states) == 1:
        return next(iter(states))
    return ", ".join(f"{states[state]} {state}" for state in _KEPT if state in states)


@messages.command("show")
@click.argument("message")
@pass_invocation
def show(invocation: Invocation, message: str) -> None:
    """
    Tell the whole story of a message, as `lmrelay explain` does.

    MESSAGE is an id or the beginning of one.
    """
    tell_story(invocation, message)
