"""
Durations and sizes.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrelay.config.durations import duration, size


@pytest.mark.parametrize(
    ("written", "seconds"), [("30s", 30), ("5m", 300), ("48h", 172800), ("28d", 2419200), ("1.5h", 5400), (7, 7)]
)
def test_duration(written: object, seconds: float) -> None:
    """
    A duration is a number of seconds or a number with its unit.
    """
    assert seconds == duration(written)


@pytest.mark.parametrize(
    "bad", ["", "5", "m", "-5m", "5 m", "5M", "٣s", "5m\n", True, -1, float("nan"), float("inf"), 10**400, None, []]
)
def test_no_duration(bad: object) -> None:
    """
    Anything else is refused with the forms that are right.
    """
    with pytest.raises(ValueError, match="expected a number of seconds"):
        duration(bad)


@pytest.mark.parametrize("bad", ["", "MiB", "-1", "5mb", "1.5MiB", "5MiB\n", True, -1, 1.5, None])
def test_no_size(bad: object) -> None:
    """
    A size is whole, not negative, and its unit is a power of 1024.
    """
    with pytest.raises(ValueError, match="expected a number of octets"):
        size(bad)


@given(st.integers(0, 10**6), st.sampled_from([("", 1), ("KiB", 2**10), ("MiB", 2**20), ("GiB", 2**30)]))
def test_size(number: int, unit: tuple[str, int]) -> None:
    """
    Every unit gives its octets.
    """
    assert number * unit[1] == size(f"{number}{unit[0]}")
