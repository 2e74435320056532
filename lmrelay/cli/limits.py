"""
Limits of projects and routes: as programs get them, and as the cells of a table say them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from lmrelay.cli.output import human_size
from lmrelay.config.project import Project, Route

_WORDS: Mapping[str, Callable[[int], str]] = {
    "max_messages_per_hour": lambda limit: f"{limit}/h",
    "max_messages_per_day": lambda limit: f"{limit}/d",
    "max_recipients": lambda limit: f"{limit} recipients",
    "max_size": human_size,
    "max_connections": lambda limit: f"{limit} sessions",
}


def limits_of(one: Project | Route) -> dict[str, int | None]:
    """
    Every limit that a project or a route can have, by its key; None where there is none.
    """
    return {each.name: getattr(one, each.name) for each in attrs.fields(type(one)) if each.name in _WORDS}


def in_words(record: Mapping[str, Any]) -> list[str]:
    """
    The limits in a record, such as C{["1000/h", "10 MiB"]}.
    """
    return [word(record[key]) for key, word in _WORDS.items() if record.get(key) is not None]
