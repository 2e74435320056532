"""
C{lmrelay suppressions}: to whom mail is not sent, and changing that.

All of it works while the daemon runs and while it does not: what is changed holds for every message accepted from then
on, and for what waits in the queue when it is next taken up.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

import click
from attrs import evolve

from lmrelay.cli.main import Invocation, Problems, pass_invocation
from lmrelay.cli.output import Record, human_duration, iso_time
from lmrelay.cli.queue import read_age
from lmrelay.cli.suppression_csv import MAX_TEXT, Bad, read, write, write_head
from lmrelay.config.values import Config
from lmrelay.errors import SyntaxRefused
from lmrelay.mail.address import parse_address
from lmrelay.mail.suppression import Listed, Suppression, Why, key_of

if TYPE_CHECKING:
    from lmrelay.queue.suppression_list import SuppressionList

REASONS = [why.value for why in Why]

SHOWN = 10
"""
Bad lines of a file that are told; JSON has all.
"""

TITLES = {
    "address": "ADDRESS",
    "project": "PROJECT",
    "route": "ROUTE",
    "reason": "REASON",
    "added": "SINCE",
    "expires": "EXPIRES",
    "text": "WORDS",
}


@contextmanager
def _open(invocation: Invocation) -> Iterator[tuple[SuppressionList, Config]]:
    # Imported while this may still be root: the owner of the store need not be able to read the program's files.
    module = importlib.import_module("lmrelay.queue.suppression_list")
    importlib.import_module("sqlalchemy.dialects.sqlite")
    config = invocation.load_as_owner()
    with module.open_list(config, invocation.wall) as listed:
        yield listed, config


def _key(_context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(key_of(parse_address(text)) for text in texts)
    except SyntaxRefused as error:
        raise click.BadParameter(str(error)) from error


def _end(_context: click.Context, _parameter: click.Parameter, text: str | None) -> Any:
    """
    A time span from now, or a time.
    """
    if text is None:
        return None
    try:
        return read_age(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no time; write 90d, 2027-01-01 or 2027-01-01T12:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _ends_at(end: float | datetime | None, now: float) -> float | None:
    if end is None:
        return None
    at = end.timestamp() if isinstance(end, datetime) else now + end
    if at <= now:
        raise click.UsageError("--expires is over already")
    try:
        iso_time(at)
    except (ValueError, OverflowError, OSError):
        raise click.UsageError("--expires is beyond the year 9999: leave it out for ever") from None
    return at


_addresses = click.argument("address", nargs=-1, required=True, callback=_key)
_project = click.option("--project", required=True, metavar="SLUG", help="Whose mail.")
_route = click.option("--route", default="", metavar="SLUG", help="Of this route alone; else of all.")
_reason = click.option("--reason", type=click.Choice(REASONS), default="manual", show_default=True, help="Why.")
_expires = click.option(
    "--expires", callback=_end, metavar="TIME", help="Until when: 90d, or 2027-01-01; else for ever."
)


@click.group()
def suppressions() -> None:
    """
    See and change to whom mail is not sent.

    Mail for a suppressed address is accepted and not sent, which events tell. Addresses that refuse mail for good, and
    those whose owner complained, are put here by the relay itself.
    """


def _listing(command: Callable[..., None]) -> Callable[..., None]:
    """
    Give a command options that say which are meant; it gets one L{Listed} for them.
    """

    @click.option("--project", "projects", multiple=True, metavar="SLUG", help="Of this project.")
    @click.option("--route", "routes", multiple=True, metavar="SLUG", help="Of this route alone.")
    @click.option("--address", "addresses", multiple=True, callback=_key, metavar="ADDRESS", help="This address.")
    @click.option("--reason", "reasons", multiple=True, type=click.Choice(REASONS), help="For this reason.")
    @functools.wraps(command)
    def wrapped(*args: Any, **options: Any) -> None:
        projects, routes, addresses = (options.pop(name) for name in ("projects", "routes", "addresses"))
        meant = Listed(projects, routes, addresses, map(Why, options.pop("reasons")))
        command(*args, meant=meant, **options)

    return wrapped


@suppressions.command("list")
@_listing
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="At most so many.")
@pass_invocation
def list_suppressions(invocation: Invocation, meant: Listed, limit: int) -> None:
    """
    List addresses that mail is not sent to.
    """
    now, output = invocation.wall(), invocation.output
    with _open(invocation) as (listed, _):
        found = list(islice(listed.stream(meant), limit + 1))
    records = [_describe(one) for one in found[:limit]]
    told = {one.key: _in_words(one, now) for one in found[:limit]}
    nothing = "Nobody is suppressed." if meant == Listed() else "Nothing fits."
    output.listing(
        TITLES, records, nothing, lambda one: told[str(one["project"]), str(one["route"] or ""), str(one["address"])]
    )
    if len(found) > limit:
        output.line(f"There is more: the first {limit} are shown (--limit).")


def _describe(one: Suppression) -> Record:
    return {
        "project": one.project,
        "route": one.route or None,
        "address": one.address,
        "reason": one.why.value,
        "added": iso_time(one.added_at),
        "expires": iso_time(one.expires_at),
        "message": one.message,
        "text": one.text,
        "redact": one.redact,
    }


def _in_words(one: Suppression, now: float) -> Record:
    left = None if one.expires_at is None else f"in {human_duration(max(one.expires_at - now, 0))}"
    return {"added": human_duration(max(now - one.added_at, 0)), "expires": left, "route": one.route or "all"}


@suppressions.command()
@_addresses
@_project
@_route
@_reason
@_expires
@click.option("--note", default="", metavar="TEXT", help="Some words of yours.")
@pass_invocation
def add(
    invocation: Invocation,
    address: tuple[str, ...],
    project: str,
    route: str,
    reason: str,
    expires: float | datetime | None,
    note: str,
) -> None:
    """
    Send no more mail to these addresses.

    One that is suppressed already stays as it is, unless this lasts longer. Mail that waits is not sent either; what
    delivery has in hand at this moment may be.
    """
    now = invocation.wall()
    # As the terminal gave it, it may have what is no text.
    words = note.encode("utf-8", "replace").decode()[:MAX_TEXT]
    like = Suppression(project, "", Why(reason), now, route, _ends_at(expires, now), text=words)
    with _open(invocation) as (listed, config):
        wrong = _find_wrong(config, project, route)
        if wrong:
            raise click.ClickException(wrong)
        asked = sorted(set(address))
        like = evolve(like, redact=_is_redacted(config, like))
        added = listed.add(evolve(like, address=one) for one in asked)
    output = invocation.output
    output.document({"project": project, "route": route or None, "added": added, "already": len(asked) - added})
    output.line(tell_added(added, len(asked) - added, f"route {route} of {project}" if route else f"project {project}"))


def tell_added(added: int, already: int, where: str) -> str:
    """
    What became of it, in words.
    """
    number = f"{added} address" + ("" if added == 1 else "es")
    before = f"; {already} {'was' if already == 1 else 'were'} so already" if already else ""
    return f"{number} suppressed for {where}{before}."


def _find_wrong(config: Config, project: str, route: str) -> str:
    """
    What is wrong with a project and a route; empty: nothing.
    """
    if not project:
        return "of which project? Say --project"
    known = config.projects.get(project)
    if known is None:
        return f"there is no project {project!r}"
    if route and route not in known.routes:
        return f"project {project} has no route {route!r}"
    return ""


def _is_redacted(config: Config, one: Suppression) -> bool:
    """
    Is it for a route, or for nothing but routes, whose addresses stay out of logs and events?
    """
    project = config.projects.get(one.project)
    if project is None:
        return False
    routes = (project.route(one.route),) if one.route else (project.route(), *project.routes.values())
    return all(route.redact for route in routes)


@suppressions.command()
@_addresses
@_project
@click.option("--route", default="", metavar="SLUG", help="What is for this route alone; else all of theirs.")
@pass_invocation
def remove(invocation: Invocation, address: tuple[str, ...], project: str, route: str) -> None:
    """
    Send mail to these addresses again.

    Without --route whatever suppresses them in the project goes, for all of it and for routes alone.
    """
    with _open(invocation) as (listed, _):
        removed = listed.remove(Listed((project,), (route,) if route else (), sorted(set(address))))
    output = invocation.output
    output.document({"project": project, "removed": [_describe(one) for one in removed]})
    for one in removed:
        scope = f"route {one.route} of {one.project}" if one.route else f"project {one.project}"
        output.line(f"{one.address} is no longer suppressed for {scope} ({one.why.value}).")
    if not removed:
        output.line("Nothing was removed: none of them is suppressed.")


@suppressions.command("import")
@click.argument("file", type=click.File("r", encoding="utf-8", errors="replace"))
@click.option("--project", default="", metavar="SLUG", help="Whose mail, where the file does not say.")
@_route
@_reason
@_expires
@pass_invocation
def import_suppressions(
    invocation: Invocation,
    file: IO[str],
    project: str,
    route: str,
    reason: str,
    expires: float | datetime | None,
) -> None:
    """
    Suppress the addresses of a CSV file, or of standard input (-).

    The first line names the columns: address (or email), and if they are there reason, route, project, added, expires
    and text. A file without such a line has one address a line. What the file does not say the options do. Lines that
    cannot be read are told and left out.
    """
    now, bad, read_lines, over = invocation.wall(), list[Bad](), 0, 0
    like = Suppression(project, "", Why(reason), now, route, _ends_at(expires, now))

    def good(config: Config) -> Iterator[Suppression]:
        nonlocal read_lines, over
        for one in read(file, like, functools.partial(_find_wrong, config)):
            if isinstance(one, Bad):
                bad.append(one)
            elif one.expires_at is not None and one.expires_at <= now:
                over += 1
            else:
                read_lines += 1
                yield evolve(one, redact=one.redact or _is_redacted(config, one))

    with _open(invocation) as (listed, config):
        added = listed.add(good(config))
    output = invocation.output
    output.document(
        {
            "added": added,
            "already": read_lines - added,
            "expired": over,
            "bad": [{"line": one.line, "reason": one.reason} for one in bad],
        }
    )
    output.line(tell_added(added, read_lines - added, f"project {project}" if project else "their projects"))
    if over:
        output.line(f"{over} line{'' if over == 1 else 's'} had expired before.")
    if bad:
        told = [f"line {one.line}: {one.reason}" for one in bad[:SHOWN]]
        more = [f"… and {len(bad) - SHOWN} more (--json has all)"] if len(bad) > SHOWN else []
        raise Problems(f"{len(bad)} line{'' if len(bad) == 1 else 's'} left out", *told, *more)


@suppressions.command()
@_listing
@pass_invocation
def export(invocation: Invocation, meant: Listed) -> None:
    """
    Print suppressions as CSV, as import takes them; with --json as a list.
    """
    output = invocation.output
    with _open(invocation) as (listed, _):
        found = listed.stream(meant)
        if output.json:
            output.stream(map(_describe, found))
            return
        click.echo(write_head())
        for one in found:
            click.echo(write(one))
