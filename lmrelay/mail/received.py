"""
The trace field, and dates as mail writes them (RFC 5321 §4.4, RFC 5322 §3.3).
"""

from __future__ import annotations

import datetime
import re
from functools import lru_cache

from attrs import frozen

from lmrelay.mail.head import Field, make_field

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_HOST_NAME = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?|\[[A-Za-z0-9:.]+\]")
_COMMENT_UNSAFE = re.compile(r"[^A-Za-z0-9 .:_=/+-]")
_ADDRESS_UNSAFE = re.compile(r"[<>()\s]")


@frozen
class Trace:
    """
    How a message came in.

    C{client} is None where it is hidden, else its IP address; C{helo} is not told
    either then. C{tls} is version and cipher, or empty. C{recipient} is named only
    when it is the only one: others may be blind copies.
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
    beginning = _beginning(
        trace.hostname, trace.helo, trace.client, trace.esmtp, trace.tls, trace.authenticated, trace.smtputf8
    )
    recipient = ""
    if trace.recipient and len(trace.recipient) <= 320 and not _ADDRESS_UNSAFE.search(trace.recipient):
        recipient = f" for <{trace.recipient}>"
    return make_field("Received", f"{beginning} id {trace.id}{recipient}; {format_date(trace.received_at)}")


@lru_cache(maxsize=256)
def _beginning(
    hostname: str, helo: str, client: str | None, esmtp: bool, tls: str, authenticated: bool, smtputf8: bool
) -> str:
    """
    What is the same for all messages of a session.
    """
    comment = f" ({_COMMENT_UNSAFE.sub('?', tls)[:100]})" if tls else ""
    protocol = _protocol(esmtp, bool(tls), authenticated, smtputf8)
    return f"{_from_clause(helo, client)}by {hostname} (lmrelay) with {protocol}{comment}"


def _from_clause(helo: str, client: str | None) -> str:
    if client is None:
        return ""
    literal = f"[IPv6:{client}]" if ":" in client else f"[{client}]"
    if len(helo) <= 255 and _HOST_NAME.fullmatch(helo):
        return f"from {helo} ({literal}) "
    # A name that is none could carry a clause of its own, so it goes into a comment, defused.
    said = _COMMENT_UNSAFE.sub("?", helo)[:255]
    return f"from {literal} (helo={said}) "


def _protocol(esmtp: bool, tls: bool, authenticated: bool, smtputf8: bool) -> str:
    """
    RFC 3848; RFC 6531 §4.3.
    """
    if not esmtp:
        return "SMTP"
    return ("UTF8SMTP" if smtputf8 else "ESMTP") + ("S" if tls else "") + ("A" if authenticated else "")


def format_date(at: float) -> str:
    """
    C{at} (seconds since the epoch) as RFC 5322 writes it, in UTC, in English.
    """
    return _format_second(int(at))


@lru_cache(maxsize=16)
def _format_second(at: int) -> str:
    # By name and not by strftime, which speaks the locale's language.
    when = datetime.datetime.fromtimestamp(at, datetime.UTC)
    return (
        f"{_DAYS[when.weekday()]}, {when.day} {_MONTHS[when.month - 1]} {when.year:04d}"
        f" {when.hour:02d}:{when.minute:02d}:{when.second:02d} +0000"
    )
