"""
C{lmrelay check}: would the daemon start, and take a reload?

Looks at everything and tells all that is wrong at once; exit code 1 if anything is.
What may be as it should, but deserves a look, is a warning.
"""

from __future__ import annotations

import os
import pwd
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
from attrs import define, evolve, field

from lmrelay.cli.identity import take_identity
from lmrelay.cli.main import Invocation, Problems, pass_invocation
from lmrelay.cli.probes import ask, is_of_this_machine, may_listen, system_servers
from lmrelay.config.values import Config, NameServer
from lmrelay.errors import ConfigError, Problem


@define(eq=False)
class Report:
    """
    What was looked at, and what was found.
    """

    passed: list[str] = field(factory=list)
    problems: list[Problem] = field(factory=list)
    warnings: list[str] = field(factory=list)

    def look(self, what: str, found: Sequence[Problem]) -> None:
        """
        C{what} was looked at, and this is wrong with it.
        """
        if found:
            self.problems += found
        else:
            self.passed.append(what)


@click.command()
@click.option(
    "--configuration-only",
    is_flag=True,
    help="Look at the configuration and the certificate alone: would a reload take them?",
)
@pass_invocation
def check(invocation: Invocation, configuration_only: bool) -> None:
    """
    Check the configuration, certificate, ports, state folder and DNS.

    Works while the daemon runs, and while it does not. Run as root it looks as the daemon's user too.
    """
    report = Report()
    config = _read(invocation, report)
    if config is not None:
        expired = _look_at_certificate(invocation, config, report)
        if configuration_only:
            # An expired certificate is no reason to keep the daemon from reading what else changed.
            report.warnings += map(str, expired)
        else:
            report.problems += expired
            _look_around(invocation, config, report)
    _tell(invocation, report)


def _read(invocation: Invocation, report: Report) -> Config | None:
    try:
        config = invocation.load()
    except ConfigError as error:
        report.problems += error.problems
        return None
    tokens = sum(len(one.tokens) for one in config.projects.values())
    counted = f"{_count(len(config.projects), 'project')}, {_count(tokens, 'token')}"
    report.passed.append(f"configuration {config.path}: {counted}")
    keys = [key.active for of_domain in config.dkim.values() for key in of_domain]
    if keys:
        report.passed.append(f"DKIM: {sum(keys)} of {len(keys)} keys active, {len(config.dkim)} domains")
    report.warnings += map(str, config.warnings)
    return config


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _look_at_certificate(invocation: Invocation, config: Config, report: Report) -> list[Problem]:
    """
    Look, and give what is wrong with its time.
    """
    from lmrelay.config.certificates import check_certificate, find_doubtful, find_expired

    tls, file = config.tls, str(config.path)
    if tls.certificate is None:
        return []
    report.look(f"certificate {tls.certificate} and its key", check_certificate(tls, file))
    now = datetime.fromtimestamp(invocation.wall(), UTC)
    report.warnings += map(str, find_doubtful(tls, file, config.server.hostname, now))
    return find_expired(tls, file, now)


def _look_around(invocation: Invocation, config: Config, report: Report) -> None:
    # The ports first: those below 1024 can be tried by root alone, who is then given up.
    _look_at_ports(config, report)
    take_identity(config.server.state_dir)
    if os.geteuid() != 0:
        _look_as_owner(invocation, report)
    _look_at_sources(config, report)
    _look_at_state(config, report)
    _look_at_dns(config, report)


def _look_as_owner(invocation: Invocation, report: Report) -> None:
    """
    What root can read, the daemon's user may not.
    """
    from lmrelay.config.certificates import check_certificate

    try:
        config = invocation.load()
        found = check_certificate(config.tls, str(config.path))
    except ConfigError as error:
        found = list(error.problems)
    report.problems += [
        evolve(one, reason=f"{one.reason} (as the daemon's user)") for one in found if one not in report.problems
    ]


def _look_at_ports(config: Config, report: Report) -> None:
    from lmrelay.queue.leases import any_lives

    runs = any_lives(config.server.state_dir)
    for key, interface, port in _list_places(config):
        where = f"port {port} on {interface}"
        try:
            may_listen(interface, port)
        except PermissionError:
            report.warnings.append(f"{where}: cannot be tried by this user; run the check as root")
        except OSError as error:
            if runs:
                report.passed.append(f"{where}: in use, and the daemon runs")
                continue
            reason = f"{where} cannot be had: {error.strerror}"
            report.problems.append(Problem(str(config.path), key, reason))
        else:
            report.passed.append(f"{where} is free")


