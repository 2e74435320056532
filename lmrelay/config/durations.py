"""
Durations and sizes as a configuration file writes them: C{"5m"}, C{"50MiB"}, or a number.
"""

from __future__ import annotations

import math
import re

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_OCTETS = {"": 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)([smhd])", re.ASCII)
_SIZE = re.compile(r"([0-9]{1,15})(|B|KiB|MiB|GiB)", re.ASCII)

DURATION_FORM = 'a number of seconds or a string such as "30s", "5m", "48h" or "28d"'
SIZE_FORM = 'a number of octets or a string such as "50MiB"'


def duration(value: object) -> float:
    """
    The seconds that C{value} stands for; L{ValueError} says the form for anything else.
    """
    if isinstance(value, str) and (found := _DURATION.fullmatch(value)):
        return float(found[1]) * _SECONDS[found[2]]
    # A boolean is an int to Python, and TOML's inf and nan are floats.
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            seconds = float(value)
        except OverflowError:
            seconds = math.inf
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    raise ValueError(f"expected {DURATION_FORM}")


def size(value: object) -> int:
    """
    The octets that C{value} stands for; L{ValueError} says the form for anything else.
    """
    if isinstance(value, str) and (found := _SIZE.fullmatch(value)):
        return int(found[1]) * _OCTETS[found[2]]
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError(f"expected {SIZE_FORM}")
