"""
What an operator reads of an attempt: one line for each recipient.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lmrelay.busy import BusyLogger
from lmrelay.mail.outcome import Attempt, Delayed, Delivered, Failed
from lmrelay.mail.redact import redact
from lmrelay.outbound.sites import Held

_NAMES: dict[type, str] = {Delivered: "delivered", Delayed: "delayed", Failed: "failed"}

log = BusyLogger()


def report(held: Iterable[Held], attempts: Mapping[int, Attempt], site: str) -> None:
    """
    Log the outcome of each, without any address where the message's route wants that.
    """
    for each in held:
        attempt = attempts[each.recipient.number]
        outcome, leased, tls = attempt.outcome, each.leased, attempt.tls
        refusal = None if isinstance(outcome, Delivered) else outcome
        address = each.recipient.recipient.address
        reply = str(outcome.reply or "")
        reason = refusal.text if refusal else ""
        tls_failure = attempt.tls_failure
        if leased.redact:
            known = (address, leased.reverse_path)
            reason, tls_failure = (redact(text, known) for text in (reason, tls_failure))
            if outcome.reply is not None:
                # Nobody can say what else the receiver's words tell.
                reply, reason = " ".join(filter(None, (str(outcome.reply.code), outcome.reply.enhanced))), ""
        log.info(
            "attempt ended",
            outcome=_NAMES[type(outcome)],
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
            tls=tls.version if tls else "",
            verified=tls is not None and tls.verified,
            policy=tls.policy if tls else "",
            tls_failure=tls_failure,
            offered=attempt.offered,
            reply=reply,
            status=refusal.status if refusal else "",
            fault=refusal.fault.value if refusal else "",
            reason=reason,
            attempt=each.recipient.attempts + 1,
            seconds=round(attempt.ended_at - attempt.started_at, 3),
            age=round(max(0.0, attempt.ended_at - leased.received_at), 3),
        )
