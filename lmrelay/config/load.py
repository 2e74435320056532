"""
Files to a L{Config}: the main one, and one a project.

All that is wrong in all of them is told at once (L{ConfigError}). What a later version
carries out is refused where security or safety hangs on it, and else warned of.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import evolve

from lmrelay.config.checks import SLUG, SLUG_FORM, check_slug
from lmrelay.config.dkim_keys import read_dkim_keys
from lmrelay.config.project import OUTGOING, Project, Route
from lmrelay.config.reader import Reader
from lmrelay.config.receivers import all_receivers, read_toml
from lmrelay.config.seals import break_seals
from lmrelay.config.values import Config, DomainDelivery, ServerTls
from lmrelay.config.warnings import warn_of_routes
from lmrelay.config.words import Security, Switch
from lmrelay.errors import ConfigError, Problem, SyntaxRefused
from lmrelay.mail.address import ascii_domain

TOKEN_KEY = "token.key"
KEY_LENGTH = 32

NOT_OF_ROUTES = dict.fromkeys(
    ("max_recipients", "max_size", "max_connections"),
    "is a limit of the whole project: write it above the file's first table",
)
"""
Keys that are meant for a route and are none of its keys, and what to do about each.
"""


def load(path: Path, running: Config | None = None) -> Config:
    """
    The configuration at C{path}, with its projects, the key that unseals their tokens and those that sign.

    @param running: that of a relay which runs: its state folder stays in use, its projects' folder cannot just be gone
    @raise ConfigError: all that is wrong
    """
    path = path.absolute()
    reader = Reader(str(path), path.parent)
    config = _read_main(reader, path)
    moves = _warn_of_move(config, running.server.state_dir) if config and running else []
    if config is not None and running is not None:
        config = evolve(config, server=evolve(config.server, state_dir=running.server.state_dir))
    problems = list(reader.problems)
    folder = config.server.read_projects if config else path.parent / "projects.d"
    had = running is not None and bool(running.projects)
    projects, more = _read_projects(folder, needed=had or (config is not None and _is_set(path, "read_projects")))
    problems += more
    if config is not None:
        problems += _check(config)
        config = evolve(config, projects=projects)
        for complete in (_with_key, _with_dkim, _with_receivers):
            try:
                config = complete(config)
            except ConfigError as error:
                problems += error.problems
    if problems or config is None:
        raise ConfigError(*problems)
    kept, broken = break_seals(config.projects, config.token_key)
    return evolve(config, projects=kept, warnings=(*moves, *_warn(config), *_warn_of_seals(config, broken)))


def _with_key(config: Config) -> Config:
    return evolve(config, token_key=read_token_key(config.server.state_dir))


def _with_dkim(config: Config) -> Config:
    return evolve(config, dkim=read_dkim_keys(config.server.state_dir))


def _with_receivers(config: Config) -> Config:
    return evolve(config, receivers=all_receivers(config.delivery))


def _is_set(path: Path, key: str) -> bool:
    return key in read_toml(path).get("server", {})


def _read_main(reader: Reader, path: Path) -> Config | None:
    try:
        table = read_toml(path)
    except ConfigError as error:
        reader.problems += error.problems
        return None
    delivery = table.get("delivery")
    domains: dict[str, DomainDelivery] = {}
    if isinstance(delivery, dict) and "domains" in delivery:
        domains = _read_domains(reader, delivery["domains"])
        table = {**table, "delivery": {key: value for key, value in delivery.items() if key != "domains"}}
    config = reader.table(Config, table, path=path, projects={}, token_key=b"", dkim={}, receivers=(), warnings=())
    if config is None:
        _check_the_rest(reader, table, path)
        return None
    server = evolve(
        config.server,
        state_dir=reader.folder / config.server.state_dir,
        read_projects=reader.folder / config.server.read_projects,
    )
    return evolve(config, server=server, delivery=evolve(config.delivery, domains=domains))


def _check_the_rest(reader: Reader, table: Mapping[str, Any], path: Path) -> None:
    """
    Where some tables cannot be read, tell what is wrong between the others too.
    """
    broken = {re.split(r"[.\[]", problem.key)[0] for problem in reader.problems}
    if "listeners" in broken or "tls" in broken:
        return
    rest = {key: value for key, value in table.items() if key not in broken} | {"server": {"hostname": "relay.invalid"}}
    config = Reader(reader.file, reader.folder).table(
        Config, rest, path=path, projects={}, token_key=b"", dkim={}, receivers=(), warnings=()
    )
    if config is not None:
        reader.problems += _check(config)


def _read_domains(reader: Reader, table: object) -> dict[str, DomainDelivery]:
    found: dict[str, DomainDelivery] = {}
    spellings: dict[str, str] = {}
    if not isinstance(table, dict):
        reader.complain("delivery.domains", "expected a table")
        return found
    for name, value in table.items():
        key = f'delivery.domains."{name}"'
        try:
            domain = ascii_domain(name)
        except SyntaxRefused as error:
            reader.complain(key, str(error))
            continue
        if domain in spellings:
            reader.complain(key, f'is the same domain as "{spellings[domain]}"')
            continue
        spellings[domain] = name
        read = reader.table(DomainDelivery, value, key)
        if read is not None:
            found[domain] = read
    return found


def _read_projects(folder: Path, *, needed: bool) -> tuple[dict[str, Project], list[Problem]]:
    projects: dict[str, Project] = {}
    problems: list[Problem] = []
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".toml" and not path.name.startswith("."))
    except FileNotFoundError:
        return projects, [Problem(str(folder), "", "there is no such folder")] if needed else []
    except OSError as error:
        return projects, [Problem(str(folder), "", f"cannot be read: {error.strerror}")]
    for path in paths:
        try:
            projects[path.stem] = read_project(path)
        except ConfigError as error:
            problems += error.problems
    problems += _find_shared(folder, projects)
    return projects, problems


def _find_shared(folder: Path, projects: Mapping[str, Project]) -> list[Problem]:
    """
    Tokens that are no token's alone: whose mail it is would hang on the order of the files.
    """
    problems = []
    owners: dict[tuple[str, str], str] = {}
    for slug, project in projects.items():
        for number, token in enumerate(project.tokens):
            for key, value in (("id", token.id), ("sha256", token.sha256)):
                if (key, value) in owners:
                    reason = f"is that of a token of project {owners[key, value]} too"
                    problems.append(Problem(str(folder / f"{slug}.toml"), f"tokens[{number}].{key}", reason))
                owners.setdefault((key, value), slug)
    return problems


def read_project(path: Path) -> Project:
    """
    The project in the file at C{path}, whose stem is its slug.

    @raise ConfigError: all that is wrong with it
    """
    reader = Reader(str(path), path.parent)
    table = read_toml(path)
    if not SLUG.fullmatch(path.stem):
        reader.complain("", f"the file's name is the project's slug: expected {SLUG_FORM}")
    routes = _read_routes(reader, table.pop("routes", {}))
    project = reader.table(Project, table, slug=path.stem, routes=routes)
    if project is not None:
        if project.default_route not in routes:
            reader.complain("default_route", f"there is no route {project.default_route!r}")
        names = Counter(token.name for token in project.tokens)
        for name, number in names.items():
            if number > 1:
                reader.complain("tokens", f"{number} tokens are named {name!r}")
    if reader.problems or project is None:
        raise ConfigError(*reader.problems)
    return project


def _refuse_misplaced(reader: Reader, table: Mapping[str, Any], where: str) -> dict[str, Any]:
    for key, reason in NOT_OF_ROUTES.items():
        if key in table:
            reader.complain(f"{where}.{key}", reason)
    return {key: value for key, value in table.items() if key not in NOT_OF_ROUTES}


def _read_routes(reader: Reader, table: object) -> dict[str, Route]:
    routes = {OUTGOING: Route(OUTGOING)}
    if not isinstance(table, dict):
        reader.complain("routes", "expected a table of routes")
        return routes
    for slug, value in table.items():
        key = f"routes.{slug}"
        try:
            check_slug(slug)
        except ValueError as error:
            reader.complain(key, str(error))
            continue
        if isinstance(value, dict):
            value = _refuse_misplaced(reader, value, key)
        route = reader.table(Route, value, key, slug=slug)
        # Even a route with something wrong exists, else the default would seem to be missing too.
        routes[slug] = route or Route(slug)
    return routes


def _check(config: Config) -> list[Problem]:
    """
    What no key shows by itself.
    """
    problems: list[Problem] = []

    def complain(key: str, reason: str) -> None:
        problems.append(Problem(str(config.path), key, reason))

    seen: dict[tuple[str, int], int] = {}
    for number, listener in enumerate(config.listeners):
        place = (listener.interface, listener.port)
        if not listener.enabled or not listener.port:
            continue
        if place in seen:
            complain(f"listeners[{number}].port", f"is that of listeners[{seen[place]}] too")
        seen.setdefault(place, number)
    if any(one.enabled and one.security is not Security.PLAIN for one in config.listeners):
        problems += _need_certificate(config.tls, str(config.path))
    if config.delivery.dane is Switch.ON and not config.dns.validating:
        # Promised and never carried out it would be worse than not promised.
        complain("delivery.dane", 'is "on", and needs [dns] validating = true')
    return problems


def _need_certificate(tls: ServerTls, file: str) -> list[Problem]:
    return [
        Problem(file, f"tls.{key}", "is required while a listener with TLS is on")
        for key, value in (("certificate", tls.certificate), ("private_key", tls.private_key))
        if value is None
    ]


def _warn_of_move(config: Config, used: Path) -> list[Problem]:
    problem = Problem(str(config.path), "server.state_dir", f"takes a restart: until then {used} stays in use")
    return [problem] if config.server.state_dir != used else []


def _warn(config: Config) -> list[Problem]:
    warnings = []
    for slug, project in config.projects.items():
        file = str(config.server.read_projects / f"{slug}.toml")
        if not project.domains:
            warnings.append(Problem(file, "domains", "is empty: the project can send from no address"))
        warnings += _warn_of_limits(config, project, file)
        warnings += warn_of_routes(config, project, file, config.server.state_dir / TOKEN_KEY)
    return warnings


def _warn_of_limits(config: Config, project: Project, file: str) -> list[Problem]:
    """
    A project's limit above the server's is never reached, which is hardly what was meant.
    """
    pairs = (
        ("max_recipients", project.max_recipients, "recipients", config.limits.recipients),
        ("max_size", project.max_size, "message_size", config.limits.message_size),
        ("max_connections", project.max_connections, "connections", config.limits.connections),
    )
    return [
        Problem(file, key, f"is above the server's own limit, which holds: [limits] {theirs} = {ceiling}")
        for key, limit, theirs, ceiling in pairs
        if limit is not None and limit > ceiling
    ]


def _warn_of_seals(config: Config, broken: Mapping[str, list[str]]) -> list[Problem]:
    key = config.server.state_dir / TOKEN_KEY
    why = f"were sealed under another key than {key}" if config.token_key else f"are sealed, but there is no {key}"
    return [
        Problem(
            str(config.server.read_projects / f"{slug}.toml"),
            "tokens",
            f'{_list(names)} {why}: CRAM-MD5 does not work with them, and "auto" does not offer it',
        )
        for slug, names in broken.items()
    ]


def _list(names: list[str]) -> str:
    """
    The first few, for there may be a thousand.
    """
    shown = ", ".join(map(repr, names[:3]))
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def read_token_key(state_dir: Path) -> bytes:
    """
    The key under which tokens are sealed, empty where there is none yet.

    @raise ConfigError: others could read it, or it is no key
    """
    path = state_dir / TOKEN_KEY
    try:
        mode = path.stat().st_mode
        key = path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise ConfigError(Problem(str(path), "", f"cannot be read: {error.strerror}")) from error
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigError(Problem(str(path), "", "others could read it: expected mode 0600 (chmod 600)"))
    if len(key) != KEY_LENGTH:
        raise ConfigError(Problem(str(path), "", f"expected a key of {KEY_LENGTH} octets"))
    return key


def ensure_token_key(state_dir: Path) -> bytes:
    """
    The key under which tokens are sealed, made where there is none: for its first user only.

    @raise ConfigError: as L{read_token_key}, or it cannot be made
    """
    key = read_token_key(state_dir)
    if key:
        return key
    path = state_dir / TOKEN_KEY
    try:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        _make_key(path)
    except OSError as error:
        raise ConfigError(Problem(str(path), "", f"cannot be made: {error.strerror}")) from error
    return read_token_key(state_dir)


def _make_key(path: Path) -> None:
    # A name of its own: makers in two containers may well have the same process id.
    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(os.urandom(KEY_LENGTH))
            stream.flush()
            os.fsync(stream.fileno())
        # A link appears whole, and fails if another was faster: then theirs is the key.
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        os.unlink(draft)
