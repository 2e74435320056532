"""
The documents hold together: links lead somewhere, and what is named exists.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from attrs import fields

from lmrelay.cli.main import COMMANDS, cli
from lmrelay.config import values
from lmrelay.config.project import Project, Route, Token, Webhook
from tests.test_samples import TABLES

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def without_code(text: str) -> str:
    """
    The text without what stands in fences.
    """
    return re.sub(r"(?ms)^ *```.*?^ *```", "", text)


def anchors(page: Path) -> set[str]:
    """
    What headings can be linked to as.
    """
    titles = re.findall(r"(?m)^#+ (.+)$", without_code(page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links(page: Path) -> None:
    """
    Every link within the documents leads to a file, and to a heading where it names one.
    """
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text(encoding="utf-8"))):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        to = (page.parent / path).resolve() if path else page
        assert to.exists(), target
        assert not anchor or anchor in anchors(to), target


def test_readme_lists_every_page() -> None:
    """
    Whoever begins with the README finds every page.
    """
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [] == [page.name for page in (ROOT / "docs").glob("*.md") if f"(docs/{page.name})" not in readme]


PROOFS = [ROOT / name for name in ("docs/security.md", "docs/reliability.md", "docs/flow.md", "CONTRIBUTING.md")]
PROOFS += [ROOT / name for name in ("tests/fuzz/README.md", "bench/README.md", "tests/dialogues/README.md")]


def places(name: str, page: Path) -> list[Path]:
    """
    Where that may be which a document names in code; none if it names no file, folder or module.
    """
    if name.startswith("python -m "):
        module = name.split()[2].replace(".", "/")
        return [ROOT / f"{module}.py", ROOT / module / "__main__.py"]
    if re.fullmatch(r"(?:tests|docs|bench|lmrelay|systemd|\.ci)/[\w./-]*", name):
        return [ROOT / name]
    if re.fullmatch(r"[\w/]+\.txt", name):
        return [ROOT / "tests" / "dialogues" / name]
    if re.fullmatch(r"[\w/-]+\.(?:py|c)", name):
        return [page.parent / name, ROOT / "lmrelay" / name]
    if re.fullmatch(r"(?:inbound|smtp|projects|mail|queue|outbound|dns|events|web|config|interfaces)/\w+", name):
        return [ROOT / "lmrelay" / f"{name}.py"]
    return []


@pytest.mark.parametrize("page", PROOFS, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_is_named_is_there(page: Path) -> None:
    """
    Whoever wants to check a claim finds the module, the test and the command that it names.
    """
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`([^`]+)`", without_code(text))
    if page.parent != ROOT / "docs":
        # There commands stand in blocks.
        named += re.findall(r"(?m)^ *(python -m [\w.]+)", text)
    found = [(name, places(name, page)) for name in named]
    assert [] == [name for name, where in found if where and not any(place.exists() for place in where)]


def rows(section: str) -> set[str]:
    """
    What the rows of the section's first table begin with.
    """
    return set(re.findall(r"(?m)^\| `([a-z_0-9]+)` \|", section))


def test_configuration_names_no_other_key() -> None:
    """
    The table of each of the server's tables, and of a project, has all of its keys and no other.
    """
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    told = {name: rows(text) for name, text in re.findall(r"(?ms)^### `\[+([a-z]+)\]+`\n(.*?)(?=^###? )", page)}
    for name, cls in {**TABLES, "listeners": values.Listener}.items():
        keys = {one.name for one in fields(cls)} - ({"timeouts", "domains"} if name == "delivery" else set())
        if name == "delivery.timeouts":
            told[name] = set(re.findall(r"`([a-z]+)` \(duration", page))
        assert keys == told[name], name
    project, tokens, routes, hooks = re.split(r"(?m)^`\[", page.partition("## A project's file")[2])
    assert {one.name for one in fields(Project)} - {"slug", "tokens", "routes", "webhooks"} == rows(project)
    assert {one.name for one in fields(Token)} == rows(tokens)
    assert {one.name for one in fields(Route)} - {"slug"} == rows(routes)
    assert {one.name for one in fields(Webhook)} == rows(hooks.partition("### ")[0])


def invocations() -> Iterator[tuple[str, list[str]]]:
    """
    Each time that a document calls the command: the page and the words, those in fences and in the text.
    """
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        fenced = "\n".join(re.findall(r"(?ms)^ *```.*?^ *```", text))
        called = re.findall(r"(?m)^ *(?:\$ )?(lmrelay [^#\n]*)", fenced)
        for line in called + re.findall(r"`(lmrelay [^`]*)`", without_code(text)):
            words = re.split(r" (?:&&|>|<|\|) ", line)[0].split()[1:]
            if words and words[0].startswith("["):
                continue
            yield page.name, words[2:] if words[:1] == ["--config"] else words


def find(words: list[str]) -> tuple[click.Command, list[str]]:
    """
    The command that the words begin with, and what is left of them.
    """
    context, command, left = click.Context(cli), cli, list(words)
    found: click.Command = command
    while isinstance(found, click.Group) and left and not left[0].startswith("-"):
        below = found.get_command(context, left[0])
        assert below is not None, words
        found = below
        left.pop(0)
    return found, left


def test_commands_exist() -> None:
    """
    Every command that a document names exists, with each option that it is given.
    """
    seen = 0
    for page, words in invocations():
        if words[0] not in COMMANDS:
            assert words[0] in {"COMMAND", "…", "--version"}, (page, words)
            continue
        command, left = find([word for word in words if word != "…"])
        known = {option for parameter in command.params for option in parameter.opts} | {"--help", "--json"}
        for word in left:
            if word.startswith("--"):
                assert word.partition("=")[0] in known, (page, words)
                seen += 1
    assert seen > 40
