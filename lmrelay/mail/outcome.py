"""
How an attempt went, for one recipient: a value, never an exception.

L{Delivered}, L{Delayed} and L{Failed} carry the remote's reply where there was one.
"""

from __future__ import annotations

import enum
from typing import Union

from attrs import frozen

from lmrelay.mail.parts import Part
from lmrelay.smtp.reply import Reply


class Fault(enum.Enum):
    """
    Whose trouble it is.
    """

    RECIPIENT = "recipient"
    POLICY = "policy"
    RECEIVER = "receiver"
    NETWORK = "network"
    DNS = "dns"
    OURS = "ours"


@frozen
class Delivered:
    """
    The receiver answered 2xx to the content.

    C{relayed}: it does not know DSN, so no later success notice can come from it.
    """

    reply: Reply
    relayed: bool = False


@frozen
class Delayed:
    """
    Not now; it is tried again. C{status} is the enhanced status code (C{4.4.1}).
    """

    status: str
    text: str
    fault: Fault
    reply: Reply | None = None


@frozen
class Failed:
    """
    Not ever. C{status} is the enhanced status code (C{5.1.1}).
    """

    status: str
    text: str
    fault: Fault
    reply: Reply | None = None


Outcome = Union[Delivered, Delayed, Failed]


@frozen
class Tls:
    """
    How the connection was protected.

    C{reason} says why the certificate did not verify, C{policy} which rule asked
    for what (C{opportunistic}, C{enforced}).
    """

    version: str
    cipher: str
    verified: bool
    reason: str
    policy: str


@frozen
class Attempt:
    """
    One try for one recipient: when (seconds since the epoch), where, and how it went.

    C{host} and C{address} are the MX host and its IP address, None where the try
    ended before there was one. C{offered}: MAIL was sent there. C{tls} is None for plaintext. C{tls_failure} is why
    TLS that was offered was not used. C{source} is the address of ours that was chosen (empty: the system chose).
    C{trace} is what was said, as JSON (empty: nothing is told). C{part}: it was played, nothing left the relay.
    """

    started_at: float
    ended_at: float
    outcome: Outcome
    host: str | None = None
    address: str | None = None
    tls: Tls | None = None
    tls_failure: str = ""
    offered: bool = False
    source: str = ""
    trace: str = ""
    part: Part | None = None
