"""
When a recipient is tried again, and when it is given up. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from attrs import define, field

from lmrelay.mail.outcome import Delayed, Fault

JITTER = 0.1
MAX_DRIFT = 300.0
"""
Seconds by which the wall clock may part from the monotonic one before nothing expires.
"""


def delay_after(attempts: int, retry: Sequence[float], random: Random) -> float:
    """
    Seconds to wait after the C{attempts}th attempt (counted from 1); the last of C{retry} repeats.
    """
    base = retry[min(attempts, len(retry)) - 1] if retry else 60.0
    return base * random.uniform(1 - JITTER, 1 + JITTER)


def has_expired(received_at: float, failed_at: float, expire: float) -> bool:
    """
    Does an attempt that failed then end the retries? Only an attempt can: time alone never does.
    """
    return failed_at - received_at >= expire


def may_expire(outcome: Delayed) -> bool:
    """
    Can an attempt that ended so be a message's last? Not where the fault was the relay's own, a defect or its stop:
    nobody has tried the receiver then. But its configuration counts, which RFC 3463 §3.4 calls X.3.5: the operator
    has had all the time until now.
    """
    return outcome.fault is not Fault.OURS or outcome.status.endswith(".3.5")


def event_at_expiry(fault: Fault) -> str:
    """
    What a given-up recipient is told as: a failure where we were clearly in trouble, else a bounce. A
    domain's name servers are its own.
    """
    return "message.failed" if fault is Fault.OURS else "message.soft_bounced"


@define(eq=False)
class Drift:
    """
    How far the wall clock has parted from the monotonic one since the start: a clock that
    was set wrong must not expire a queue at one stroke.
    """

    _wall_at_start: float
    _monotonic_at_start: float
    parted: bool = field(default=False, init=False)

    def observe(self, wall: float, monotonic: float) -> bool:
        """
        Have they parted by now?
        """
        drift = (wall - self._wall_at_start) - (monotonic - self._monotonic_at_start)
        self.parted = abs(drift) > MAX_DRIFT
        return self.parted
