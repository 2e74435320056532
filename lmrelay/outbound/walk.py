"""
One transaction's way over the hosts of its site: who is through, who goes on, with what.

Pure: the caller connects and delivers, this keeps the score. A recipient's outcome is for good
only if every host that was asked said so; of what is temporary the most telling is reported.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define, evolve, field

from lmrelay.mail.outcome import Attempt, Delayed, Delivered, Failed, Fault, Outcome
from lmrelay.outbound.client import Connection
from lmrelay.outbound.connect import HostFailure
from lmrelay.outbound.personal import NOTHING, Own
from lmrelay.outbound.sites import Held
from lmrelay.outbound.verdicts import Reach, Verdict
from lmrelay.reach import Addresses


@define(eq=False)
class Walk:
    """
    C{left} are the recipients that still need a host, by number; C{missed} counts the
    addresses that gave no connection. C{was_refused}: nothing was tried but connections, and a
    host wants less of them. C{was_throttled}: the last that was asked wants less at a time. C{was_cut}: it took the
    message for some, and has room for those left in another transaction.
    C{own} is what the recipient gets of its own.
    """

    started_at: float
    left: dict[int, Held]
    own: Own = field(default=NOTHING, init=False)
    missed: int = field(default=0, init=False)
    was_refused: bool = field(default=False, init=False)
    was_throttled: bool = field(default=False, init=False)
    was_cut: bool = field(default=False, init=False)
    _was_tried: bool = field(default=False, init=False)
    _passed_for: float | None = field(default=None, init=False)
    _tried: dict[int, Attempt] = field(factory=dict, init=False)
    _unreached: Attempt | None = field(default=None, init=False)
    _trouble: Delayed | None = field(default=None, init=False)
    _barred: bool = field(default=False, init=False)

    def score(self, verdicts: Mapping[int, Verdict], connection: Connection, now: float) -> dict[int, Attempt]:
        """
        A transaction was made; the answer is those whose attempt it ends.
        """
        ended = {}
        self._was_tried, self.was_refused = True, False
        self.was_throttled = all(verdict.slow_down for verdict in verdicts.values())
        took = any(isinstance(verdict.outcome, Delivered) for verdict in verdicts.values())
        self.was_cut = took and any(verdict.too_many for verdict in verdicts.values())
        for number in list(self.left):
            verdict = verdicts.get(number)
            if verdict is None or (took and verdict.too_many):
                continue
            attempt = Attempt(
                self.started_at,
                now,
                verdict.outcome,
                connection.host,
                connection.address,
                connection.tls,
                connection.tls_failure,
                # What the host lacks is known before MAIL.
                offered=verdict.reach is not Reach.MESSAGE,
                source=connection.source,
            )
            if verdict.reach in (Reach.RECIPIENT, Reach.SITE) or isinstance(verdict.outcome, Delivered):
                ended[number] = attempt
            else:
                self._tried[number] = _more_telling(self._tried.get(number), attempt)
        return ended

    def miss(self, failure: HostFailure, now: float) -> None:
        """
        There was no connection.
        """
        self.was_refused = self.was_refused or (failure.slow_down and not self._tried)
        self._was_tried = True
        self._note(failure, now)

    def pass_over(self, failure: HostFailure, now: float, seconds: float) -> None:
        """
        A host was not asked: it failed like this lately, and is worth a try in so many seconds.
        """
        self._passed_for = min(self._passed_for or seconds, seconds)
        self._note(failure, now)

    @property
    def passed_for(self) -> float | None:
        """
        In how many seconds a host is worth a try, where none was tried; so this was no attempt.
        """
        return None if self._was_tried else self._passed_for

    def _note(self, failure: HostFailure, now: float) -> None:
        self.missed += 1
        target = failure.target
        attempt = Attempt(
            self.started_at,
            now,
            failure.outcome,
            target.host,
            target.address or None,
            tls_failure=failure.tls_failure,
            source=target.source,
        )
        self._unreached = _more_telling(self._unreached, attempt)

    def look(self, addresses: Addresses | Delayed) -> None:
        """
        A host's addresses were looked up.
        """
        if isinstance(addresses, Delayed):
            self._trouble, self._was_tried = addresses, True
        else:
            self._barred = self._barred or addresses.barred

    def give_up(self, now: float, nowhere: Failed) -> dict[int, Attempt]:
        """
        No host is left: how it ends for those that none took. C{nowhere} is said if the
        names of the hosts led nowhere at all.
        """
        fallback = self._unreached or Attempt(self.started_at, now, self._no_address(nowhere))
        ended = {}
        for number in self.left:
            attempt = self._tried.get(number)
            if attempt is None:
                attempt = fallback
            elif self._unreached is not None:
                attempt = _more_telling(attempt, self._unreached)
            elif self._trouble is not None and isinstance(attempt.outcome, Failed):
                attempt = fallback
            ended[number] = _ended(attempt, now)
        return ended

    def _no_address(self, nowhere: Failed) -> Outcome:
        if self._trouble is not None:
            return self._trouble
        if self._barred:
            return Failed("5.4.4", "the mail exchangers have no address that may be connected to", Fault.RECEIVER)
        return nowhere


def _ended(attempt: Attempt, now: float) -> Attempt:
    return evolve(attempt, ended_at=now)


def _more_telling(first: Attempt | None, second: Attempt) -> Attempt:
    """
    Temporary before permanent, for the other host may yet take it; the remote's words before
    our guess; else the later.
    """
    if first is None:
        return second
    return max(second, first, key=_weight)


def _weight(attempt: Attempt) -> tuple[bool, bool]:
    outcome = attempt.outcome
    return isinstance(outcome, Delayed), not isinstance(outcome, Delivered) and outcome.reply is not None
