"""
Whom a project's mail is not to be sent to, and which failures lead to that. Pure.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from unicodedata import normalize

from attrs import field, frozen

from lmrelay.errors import SyntaxRefused
from lmrelay.mail.address import Address
from lmrelay.mail.classify import Reason, classify
from lmrelay.mail.outcome import Failed, Fault, Outcome
from lmrelay.mail.reports import Kind, Report


class Why(enum.Enum):
    """
    Why an address is suppressed.
    """

    HARD_BOUNCE = "hard_bounce"
    SPAM_COMPLAINT = "spam_complaint"
    UNSUBSCRIBE = "unsubscribe"
    MANUAL = "manual"


REFUSING = frozenset({"5.1.1", "5.1.3", "5.1.6", "5.1.10", "5.2.1"})
"""
Enhanced status codes (RFC 3463 §3.2 and §3.3, RFC 7505) that say of the mailbox itself that it takes no mail: there is
none, its address is none, it has moved, its domain takes no mail, it is disabled.
"""

OTHERWISE = frozenset(
    {
        Reason.MAILBOX_FULL,
        Reason.RATE,
        Reason.GREYLISTED,
        Reason.REPUTATION,
        Reason.AUTHENTICATION,
        Reason.CONTENT,
        Reason.TLS,
        Reason.SENDER,
    }
)
"""
What words may say where such a code does not fit: Gmail has 5.2.1 for who gets too much mail at a time, others for a
full mailbox, and who refuses the sender, or looks it up in vain, may speak of an unknown user.
"""


@frozen
class Suppression:
    """
    C{route} empty: on all routes of the project. C{address} is the L{key_of} the mailbox. C{expires_at} None: never.

    C{message} and C{number} are the recipient that it came from, if it did. C{text} is the receiver's words, or the
    operator's. C{redact}: the address may not stand in logs and events.
    """

    project: str
    address: str
    why: Why
    added_at: float
    route: str = ""
    expires_at: float | None = None
    message: str | None = None
    number: int | None = None
    text: str = ""
    redact: bool = False

    @property
    def key(self) -> tuple[str, str, str]:
        """
        Of these there is one.
        """
        return self.project, self.route, self.address


def _texts(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(values)


def _whys(values: Iterable[Why]) -> tuple[Why, ...]:
    return tuple(values)


@frozen
class Listed:
    """
    Which suppressions are meant: all that fit every field that is set; several values in one are alternatives. A route
    is empty for what holds for whole projects. C{addresses} are keys of mailboxes.
    """

    projects: tuple[str, ...] = field(default=(), converter=_texts)
    routes: tuple[str, ...] = field(default=(), converter=_texts)
    addresses: tuple[str, ...] = field(default=(), converter=_texts)
    reasons: tuple[Why, ...] = field(default=(), converter=_whys)


def key_of(address: Address) -> str:
    """
    What is equal for all spellings of a mailbox, and is one of them: upper and lower case included, and an accent with
    its letter or behind it (RFC 6532 §3.1). No receiver is known that keeps mailboxes apart by these, and to write
    again to somebody who complained would be worse.
    """
    try:
        text = str(address.simplest)
    except SyntaxRefused:
        # No address that is accepted is like that, and one that got into the store all the same must not keep others
        # from being looked for.
        text = str(address)
    return text.lower() if text.isascii() else normalize("NFC", normalize("NFC", text).lower())


def why_of_outcome(outcome: Outcome) -> Why | None:
    """
    Why the recipient of an attempt that ended so is to be suppressed; None: it is not.

    Of all replies only those to RCPT are taken to speak of the recipient, and what the DNS said comes without a reply.
    """
    if not isinstance(outcome, Failed) or outcome.reply is None or outcome.fault is not Fault.RECIPIENT:
        return None
    return Why.HARD_BOUNCE if _takes_no_mail(outcome.status, outcome.reply.text) else None


def why_of_report(report: Report) -> Why | None:
    """
    The same, of what came back later.
    """
    if report.kind is Kind.COMPLAINT:
        return Why.SPAM_COMPLAINT
    return Why.HARD_BOUNCE if report.kind is Kind.BOUNCE and _takes_no_mail(report.status, report.text) else None


def _takes_no_mail(status: str, text: str) -> bool:
    """
    Does a refusal say so of the mailbox? A suppression is for ever, so code and words must not contradict each other.
    """
    return status in REFUSING and classify("", text) not in OTHERWISE
