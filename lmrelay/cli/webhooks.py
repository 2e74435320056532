"""
C{lmrelay webhooks}: the endpoints that are told of events, how they took them, and telling them again.

An endpoint is a table in its project's file, named within the project; what is added or changed there keeps every
comment, and the daemon takes it over with its next reload. What it is to be told is in the store, and changed at once.
"""

from __future__ import annotations

import secrets as randomness
import string
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click

from lmrelay.cli.main import Invocation, pass_invocation
from lmrelay.cli.messages import SECONDS
from lmrelay.cli.output import human_duration, iso_time
from lmrelay.cli.projectfile import EFFECT, change, editing, known, path_of
from lmrelay.cli.projecttext import add_webhook, remove_webhook, set_webhook
from lmrelay.cli.webhook_words import (
    attempt_in_words,
    endpoint_in_words,
    endpoint_record,
    tell_answer,
    with_attempt_times,
    with_times,
)
from lmrelay.config.durations import duration
from lmrelay.config.project import Project, Webhook
from lmrelay.config.reader import Reader
from lmrelay.config.values import Config
from lmrelay.errors import StoreError

SECRET_LENGTH = 40
"""
Letters and digits: 238 bits.
"""

WAIT, STEP = 35.0, 0.1
"""
Seconds that the answer to a test is waited for, a little longer than an endpoint has; and between two looks.
"""

REPLAY_HINT = "What was given up meanwhile: lmrelay webhooks replay {} {} --since 24h"


@click.group()
def webhooks() -> None:
    """
    Tell endpoints of projects what becomes of their mail, and see how they take it.
    """


@webhooks.command()
@click.argument("project")
@click.argument("name")
@click.argument("url")
@click.option(
    "--event", "events", multiple=True, metavar="PATTERN", help='Such as "message.*", the default. May be given again.'
)
@click.option(
    "--route",
    "routes",
    multiple=True,
    metavar="SLUG",
    help="Events of this route alone; else of all. May be given again.",
)
@click.option("--batch", type=int, metavar="N", help="Up to so many events a request, as a JSON array (100 at most).")
@pass_invocation
def add(invocation: Invocation, /, project: str, name: str, url: str, **wish: Any) -> None:
    """
    Add an endpoint to a project, with a new secret.
    """
    entry: dict[str, Any] = {"name": name, "url": url, "secret": make_secret()}
    for key in ("events", "routes"):
        if wish[key]:
            entry[key] = list(wish[key])
    if wish["batch"] is not None:
        entry["batch"] = wish["batch"]
    with editing(invocation) as config:
        tenant = known(config, project)
        if any(one.name == name for one in tenant.webhooks):
            place = path_of(config, project)
            raise click.ClickException(f"project {project} has an endpoint {name!r} already; set it in {place}")
        for route in wish["routes"]:
            if route not in tenant.routes:
                raise click.ClickException(f"--route: project {project} has no route {route!r}")
        made = _read_entry(config, project, entry)
        path = change(config, project, lambda text: add_webhook(text, entry))
    output = invocation.output
    output.document({**endpoint_record(project, made, {}), "secret": made.secret, "file": str(path)})
    output.line(f"Project {project} has the endpoint {name}, in {path}.")
    output.line(f"Its requests are signed with: {made.secret}")
    output.line(EFFECT)
    output.line(f"Then try it: lmrelay webhooks test {project} {name}")


@webhooks.command("list")
@click.argument("project", required=False)
@pass_invocation
def list_endpoints(invocation: Invocation, project: str | None) -> None:
    """
    List a project's endpoints, or those of all projects: what waits for them, and who is disabled.
    """
    config, now = invocation.load(), invocation.wall()
    projects = [known(config, project)] if project else [one for _, one in sorted(config.projects.items())]
    facts: Mapping[Any, Mapping[str, Any]] = {}
    try:
        with invocation.open_desk() as desk:
            facts = desk.hooks().endpoints()
    except StoreError as error:
        invocation.output.warn(f"what waits is not known: {error}")
    records = [
        endpoint_record(one.slug, hook, facts.get((one.slug, hook.name), {}))
        for one in projects
        for hook in one.webhooks
    ]
    columns = {"project": "PROJECT", "name": "NAME", "url": "URL", "events": "EVENTS", "waiting": "WAITING"}
    columns |= {"since": "SINCE", "state": "STATE"}
    nothing = "There is no endpoint; `lmrelay webhooks add` makes one."
    output = invocation.output
    output.listing(
        columns, [with_times(one) for one in records], nothing, lambda one: endpoint_in_words(one, records, now)
    )


