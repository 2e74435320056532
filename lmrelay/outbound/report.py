"""
What an operator reads of an attempt: one line for each recipient.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from twisted.logger import Logger

from lmrelay.mail.outcome import Attempt, Delivered
from lmrelay.outbound.sites import Held

log = Logger()


def report(held: Iterable[Held], attempts: Mapping[int, Attempt], site: str) -> None:
    """
    Log the outcome of each.
    """
    for each in held:
        attempt = attempts[each.recipient.number]
        outcome = attempt.outcome
        log.info(
            "attempt ended",
            outcome=type(outcome).__name__.lower(),
            message=each.leased.message_id,
            number=each.recipient.number,
            recipient=str(each.recipient.recipient.address),
            project=each.leased.lane.project,
            route=each.leased.route,
            site=site,
            host=attempt.host or "",
            address=attempt.address or "",
            tls=attempt.tls.version if attempt.tls else "",
            tls_failure=attempt.tls_failure,
            offered=attempt.offered,
            reply=str(outcome.reply or ""),
            status="" if isinstance(outcome, Delivered) else outcome.status,
            reason="" if isinstance(outcome, Delivered) else outcome.text,
            attempt=each.recipient.attempts + 1,
            seconds=round(attempt.ended_at - attempt.started_at, 3),
        )
