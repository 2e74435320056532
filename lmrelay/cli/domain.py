"""
C{lmrelay domain}: what the DNS says of a sending domain, as receivers see it, and what to add.

Asks the name servers that the daemon asks. The exit code is 1 where mail would suffer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

import click

from lmrelay.cli.domain_rules import Finding, Level, Record, Subject, examine
from lmrelay.cli.lookups import AAAA, A, Ask, open_lookups
from lmrelay.cli.main import Invocation, Problems, pass_invocation
from lmrelay.cli.output import Output
from lmrelay.config.dkim_keys import check_domain
from lmrelay.config.project import Project
from lmrelay.config.values import Config
from lmrelay.errors import DnsError, SyntaxRefused
from lmrelay.mail.dkim_record import zone_line
from lmrelay.mail.signing import find_keys
from lmrelay.projects.senders import is_allowed

_INSIDE = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
            "192.168.0.0/16", "::/127", "fc00::/7", "fe80::/10",
        ),
    )
)  # fmt: skip
"""
Networks whose addresses no receiver sees: behind them something else gives the mail its address.
"""


@click.group()
def domain() -> None:
    """
    Check what the DNS says of a sending domain, and what to add.
    """


@domain.command()
@click.argument("name", metavar="DOMAIN")
@click.option(
    "--address",
    "addresses",
    multiple=True,
    metavar="IP",
    help="Where its mail comes from, as receivers see it. May be given again. Else the configured source addresses, "
    "or those that the DNS has of the server's host name.",
)
@pass_invocation
def check(invocation: Invocation, name: str, addresses: tuple[str, ...]) -> None:
    """
    Look at SPF, DKIM, return paths, DMARC and MX of a domain, and say what to publish.
    """
    config = invocation.load()
    try:
        wanted = check_domain(name)
    except SyntaxRefused as error:
        raise click.ClickException(f"{name!r}: {error}") from error
    ask = open_lookups(config).ask
    projects = [one for one in config.projects.values() if is_allowed(wanted, one.domains)]
    subject = _describe(config, projects, wanted, tuple(map(_address, addresses)), ask)
    findings = examine(subject, ask)
    if not projects:
        text = f"no project may send as {wanted}: lmrelay project add SLUG --domain {wanted}"
        findings.insert(0, Finding("project", Level.ADVICE, text))
    _tell(invocation.output, subject, findings)


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError as error:
        raise click.ClickException(f"--address {text}: expected an IP address") from error


def _describe(config: Config, projects: Sequence[Project], domain: str, given: tuple[str, ...], ask: Ask) -> Subject:
    routes = [route for project in projects for route in project.routes.values()]
    return Subject(
        domain,
        config.server.hostname,
        given or _find_addresses(config, projects, ask),
        find_keys(config.dkim, domain),
        tuple(key for key in config.dkim.get(domain, ()) if not key.active),
        tuple(dict.fromkeys(route.return_path for route in routes if route.return_path)),
        own_path=not routes or any(not route.return_path for route in routes),
    )


def _find_addresses(config: Config, projects: Sequence[Project], ask: Ask) -> tuple[str, ...]:
    """
    Where mail of these projects comes from: what routes say, and the host name's addresses where the system chooses.
    """
    chosen = [
        tuple(filter(_is_outside, route.source_address or config.delivery.source_address))
        for project in projects
        for route in project.routes.values()
    ] or [tuple(filter(_is_outside, config.delivery.source_address))]
    found = [address for each in chosen for address in each]
    if not all(chosen):
        found += _named(config.server.hostname, ask)
    return tuple(dict.fromkeys(found))


def _is_outside(address: str) -> bool:
    return not any(ip_address(address) in network for network in _INSIDE)


def _named(hostname: str, ask: Ask) -> list[str]:
    found: list[str] = []
    for type in (A, AAAA):
        try:
            found += [str(one) for one in ask(hostname, type).records]
        except DnsError:
            continue
    return list(filter(_is_outside, found))


def _tell(output: Output, subject: Subject, findings: Sequence[Finding]) -> None:
    problems = sum(one.level is Level.PROBLEM for one in findings)
    output.document(
        {
            "domain": subject.domain,
            "ok": not problems,
            "addresses": list(subject.addresses),
            "findings": [_document(one) for one in findings],
        }
    )
    if subject.addresses:
        output.line(f"Mail of {subject.domain} comes from {', '.join(subject.addresses)} (else say so with --address).")
        output.line()
    for one in findings:
        output.line(f"{one.level.value:8} {one.text}")
    records = list(dict.fromkeys(one.record for one in findings if one.record is not None))
    if records:
        output.line()
        output.line("To publish:")
        output.line()
        for record in _merge(records):
            output.line(f"    {_zone(record)}")
    if problems:
        raise Problems(f"{subject.domain}: {problems} {'problems' if problems > 1 else 'problem'}")


def _merge(records: Iterable[Record]) -> list[Record]:
    """
    Each once: a domain that is its own return path is looked at twice.
    """
    return list({(record.name, record.type): record for record in records}.values())


def _document(finding: Finding) -> dict[str, Any]:
    record = finding.record
    told: dict[str, Any] = {"about": finding.about, "level": finding.level.value, "text": finding.text, "record": None}
    if record is not None:
        told["record"] = {"name": record.name, "type": record.type, "value": record.value, "zone": _zone(record)}
    return told


def _zone(record: Record) -> str:
    if record.type == "TXT":
        return zone_line(record.name, record.value)
    return f"{record.name}. IN {record.type} {record.value}"
