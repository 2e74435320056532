"""
C{lmrelay queue}: see and change what waits for delivery.

Selectors narrow every subcommand down; one that changes something refuses to do it to
everything unless C{--all} says so. What was done, and what was too late, is said.
"""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from shlex import quote
from typing import Any

import click

from lmrelay.cli.desk import Desk
from lmrelay.cli.main import Invocation, pass_invocation
from lmrelay.cli.output import human_duration, human_size, iso_time
from lmrelay.cli.story import FINAL, particulars
from lmrelay.errors import SyntaxRefused
from lmrelay.mail.address import ascii_domain
from lmrelay.queue.orders import Change, Selector, Verb

STATES = ("queued", "deferred", "held", "delivered", "failed", "deleted", "suppressed", "any")

_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def _age(_context: click.Context, _parameter: click.Parameter, text: str | None) -> float | None:
    """
    A time span on the command line (C{90}, C{5m}, C{2h}, C{3d}) in seconds.
    """
    return None if text is None else parse_age(text)


def parse_age(text: str) -> float:
    """
    The same of a text.

    @raise click.BadParameter: it is none
    """
    try:
        return read_age(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def read_age(text: str) -> float:
    """
    The seconds of a time span.

    @raise ValueError: it is none; the message says how to write one
    """
    match = _AGE.fullmatch(text.strip().lower())
    if match is None:
        raise ValueError(f"{text!r} is no age; write 90, 5m, 2h or 3d")
    return float(match[1]) * _SECONDS[match[2]]


def _domains(_context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> tuple[str, ...]:
    """
    Domains on the command line, in any spelling, as A-labels.
    """
    try:
        return tuple(map(ascii_domain, texts))
    except SyntaxRefused as error:
        raise click.BadParameter(str(error)) from error


def whole_addresses(_context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> tuple[str, ...]:
    """
    Addresses on the command line: a part of one would find nothing, as if there were nothing.
    """
    for text in texts:
        if "@" not in text:
            raise click.BadParameter(f"{text!r} is no whole address, such as jane@b.example")
    return texts


def tell_nothing(invocation: Invocation, projects: Sequence[str], nothing: str) -> None:
    """
    Nothing was found: say so, and name what cannot have any.
    """
    known = invocation.load().projects if projects else {}
    for slug in projects:
        if slug not in known:
            invocation.output.warn(f"there is no project {slug!r} (any more); `lmrelay project list` shows them")
    invocation.output.line(nothing)


def selecting(command: Callable[..., None]) -> Callable[..., None]:
    """
    Give a command the selectors; it gets one L{Selector} for them.
    """

    @click.argument("message", nargs=-1)
    @click.option("--id", "ids", multiple=True, metavar="ID", help="A message, by its id or the beginning of it.")
    @click.option("--project", "projects", multiple=True, metavar="SLUG", help="Mail of this project.")
    @click.option("--route", "routes", multiple=True, metavar="SLUG", help="Mail of this route.")
    @click.option("--tag", "tags", multiple=True, metavar="TAG", help="Mail with this tag.")
    @click.option(
        "--domain", "domains", multiple=True, callback=_domains, metavar="DOMAIN", help="Recipients of this domain."
    )
    @click.option(
        "--recipient", "recipients", multiple=True, callback=whole_addresses, metavar="ADDRESS", help="This recipient."
    )
    @click.option("--state", "states", multiple=True, type=click.Choice(STATES), help="In this state.")
    @click.option("--older-than", callback=_age, metavar="AGE", help="Accepted longer ago than this (5m, 2h, 3d).")
    @click.option("--younger-than", callback=_age, metavar="AGE", help="Accepted less long ago than this.")
    @functools.wraps(command)
    def wrapped(*args: Any, message: tuple[str, ...], ids: tuple[str, ...], **options: Any) -> None:
        names = ("projects", "routes", "tags", "domains", "recipients", "states", "older_than", "younger_than")
        chosen: dict[str, Any] = {name: options.pop(name) for name in names}
        if "any" in chosen["states"]:
            chosen["states"] = STATES[:-1]
        chosen["messages"] = (*message, *ids)
        command(*args, selector=Selector(**chosen), **options)

    return wrapped


@click.group()
def queue() -> None:
    """
    See and change what waits for delivery.

    Works while the daemon runs, which then carries a change out within a second, and while it does not.
    """


@queue.command("list")
@selecting
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="At most so many recipients.")
@pass_invocation
def list_queue(invocation: Invocation, selector: Selector, limit: int) -> None:
    """
    List recipients that wait (or are in any --state), the oldest first.
    """
    now, output = invocation.wall(), invocation.output
    with invocation.open_desk() as desk:
        records = desk.recipients(selector, limit + 1)
    shown = records[:limit]
    output.document([with_iso_times(record) for record in shown])
    if not shown:
        tell_nothing(invocation, selector.projects, "No mail waits." if selector.is_empty() else "Nothing fits.")
        return
    titles = ("MESSAGE", "AGE", "RECIPIENT", "STATE", "NEXT", "TRIES", "PROJECT", "LAST REPLY")
    output.table(titles, [_row(record, now) for record in shown])
    if len(records) > limit:
        output.line(f"There is more: the first {limit} are shown (--limit).")


def _row(record: Mapping[str, Any], now: float) -> list[str]:
    due = record.get("next_attempt")
    waits = (
        "" if due is None or record["state"] in (*FINAL, "held") else human_duration(due - now) if due > now else "now"
    )
    return [
        record["message"],
        human_duration(max(now - record["received"], 0)),
        record["recipient"],
        record["state"],
        waits,
        str(record["attempts"]),
        record["project"],
        record.get("last") or "",
    ]


@queue.command("show")
@click.argument("message")
@pass_invocation
def show(invocation: Invocation, message: str) -> None:
    """
    Show a message: where it comes from, its recipients, and its header fields.
    """
    output = invocation.output
    with invocation.open_desk() as desk:
        identity = find_message(desk, message)
        story = with_iso_times(desk.story(identity))
        head = desk.head(identity).decode("utf-8", "replace")
    output.document({**story, "head": head})
    for line in particulars(story, invocation.wall()):
        output.line(line)
    output.line()
    rows = [[one["address"], one["state"], str(len(one["attempts"]))] for one in story["recipients"]]
    output.table(("RECIPIENT", "STATE", "TRIES"), rows)
    output.line()
    for line in head.splitlines() or ["(the content is no longer kept)"]:
        output.line(line)


@queue.command("stats")
@selecting
@pass_invocation
def stats(invocation: Invocation, selector: Selector) -> None:
    """
    Count what waits, by project and recipient domain.
    """
    now, output = invocation.wall(), invocation.output
    with invocation.open_desk() as desk:
        records = desk.count(selector)
    output.document([with_iso_times(record) for record in records])
    if not records:
        tell_nothing(invocation, selector.projects, "No mail waits." if selector.is_empty() else "Nothing fits.")
        return
    states = [state for state in STATES if any(record["state"] == state for record in records)]
    rows = summarize(records, states, now)
    output.table(("PROJECT", "DOMAIN", *map(str.upper, states), "SIZE", "OLDEST"), rows)


def summarize(records: Sequence[Mapping[str, Any]], states: Sequence[str], now: float) -> list[list[str]]:
    """
    A row for each project and domain, those with most recipients first, and one for all.
    """
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for record in records:
        groups[record["project"], record["domain"]].append(record)
    by_number = sorted(groups.items(), key=lambda group: (-sum(one["recipients"] for one in group[1]), group[0]))
    rows = [[*key, *_counts(members, states, now)] for key, members in by_number]
    return [*rows, ["all", "", *_counts(records, states, now)]]


def _counts(records: Sequence[Mapping[str, Any]], states: Sequence[str], now: float) -> list[str]:
    by_state: dict[str, int] = defaultdict(int)
    for record in records:
        by_state[record["state"]] += record["recipients"]
    oldest = min(record["oldest"] for record in records)
    size = human_size(sum(record["octets"] for record in records))
    return [*(str(by_state[state]) for state in states), size, human_duration(max(now - oldest, 0))]


def _changing(verb: Verb, does: str) -> None:
    """
    Add the subcommand of a verb.
    """

    @queue.command(verb.value, help=does)
    @selecting
    @click.option("--all", "everything", is_flag=True, help="Everything; needed where no selector is given.")
    @click.option("--dry-run", is_flag=True, help="Only say what would be changed.")
    @pass_invocation
    def command(invocation: Invocation, selector: Selector, everything: bool, dry_run: bool) -> None:
        if selector.is_empty() and not everything:
            raise click.UsageError(f"name messages or give a selector; to {verb.value} everything, say --all")
        with invocation.open_desk() as desk:
            for message in selector.messages:
                find_message(desk, message)
            change = desk.change(verb, selector, dry_run)
        output = invocation.output
        output.document(
            {
                "verb": verb.value,
                "dry_run": dry_run,
                "changed": change.changed,
                "in_flight": change.in_flight,
                "in_flight_messages": list(change.late),
                "by_daemon": change.by_daemon,
            }
        )
        for line in tell_change(verb, change, dry_run):
            output.line(line)


_changing(Verb.RETRY, "Try now what waits for its next attempt.")
_changing(Verb.HOLD, "Hold mail back until it is released; it does not expire meanwhile.")
_changing(Verb.RELEASE, "Let held mail go on.")
_changing(Verb.DELETE, "Delete mail: it is never sent, and its sender is told nothing.")

SHOWN = 10
"""
Messages in flight that are named in text; JSON names more.
"""

_DONE = {Verb.RETRY: "to be tried now", Verb.HOLD: "held", Verb.RELEASE: "released", Verb.DELETE: "deleted"}


def tell_change(verb: Verb, change: Change, dry_run: bool) -> list[str]:
    """
    What became of a change, in words.
    """
    number = f"{change.changed} recipient" + ("" if change.changed == 1 else "s")
    if dry_run:
        lines = [f"{number} would be {_DONE[verb].removeprefix('to be ')}. (Nothing was changed.)"]
    else:
        who = "by the running daemon" if change.by_daemon else "in the store; no daemon runs"
        lines = [f"{number} {_DONE[verb]} ({who})." if change.changed else "Nothing was changed."]
    if change.in_flight:
        late = f"{change.in_flight} recipient" + (" was" if change.in_flight == 1 else "s were")
        lines.append(f"{late} already in flight and cannot be reached: their attempts end first.")
        shown = change.late[:SHOWN]
        more = ["…"] if len(change.late) > len(shown) else []
        lines += [f"  {one}" for one in (*shown, *more)]
    return lines


def find_message(desk: Desk, beginning: str) -> str:
    """
    The id of the one message that begins so.

    @raise click.ClickException: there is none, or there are several
    """
    found = desk.find(beginning.lower())
    if not found and "@" in beginning:
        raise click.ClickException(
            f"{beginning!r} is no id of a message here; if its header field Message-ID is meant:"
            f" lmrelay messages list --message-id {quote(beginning)}"
        )
    if not found:
        raise click.ClickException(f"no message {beginning!r} is known; its retention may have ended")
    if len(found) > 1 and beginning.lower() not in found:
        listed = ", ".join(found[:3]) + (" …" if len(found) > 3 else "")
        raise click.ClickException(f"several messages begin with {beginning!r} ({listed}); give more of the id")
    return beginning.lower() if beginning.lower() in found else found[0]


TIMES = frozenset(
    {"received", "next_attempt", "oldest", "started", "ended", "since", "lowered_at", "suspended_at", "seen_at"}
    | {"changed_at", "at", "expires", "held", "disabled_at"}
)


def with_iso_times(record: Mapping[str, Any]) -> dict[str, Any]:
    """
    The record with its times as ISO texts, those of records within it too.
    """
    return {key: _with_iso_times(key, value) for key, value in record.items()}


def _with_iso_times(key: str, value: Any) -> Any:
    # Metadata is the application's own: a key of it may have any name, and its values are texts.
    if key in TIMES and not isinstance(value, str):
        return iso_time(value)
    if isinstance(value, Mapping):
        return with_iso_times(value)
    if isinstance(value, (list, tuple)):
        return [_with_iso_times("", item) for item in value]
    return value
