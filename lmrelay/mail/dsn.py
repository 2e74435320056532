"""
Delivery status notifications (RFC 3461, 3462, 3464, 6533).
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

from attrs import frozen

from lmrelay.mail.address import Address
from lmrelay.mail.envelope import Recipient, Ret
from lmrelay.mail.outcome import Outcome


class Action(enum.Enum):
    """
    What became of the recipients (RFC 3464 §2.3.3).
    """

    FAILED = "failed"
    DELAYED = "delayed"
    RELAYED = "relayed"


@frozen
class Subject:
    """
    One recipient that the notification is about.

    C{host} is the MX host that was asked last, None where none was.
    """

    recipient: Recipient
    outcome: Outcome
    host: str | None = None
    attempted_at: float | None = None


@frozen
class Original:
    """
    The message that it is about. C{body} is None where it is not to be returned: too large, gone, or RET=HDRS.

    C{head} and C{body} as in the store: the body begins with the empty line.
    """

    id: str
    sender: Address
    received_at: float
    head: bytes
    body: bytes | None = None
    ret: Ret | None = None
    envid: str | None = None


def compose(
    action: Action,
    original: Original,
    subjects: Sequence[Subject],
    *,
    id: str,
    hostname: str,
    bounce_from: str,
    now: float,
    retry_until: float | None = None,
) -> tuple[bytes, bytes]:
    """
    Head and body of a notification to C{original.sender}; its reverse path is null.

    @param id: the notification's own message id
    @param retry_until: for delays: when the relay gives up
    """
    raise NotImplementedError


def carries_body(ret: Ret | None, size: int) -> bool:
    """
    Does a failure notification return the whole message? C{size} is that of head and body.
    """
    raise NotImplementedError
