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

MAX_SLEW = 5.0
SETTLED_AFTER = 3600.0
"""
Seconds: a clock that moved by no more in that time stands.
"""

DEFAULT_DELAY = 60.0


def delay_after(attempts: int, retry: Sequence[float], random: Random) -> float:
    """
    Seconds to wait after the C{attempts}th attempt (counted from 1); the last of C{retry} repeats.
    """
    base = retry[min(attempts, len(retry)) - 1] if retry else DEFAULT_DELAY
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
    How far the wall clock has parted from the monotonic one: a clock that was set wrong must
    not expire a queue at one stroke.

    One that stays where it is for an hour is trusted again: it was right then, or nobody will
    mend it, and mail must not be tried for ever.

    C{set_back}: it was seen going back; whoever acts on that takes the mark away.
    """

    _wall_at_start: float
    _monotonic_at_start: float
    parted: bool = field(default=False, init=False)
    set_back: bool = field(default=False, init=False)
    _trusted: float = field(init=False)
    _seen: float = field(init=False)
    _since: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._trusted = self._seen = self._wall_at_start - self._monotonic_at_start
        self._since = self._monotonic_at_start

    def observe(self, wall: float, monotonic: float) -> bool:
        """
        Have they parted by now? To be asked often, so that a clock that moves is seen moving.
        """
        ahead = wall - monotonic
        if abs(ahead - self._seen) > MAX_SLEW:
            self.set_back = self.set_back or ahead < self._seen
            self._seen, self._since = ahead, monotonic
        if monotonic - self._since >= SETTLED_AFTER:
            self._trusted = ahead
        self.parted = abs(ahead - self._trusted) > MAX_DRIFT
        return self.parted


def latest_retry(now: float, retry: Sequence[float]) -> float:
    """
    When a recipient that is delayed now is tried again at the latest.
    """
    return now + max(retry, default=DEFAULT_DELAY) * (1 + JITTER)
