"""
When again, and how much of an endpoint that fails.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrelay.events.schedule import FEW, LONGEST_PAUSE, MOST, Pace, lifetime, next_try
from lmrelay.interfaces import Telling

RETRY = (10.0, 60.0, 300.0)


def telling(attempts: int = 0, earlier: int = 0, begun_at: float = 1000.0) -> Telling:
    return Telling(1, "id", "message.sent", b"{}", attempts, earlier, begun_at)


@pytest.mark.parametrize(
    ("one", "ended", "expected"),
    [
        (telling(), 1000.0, 1010.0),
        (telling(1), 1012.0, 1072.0),
        (telling(2), 1075.0, 1375.0),
        (telling(3), 1375.0, None),
        (telling(11, earlier=11), 1000.0, 1010.0),
        (telling(14, earlier=11), 1000.0, None),
        (telling(0), 4599.0, 4609.0),
        (telling(0), 4600.0, None),
    ],
)
def test_next(one: Telling, ended: float, expected: float | None) -> None:
    """
    After each attempt its delay, and after the last none; begun with again, all over; and none after all of its time.
    """
    assert expected == next_try(one, ended, RETRY)


def test_lifetime() -> None:
    """
    What waits is kept for as long as the schedule takes, and for an hour at least.
    """
    assert [3600.0, 3600.0, 7200.0] == [lifetime(retry) for retry in ((), RETRY, (3600.0, 3600.0))]


def test_no_retry() -> None:
    """
    Without a schedule one attempt is all.
    """
    assert None is next_try(telling(), 1000.0, ())


def test_pace() -> None:
    """
    Each failure in a row halves what an endpoint gets at a time, then come pauses, which grow; one success ends it.
    """
    pace = Pace()
    assert MOST == pace.allowed(0.0)
    seen = []
    now = 0.0
    for _ in range(12):
        pace.fail(now, now)
        seen.append((pace.allowed(pace.resting_until), pace.resting_until - now if pace.resting_until else 0.0))
        now = max(now, pace.resting_until) + 0.1
    assert [(4, 0.0), (2, 0.0), (1, 0.0), (1, 0.5), (1, 1.0), (1, 2.0), (1, 4.0), (1, 8.0)] == [
        (allowed, round(pause, 6)) for allowed, pause in seen[:8]
    ]
    assert {LONGEST_PAUSE} == {round(pause, 6) for _, pause in seen[8:]}
    assert 0 == pace.allowed(pace.resting_until - 1)
    pace.succeed()
    assert MOST == pace.allowed(0.0)


def test_one_storm() -> None:
    """
    Requests that were under way together and failed together count once.
    """
    pace = Pace()
    for ended in (30.0, 30.1, 30.2):
        pace.fail(0.0, ended)
    assert 1 == pace.failures
    pace.fail(31.0, 61.0)
    assert 2 == pace.failures


@given(st.lists(st.booleans(), max_size=60))
def test_always_one(outcomes: list[bool]) -> None:
    """
    Whatever happened, an endpoint gets one request again within the longest pause.
    """
    pace, now = Pace(), 0.0
    for success in outcomes:
        pace.succeed() if success else pace.fail(now, now)
        now += 0.1
    assert pace.allowed(now + LONGEST_PAUSE) >= 1
    assert FEW < pace.failures or pace.allowed(now) >= 1
