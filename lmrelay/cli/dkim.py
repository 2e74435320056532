"""
C{lmrelay dkim}: make, show, check, activate and retire the keys that sign the mail of a domain.

A new key does not sign: first its record is published, then C{activate} asks the DNS for it. So no
message leaves with a signature that nobody can verify. The daemon takes a change over with its next reload.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from lmrelay.cli.keyfiles import make_key, switch_key
from lmrelay.cli.main import Invocation, Problems, pass_invocation
from lmrelay.cli.output import Output
from lmrelay.cli.projectfile import EFFECT
from lmrelay.config.dkim_keys import MOST_ACTIVE, check_domain, check_selector, count_active, key_path
from lmrelay.config.values import Config, DkimKey
from lmrelay.errors import DnsError, SyntaxRefused
from lmrelay.mail.dkim import ED25519, RSA, make_signer
from lmrelay.mail.dkim_record import Published, compare, is_testing, make_record, record_name, split_record, zone_line
from lmrelay.projects.senders import is_allowed


@click.group()
def dkim() -> None:
    """
    Make, publish, check and rotate the keys that sign mail.
    """


@dkim.command()
@click.argument("domain")
@click.option("--selector", metavar="NAME", help="Its name within the domain; else algorithm and date.")
@click.option(
    "--algorithm",
    type=click.Choice([RSA, ED25519]),
    default=RSA,
    show_default=True,
    help="Every receiver verifies rsa; ed25519 only beside it.",
)
@click.option("--activate", is_flag=True, help="Let it sign at once: its record is published before the next reload.")
@pass_invocation
def create(invocation: Invocation, domain: str, selector: str | None, algorithm: str, activate: bool) -> None:
    """
    Make a key for a sending domain and print the record to publish.
    """
    config = invocation.load()
    domain = _domain(domain)
    selector = selector or f"{algorithm}-{datetime.fromtimestamp(invocation.wall(), UTC):%Y%m%d}"
    try:
        check_selector(selector, domain)
    except SyntaxRefused as error:
        raise click.ClickException(f"--selector {selector}: {error}") from error
    keys = config.dkim.get(domain, ())
    if any(key.selector.lower() == selector.lower() for key in keys):
        raise click.ClickException(f"{domain} has a key {selector} already; choose another name with --selector")
    if activate:
        _check_number(domain, keys, algorithm)
    made, path = make_key(invocation, config, domain, selector, algorithm, active=activate)
    output = invocation.output
    if not _may_send(config, domain):
        output.warn(f"no project may send as {domain} yet, so there is nothing to sign")
    output.document({**_record(made), "file": str(path)})
    output.line(f"Key {selector} of {domain} is in {path}.")
    output.line()
    _print_record(output, made)
    output.line()
    if activate:
        output.line(f"When it is published (lmrelay dkim check {domain} tells), reload: then it signs.")
    else:
        output.line(f"It does not sign yet. When it is published: lmrelay dkim activate {domain} {selector}")


@dkim.command("list")
@click.argument("domain", required=False)
@pass_invocation
def list_keys(invocation: Invocation, domain: str | None) -> None:
    """
    List the keys of a domain, or of all.
    """
    config = invocation.load()
    columns = {"domain": "DOMAIN", "selector": "SELECTOR", "algorithm": "ALGORITHM", "active": "ACTIVE", "file": "FILE"}
    names = [_domain(domain)] if domain else sorted(config.dkim)
    records = [{**_record(key), "file": str(_path(config, key))} for name in names for key in config.dkim.get(name, ())]
    nothing = f"There is no key; `lmrelay dkim create {domain or 'DOMAIN'}` makes one."
    invocation.output.listing(columns, records, nothing)


@dkim.command()
@click.argument("domain")
@click.argument("selector", required=False)
@pass_invocation
def show(invocation: Invocation, domain: str, selector: str | None) -> None:
    """
    Print the records of a domain's keys, or of one, as they are to be published.
    """
    config = invocation.load()
    keys = _find(config, domain, selector)
    output = invocation.output
    output.document([{**_record(key), "file": str(_path(config, key))} for key in keys])
    for number, key in enumerate(keys):
        if number:
            output.line()
        output.line(f"{key.selector} ({key.algorithm}, {'active' if key.active else 'not active'})")
        output.line()
        _print_record(output, key)


@dkim.command()
@click.argument("domain", required=False)
@click.argument("selector", required=False)
@pass_invocation
def check(invocation: Invocation, domain: str | None, selector: str | None) -> None:
    """
    Ask the DNS whether the records of a domain's keys, or of all domains', are there and right.

    The exit code is 1 if that of an active key is not, or of the key that was asked for.
    """
    config = invocation.load()
    domains = [domain] if domain else sorted(config.dkim)
    keys = [key for one in domains for key in _find(config, one, selector)]
    found = [(key, published, testing) for key, (published, testing) in zip(keys, _look_up(config, keys), strict=True)]
    output = invocation.output
    output.document(
        [
            {**_record(key), "published": one.is_right, "reason": one.reason or None, "testing": testing}
            for key, one, testing in found
        ]
    )
    problems = []
    for key, published, testing in found:
        name = record_name(key.domain, key.selector)
        if published.is_right:
            output.line(f"ok       {name} is published" + ("" if key.active else ", the key is not active"))
        elif key.active or selector:
            problems.append(f"{name}: {published.reason}; `lmrelay dkim show {key.domain}` prints the record")
        else:
            output.line(f"note     {name}: {published.reason}; the key is not active")
        if testing:
            output.line(f"warning  {name} is in test mode (t=y): receivers may pass over its signatures")
    if not keys:
        output.line("There is no key; `lmrelay dkim create DOMAIN` makes one.")
    if problems:
        raise Problems(*problems)


@dkim.command()
@click.argument("domain")
@click.argument("selector")
@click.option("--force", is_flag=True, help="Whatever the DNS says of it.")
@pass_invocation
def activate(invocation: Invocation, domain: str, selector: str, force: bool) -> None:
    """
    Let a key sign, if its record is published.
    """
    config = invocation.load()
    (key,) = _find(config, domain, selector)
    if not key.active:
        _check_number(key.domain, config.dkim[key.domain], key.algorithm)
        if not force:
            ((published, _),) = _look_up(config, [key])
            if not published.is_right:
                name = record_name(key.domain, key.selector)
                raise click.ClickException(f"{name}: {published.reason}; --force activates the key all the same")
    _switch(invocation, config, key, active=True)


@dkim.command()
@click.argument("domain")
@click.argument("selector")
@pass_invocation
def retire(invocation: Invocation, domain: str, selector: str) -> None:
    """
    Let a key sign no more.

    Its record has to stay for some days: mail that it signed is still on its way.
    """
    config = invocation.load()
    (key,) = _find(config, domain, selector)
    others = [one for one in config.dkim[key.domain] if one.active and one.selector != selector]
    _switch(invocation, config, key, active=False)
    if not others:
        invocation.output.warn(f"{key.domain} has no other active key: its mail is not signed with one of its own")


def _switch(invocation: Invocation, config: Config, key: DkimKey, *, active: bool) -> None:
    path = switch_key(config, key, active=active) if key.active is not active else _path(config, key)
    output = invocation.output
    output.document({**_record(key), "active": active, "changed": key.active is not active, "file": str(path)})
    state = "active" if active else "retired"
    if key.active is active:
        output.line(f"Key {key.selector} of {key.domain} is {state} already.")
    else:
        output.line(f"Key {key.selector} of {key.domain} is {state}.")
        output.line(EFFECT)


def _domain(text: str) -> str:
    try:
        return check_domain(text)
    except SyntaxRefused as error:
        raise click.ClickException(f"{text!r}: {error}") from error


def _find(config: Config, text: str, selector: str | None) -> Sequence[DkimKey]:
    domain = _domain(text)
    keys = config.dkim.get(domain, ())
    if not keys:
        raise click.ClickException(f"{domain} has no key; `lmrelay dkim create {domain}` makes one")
    if selector is None:
        return keys
    found = [key for key in keys if key.selector == selector]
    if not found:
        raise click.ClickException(f"{domain} has no key {selector!r}; see `lmrelay dkim list {domain}`")
    return found


def _check_number(domain: str, keys: Sequence[DkimKey], algorithm: str) -> None:
    if count_active(keys, algorithm) >= MOST_ACTIVE:
        raise click.ClickException(
            f"{domain} has {MOST_ACTIVE} active {algorithm} keys, which is the most; retire one first"
        )


def _may_send(config: Config, domain: str) -> bool:
    """
    Is there a project whose mail the key would sign: as the domain, or below it?
    """
    entries = [entry for project in config.projects.values() for entry in project.domains]
    return is_allowed(domain, tuple(entries)) or any(f".{entry}".endswith(f".{domain}") for entry in entries)


def _path(config: Config, key: DkimKey) -> Path:
    return key_path(config.server.state_dir, key.domain, key.selector, active=key.active)


def _text(key: DkimKey) -> str:
    return make_record(key.algorithm, make_signer(key.domain, key.selector, key.private).public)


def _record(key: DkimKey) -> dict[str, Any]:
    name, text = record_name(key.domain, key.selector), _text(key)
    return {
        "domain": key.domain,
        "selector": key.selector,
        "algorithm": key.algorithm,
        "active": key.active,
        "record": {
            "name": name,
            "type": "TXT",
            "value": text,
            "strings": split_record(text),
            "zone": zone_line(name, text),
        },
    }


def _print_record(output: Output, key: DkimKey) -> None:
    name, text = record_name(key.domain, key.selector), _text(key)
    output.line("Publish this TXT record:")
    output.line()
    output.line(f"    {name}")
    output.line(f"    {text}")
    output.line()
    output.line("or, as a line of a zone file:")
    output.line()
    output.line(f"    {zone_line(name, text)}")


def _look_up(config: Config, keys: Sequence[DkimKey]) -> list[tuple[Published, bool]]:
    """
    What the DNS has of each key, and whether it is in test mode.
    """
    from lmrelay.cli.lookups import TXT, open_lookups, texts_of

    lookups = open_lookups(config)
    found: list[tuple[Published, bool]] = []
    for key in keys:
        try:
            texts = texts_of(lookups.ask(record_name(key.domain, key.selector), TXT))
        except DnsError as error:
            found.append((Published(False, f"the DNS gives no answer: {error}"), False))
            continue
        public = make_signer(key.domain, key.selector, key.private).public
        found.append((compare(key.algorithm, public, texts), any(map(is_testing, texts))))
    return found
