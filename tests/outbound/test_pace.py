"""
Rates and what follows from them: when the next may begin, and that nobody asks before.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrelay.outbound.pace import Pace
from lmrelay.outbound.rules import Limits
from tests.outbound.test_dispatch import OTHER, SITE, add, big, leased


def begun(pace: Pace, until: float, start: float = 0.0) -> list[float]:
    """
    When each begins if all begin as soon as they may.
    """
    times, now = [], start
    while (now := max(now, pace.ready_at)) < until:
        pace.take(now)
        times.append(now)
    return times


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (4.0, [0.0, 0.0, 0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.25]),
        (1.0, [0.0, 1.0]),
        (0.5, [0.0]),
    ],
)
def test_rate(rate: float, expected: list[float]) -> None:
    """
    A second's worth at once, at least one, and then evenly.
    """
    assert expected == begun(Pace(rate), 1.5)


def test_no_rate() -> None:
    """
    Without a rate there is no waiting.
    """
    pace = Pace()
    for _ in range(1000):
        pace.take(0.0)
    assert pace.ready_at <= 0.0


def test_rest_fills_it_once() -> None:
    """
    After an hour of rest there is a second's worth, no more.
    """
    pace = Pace(2.0)
    begun(pace, 3.0)
    assert [3600.0, 3600.0, 3600.5] == begun(pace, 3601.0, 3600.0)


def test_another_rate() -> None:
    """
    A reload counts at once: who had to wait for minutes at the old rate does not at the new one.
    """
    pace = Pace(0.01)
    pace.take(0.0)
    assert 100.0 == pytest.approx(pace.ready_at)
    pace.adopt(0.01)
    assert 100.0 == pytest.approx(pace.ready_at)
    pace.adopt(10.0)
    assert pace.ready_at <= 0.0


@given(st.floats(0.001, 1000), st.lists(st.floats(0, 5), max_size=60))
def test_never_faster(rate: float, waits: list[float]) -> None:
    """
    Whatever the pauses, no span of time has more than its share and a second's worth.
    """
    pace, now, times = Pace(rate), 0.0, []
    for wait in waits:
        now = max(now + wait, pace.ready_at)
        pace.take(now)
        times.append(now)
    for first in range(len(times)):
        for last in range(first, len(times)):
            assert last - first + 1 <= (times[last] - times[first]) * rate + max(rate, 1.0) + 1e-6


def test_site_rests() -> None:
    """
    A site whose second is used up lets the others go, says when it goes on, and goes on then; it is not asked before.
    """
    dispatch = big()
    for number in range(3):
        add(dispatch, leased(f"b{number}"), SITE, limits=Limits(9, rate=1.0))
        add(dispatch, leased(f"d{number}", domain="d.example"), OTHER, limits=Limits(9))
    now = [dispatch.begin(5.0) for _ in range(5)]
    assert ["b0", "d0", "d1", "d2", None] == [due and due[1].leased.message_id for due in now]
    assert (6.0, {}) == (dispatch.wakes_at, dict(dispatch._ready))
    assert dispatch.begin(5.999) is None
    assert "b1" == dispatch.begin(6.0)[1].leased.message_id
    assert (None, 7.0) == (dispatch.begin(6.5), dispatch.wakes_at)


def test_rested_site_that_is_busy() -> None:
    """
    The end of a rest makes no connection free; and where nothing waits any more nobody is woken twice.
    """
    dispatch = big()
    for number in range(3):
        add(dispatch, leased(f"b{number}"), SITE, limits=Limits(1, rate=1.0))
    queue, work = dispatch.begin(0.0)
    dispatch.end(queue, work)
    assert (None, 1.0) == (dispatch.begin(0.0), dispatch.wakes_at)
    dispatch.withdraw([("b1", 0), ("b2", 0)])
    assert (None, None) == (dispatch.begin(1.0), dispatch.wakes_at)


def test_paused() -> None:
    """
    While nothing may begin the rests go by, and no alarm is left that rings for nobody.
    """
    dispatch = big()
    for number in range(2):
        add(dispatch, leased(f"b{number}"), SITE, limits=Limits(9, rate=1.0))
    dispatch.begin(0.0)
    assert dispatch.begin(0.0) is None
    dispatch.paused = True
    assert (None, None) == (dispatch.begin(1.0), dispatch.wakes_at)
    dispatch.paused = False
    assert dispatch.begin(1.0) is not None


def test_relimit() -> None:
    """
    What a reload says holds for sites that are known, at once: fewer connections, another rate.
    """
    dispatch = big()
    for number in range(9):
        add(dispatch, leased(f"b{number}"), SITE, limits=Limits(9, rate=0.01))
    (queue, _), none = dispatch.begin(0.0), dispatch.begin(0.0)
    assert (None, 100.0) == (none, dispatch.wakes_at)
    dispatch.relimit(lambda site: Limits(3))
    assert [True, True, False] == [dispatch.begin(1.0) is not None for _ in range(3)]
    assert (3, 3) == (queue.running, queue.budget.allowed)
    for _ in range(5):
        dispatch.relimit(lambda site: Limits(9, rate=0.01))
        while dispatch.begin(1.0) is not None:
            pass
    # Alarms of rests that ended otherwise ring once, for nobody.
    dispatch.begin(1000.0)
    assert 1 >= len(dispatch._alarms)


@pytest.mark.parametrize("rate", [None, 0.5, 10.0])
def test_pause(rate: float | None) -> None:
    """
    Nothing begins during a pause, at any rate; afterwards the rate holds as before.
    """
    pace = Pace(rate)
    pace.pause(7.0)
    assert 7.0 == pace.ready_at
    pace.take(7.0)
    assert pace.ready_at >= 7.0
