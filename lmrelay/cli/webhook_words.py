"""
Endpoints of webhooks and the attempts to tell them, as C{lmrelay webhooks} shows them.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from lmrelay.cli.output import human_duration, iso_time
from lmrelay.config.project import Webhook


def endpoint_record(project: str, hook: Webhook, facts: Mapping[str, Any]) -> dict[str, Any]:
    """
    An endpoint as C{--json} gives it, less its times in words.
    """
    disabled = facts.get("disabled_at")
    return {
        "project": project,
        "name": hook.name,
        "url": _hide_password(hook.url),
        "events": list(hook.events),
        "routes": list(hook.routes),
        "batch": hook.batch,
        "enabled": hook.enabled,
        "rotating": bool(hook.previous_secret),
        "waiting": facts.get("waiting", 0),
        "since": facts.get("since"),
        "next": facts.get("next"),
        "trouble": facts.get("trouble"),
        "disabled_at": disabled,
        "reason": facts.get("reason", ""),
        "state": "disabled" if disabled is not None else "on" if hook.enabled else "off",
    }


def _hide_password(url: str) -> str:
    """
    A URL as it may be shown: a listing is mailed around, and its password is the endpoint's.
    """
    parts = urlsplit(url)
    if parts.password is None:
        return url
    login, _, place = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{login.partition(':')[0]}:***@{place}"))


def with_times(record: Mapping[str, Any]) -> dict[str, Any]:
    """
    The same with its times as ISO texts in UTC.
    """
    return {**record, **{key: iso_time(record[key]) for key in ("since", "next", "disabled_at")}}


def endpoint_in_words(told: Mapping[str, Any], records: list[dict[str, Any]], now: float) -> dict[str, Any]:
    """
    What the table has in place of numbers.
    """
    record = next(one for one in records if (one["project"], one["name"]) == (told["project"], told["name"]))
    since, state = record["since"], record["state"]
    if record["disabled_at"] is not None:
        state = f"disabled: {record['reason']}"
    elif record["trouble"] is not None:
        state = f"{state}, fails: {record['trouble']}"
    return {"since": None if since is None else f"{human_duration(max(now - since, 0))} ago", "state": state}


def with_attempt_times(record: Mapping[str, Any]) -> dict[str, Any]:
    """
    An attempt with its times as ISO texts in UTC.
    """
    return {**record, "started": iso_time(record["started"]), "next": iso_time(record["next"])}


def attempt_in_words(record: Mapping[str, Any]) -> dict[str, Any]:
    """
    What the table has in place of numbers.
    """
    return {"took": human_duration(record["seconds"]), "answer": tell_answer(record)}


def tell_answer(record: Mapping[str, Any]) -> str:
    """
    What an endpoint said, or why it said nothing.
    """
    answer = record["text"] if record["status"] is None else str(record["status"])
    return f"{answer} {record['body']}".strip()
