"""
C{lmrelay route}: list and add a project's routes, and show the keys of their links.

A route is a table in its project's file; what is added keeps every comment. The daemon
takes it over with its next reload.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from lmrelay.cli.limits import in_words, limits_of
from lmrelay.cli.main import Invocation, pass_invocation
from lmrelay.cli.projectfile import EFFECT, change, editing, known, path_of
from lmrelay.cli.projecttext import add_route
from lmrelay.cli.serverkey import server_key
from lmrelay.config.checks import SLUG, SLUG_FORM
from lmrelay.config.project import Project, Route
from lmrelay.config.reader import Reader
from lmrelay.config.values import Config
from lmrelay.config.words import Kind, TlsPolicy
from lmrelay.mail.unsubscribe import derive_key


@click.group()
def route() -> None:
    """
    List and add routes, and show the keys of their links.
    """


@route.command("list")
@click.argument("project", required=False)
@pass_invocation
def list_routes(invocation: Invocation, project: str | None) -> None:
    """
    List a project's routes, or those of all projects.
    """
    config = invocation.load()
    projects = [known(config, project)] if project else [one for _, one in sorted(config.projects.items())]
    columns = {
        "project": "PROJECT",
        "slug": "ROUTE",
        "kind": "KIND",
        "default": "DEFAULT",
        "tls": "TLS",
        "dsn": "DSN",
        "limits": "LIMITS",
        "redact": "REDACT",
        "unsubscribe_url": "UNSUBSCRIBE",
    }
    records = [_record(config, one, each) for one in projects for each in one.routes.values()]
    invocation.output.listing(columns, records, "There is no project; `lmrelay project add` makes one.", _in_words)


@route.command()
@click.argument("project")
@click.argument("slug")
@click.option(
    "--kind",
    type=click.Choice([one.value for one in Kind]),
    default=Kind.TRANSACTIONAL.value,
    show_default=True,
    help="Broadcasts never delay transactional mail.",
)
@click.option(
    "--tls", type=click.Choice([one.value for one in TlsPolicy]), help="TLS with receivers; else as the project says."
)
@click.option("--no-dsn", is_flag=True, help="No notification to the sender when a delivery fails.")
@click.option(
    "--unsubscribe-url",
    metavar="URL",
    help="Broadcasts get a link for each recipient, such as https://example.com/unsubscribe/{token}.",
)
@click.option("--return-path", metavar="DOMAIN", help="A domain for signed envelope senders: bounces become events.")
@click.option(
    "--source-address",
    multiple=True,
    metavar="ADDRESS",
    help="An address of this machine to deliver from; else as the server says. May be given again.",
)
@click.option("--ehlo-name", metavar="NAME", help="The name to say to receivers; else as the server says.")
@click.option("--redact", is_flag=True, help="Keep subjects and addresses out of logs and events.")
@click.option("--max-messages-per-hour", type=int, metavar="N", help="Further ones are refused for the time.")
@click.option("--max-messages-per-day", type=int, metavar="N", help="The same, for a day.")
@pass_invocation
def add(invocation: Invocation, /, project: str, slug: str, **wish: Any) -> None:
    """
    Add a route to a project.
    """
    if not SLUG.fullmatch(slug):
        raise click.ClickException(f"{slug!r} cannot be a route's slug: expected {SLUG_FORM}")
    entry = _entry(**wish)
    with editing(invocation) as config:
        tenant = known(config, project)
        if slug in tenant.routes:
            place = path_of(config, project)
            raise click.ClickException(
                f"project {project} has a route {slug!r} already; set it in [routes.{slug}] of {place}"
            )
        made = _read_entry(config, project, slug, entry)
        if made.unsubscribe_url or made.return_path:
            # Now, as the owner of the state folder: without it nothing could be signed.
            server_key(invocation, config)
        path = change(config, project, lambda text: add_route(text, slug, entry))
    output = invocation.output
    output.document({**_record(config, tenant, made), "file": str(path)})
    output.line(f"Project {project} has the {made.kind.value} route {slug}, in {path}.")
    if made.unsubscribe_url:
        output.line(f"The key that the signatures of its links are checked with: lmrelay route key {project} {slug}")
    output.line(EFFECT)


@route.command()
@click.argument("project")
@click.argument("slug")
@pass_invocation
def key(invocation: Invocation, project: str, slug: str) -> None:
    """
    Print the key with which a project checks the signatures of its unsubscribe links.

    It is this route's alone, and stays the same while the server's key does: keep it as secret as a password.
    """
    config = invocation.load()
    found = known(config, project).routes.get(slug)
    if found is None:
        raise click.ClickException(f"project {project} has no route {slug!r}; see `lmrelay route list {project}`")
    derived = derive_key(server_key(invocation, config), project, slug)
    output = invocation.output
    if not found.unsubscribe_url:
        output.warn(f"route {slug} of project {project} has no unsubscribe_url: nothing is signed with this key yet")
    output.document({"project": project, "slug": slug, "key": derived})
    output.line(derived)


def _entry(kind: str, no_dsn: bool, redact: bool, **others: Any) -> dict[str, Any]:
    """
    The table as it is written: what was not asked for is left to its default.
    """
    entry: dict[str, Any] = {"kind": kind}
    if others["tls"]:
        entry["tls"] = others["tls"]
    if no_dsn:
        entry["dsn"] = False
    if redact:
        entry["redact"] = True
    if others["source_address"]:
        entry["source_address"] = list(others["source_address"])
    for name in ("unsubscribe_url", "return_path", "ehlo_name", "max_messages_per_hour", "max_messages_per_day"):
        if others[name] is not None:
            entry[name] = others[name]
    return entry


def _read_entry(config: Config, project: str, slug: str, entry: Mapping[str, Any]) -> Route:
    """
    The route as the daemon will read it.

    @raise click.ClickException: all that is wrong with the options
    """
    reader = Reader(str(path_of(config, project)), config.server.read_projects)
    made = reader.table(Route, entry, slug=slug)
    if made is None:
        lines = [f"--{problem.key.replace('_', '-')}: {problem.reason}" for problem in reader.problems]
        raise click.ClickException("\n".join(lines))
    return made


def _record(config: Config, project: Project, one: Route) -> dict[str, Any]:
    tls, source = _find_tls(config, project, one)
    return {
        "project": project.slug,
        "slug": one.slug,
        "kind": one.kind.value,
        "default": one.slug == project.default_route,
        "tls": tls.value,
        "tls_from": source,
        "dsn": one.dsn,
        "redact": one.redact,
        "unsubscribe_url": one.unsubscribe_url or None,
        "return_path": one.return_path or None,
        "source_address": list(one.source_address or config.delivery.source_address),
        "ehlo_name": one.ehlo_name or config.delivery.ehlo_name or config.server.hostname,
        **limits_of(one),
    }


def _in_words(record: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"tls": f"{record['tls']} ({record['tls_from']})", "limits": in_words(record)}


def _find_tls(config: Config, project: Project, one: Route) -> tuple[TlsPolicy, str]:
    """
    What holds for mail of the route, and who says so; a recipient domain may still ask for something else.
    """
    for policy, source in ((one.tls, "route"), (project.tls, "project")):
        if policy is not None:
            return policy, source
    return config.delivery.tls, "server"
