"""
C{lmrelay token}: create, import, list and revoke a project's API tokens.

A token is shown once, when it is made; the file keeps its digest and, for CRAM-MD5, the
token sealed under the server's key. A foreign token comes in by standard input alone:
what stands in the arguments is seen by every user of the machine.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
from attrs import frozen

from lmrelay.cli.main import Invocation, pass_invocation
from lmrelay.cli.output import iso_time
from lmrelay.cli.projectfile import EFFECT, change, editing, known
from lmrelay.cli.projecttext import add_token, remove_token
from lmrelay.cli.serverkey import server_key
from lmrelay.cli.settings import client_settings
from lmrelay.config.project import Token
from lmrelay.config.seals import seal
from lmrelay.config.values import Auth, Config
from lmrelay.errors import LmrelayError
from lmrelay.projects.directory import Entry
from lmrelay.projects.tokens import digest, is_foreign, is_mistyped, make_token

PREFIX = Auth().token_prefix
MAX_FOREIGN = 4096
"""
Twice as long, as user name and password, and in base 64, it still fits an AUTH response.
"""


@frozen
class Wish:
    """
    What the operator says of a token to be.
    """

    name: str
    expires: datetime.date | datetime.datetime | None = None
    networks: tuple[str, ...] = ()
    sealed: bool = True


def _name(_context: click.Context, _parameter: click.Parameter, text: str) -> str:
    if not text.strip() or not text.isprintable() or len(text) > 100:
        raise click.BadParameter("1 to 100 printable characters")
    return text.strip()


def _expires(
    _context: click.Context, _parameter: click.Parameter, text: str | None
) -> datetime.date | datetime.datetime | None:
    if text is None:
        return None
    try:
        if len(text) == len("2027-01-01"):
            return datetime.date.fromisoformat(text)
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no date; write 2027-01-01 or 2027-01-01T12:00:00Z") from None
    if moment.tzinfo is None:
        raise click.BadParameter(f"{text!r} needs its time zone: add Z for UTC, or +02:00")
    return moment


def _networks(_context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(dict.fromkeys(str(ipaddress.ip_network(text)) for text in texts))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def wishing(command: Callable[..., None]) -> Callable[..., None]:
    """
    Give a command the options of a new token.
    """
    for option in (
        click.option("--no-cram", is_flag=True, help="Keep no sealed copy: the token cannot be used with CRAM-MD5."),
        click.option(
            "--network", "networks", multiple=True, callback=_networks, metavar="CIDR",
            help="Accept it from this network only. May be given again.",
        ),
        click.option(
            "--expires", callback=_expires, metavar="DATE", help="When it ends: 2027-01-01, or with a time and zone.",
        ),
        click.option("--name", required=True, callback=_name, metavar="NAME", help="What it is for."),
        click.argument("slug"),
    ):  # fmt: skip
        command = option(command)
    return command


@click.group()
def token() -> None:
    """
    Create, import, list and revoke API tokens.
    """


@token.command("create")
@wishing
@pass_invocation
def create_token(invocation: Invocation, /, slug: str, no_cram: bool, **wish: Any) -> None:
    """
    Make a token for a project and show it, once.
    """
    with editing(invocation) as config:
        text, token_id = make_token(config.auth.token_prefix, os.urandom)
        entry = _store(invocation, config, slug, text, token_id, Wish(sealed=not no_cram, **wish))
    output = invocation.output
    settings = client_settings(config, slug, token_id, text)
    output.document({**_record(entry), "project": slug, "token": text, "settings": settings})
    output.line(f"Token {entry['name']!r} of project {slug}, shown only now:")
    output.line()
    output.line(f"    {text}")
    output.line()
    output.line("Settings for the application:")
    output.line()
    for key, value in settings.items():
        output.line(f"    {key}={value}")
    output.line()
    output.line(EFFECT)


@token.command("import")
@wishing
@pass_invocation
def import_token(invocation: Invocation, /, slug: str, no_cram: bool, **wish: Any) -> None:
    """
    Take over a token of another service, read from standard input.

    It is at least 16 characters without a space, such as the SMTP password that the application has now. For
    example: lmrelay token import acme --name website < token.txt
    """
    text = _read_foreign()
    with editing(invocation) as config:
        prefix = config.auth.token_prefix
        _check_foreign(text)
        # One of our own from another server keeps its id, which may be a user name somewhere.
        is_own = text.startswith(prefix) and not is_mistyped(text, prefix)
        token_id = text[len(prefix) :].partition("_")[0] if is_own else make_token(prefix, os.urandom)[1]
        entry = _store(invocation, config, slug, text, token_id, Wish(sealed=not no_cram, **wish))
    output = invocation.output
    output.document({**_record(entry), "project": slug})
    output.line(f"Imported as token {entry['name']!r}, id {token_id}, of project {slug}.")
    output.line(EFFECT)


@token.command("list")
@click.argument("slug")
@pass_invocation
def list_tokens(invocation: Invocation, slug: str) -> None:
    """
    List a project's tokens and when each was last used; none can be shown again.
    """
    columns = {
        "id": "ID",
        "name": "NAME",
        "created": "CREATED",
        "expires": "EXPIRES",
        "last_used": "LAST USED",
        "networks": "NETWORKS",
        "cram": "CRAM-MD5",
    }
    config = invocation.load()
    found = known(config, slug)
    now = invocation.wall()
    # The store last: to open it root becomes its owner for good.
    uses = _read_uses(invocation, config) if found.tokens else {}
    records = [
        {
            **_record(_fields(one)),
            "expired": not Entry(found, one).is_live(now),
            "last_used": iso_time(uses.get(one.id)),
        }
        for one in found.tokens
    ]
    nothing = f"Project {slug} has no token; `lmrelay token create` makes one."
    invocation.output.listing(columns, records, nothing, _in_words)


def _read_uses(invocation: Invocation, config: Config) -> Mapping[str, float]:
    """
    When tokens were last used, by their ids; nothing where there is no queue, or none that can be opened.
    """
    from lmrelay.queue.store import find_url

    try:
        url = find_url(config)
        if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
            return {}
        with invocation.open_desk() as desk:
            return desk.token_uses()
    except (LmrelayError, OSError) as error:
        invocation.output.warn(f"when tokens were last used is not known: {' '.join(str(error).split())}")
        return {}


def _in_words(record: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"expires": f"{record['expires']} (expired)"} if record["expired"] else {}


@token.command("revoke")
@click.argument("slug")
@click.argument("token_id", metavar="ID")
@pass_invocation
def revoke_token(invocation: Invocation, slug: str, token_id: str) -> None:
    """
    Remove a token, named by its id.
    """
    with editing(invocation) as config:
        found = [one for one in known(config, slug).tokens if one.id == token_id]
        if not found:
            # Not repeated: somebody may have given the token itself.
            raise click.ClickException(f"project {slug} has no token of that id; see `lmrelay token list {slug}`")
        change(config, slug, lambda text: remove_token(text, token_id))
    output = invocation.output
    output.document({"project": slug, "id": token_id, "name": found[0].name, "revoked": True})
    output.line(f"Token {found[0].name!r} of project {slug} is revoked.")
    output.line(EFFECT)


def _read_foreign() -> str:
    if sys.stdin.isatty():
        return str(click.prompt("Token (not shown)", hide_input=True, err=True)).strip()
    return sys.stdin.buffer.read(2 * MAX_FOREIGN).decode("utf-8", "replace").strip()


def _check_foreign(text: str) -> None:
    """
    @raise click.ClickException: without the token, which may be right but for a slip
    """
    if not is_foreign(text):
        raise click.ClickException("a token is at least 16 printable ASCII characters, without a space, on one line")
    if len(text) > MAX_FOREIGN:
        raise click.ClickException(f"a token of more than {MAX_FOREIGN} characters could not be used to log in")
    # Another prefix is that of a service whose tokens look as it likes.
    if is_mistyped(text, PREFIX):
        raise click.ClickException(f"the token begins with {PREFIX} as lmrelay's own do, but is mistyped or cut")


def _store(
    invocation: Invocation, config: Config, slug: str, text: str, token_id: str, wish: Wish
) -> Mapping[str, Any]:
    """
    Write the token to the project's file, sealed if wished, and give what was written.
    """
    today = datetime.datetime.fromtimestamp(invocation.wall(), datetime.UTC)
    _check_wish(config, slug, wish, today)
    hashed = digest(text)
    for other in config.projects.values():
        for one in other.tokens:
            if one.sha256 == hashed or one.id == token_id:
                raise click.ClickException(f"project {other.slug} has this token already, as {one.name!r}")
    entry: dict[str, Any] = {"name": wish.name, "id": token_id, "sha256": hashed}
    if wish.sealed:
        entry["cram"] = seal(text, server_key(invocation, config), slug, token_id, os.urandom)
    entry["created"] = today.date()
    if wish.expires:
        entry["expires"] = wish.expires
    if wish.networks:
        entry["networks"] = list(wish.networks)
    change(config, slug, lambda old: add_token(old, entry))
    return entry


def _check_wish(config: Config, slug: str, wish: Wish, now: datetime.datetime) -> None:
    if any(one.name == wish.name for one in known(config, slug).tokens):
        raise click.ClickException(f"project {slug} has a token named {wish.name!r} already")
    ends = wish.expires
    over = ends <= now if isinstance(ends, datetime.datetime) else ends is not None and ends <= now.date()
    if over:
        raise click.ClickException(f"a token that ends {ends} would be of no use: that is past")


def _fields(one: Token) -> Mapping[str, Any]:
    return {
        "name": one.name,
        "id": one.id,
        "cram": one.cram,
        "created": one.created,
        "expires": one.expires,
        "networks": [str(network) for network in one.networks],
    }


def _record(entry: Mapping[str, Any]) -> dict[str, object]:
    """
    What people and programs are told of a token: neither itself nor its digest.
    """
    days = {key: entry[key].isoformat() if entry.get(key) else None for key in ("created", "expires")}
    return {
        "id": entry["id"],
        "name": entry["name"],
        **days,
        "networks": entry.get("networks", []),
        "cram": bool(entry.get("cram")),
    }
