"""
The schema of events as shipped, closed: what it does not describe is wrong.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator

SCHEMA: dict[str, Any] = json.loads((files("lmrelay.events") / "schema.json").read_text())


def _close(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_close(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _close(value) for key, value in schema.items()}
    if "data" in closed.get("properties", {}) and "event" not in closed["properties"]:
        closed["properties"]["data"] = {**closed["properties"]["data"], "unevaluatedProperties": False}
    for name in ("response", "tls", "report", "suppression", "context"):
        if name in closed.get("properties", {}):
            closed["properties"][name] = {**closed["properties"][name], "unevaluatedProperties": False}
    return closed


VALIDATOR = Draft202012Validator(_close(SCHEMA))


def complaints(event: Any) -> list[str]:
    """
    All that is wrong with an event.
    """
    return [f"{'/'.join(map(str, one.absolute_path))}: {one.message}" for one in VALIDATOR.iter_errors(event)]