@webhooks.command()
@click.argument("project")
@click.argument("name")
@click.option("--failed", is_flag=True, help="Failures alone.")
@click.option("--event", "event_id", default="", metavar="ID", help="Of this event alone.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many.")
@click.option(
    "--seconds", type=click.FloatRange(0), default=SECONDS, show_default=True, help="Look for no longer than this."
)
@pass_invocation
def attempts(
    invocation: Invocation, /, project: str, name: str, failed: bool, event_id: str, limit: int, seconds: float
) -> None:
    """
    Show how an endpoint took what it was told, the last events first.
    """
    _find(invocation.load(), project, name)
    with invocation.open_desk() as desk:
        found = desk.hooks().attempts((project, name), limit, seconds, failed=failed, event_id=event_id)
    columns = {"started": "TIME", "type": "EVENT", "message": "MESSAGE", "attempt": "ATTEMPT", "took": "TOOK"}
    columns |= {"answer": "ANSWER", "state": "STATE"}
    records = [with_attempt_times(one) for one in found.records]
    output, back_to = invocation.output, iso_time(found.looked_back_to)
    nothing = "Nothing of that kind was tried." if back_to is None else "Nothing was found."
    output.listing(columns, records, nothing, attempt_in_words)
    if back_to is not None:
        output.warn(f"After {seconds:g} s the search was back at {back_to}; --seconds looks for longer.")


@webhooks.command()
@click.argument("project")
@click.argument("name")
@click.option("--since", required=True, metavar="TIME", help="A time span (24h, 7d) or a time (2026-11-20T08:00:00Z).")
@click.option("--dead", is_flag=True, help="Only what was given up.")
@click.option("--dry-run", is_flag=True, help="Only count.")
@pass_invocation
def replay(invocation: Invocation, project: str, name: str, since: str, dead: bool, dry_run: bool) -> None:
    """
    Tell an endpoint again of the events since a time, also of those that it took.

    Each is told with the id that it had, so an endpoint that remembers ids can leave out what it knows.
    """
    from lmrelay.queue.hook_desk import Replay

    webhook = _find(invocation.load(), project, name)
    wanted = Replay.of(project, webhook, read_since(since, invocation.wall()), dead=dead)
    with invocation.open_desk() as desk:
        hooks, lives = desk.hooks(), desk.lives()
        if hooks.endpoints().get((project, name), {}).get("disabled_at") is not None or not webhook.enabled:
            raise click.ClickException(f"the endpoint is disabled; `lmrelay webhooks enable {project} {name}` first")
        number = hooks.replay(wanted, dry_run=dry_run)
    output = invocation.output
    output.document({"project": project, "name": name, "events": number, "dry_run": dry_run, "daemon": lives})
    what = "1 event" if number == 1 else f"{number} events"
    output.line(f"{what} would be told again." if dry_run else f"{what} {'is' if number == 1 else 'are'} told again.")
    if not (dry_run or lives):
        output.line("No daemon runs; it is told once one does.")


@webhooks.command()
@click.argument("project")
@click.argument("name")
@click.option("--no-wait", is_flag=True, help="Do not wait for the answer.")
@pass_invocation
def test(invocation: Invocation, project: str, name: str, no_wait: bool) -> None:
    """
    Tell an endpoint of webhook.test, as of any event, and show the answer.
    """
    _find(invocation.load(), project, name)
    with invocation.open_desk() as desk:
        hooks = desk.hooks()
        event = hooks.test((project, name))
        is_awaited = not no_wait and desk.lives()
        fate = hooks.fate((project, name), event)
        for _ in range(round(WAIT / STEP) if is_awaited else 0):
            invocation.sleep(STEP)
            fate = hooks.fate((project, name), event)
            if fate["attempts"] or fate["state"] != "waiting":
                break
        found = None
        if fate["attempts"]:
            found = next(iter(hooks.attempts((project, name), 1, SECONDS, event_id=event).records), None)
    output = invocation.output
    output.document({"project": project, "name": name, "event": event, "attempt": found and with_attempt_times(found)})
    output.line(f"webhook.test {event} is to be told to {name} of project {project}.")
    if found is not None:
        output.line(f"Answer after {human_duration(found['seconds'])}: {tell_answer(found)}")
        if found["state"] != "delivered":
            raise click.exceptions.Exit(1)
    elif is_awaited:
        why = f"no attempt within {WAIT:.0f} s" if fate["state"] == "waiting" else f"given up, as {fate['last']}"
        raise click.ClickException(f"{why}; is the endpoint known to the daemon (reload), and not disabled?")
    elif not no_wait:
        output.line("No daemon runs; it is told once one does.")


@webhooks.command()
@click.argument("project")
@click.argument("name")
@click.option("--reason", default="", metavar="TEXT", help="Why, for whoever lists endpoints.")
@pass_invocation
def disable(invocation: Invocation, project: str, name: str, reason: str) -> None:
    """
    Tell an endpoint nothing more, from now on; what waits for it is given up.
    """
    _find(invocation.load(), project, name)
    clean = reason.encode("utf-8", "replace").decode()[:1000] or "by an operator"
    with invocation.open_desk() as desk:
        changed = desk.hooks().disable((project, name), clean)
    invocation.output.document({"project": project, "name": name, "disabled": True, "changed": changed})
    words = "is disabled" if changed else "was disabled already"
    invocation.output.line(f"The endpoint {name} of project {project} {words}.")


