"""
Templates to pages: what times, durations and sizes look like, and what a browser may do with a page.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lmrelay.web.door import Answer

HTML = "text/html; charset=utf-8"
STYLE = (Path(__file__).parent / "style.css").read_bytes()

POLICY = (
    "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none';"
    " connect-src 'none'; script-src 'none'"
)
"""
No script runs, whatever a sender or a receiver wrote, and nothing is loaded but the stylesheet.
"""

_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))


def show_time(seconds: float | None) -> str:
    """
    A moment, in UTC.
    """
    return "" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"


def show_duration(seconds: float | None) -> str:
    """
    The larger unit and no more: C{3 d}, C{12 min}, C{1.4 s}, C{20 ms}.
    """
    if seconds is None:
        return ""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    if seconds >= 1:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds * 1000:.0f} ms"


def show_number(number: float) -> str:
    """
    With its thousands apart.
    """
    return f"{number:,.0f}".replace(",", "\u202f")


def show_size(octets: float) -> str:
    """
    In the unit that fits.
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if octets < 1024:
            return f"{octets:.0f} {unit}"
        octets /= 1024
    return f"{octets:.0f} TiB"


def make_environment() -> Environment:
    """
    The templates.
    """
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(time=show_time, duration=show_duration, number=show_number, size=show_size)
    return made


def render(environment: Environment, name: str, code: int = 200, **values: Any) -> Answer:
    """
    A page.
    """
    return Answer(environment.get_template(name).render(style=_EDITION, **values).encode(), HTML, code, _HEADERS)


def style() -> Answer:
    """
    The stylesheet.
    """
    return Answer(STYLE, "text/css; charset=utf-8", 200, {"Cache-Control": "private, max-age=86400"})


_EDITION = sha256(STYLE).hexdigest()[:12]
"""
Part of the stylesheet's address, so that none of an earlier version is used.
"""

_HEADERS: Mapping[str, str] = {"Content-Security-Policy": POLICY}
