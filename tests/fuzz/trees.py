"""
TOML of the right and the wrong shape: tables with the keys that there are, and values of any kind.
"""

from __future__ import annotations

import typing
from typing import Any

import attrs
import tomlkit
from hypothesis import strategies as st

VALUES = st.one_of(
    st.booleans(),
    st.integers(-1, 70_000),
    st.sampled_from([2**63 - 1, -(2**63), 0, 1, 25, 65536]),
    st.floats(),
    st.dates(),
    st.datetimes(),
    st.times(),
    st.text(st.characters(blacklist_categories=("Cs",)), max_size=8),
    st.sampled_from(
        [
            *(
                "relay.example",
                "1h",
                "48h",
                "10m",
                "50MiB",
                "1e400h",
                "-1s",
                "",
                ".",
                "\0",
                "*",
                ".b.example",
                "::",
                "127.0.0.1:53",
            ),
            *(
                "plain",
                "starttls",
                "auto",
                "on",
                "off",
                "enforced",
                "https://a.example/{token}",
                "192.0.2.0/24",
                "whsec_abcdefgh",
            ),
            *(
                "a" * 64,
                "aaaaaaaaaaaa",
                "outgoing",
                "message.*",
                "broadcast",
                "sandbox",
                "lettermint",
                "[::1]:9100",
                "localhost",
                "x" * 300,
            ),
        ]
    ),
)

KEYS = st.sampled_from(["hostname", "url", "tls", "domains", "x", "", "a.b", "acme", "outgoing", "é", "b.example"])


def tables(cls: Any, depth: int = 4) -> st.SearchStrategy[dict[str, Any]]:
    """
    Tables with some of the keys of that class, and sometimes others.
    """
    hints = typing.get_type_hints(cls)
    known = {one.name: _values(hints[one.name], depth - 1) for one in attrs.fields(cls) if one.init}
    right = st.fixed_dictionaries({}, optional=known)
    return st.one_of(
        right, right, st.tuples(right, st.dictionaries(KEYS, VALUES, max_size=2)).map(lambda both: both[0] | both[1])
    )


def _values(kind: Any, depth: int) -> st.SearchStrategy[Any]:
    inner = [one for one in (kind, *typing.get_args(kind)) if isinstance(one, type) and attrs.has(one)]
    if depth <= 0 or not inner:
        return st.one_of(VALUES, st.lists(VALUES, max_size=3))
    table = tables(inner[0], depth)
    origin = typing.get_origin(kind)
    if origin is tuple:
        return st.one_of(st.lists(table, max_size=2), VALUES)
    if inner[0] is not kind:
        return st.one_of(st.dictionaries(KEYS, table, max_size=2), VALUES)
    return st.one_of(table, table, VALUES)


def to_toml(table: dict[str, Any]) -> bytes:
    """
    The table as a file.
    """
    return tomlkit.dumps(table).encode("utf-8", "replace")
