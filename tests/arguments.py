"""
What the commands of the tests and benches are told on the command line, and in which words they refuse it.
"""

from __future__ import annotations

import argparse
import math
import re
from pathlib import Path

_MARK = re.compile(r"[CL]\{([^}]*)\}")
"""
What names code in a docstring, which a terminal does not show as such.
"""


def make_parser(program: str, words: str | None) -> argparse.ArgumentParser:
    """
    A parser for C{program}, which says of itself what its docstring says.
    """
    description = _MARK.sub(r"\1", words or "").strip()
    return argparse.ArgumentParser(
        prog=program, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def at_least_one(text: str) -> int:
    """
    How many, at least one: a run of nothing must not end as if all were well.
    """
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def whole(text: str) -> int:
    """
    A whole number, such as a seed.
    """
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None


def over_zero(text: str) -> float:
    """
    A number over 0, such as of seconds.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number over 0")
    return value


def existing_file(text: str) -> Path:
    """
    A file that is there.
    """
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return Path(text)


def new_file(text: str) -> Path:
    """
    A file to be written: that it cannot be is not to come out after half an hour of measuring.
    """
    if not Path(text).parent.is_dir() or Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"there can be no file {text}")
    return Path(text)


def existing_folder(text: str) -> Path:
    """
    A folder that is there.
    """
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {text}")
    return Path(text)
