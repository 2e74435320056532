"""
What is asked of TLS on the way to a host, and what a connection proved.

Pure. A policy (today: the configuration's) answers with a L{Demand}. Levels are ordered
none < encrypted < authenticated.
"""

from __future__ import annotations

import enum

from attrs import frozen

from lmrelay.config.values import TlsPolicy
from lmrelay.mail.outcome import Tls


class Level(enum.IntEnum):
    """
    How well a connection is protected, weakest first.
    """

    NONE = 0
    ENCRYPTED = 1
    AUTHENTICATED = 2


@frozen
class Demand:
    """
    What a message asks of the connection that carries it.

    C{required}: a connection that proved less must not carry it. C{starttls}: use STARTTLS
    where it is offered, even where nothing requires it. C{policy} names who asked.
    """

    required: Level
    starttls: bool
    policy: str

    def allows(self, proved: Level) -> bool:
        """
        May a connection that proved so much carry the message?
        """
        return proved >= self.required


_CONFIGURED = {
    TlsPolicy.NONE: Demand(Level.NONE, starttls=False, policy="none"),
    TlsPolicy.OPPORTUNISTIC: Demand(Level.NONE, starttls=True, policy="opportunistic"),
    TlsPolicy.ENFORCED: Demand(Level.AUTHENTICATED, starttls=True, policy="enforced"),
}


def configured(policy: TlsPolicy) -> Demand:
    """
    What the configuration's word asks for.
    """
    return _CONFIGURED[policy]


_SOUND = frozenset({"TLSv1.2", "TLSv1.3"})


def proved_by(tls: Tls | None) -> Level:
    """
    What a connection with this TLS proved. Below TLS 1.2 a certificate proves nothing (RFC 8996).
    """
    if tls is None:
        return Level.NONE
    return Level.AUTHENTICATED if tls.verified and tls.version in _SOUND else Level.ENCRYPTED
