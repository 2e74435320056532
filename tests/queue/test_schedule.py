"""
When a recipient is tried again, and when it is given up.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrelay.config.values import Delivery
from lmrelay.mail.outcome import Delayed, Fault
from lmrelay.queue.schedule import MAX_DRIFT, Drift, delay_after, event_at_expiry, has_expired, latest_retry, may_expire


class Middle(Random):
    """
    No jitter.
    """

    def random(self) -> float:
        return 0.5


@pytest.mark.parametrize(
    ("attempts", "minutes"), [(1, 1), (2, 5), (3, 15), (4, 30), (5, 60), (6, 120), (7, 240), (8, 240), (1000, 240)]
)
def test_default_schedule(attempts: int, minutes: int) -> None:
    """
    1, 5, 15, 30 minutes, 1 and 2 hours, and then every 4 hours.
    """
    assert minutes * 60 == pytest.approx(delay_after(attempts, Delivery().retry, Middle()))


@given(st.integers(1, 20), st.integers())
def test_jitter(attempts: int, seed: int) -> None:
    """
    Never more than a tenth earlier or later, so that what failed together does not return together.
    """
    exact = delay_after(attempts, Delivery().retry, Middle())
    assert 0.9 * exact <= delay_after(attempts, Delivery().retry, Random(seed)) <= 1.1 * exact


def test_no_schedule() -> None:
    """
    Without any configured delay it is still not tried at once, again and again.
    """
    assert delay_after(1, (), Middle()) == pytest.approx(60.0)


@pytest.mark.parametrize(("age", "expected"), [(0.0, False), (99.9, False), (100.0, True), (1e9, True), (-50.0, False)])
def test_expiry(age: float, expected: bool) -> None:
    """
    An attempt that fails at the age limit or after it is the last.
    """
    assert expected is has_expired(1000.0, 1000.0 + age, 100.0)


@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("status", ["4.3.0", "4.3.5", "4.4.1"])
def test_faults_that_expire(fault: Fault, status: str) -> None:
    """
    A defect or a stop of the relay never ends the retries; a configuration that stays wrong does.
    """
    assert (fault is not Fault.OURS or status == "4.3.5") is may_expire(Delayed(status, "", fault))


@pytest.mark.parametrize("fault", list(Fault))
def test_whose_fault(fault: Fault) -> None:
    """
    Only what is clearly ours is told as our failure.
    """
    assert ("message.failed" if fault is Fault.OURS else "message.soft_bounced") == event_at_expiry(fault)


@pytest.mark.parametrize(
    ("wall", "monotonic", "expected"),
    [(10.0, 10.0, False), (10.0 + MAX_DRIFT, 10.0, False), (11.0 + MAX_DRIFT, 10.0, True), (10.0, 500.0, True)],
)
def test_drift(wall: float, monotonic: float, expected: bool) -> None:
    """
    The clocks have parted when they differ by more than five minutes, in either direction.
    """
    drift = Drift(1000.0, 50.0)
    assert expected is drift.observe(1000.0 + wall, 50.0 + monotonic)
    assert not drift.observe(1001.0, 51.0)


def test_clock_that_stands_is_trusted() -> None:
    """
    After a jump, a suspend of the machine too, the clock is trusted again when it has stood for an hour; each
    further jump begins the hour anew.
    """
    drift = Drift(1000.0, 0.0)
    seen = []
    for seconds in range(0, 4 * 3600, 15):
        jump = 0.0 if seconds < 600 else 7200.0 if seconds < 1800 else -7200.0
        seen.append(drift.observe(1000.0 + seconds + jump, float(seconds)))
    assert [False] * 40 + [True] * (80 + 240) + [False] * (600) == seen


def test_slow_clock_is_trusted() -> None:
    """
    A clock that is off by half a second in a thousand never parts, however long the relay runs.
    """
    drift = Drift(1000.0, 0.0)
    assert not any(drift.observe(1000.0 + hour * 3600 * 1.0005, hour * 3600.0) for hour in range(10_000))


def test_latest_retry() -> None:
    """
    No delay leads further than that.
    """
    retry = (1.0, 500.0, 20.0)
    assert all(delay_after(number, retry, Random(number)) <= latest_retry(0.0, retry) for number in range(1, 50))
    assert delay_after(1, (), Random(1)) <= latest_retry(0.0, ())
