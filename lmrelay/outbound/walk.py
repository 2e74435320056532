"""
One transaction's way over the hosts of its site: who is through, who goes on, with what.

Pure: the caller connects and delivers, this keeps the score. A recipient's outcome is for good
only if every host that was asked said so; of what is temporary the most telling is reported.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define, evolve, field

from lmrelay.interfaces import Leased
from lmrelay.mail.outcome import Attempt, Delayed, Delivered, Failed, Fault, Outcome
from lmrelay.outbound.client import Connection
from lmrelay.outbound.connect import HostFailure
from lmrelay.outbound.personal import NOTHING, Own
from lmrelay.outbound.sites import Held
from lmrelay.outbound.trace import Trace, listen
from lmrelay.outbound.verdicts import Reach, Verdict
from lmrelay.reach import Addresses


@define(eq=False)
class Walk:
    """
    C{left} are the recipients that still need a host, by number; C{missed} counts the
    addresses that gave no connection. C{was_refused}: nothing was tried but connections, and a
    host wants less of them. C{was_throttled}: the last that was asked wants less at a time. C{was_cut}: it took the
    message for some, and has room for those left in another transaction.
    C{own} is what the recipient gets of its own. C{trace} is what was done and said.
    """

    started_at: float
    left: dict[int, Held]
    trace: Trace = field(factory=Trace)
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

    @classmethod
    def begin(cls, now: float, held: Mapping[int, Held], hosts: str) -> Walk:
        """
        With all of these, to the hosts that are in the word.
        """
        asked = 0.0
        for each in held.values():
            if each.asked > asked:
                asked = each.asked
        return cls(now, dict(held), Trace(hosts, asked))

    def hear(self, verdicts: Mapping[int, Verdict], connection: Connection, leased: Leased) -> None:
        """
        This was said in a transaction, whether it counts or not.
        """
        nth = connection.transactions
        if connection.opening:
            nth = 1
            self.trace.add(connection.opening)
            connection.opening = []
        secret = [leased.reverse_path, *(one.recipient.address for one in leased.recipients)] if leased.redact else None
        self.trace.hear(listen(connection.heard, connection.began, nth, verdicts, secret))

    def score(self, verdicts: Mapping[int, Verdict], connection: Connection, now: float) -> dict[int, Attempt]:
        """
        A transaction was made; the answer is those whose attempt it ends.
        """
        ended = {}
        self._was_tried, self.was_refused = True, False
        throttled, took, too_many = True, False, False
        for each in verdicts.values():
            throttled = throttled and each.slow_down
            took = took or type(each.outcome) is Delivered
            too_many = too_many or each.too_many
        self.was_throttled, self.was_cut = throttled, took and too_many
        for number in list(self.left):
            verdict = verdicts.get(number)
            if verdict is None or (took and verdict.too_many):
                continue
            ends = verdict.reach in (Reach.RECIPIENT, Reach.SITE) or type(verdict.outcome) is Delivered
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
                # What goes on to another host is told when it is over.
                trace=self.trace.render(number) if ends else "",
            )
            if ends:
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
        self.trace.add(failure.steps)
        self._note(failure, now)

    def pass_over(self, failure: HostFailure, now: float, seconds: float) -> None:
        """
        A host was not asked: it failed like this lately, and is worth a try in so many seconds.
        """
        self._passed_for = min(self._passed_for or seconds, seconds)
        self.trace.note("passed", None, failure.outcome.text)
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

    def look(self, addresses: Addresses | Delayed, host: str = "", seconds: float | None = None) -> None:
        """
        A host's addresses were looked up, in so many seconds.
        """
        self.trace.note("addresses", seconds, f"{host}: {_tell(addresses)}")
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
            ended[number] = evolve(attempt, ended_at=now, trace=self.trace.render(number))
        return ended

    def end_all(self, now: float, outcome: Delayed) -> dict[int, Attempt]:
        """
        It ends like this for all that are left, whatever was done.
        """
        attempt = Attempt(self.started_at, now, outcome)
        return {number: evolve(attempt, trace=self.trace.render(number)) for number in self.left}

    def _no_address(self, nowhere: Failed) -> Outcome:
        if self._trouble is not None:
            return self._trouble
        if self._barred:
            return Failed("5.4.4", "the mail exchangers have no address that may be connected to", Fault.RECEIVER)
        return nowhere


def _tell(found: Addresses | Delayed) -> str:
    if isinstance(found, Delayed):
        return found.text
    return ", ".join(found.addresses) or ("none that may be connected to" if found.barred else "none")


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
