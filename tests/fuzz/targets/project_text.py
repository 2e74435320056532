"""
A project's file, edited by the operator's command: what is there stays, and the one change is made, or it is refused.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import strategies as st

from lmrelay.cli import projecttext
from lmrelay.config.project import Project
from tests.fuzz.shared import sentences
from tests.fuzz.trees import tables, to_toml

WORDS = (
    b"smtp = true\n",
    b"smtp = false # off\n",
    b"# note\n",
    b"[[tokens]]\n",
    b'id = "aaaaaaaaaaaa"\n',
    b"[routes.x]\n",
    b"\n",
    b"\r\n",
    b"tokens = []\n",
    b"tokens = [ {id='a'}, ]\n",
    b"[[webhooks]]\n",
    b'name = "shop"\n',
    b'"""\n',
    b"'''",
    b'text = """\n[[tokens]]\n"""\n',
    b'"tokens" = 1\n',
    b"[ routes . x ]\n",
    b"routes.x.dsn = false\n",
    b"[[ webhooks ]] # x\n",
    b"smtp=true",
    b"\t",
    b"[a]\n",
    b"[[a.b]]\n",
    b'["tokens"]\n',
    b"[[tokens.x]]\n",
    b"webhooks = [{name='shop'}]\n",
    b"= ",
    b"name = 'shop'\n",
    b"\\",
    b"'tokens'.id = 1\n",
    b" ",
)

examples = st.one_of(sentences(WORDS, 14), tables(Project, 3).map(to_toml))

TOKEN = {"name": "n", "id": "bbbbbbbbbbbb", "sha256": "b" * 64}
WEBHOOK = {"name": "till", "url": "https://a.example/", "secret": "whsec_x"}


def target(data: bytes) -> None:
    """
    Each of the edits.
    """
    try:
        text = data.decode("utf-8")
        before = tomllib.loads(text)
    except (ValueError, RecursionError):
        return
    _edit(text, lambda: projecttext.switch(text, False), before | {"smtp": False})
    _edit(text, lambda: projecttext.switch(text, True), before | {"smtp": True})
    _append(text, before, "tokens", TOKEN, lambda: projecttext.add_token(text, TOKEN))
    _append(text, before, "webhooks", WEBHOOK, lambda: projecttext.add_webhook(text, WEBHOOK))
    routes = before.get("routes", {})
    if isinstance(routes, dict) and "news" not in routes:
        wanted = before | {"routes": routes | {"news": {"kind": "broadcast"}}}
        _edit(text, lambda: projecttext.add_route(text, "news", {"kind": "broadcast"}), wanted)
    tokens = before.get("tokens")
    if isinstance(tokens, list) and all(isinstance(one, dict) for one in tokens):
        for one in tokens:
            if isinstance(one.get("id"), str):
                _remove(text, before, "tokens", "id", one["id"], projecttext.remove_token)
    hooks = before.get("webhooks")
    if isinstance(hooks, list) and all(isinstance(one, dict) for one in hooks):
        for one in hooks:
            if isinstance(one.get("name"), str):
                _remove(text, before, "webhooks", "name", one["name"], projecttext.remove_webhook)


def _edit(text: str, edit: Callable[[], str], wanted: Mapping[str, Any]) -> None:
    try:
        edited = edit()
    except ValueError:
        # It says so, and changes nothing.
        return
    assert repr(wanted) == repr(dict(tomllib.loads(edited))) or _same(wanted, tomllib.loads(edited))
    assert (
        [line for line in text.splitlines() if line.startswith("#")]
        == [line for line in edited.splitlines() if line.startswith("#")]
        or "'''" in text
        or '"""' in text
    )


def _same(one: Any, other: Any) -> bool:
    """
    Equal, with numbers that are none equal to themselves.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other or (one != one and other != other))


def _append(text: str, before: Mapping[str, Any], key: str, table: dict[str, Any], edit: Callable[[], str]) -> None:
    there = before.get(key, [])
    if isinstance(there, list):
        _edit(text, edit, {**before, key: [*there, table]})


def _remove(
    text: str, before: Mapping[str, Any], key: str, by: str, value: str, remove: Callable[[str, str], str]
) -> None:
    # Of several of that name it may be any that goes; which is for other checks to prevent.
    if [one.get(by) for one in before[key]].count(value) > 1:
        return
    left = [one for one in before[key] if one.get(by) != value]
    wanted = {name: left if name == key else given for name, given in before.items() if name != key or left}
    try:
        edited = tomllib.loads(remove(text, value))
    except ValueError:
        return
    assert _same(wanted, edited) or _same({**wanted, key: []}, edited)
