"""
A configuration in a folder, as the tests of loading write and read it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import tomlkit

from lmrelay.config.load import load
from lmrelay.config.values import Config
from lmrelay.errors import ConfigError

TLS = {"certificate": "relay.crt", "private_key": "relay.key"}


def token(id: str = "aaaaaaaaaaaa", name: str = "web", **more: object) -> dict[str, object]:
    return {"name": name, "id": id, "sha256": hashlib.sha256(f"{id} {name}".encode()).hexdigest(), **more}


def write(folder: Path, main: dict[str, object] | str, **projects: dict[str, object] | str) -> Path:
    """
    The path of the main file; what is text is written as it is.
    """
    path = folder / "lmrelay.toml"
    path.write_text(main if isinstance(main, str) else tomlkit.dumps(main))
    (folder / "projects.d").mkdir(exist_ok=True)
    for slug, project in projects.items():
        text = project if isinstance(project, str) else tomlkit.dumps(project)
        (folder / "projects.d" / f"{slug}.toml").write_text(text)
    return path


def complete(folder: Path, **tables: object) -> dict[str, object]:
    """
    A main file that has what is required, with C{tables} laid over it.
    """
    server = {"hostname": "relay.example", "state_dir": str(folder / "state")}
    required: dict[str, dict[str, object]] = {"server": dict(server), "tls": dict(TLS)}
    for name, keys in required.items():
        given = tables.pop(name, {})
        keys.update(given)  # type: ignore[call-overload]
    return {**required, **tables}


def read(folder: Path, main: dict[str, object] | str, **projects: dict[str, object] | str) -> Config:
    return load(write(folder, main, **projects))


def complaints(folder: Path, main: dict[str, object] | str, **projects: dict[str, object] | str) -> list[str]:
    """
    All that is wrong, a line each, with the folder left out.
    """
    try:
        read(folder, main, **projects)
    except ConfigError as error:
        return [str(problem).replace(f"{folder}/", "") for problem in error.problems]
    return []