def _list_places(config: Config) -> Iterator[tuple[str, str, int]]:
    """
    Each port that is to be listened on: the key it stands under, interface and port.
    """
    for place, listener in enumerate(config.listeners):
        if listener.enabled and listener.port:
            yield f"listeners[{place}]", listener.interface, listener.port
    if config.http.listen is not None:
        from lmrelay.config.checks import split_port

        yield "http.listen", *split_port(config.http.listen, 0, "")


def _look_at_sources(config: Config, report: Report) -> None:
    """
    Deliveries wait for as long as they are to come from an address that is somewhere else.
    """
    used = {("delivery.source_address", str(config.path)): config.delivery.source_address}
    for slug, project in config.projects.items():
        file = str(config.server.read_projects / f"{slug}.toml")
        for route in project.routes.values():
            used[f"routes.{route.slug}.source_address", file] = route.source_address
    for (key, file), addresses in used.items():
        for number, address in enumerate(addresses):
            foreign = Problem(file, f"{key}[{number}]", f"{address} is not an address of this machine")
            report.look(f"source address {address}", [] if is_of_this_machine(address) else [foreign])


def _look_at_state(config: Config, report: Report) -> None:
    folder = config.server.state_dir
    found: list[Problem] = []
    try:
        if folder.exists():
            with tempfile.TemporaryFile(dir=folder):
                pass
            foreign = [path for path in sorted(folder.iterdir()) if not os.access(path, os.R_OK | os.W_OK)]
            found = [_state_problem(config, f"{path} cannot be read and written{_by_whom()}") for path in foreign]
        elif not os.access(_nearest(folder), os.W_OK | os.X_OK):
            found = [_state_problem(config, f"{folder} does not exist and cannot be made by this user")]
        else:
            report.warnings.append(f"{folder} does not exist yet; the daemon makes it")
    except OSError as error:
        found = [_state_problem(config, f"{folder} cannot be written: {error.strerror}")]
    report.look(f"state folder {folder}", found)


def _by_whom() -> str:
    try:
        return f" by {pwd.getpwuid(os.geteuid()).pw_name}"
    except KeyError:
        return f" by the user {os.geteuid()}"


def _nearest(folder: Path) -> Path:
    return next(parent for parent in folder.parents if parent.exists())


def _state_problem(config: Config, reason: str) -> Problem:
    return Problem(str(config.path), "server.state_dir", reason)


def _look_at_dns(config: Config, report: Report, question: Callable[[NameServer, str], int | None] = ask) -> None:
    """
    Every name server is asked for this server's own name: any answer will do, and none from all is a problem.
    """
    servers = config.dns.servers or system_servers()
    hostname = config.server.hostname
    answers = {server: question(server, hostname) for server in servers}
    for server, code in answers.items():
        where = f"name server {server.host} port {server.port}"
        if code is None:
            report.warnings.append(f"{where} does not answer")
        elif code not in (_NOERROR, _NXDOMAIN):
            report.warnings.append(f"{where} answers with the error {_CODES.get(code, code)}")
        else:
            report.passed.append(f"{where} answers")
    usable = [code for code in answers.values() if code in (_NOERROR, _NXDOMAIN)]
    if not usable:
        report.problems.append(Problem(str(config.path), "dns.servers", "no name server gives a usable answer"))
    elif _NOERROR not in usable:
        report.warnings.append(f"the DNS does not know this server's own name {hostname}; receivers look at that")


_NOERROR, _SERVFAIL, _NXDOMAIN, _REFUSED = 0, 2, 3, 5
_CODES = {_SERVFAIL: "SERVFAIL", _REFUSED: "REFUSED"}


def _tell(invocation: Invocation, report: Report) -> None:
    output = invocation.output
    output.document(
        {
            "ok": not report.problems,
            "problems": [{"file": one.file, "key": one.key, "reason": one.reason} for one in report.problems],
            "warnings": report.warnings,
            "passed": report.passed,
        }
    )
    for text in report.passed:
        output.line(f"ok       {text}")
    for text in report.warnings:
        output.line(f"warning  {text}")
    if report.problems:
        raise Problems(*map(str, report.problems))
