"""
The texts of the statements that every message needs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Select

from lmrelay.queue import statements, suppressions


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
@pytest.mark.parametrize("size", [1, 2, 3, 8, 256])
@pytest.mark.parametrize(
    "make",
    [statements._select_open, statements._select_over, suppressions._select_projects, suppressions._select_rows],
)
def test_grown_as_compiled(dialect: str, make: Callable[[int], Select[Any]], size: int) -> None:
    """
    A text for many keys that was grown from those for one and two is the one that the compiler makes.
    """
    assert statements._compile(dialect, make(size)).text == statements._compile_read(dialect, make, size)
