"""
The import rule: rooms meet in the interfaces, never in each other; ground is pure.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import lmrelay

PACKAGE = Path(lmrelay.__file__).resolve().parent

GROUND = {"smtp", "mail", "config", "interfaces", "errors", "ids", "shares", "tasks", "busy", "reach", "trust", "https"}
ROOMS = {"projects", "inbound", "queue", "outbound", "events", "web", "dns"}
ROOF = {
    "archive",
    "tap",
    "service",
    "daemon",
    "entropy",
    "gathered",
    "writes",
    "reload",
    "descriptors",
    "server_tls",
    "cli",
    "lines",
    "logs",
    "notify",
}

PURE = {"smtp", "mail", "config", "errors", "ids", "shares"}


def modules() -> Iterator[tuple[Path, str]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path, path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def places(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imported(path) if name.startswith("lmrelay.")}


@pytest.mark.parametrize(("path", "place"), list(modules()), ids=lambda value: str(value).rsplit("lmrelay/", 1)[-1])
def test_imports_go_down(path: Path, place: str) -> None:
    """
    Ground imports ground, a room itself and ground, and nothing but tests the doubles.
    """
    allowed = {
        **dict.fromkeys(GROUND, GROUND),
        **{room: GROUND | {room} for room in ROOMS},
        **dict.fromkeys(ROOF, GROUND | ROOMS | ROOF),
        "testing": GROUND | {"testing"},
        "__init__": set(),
    }
    if path.name == "quickstart.py" or "quickstart" in path.parts:
        allowed["cli"] = allowed["cli"] | {"testing"}
    assert places(path) <= allowed[place], f"{path} imports {places(path) - allowed[place]}"


@pytest.mark.parametrize(
    "path", [path for path, place in modules() if place in PURE], ids=lambda path: str(path).rsplit("lmrelay/", 1)[-1]
)
def test_ground_is_pure(path: Path) -> None:
    """
    No reactor, clock or socket below the interfaces.
    """
    banned = ("twisted", "time", "socket", "random", "threading", "sqlalchemy")
    assert [name for name in imported(path) if name.split(".")[0] in banned] == []


@pytest.mark.parametrize(
    "path",
    [path for path, place in modules() if place not in {"tap", "cli"}],
    ids=lambda path: str(path).rsplit("lmrelay/", 1)[-1],
)
def test_reactor_is_given(path: Path) -> None:
    """
    Only the plugin's entry and the operator's command touch the global reactor.
    """
    assert [name for name in imported(path) if name.startswith("twisted.internet.reactor")] == []
