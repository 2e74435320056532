"""
The text of a project's file, edited: every comment and all layout stay as they were.

In comes the text as it is, out goes the new text, which reads as exactly what was there
and the one change. Pure; a L{ValueError} says what cannot be read, or not be edited so.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import tomlkit
from tomlkit.items import AoT, Array

_HEADER = re.compile(r"\s*\[")
_TOKENS = re.compile(r"\s*\[\[\s*(?:tokens|\"tokens\"|'tokens')\s*\]\]\s*(?:#.*)?")
_ROUTES = re.compile(r"\s*\[\s*(?:routes|\"routes\"|'routes')\s*[.\]].*")
_WEBHOOKS = re.compile(r"\s*\[\[\s*(?:webhooks|\"webhooks\"|'webhooks')\s*\]\]\s*(?:#.*)?")
_IDLE = re.compile(r"\s*(?:#.*)?")


def new_project(domains: Sequence[str]) -> str:
    """
    The file of a new project that may send as these domains.
    """
    listed = tomlkit.array()
    listed.extend(domains)
    return (
        "# A project of lmrelay; the file's name is its slug.\n"
        "smtp = true  # the switch: false refuses its logins from the next reload on\n"
        f"domains = {listed.as_string()}  # who it may send as\n"
    )


def switch(text: str, on: bool) -> str:
    """
    The text with C{smtp} set.
    """
    wanted = tomllib.loads(text) | {"smtp": on}
    if wanted == tomllib.loads(text):
        return text
    # The line alone first: the library puts scattered tables together, which is layout too.
    by_line = re.sub(r"(?m)\A((?:[^\[\n]*\n)*?[ \t]*smtp[ \t]*=[ \t]*)(?:true|false)", rf"\g<1>{_toml(on)}", text)
    return _first_that_reads([by_line, _switch_by_library(text, on)], wanted)


def add_token(text: str, token: Mapping[str, Any]) -> str:
    """
    The text with a token more, behind those that it has.
    """
    wanted = tomllib.loads(text)
    tokens = wanted.setdefault("tokens", [])
    tokens.append(dict(token))
    drafts = [_insert(text, _TOKENS, "[[tokens]]", token)]
    if isinstance(tomlkit.parse(text).get("tokens"), Array):
        drafts = [_add_inline(text, token)]
    return _first_that_reads(drafts, wanted)


def add_route(text: str, slug: str, route: Mapping[str, Any]) -> str:
    """
    The text with a route more, behind those that it has.
    """
    wanted = tomllib.loads(text)
    wanted.setdefault("routes", {})[slug] = dict(route)
    return _first_that_reads(_route_drafts(text, slug, route), wanted)


def _route_drafts(text: str, slug: str, route: Mapping[str, Any]) -> Iterator[str]:
    yield _insert(text, _ROUTES, f"[routes.{slug}]", route)
    # An inline table takes no more by a header of its own.
    if "routes" in tomllib.loads(text):
        yield _add_inline_route(text, slug, route)


def remove_token(text: str, token_id: str) -> str:
    """
    The text without the token of that id; comments between tokens stay.
    """
    wanted = tomllib.loads(text)
    places = [place for place, one in enumerate(wanted["tokens"]) if one.get("id") == token_id]
    wanted["tokens"] = [one for one in wanted["tokens"] if one.get("id") != token_id]
    if not wanted["tokens"]:
        del wanted["tokens"]
    lines = text.splitlines(keepends=True)
    spans = _spans(lines, _TOKENS)
    drafts = []
    if spans and places and places[-1] < len(spans):
        for place in reversed(places):
            start, end = spans[place]
            # With one of the empty lines around it, else each removal would leave a gap that grows.
            if start and not lines[start - 1].strip():
                start -= 1
            del lines[start:end]
        drafts.append("".join(lines))
    return _first_that_reads([*drafts, _remove_by_library(text, token_id)], wanted)


def add_webhook(text: str, webhook: Mapping[str, Any]) -> str:
    """
    The text with an endpoint more, behind those that it has.
    """
    wanted = tomllib.loads(text)
    wanted.setdefault("webhooks", []).append(dict(webhook))
    return _first_that_reads([_insert(text, _WEBHOOKS, "[[webhooks]]", webhook)], wanted)


def set_webhook(text: str, name: str, changes: Mapping[str, Any]) -> str:
    """
    The text with these keys of the endpoint of that name set; one that is None is taken away.
    """
    wanted = tomllib.loads(text)
    place = _find_webhook(wanted, name)
    table = wanted["webhooks"][place]
    for key, value in changes.items():
        table.pop(key, None)
        if value is not None:
            table[key] = value
    lines = text.splitlines(keepends=True)
    spans = _spans(lines, _WEBHOOKS)
    drafts = []
    if place < len(spans):
        start, end = spans[place]
        for key, value in changes.items():
            found = [n for n in range(start + 1, end) if re.match(rf"\s*{key}\s*=", lines[n])]
            if not lines[end - 1].endswith("\n"):
                lines[end - 1] += "\n"
            if found and value is None:
                del lines[found[0]]
            elif found:
                comment = re.search(r"[ \t]+#[^\"'\n]*$", lines[found[0]].rstrip("\n"))
                lines[found[0]] = f"{key} = {_toml(value)}{comment[0] if comment else ''}\n"
            elif value is not None:
                lines.insert(end, f"{key} = {_toml(value)}\n")
            end = _spans(lines, _WEBHOOKS)[place][1]
        drafts.append("".join(lines))
    return _first_that_reads(drafts, wanted)


def remove_webhook(text: str, name: str) -> str:
    """
    The text without the endpoint of that name; comments between endpoints stay.
    """
    wanted = tomllib.loads(text)
    place = _find_webhook(wanted, name)
    del wanted["webhooks"][place]
    if not wanted["webhooks"]:
        del wanted["webhooks"]
    lines = text.splitlines(keepends=True)
    spans = _spans(lines, _WEBHOOKS)
    drafts = []
    if place < len(spans):
        start, end = spans[place]
        if start and not lines[start - 1].strip():
            start -= 1
        del lines[start:end]
        drafts.append("".join(lines))
    return _first_that_reads(drafts, wanted)


def _find_webhook(read: Mapping[str, Any], name: str) -> int:
    return next(place for place, one in enumerate(read["webhooks"]) if one.get("name") == name)


def _insert(text: str, like: re.Pattern[str], header: str, table: Mapping[str, Any]) -> str:
    """
    The text with a table more: behind the last whose header is C{like} its own, or at the end.
    """
    lines = text.splitlines(keepends=True)
    spans = _spans(lines, like)
    place = _behind_comments(lines, spans[-1][1]) if spans else len(lines)
    before, after = "".join(lines[:place]), "".join(lines[place:])
    if before and not before.endswith("\n"):
        before += "\n"
    gap = "" if not before or before.endswith("\n\n") else "\n"
    return f"{before}{gap}{header}\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in table.items()) + after


def _behind_comments(lines: Sequence[str], place: int) -> int:
    """
    Behind the comments that close a table: its own settings, commented out, would else become another's. Those that
    lead to the next header, without an empty line, are the next table's.
    """
    end = place
    while end < len(lines) and lines[end].lstrip().startswith("#"):
        end += 1
    return place if end < len(lines) and lines[end].strip() else end


def _spans(lines: Sequence[str], like: re.Pattern[str]) -> list[tuple[int, int]]:
    """
    Where each table of such a header begins and ends: behind its last key, before the comments of what follows.
    """
    headers = [number for number, line in enumerate(lines) if _HEADER.match(line)]
    found = []
    for start, following in zip(headers, [*headers, len(lines)][1:], strict=True):
        if like.fullmatch(lines[start].rstrip("\r\n")):
            end = following
            while _IDLE.fullmatch(lines[end - 1].rstrip("\r\n")):
                end -= 1
            found.append((start, end))
    return found


def _first_that_reads(drafts: Iterable[str], wanted: Mapping[str, Any]) -> str:
    """
    The first draft that says what is wanted: a line within a string may look like a table's.
    """
    for draft in drafts:
        try:
            read = tomllib.loads(draft)
        except tomllib.TOMLDecodeError:
            continue
        if read == wanted or (not wanted.get("tokens") and read == {**wanted, "tokens": []}):
            return draft
    raise ValueError("its layout cannot be changed by the command without touching the rest; edit it by hand")


def _switch_by_library(text: str, on: bool) -> str:
    document = tomlkit.parse(text)
    document["smtp"] = on
    return tomlkit.dumps(document)


def _add_inline(text: str, token: Mapping[str, Any]) -> str:
    document = tomlkit.parse(text)
    entry = tomlkit.inline_table()
    entry.update(token)
    document["tokens"].append(entry)
    return tomlkit.dumps(document)


def _add_inline_route(text: str, slug: str, route: Mapping[str, Any]) -> str:
    document = tomlkit.parse(text)
    entry = tomlkit.inline_table()
    entry.update(route)
    document["routes"][slug] = entry
    return tomlkit.dumps(document)


def _remove_by_library(text: str, token_id: str) -> str:
    document = tomlkit.parse(text)
    tokens = document["tokens"]
    if isinstance(tokens, (Array, AoT)):
        for place in reversed(range(len(tokens))):
            if tokens[place].get("id") == token_id:
                del tokens[place]
    return tomlkit.dumps(document)


def _toml(value: Any) -> str:
    return str(tomlkit.item(value).as_string())
