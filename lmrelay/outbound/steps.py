"""
The steps of a delivery dialogue, each with its words for the operator and its timeout.
"""

from __future__ import annotations

import enum

from lmrelay.config.values import DeliveryTimeouts


class Step(enum.Enum):
    """
    What the client waits for. The value: how a reply to it and a silence in it are told.
    """

    # Each is there once; by default its name is hashed anew each time, and this is looked up for each reply.
    __hash__ = object.__hash__

    GREETING = ("in its greeting", "waiting for its greeting")
    EHLO = ("in reply to EHLO", "waiting for the reply to EHLO")
    HELO = ("in reply to HELO", "waiting for the reply to HELO")
    STARTTLS = ("in reply to STARTTLS", "waiting for the reply to STARTTLS")
    HANDSHAKE = ("in the TLS handshake", "performing the TLS handshake")
    RSET = ("in reply to RSET", "waiting for the reply to RSET")
    MAIL = ("in reply to MAIL FROM", "waiting for the reply to MAIL FROM")
    RCPT = ("in reply to RCPT TO", "waiting for the reply to RCPT TO")
    DATA = ("in reply to DATA", "waiting for the reply to DATA")
    CONTENT = ("while the content was being sent", "sending the content")
    CHUNK = (
        "in reply to the content",
        "waiting for the reply to the content (the message may be sent more than once)",
    )
    END_OF_DATA = (
        "in reply to the end of data",
        "waiting for the reply to the end of data (the message may be sent more than once)",
    )

    @property
    def replied(self) -> str:
        """
        When a reply came: C{in reply to RCPT TO}.
        """
        return self.value[0]

    @property
    def doing(self) -> str:
        """
        What the client was at: C{waiting for the reply to RCPT TO}.
        """
        return self.value[1]

    def timeout(self, timeouts: DeliveryTimeouts) -> float:
        """
        Seconds of patience (RFC 5321 §4.5.3.2).
        """
        return timeouts.data if self in ENDS else timeouts.command

    def is_answered_by(self, code: int) -> bool:
        """
        Is this a code that lets the dialogue go on?
        """
        return code in GOOD[self]


ENDS = frozenset({Step.CHUNK, Step.END_OF_DATA})
"""
What is answered once the whole message was sent; without that answer it may have arrived or not.
"""

OF_CONNECTION = frozenset({220, 221})
"""
What speaks of the connection and answers no command of a transaction: a server that says it there is out of step, or
leaves.
"""

GOOD = {each: frozenset(range(200, 300)) - OF_CONNECTION for each in Step} | {
    Step.GREETING: frozenset({220}),
    Step.STARTTLS: frozenset({220}),
    Step.DATA: frozenset({354}),
}
"""
The codes that let the dialogue go on.
"""

IN_TRANSACTION = frozenset({Step.MAIL, Step.RCPT, Step.DATA, Step.CONTENT}) | ENDS
"""
Where a 421 says something of the mail that is being sent, not of a connection that idled.
"""
