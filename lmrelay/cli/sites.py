"""
C{lmrelay sites}: what is known of the sites that mail goes to, and suspending one.

A site is a set of MX hosts; it is named by a domain that they serve, or by one of them. What the daemon knows it writes
down some seconds later, so all of this works while it runs and while it does not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import click

from lmrelay.cli.desk import Desk
from lmrelay.cli.main import Invocation, pass_invocation
from lmrelay.cli.output import Record, human_duration
from lmrelay.cli.queue import with_iso_times
from lmrelay.config.values import Config
from lmrelay.errors import SyntaxRefused
from lmrelay.mail.address import ascii_domain
from lmrelay.outbound.rules import find_limits
from lmrelay.queue.orders import Change, SiteVerb
from lmrelay.queue.sites import split_hosts

SHOWN = 50
"""
Domains of one site that are shown in text; JSON has all.
"""

MAX_REASON = 1000
"""
Characters.
"""

COLUMNS = {
    "site": "SITE",
    "domains": "DOMAINS",
    "waiting": "WAITING",
    "connections": "CONNECTIONS",
    "rate": "RATE",
    "lowered_for": "BACK-OFF",
    "reason": "SUSPENDED",
}

QUIET = "No site has mail waiting, has asked for less, or is suspended; --all lists those that are known."


@click.group()
def sites() -> None:
    """
    See the sites that mail goes to, and suspend one.

    A site is a set of MX hosts; domains with the same hosts share it, with its connections and limits. Name it by a
    recipient domain or by one of its hosts.
    """


@sites.command("list")
@click.option("--all", "everything", is_flag=True, help="Quiet ones too: all where mail went in the last weeks.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="At most so many.")
@pass_invocation
def list_sites(invocation: Invocation, everything: bool, limit: int) -> None:
    """
    List sites where mail waits, that asked for less at a time, or that are suspended.
    """
    config, now, output = invocation.load(), invocation.wall(), invocation.output
    with invocation.open_desk() as desk:
        records = [describe(config, one) for one in desk.sites()]
    found = sorted((one for one in records if everything or _is_worth_a_look(one)), key=_order)
    shown = [with_iso_times(one) for one in found[:limit]]
    told = {one["hosts"]: _in_words(one, now) for one in found[:limit]}
    output.listing(COLUMNS, shown, "No site is known." if everything else QUIET, lambda one: told[one["hosts"]])
    if len(found) > limit:
        output.line(f"There is more: the first {limit} are shown (--limit).")


def describe(config: Config, row: Mapping[str, Any]) -> dict[str, Any]:
    """
    What is known of a site, with what the configuration allows it.
    """
    best = row["hosts"].split(";")[0].split(",")
    limits = find_limits(config, best)
    lowered = row["connections"]
    return {
        "site": best[0],
        **row,
        "connections": limits.connections if lowered is None else min(lowered, limits.connections),
        "ceiling": limits.connections,
        "messages_per_connection": limits.messages_per_connection,
        "rate": limits.rate,
        "rules": list(limits.rules),
        "suspended": row["suspended_at"] is not None,
    }


def _is_worth_a_look(one: Mapping[str, Any]) -> bool:
    return bool(one["waiting"] or one["suspended"] or one["lowered_at"] is not None)


def _order(one: Mapping[str, Any]) -> tuple[bool, int, str]:
    return not one["suspended"], -one["waiting"], one["hosts"]


def _in_words(one: Mapping[str, Any], now: float) -> Record:
    return {
        "connections": f"{one['connections']}/{one['ceiling']}",
        "rate": f"{one['rate']:g}/s" if one["rate"] else None,
        "lowered_for": _since(one["lowered_at"], one["lowered_for"], now),
        "reason": _since(one["suspended_at"], one["reason"], now),
    }


def _since(at: float | None, why: str, now: float) -> str | None:
    if at is None:
        return None
    return f"for {human_duration(max(now - at, 0))}" + (f": {why}" if why else "")


@sites.command()
@click.argument("site")
@pass_invocation
def show(invocation: Invocation, site: str) -> None:
    """
    Show a site: its hosts, limits, back-off, and the domains that it serves.
    """
    config, now, output = invocation.load(), invocation.wall(), invocation.output
    with invocation.open_desk() as desk:
        hosts = find_site(desk, site)
        (found,) = (describe(config, one) for one in desk.sites() if one["hosts"] == hosts)
        domains = desk.domains_of(hosts)
    output.document(with_iso_times({**found, "domains": domains}))
    for title, text in _particulars(found, now):
        output.line(f"  {title:12} {text}" if title else text)
    rows = [[one["domain"], str(one["waiting"]), human_duration(max(now - one["seen_at"], 0))] for one in domains]
    if rows:
        output.line()
        output.table(("DOMAIN", "WAITING", "LAST SEEN"), rows[:SHOWN])
    if len(rows) > SHOWN:
        output.line(f"… and {len(rows) - SHOWN} more (--json has all)")


def _particulars(one: Mapping[str, Any], now: float) -> Sequence[tuple[str, str]]:
    words = _in_words(one, now)
    told = [
        ("", f"Site {one['site']}"),
        ("hosts", one["hosts"].replace(";", ", then ").replace(",", ", ").replace(",  then", ", then")),
        ("waiting", f"{one['waiting']} recipient" + ("" if one["waiting"] == 1 else "s")),
        ("connections", f"{one['connections']} of {one['ceiling']}, {one['messages_per_connection']} messages each"),
        ("rate", f"{one['rate']:g} messages a second" if one["rate"] else "no limit"),
        ("rules", ", ".join(one["rules"]) or "none: as [delivery] says"),
    ]
    for title, key in (("back-off", "lowered_for"), ("suspended", "reason")):
        if words[key]:
            told.append((title, str(words[key])))
    return told


@sites.command()
@click.argument("site")
@click.option("--reason", default="", metavar="TEXT", help="Why; whoever asks after the mail is told.")
@pass_invocation
def suspend(invocation: Invocation, site: str, reason: str) -> None:
    """
    Suspend a site: nothing new begins there until it is resumed.

    Its mail waits without an attempt being counted, over restarts too. What is under way ends.
    """
    # As the terminal gave it, it may have what is no text.
    _change(invocation, SiteVerb.SUSPEND, site, reason.encode("utf-8", "replace").decode()[:MAX_REASON])


@sites.command()
@click.argument("site")
@pass_invocation
def resume(invocation: Invocation, site: str) -> None:
    """
    Let a suspended site go on at once.
    """
    _change(invocation, SiteVerb.RESUME, site)


def _change(invocation: Invocation, verb: SiteVerb, site: str, reason: str = "") -> None:
    with invocation.open_desk() as desk:
        hosts = find_site(desk, site)
        change = desk.change_site(verb, hosts, reason)
    name = split_hosts(hosts)[0]
    invocation.output.document(
        {
            "verb": verb.value,
            "site": name,
            "hosts": hosts,
            "changed": bool(change.changed),
            "in_flight": change.in_flight,
            "by_daemon": change.by_daemon,
        }
    )
    for line in tell_change(verb, name, change):
        invocation.output.line(line)


def tell_change(verb: SiteVerb, name: str, change: Change) -> list[str]:
    """
    What became of it, in words.
    """
    if not change.changed:
        return [f"{name} was not suspended."]
    who = "the running daemon knows" if change.by_daemon else "in the store; no daemon runs"
    lines = [f"{name} {'is suspended' if verb is SiteVerb.SUSPEND else 'goes on'} ({who})."]
    if verb is SiteVerb.SUSPEND and change.in_flight:
        one = change.in_flight == 1
        lines.append(f"{change.in_flight} transaction{' is' if one else 's are'} under way there and will end.")
    return lines


def find_site(desk: Desk, text: str) -> str:
    """
    The one site, by its hosts, that C{text} means.

    @raise click.ClickException: there is none, or there are several
    """
    name = text.strip().lower()
    # All hosts in one word are no domain.
    with contextlib.suppress(SyntaxRefused):
        name = ascii_domain(name)
    found = desk.find_sites(name)
    if not found:
        raise click.ClickException(
            f"no site of {text!r} is known; one is from when mail first goes there (lmrelay sites list --all)"
        )
    if len(found) > 1:
        listed = ", ".join(found[:3]) + (" …" if len(found) > 3 else "")
        raise click.ClickException(f"several sites have the host {text!r} ({listed}); name a domain, or all hosts")
    return found[0]