@webhooks.command()
@click.argument("project")
@click.argument("name")
@pass_invocation
def enable(invocation: Invocation, project: str, name: str) -> None:
    """
    Tell an endpoint again of what is to come, after it was disabled or said that it is gone (410).
    """
    switched = False
    with editing(invocation) as config:
        if not _find(config, project, name).enabled:
            change(config, project, lambda text: set_webhook(text, name, {"enabled": None}))
            switched = True
    with invocation.open_desk() as desk:
        changed = desk.hooks().enable((project, name))
    output = invocation.output
    output.document({"project": project, "name": name, "disabled": False, "changed": changed or switched})
    words = "is enabled" if changed or switched else "was enabled already"
    output.line(f"The endpoint {name} of project {project} {words}.")
    if switched:
        output.line(EFFECT)
    if changed or switched:
        output.line(REPLAY_HINT.format(project, name))


@webhooks.command()
@click.argument("project")
@click.argument("name")
@click.option("--finish", is_flag=True, help="Sign with the new secret alone: the endpoint knows it by now.")
@pass_invocation
def rotate(invocation: Invocation, project: str, name: str, finish: bool) -> None:
    """
    Give an endpoint a new secret. The one that it has signs too, until --finish.
    """
    with editing(invocation) as config:
        webhook = _find(config, project, name)
        if finish and not webhook.previous_secret:
            raise click.ClickException(f"the endpoint {name} has one secret alone: there is nothing to finish")
        if webhook.previous_secret and not finish:
            hint = f"`lmrelay webhooks rotate {project} {name} --finish` first"
            raise click.ClickException(f"the endpoint {name} has two secrets, so it is being rotated already; {hint}")
        keys: dict[str, Any] = {"previous_secret": None}
        if not finish:
            keys = {"secret": make_secret(), "previous_secret": webhook.secret}
        path = change(config, project, lambda text: set_webhook(text, name, keys))
    output = invocation.output
    secret = keys.get("secret", webhook.secret)
    output.document({"project": project, "name": name, "secret": secret, "finished": finish, "file": str(path)})
    if finish:
        output.line(f"Requests to {name} of project {project} are signed with its new secret alone.")
    else:
        output.line(f"The new secret of {name} of project {project}: {secret}")
        output.line(
            "Both sign until the endpoint knows it; then: " + f"lmrelay webhooks rotate {project} {name} --finish"
        )
    output.line(EFFECT)


@webhooks.command()
@click.argument("project")
@click.argument("name")
@pass_invocation
def remove(invocation: Invocation, project: str, name: str) -> None:
    """
    Remove an endpoint from its project; what waits for it is given up.
    """
    with editing(invocation) as config:
        _find(config, project, name)
        path = change(config, project, lambda text: remove_webhook(text, name))
    try:
        with invocation.open_desk() as desk:
            # Else one of that name to come would be disabled from the start.
            desk.hooks().enable((project, name))
    except StoreError as error:
        invocation.output.warn(str(error))
    invocation.output.document({"project": project, "name": name, "file": str(path)})
    invocation.output.line(f"The endpoint {name} of project {project} is removed, from {path}.")
    invocation.output.line(EFFECT)


def make_secret() -> str:
    """
    A new secret to sign requests with.
    """
    alphabet = string.ascii_letters + string.digits
    return "whsec_" + "".join(randomness.choice(alphabet) for _ in range(SECRET_LENGTH))


def read_since(text: str, now: float) -> float:
    """
    The time that a time span before now, or a time, means.

    @raise click.BadParameter: neither
    """
    try:
        return now - duration(text)
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        form = "expected a time span (24h, 7d) or a time (2026-11-20T08:00:00Z)"
        raise click.BadParameter(form, param_hint="--since") from error
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _find(config: Config, project: str, name: str) -> Webhook:
    """
    @raise click.ClickException: there is none
    """
    tenant: Project = known(config, project)
    for one in tenant.webhooks:
        if one.name == name:
            return one
    raise click.ClickException(f"project {project} has no endpoint {name!r}; see `lmrelay webhooks list {project}`")


def _read_entry(config: Config, project: str, entry: Mapping[str, Any]) -> Webhook:
    """
    The endpoint as the daemon will read it.

    @raise click.ClickException: all that is wrong with it
    """
    reader = Reader(str(path_of(config, project)), config.server.read_projects)
    made = reader.table(Webhook, entry)
    if made is None:
        raise click.ClickException("\n".join(f"{problem.key}: {problem.reason}" for problem in reader.problems))
    return made
