"""
The steps of an attempt as lines for people: how long each took, what was done, and what came of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lmrelay.cli.output import human_duration

_TITLES = {
    "mx": "MX",
    "addresses": "addresses",
    "passed": "passed over",
    "connect": "connecting",
    "greeting": "greeting",
    "ehlo": "EHLO",
    "helo": "HELO",
    "starttls": "STARTTLS",
    "handshake": "TLS handshake",
    "kept": "connection",
    "rset": "RSET",
    "mail": "MAIL FROM",
    "rcpt": "RCPT TO",
    "data": "DATA",
    "content": "content",
    "chunk": "BDAT",
    "end_of_data": "end of data",
    "unfit": "not offered",
    "left out": "(left out)",
}

WIDTH = max(map(len, _TITLES.values()))


def tell_steps(steps: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """
    A line a step.
    """
    for one in steps:
        name, seconds = one["step"], one["seconds"]
        said = _say(name, one["text"], seconds is None)
        yield f"{_took(seconds):>8}  {_TITLES.get(name, name):{WIDTH}}  {said}".rstrip()


def _say(name: str, text: str, untimed: bool) -> str:
    if name == "mx":
        return tell_hosts(text) + (", known from before" if untimed else "")
    if name == "kept":
        return f"kept open from mail before, this is message {text} on it"
    if name == "left out":
        return f"{text} steps"
    if name == "content" and not text:
        return "sent"
    return text


def tell_hosts(hosts: str) -> str:
    """
    The hosts of a site in one word, in words; what is none stays as it is.
    """
    return hosts if " " in hosts else hosts.replace(",", " or ").replace(";", ", then ")


def _took(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds * 1000:.1f}ms" if seconds < 0.01 else human_duration(seconds)
