"""
The examples of a document, by the names that comments give them: C{<!-- example: NAME -->} right above a fenced block.

What is not as it should be (a name without its block, a block that does not end, a name twice) is an error, so
that no example can fall out of the tests unseen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

_NAMED = re.compile(r" *<!-- example: (\S+) -->")
_FENCE = re.compile(r"( *)(`{3,})(\w*)")


class BadDocumentError(Exception):
    """
    A document whose examples cannot be told apart.
    """


@frozen
class Example:
    """
    The text between the fences, without the indentation of the list it is in, and the language that the fence names.
    """

    name: str
    language: str
    text: str


def read_examples(document: Path) -> dict[str, Example]:
    """
    All named examples of a document.
    """
    return find_examples(document.read_text("utf-8"))


def find_examples(text: str) -> dict[str, Example]:
    """
    All named examples of a Markdown text.

    @raise BadDocumentError: a name without a block, a block without an end, or a name twice
    """
    found: dict[str, Example] = {}
    for name, language, lines in _blocks(text):
        if name is None:
            continue
        if name in found:
            raise BadDocumentError(f"two examples are named {name}")
        if not language:
            raise BadDocumentError(f"example {name} does not say its language")
        found[name] = Example(name, language, "".join(f"{line}\n" for line in lines))
    return found


def _blocks(text: str) -> Iterator[tuple[str | None, str, list[str]]]:
    """
    Every fenced block: its name, if it has one, its language, and its lines.
    """
    name: str | None = None
    lines = iter(text.splitlines())
    for line in lines:
        fence = _FENCE.fullmatch(line)
        if name is not None and fence is None:
            raise BadDocumentError(f"example {name} is not followed by a fenced block")
        if fence is not None:
            inside = _inside(lines, fence[1] + fence[2], name)
            yield name, fence[3], [line.removeprefix(fence[1]) for line in inside]
            name = None
        elif named := _NAMED.fullmatch(line):
            name = named[1]
        elif "<!-- example" in line:
            raise BadDocumentError(f"not the form of a name: {line}")
    if name is not None:
        raise BadDocumentError(f"example {name} is not followed by a fenced block")


def _inside(lines: Iterator[str], fence: str, name: str | None) -> Iterator[str]:
    for line in lines:
        if line == fence:
            return
        yield line
    raise BadDocumentError(f"the block {name or ''} does not end")
