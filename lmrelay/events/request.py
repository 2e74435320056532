"""
What is sent to an endpoint: the body, its signature, and the headers that say what it is. Pure.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from attrs import frozen

from lmrelay.config.project import Webhook
from lmrelay.interfaces import Telling

BATCH = "batch"
"""
What stands for the event where a request brings an array of them.
"""

MAX_OCTETS = 1024 * 1024
"""
Of events in one request, but for the first.
"""


@frozen
class Request:
    """
    The headers by name, and the body.
    """

    headers: dict[str, str]
    body: bytes


def sign(secrets: Sequence[str], at: int, body: bytes) -> str:
    """
    C{t=UNIX,v1=HEX}, with a C{v1} for each secret: the HMAC-SHA256 of the time, a dot, and the body.
    """
    signed = str(at).encode("ascii") + b"." + body
    digests = [hmac.new(secret.encode("utf-8"), signed, hashlib.sha256).hexdigest() for secret in secrets]
    return ",".join([f"t={at}", *(f"v1={digest}" for digest in digests)])


def compose(webhook: Webhook, tellings: Sequence[Telling], prefix: str, now: float) -> Request:
    """
    What tells an endpoint of these events at that time; several, or one where it may be several, as a JSON array.
    """
    is_batch = webhook.batch > 1
    body = b"[" + b",".join(one.document for one in tellings) + b"]" if is_batch else tellings[0].document
    at = int(now)
    secrets = [secret for secret in (webhook.secret, webhook.previous_secret) if secret]
    headers = {
        "Content-Type": "application/json",
        f"{prefix}-Signature": sign(secrets, at, body),
        f"{prefix}-Event": BATCH if is_batch else tellings[0].type,
        f"{prefix}-Delivery": str(at),
        f"{prefix}-Attempt": str(max(one.attempts for one in tellings) + 1),
    }
    return Request(headers, body)


def count_next(webhook: Webhook, tellings: Sequence[Telling]) -> int:
    """
    How many of these go into the next request, the first always among them.
    """
    octets = 0
    for number, one in enumerate(tellings[: webhook.batch]):
        octets += len(one.document)
        if number and octets > MAX_OCTETS:
            return number
    return min(webhook.batch, len(tellings))
