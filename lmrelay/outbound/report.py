"""
What an operator reads of an attempt: one line for each recipient.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lmrelay.busy import BusyLogger
from lmrelay.mail.outcome import Attempt, Delivered
from lmrelay.mail.redact import redact
from lmrelay.outbound.sites import Held

log = BusyLogger()


def report(held: Iterable[Held], attempts: Mapping[int, Attempt], site: str) -> None:
    """
    Log the outcome of each, without any address where the message's route wants that.
    """
    for each in held:
        attempt = attempts[each.recipient.number]
        outcome, leased = attempt.outcome, each.leased
        address = each.recipient.recipient.address
        reply = str(outcome.reply or "")
        reason = "" if isinstance(outcome, Delivered) else outcome.text
        tls_failure = attempt.tls_failure
        if leased.redact:
            known = (address, leased.reverse_path)
            reason, tls_failure = (redact(text, known) for text in (reason, tls_failure))
            if outcome.reply is not None:
                # Nobody can say what else the receiver's words tell.
                reply, reason = " ".join(filter(None, (str(outcome.reply.code), outcome.reply.enhanced))), ""
        log.info(
            "attempt ended",
            outcome=type(outcome).__name__.lower(),
            message=leased.message_id,
            number=each.recipient.number,
            recipient="" if leased.redact else str(address),
            project=leased.lane.project,
            route=leased.route,
            tags=leased.tags,
            metadata=leased.metadata,
            site=site,
            host=attempt.host or "",
            address=attempt.address or "",
            source=attempt.source,
            tls=attempt.tls.version if attempt.tls else "",
            verified=attempt.tls is not None and attempt.tls.verified,
            policy=attempt.tls.policy if attempt.tls else "",
            tls_failure=tls_failure,
            offered=attempt.offered,
            reply=reply,
            status="" if isinstance(outcome, Delivered) else outcome.status,
            fault="" if isinstance(outcome, Delivered) else outcome.fault.value,
            reason=reason,
            attempt=each.recipient.attempts + 1,
            seconds=round(attempt.ended_at - attempt.started_at, 3),
            age=round(max(0.0, attempt.ended_at - leased.received_at), 3),
        )
