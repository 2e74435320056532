"""
The trace field, and dates as mail writes them (RFC 5321 §4.4, RFC 5322 §3.3).
"""

from __future__ import annotations

from attrs import frozen

from lmrelay.mail.head import Field


@frozen
class Trace:
    """
    How a message came in.

    C{client} is None where it is hidden, else its IP address. C{tls} is version and
    cipher, or empty. C{recipient} is named only when it is the only one.
    """

    hostname: str
    id: str
    received_at: float
    helo: str = ""
    client: str | None = None
    esmtp: bool = True
    tls: str = ""
    authenticated: bool = False
    smtputf8: bool = False
    recipient: str = ""


def received_field(trace: Trace) -> Field:
    """
    The Received field, folded. Nothing a client said can add a line or a clause to it.
    """
    raise NotImplementedError


def format_date(at: float) -> str:
    """
    C{at} (seconds since the epoch) as RFC 5322 writes it, in UTC, in English.
    """
    raise NotImplementedError
