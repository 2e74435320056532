"""
C{lmrelay project}: list, add, enable and disable projects.

A project is a file in the configuration's projects folder; these commands write it with
every comment kept. The daemon takes a change over with its next reload.
"""

from __future__ import annotations

import click

from lmrelay.cli.limits import in_words, limits_of
from lmrelay.cli.main import Invocation, pass_invocation
from lmrelay.cli.projectfile import EFFECT, change, create, editing, known, path_of
from lmrelay.cli.projecttext import new_project, switch
from lmrelay.config.checks import SLUG, SLUG_FORM
from lmrelay.config.project import Project
from lmrelay.config.values import Config
from lmrelay.errors import SyntaxRefused
from lmrelay.mail.address import ascii_domain


@click.group()
def project() -> None:
    """
    List, add, enable and disable projects.
    """


@project.command("list")
@pass_invocation
def list_projects(invocation: Invocation) -> None:
    """
    List the projects.
    """
    config = invocation.load()
    columns = {
        "slug": "PROJECT",
        "smtp": "SMTP",
        "mode": "MODE",
        "domains": "DOMAINS",
        "tokens": "TOKENS",
        "routes": "ROUTES",
        "limits": "LIMITS",
    }
    records = [_record(config, one) for _, one in sorted(config.projects.items())]
    nothing = "There is no project; `lmrelay project add` makes one."
    invocation.output.listing(columns, records, nothing, lambda record: {"limits": in_words(record)})


@project.command()
@click.argument("slug")
@click.option(
    "--domain",
    "domains",
    multiple=True,
    required=True,
    metavar="DOMAIN",
    help="A domain it may send as; .example.com for its subdomains, * for any. May be given again.",
)
@pass_invocation
def add(invocation: Invocation, slug: str, domains: tuple[str, ...]) -> None:
    """
    Add a project that may send as the given domains.
    """
    if not SLUG.fullmatch(slug):
        raise click.ClickException(f"{slug!r} cannot be a project's slug: expected {SLUG_FORM}")
    listed = tuple(dict.fromkeys(map(_sender_domain, domains)))
    with editing(invocation) as config:
        if slug in config.projects:
            raise click.ClickException(f"there is a project {slug!r} already, in {path_of(config, slug)}")
        path = create(config, slug, new_project(listed))
    output = invocation.output
    output.document({"slug": slug, "smtp": True, "domains": list(listed), "file": str(path)})
    output.line(f"Project {slug} may send as {', '.join(listed)}; its file is {path}.")
    output.line(f"Make it a token: lmrelay token create {slug} --name NAME")
    output.line(EFFECT)


@project.command()
@click.argument("slug")
@pass_invocation
def enable(invocation: Invocation, slug: str) -> None:
    """
    Let a project's applications log in.
    """
    _switch(invocation, slug, True)


@project.command()
@click.argument("slug")
@pass_invocation
def disable(invocation: Invocation, slug: str) -> None:
    """
    Refuse a project's logins; mail already accepted is delivered.
    """
    _switch(invocation, slug, False)


def _switch(invocation: Invocation, slug: str, on: bool) -> None:
    with editing(invocation) as config:
        was = known(config, slug).smtp
        path = change(config, slug, lambda text: switch(text, on))
    output = invocation.output
    output.document({"slug": slug, "smtp": on, "changed": was is not on, "file": str(path)})
    state = "on" if on else "off"
    if was is on:
        output.line(f"SMTP was {state} for project {slug} already.")
    else:
        output.line(f"SMTP is {state} for project {slug}.")
        output.line(EFFECT)


def _sender_domain(text: str) -> str:
    """
    An entry of C{domains} as it is written to the file.
    """
    if text == "*":
        return text
    dot = "." if text.startswith(".") else ""
    try:
        name = ascii_domain(text.removeprefix("."))
    except SyntaxRefused as error:
        raise click.ClickException(f"{text!r}: {error}") from error
    if name.startswith("["):
        raise click.ClickException(f"{text!r}: an address is no domain that a project can send as")
    return dot + name


def _record(config: Config, one: Project) -> dict[str, object]:
    return {
        "slug": one.slug,
        "smtp": one.smtp,
        "mode": one.mode.value,
        "domains": list(one.domains),
        "tokens": len(one.tokens),
        "routes": len(one.routes),
        **limits_of(one),
        "file": str(path_of(config, one.slug)),
    }
