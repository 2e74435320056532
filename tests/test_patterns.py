"""
Regular expressions that every Python 3.11 reads alike.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import lmrelay

MODULES = sorted(Path(lmrelay.__file__).resolve().parent.rglob("*.py"))
_POSSESSIVE_GROUP = re.compile(r"\)(?:[*+?]|\{[0-9,]+\})\+|\(\?>")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path).rsplit("lmrelay/", 1)[-1])
def test_no_possessive_group(path: Path) -> None:
    """
    A group is not repeated possessively, nor atomic: before 3.11.5 (Debian 12 has 3.11.2) what is repeated within one
    then matches less than it should, or elsewhere (CPython issue 106052). A set or a dot may be.
    """
    assert [] == _POSSESSIVE_GROUP.findall(path.read_text())


@pytest.mark.parametrize("pattern", ["(?:a|b)*+", "(a)++", "(?:a){1,2}+", "(?>a)"])
def test_is_found(pattern: str) -> None:
    """
    The look for them finds them.
    """
    assert _POSSESSIVE_GROUP.search(pattern)
