"""
Numbers to bars, and samples to spans.
"""

from __future__ import annotations

import pytest

from lmrelay.web.charts import HEIGHT, WIDTH, Bar, round_up, stack
from lmrelay.web.history import KEPT, History, Totals
from lmrelay.web.pages import show_duration, show_number, show_size


@pytest.mark.parametrize(
    ("most", "expected"), [(0, 1), (1, 1), (1.5, 2), (3, 5), (6, 10), (11, 20), (49, 50), (51, 100), (99_999, 100_000)]
)
def test_round_up(most: float, expected: float) -> None:
    """
    What a chart's height means is easy to read.
    """
    assert expected == round_up(most)


def test_stack() -> None:
    """
    Series lie upon each other, the latest at the right; what is rare is seen at all.
    """
    chart = stack("x", {"a": [5.0, 0.0], "b": [5.0, 0.001]}, 4)
    width, quarter = WIDTH / 4, HEIGHT / 2
    assert (10.0, {"a": 5.0, "b": 5.001}) == (chart.most, chart.totals)
    assert (
        Bar("a", 2 * width, quarter, width, quarter),
        Bar("b", 2 * width, 0.0, width, quarter),
        Bar("b", 3 * width, HEIGHT - 1, width, 1.0),
    ) == chart.bars


def test_history() -> None:
    """
    Each span has what was counted in it, and only a day is kept.
    """
    totals, now = Totals(), 0.0
    history = History(lambda: totals, lambda: now)
    for number in range(1, KEPT + 3):
        totals, now = Totals(accepted=totals.accepted + number, waiting=number), now + 300
        history.sample()
    totals = Totals(accepted=totals.accepted + 7)
    spans = history.spans()
    assert KEPT + 1 == len(spans)
    assert [3, 4] == [span.counted.accepted for span in spans[:2]]
    assert (KEPT + 2, KEPT + 2) == (spans[-2].counted.accepted, spans[-2].counted.waiting)
    assert (7, None) == (spans[-1].counted.accepted, spans[-1].counted.waiting)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (None, ""),
        (0, "0 ms"),
        (0.0214, "21 ms"),
        (1.44, "1.4 s"),
        (59, "59 s"),
        (60, "1 min"),
        (7300, "2 h"),
        (9e5, "10 d"),
    ],
)
def test_durations(seconds: float | None, expected: str) -> None:
    """
    One unit, and not more digits than anybody wants.
    """
    assert expected == show_duration(seconds)


def test_numbers() -> None:
    """
    Thousands apart; sizes in their unit.
    """
    assert "1\u202f234\u202f567" == show_number(1234567)
    assert ["0 B", "1023 B", "2 KiB", "50 MiB", "3 TiB"] == [
        show_size(octets) for octets in (0, 1023, 2048, 50 << 20, 3 << 40)
    ]
