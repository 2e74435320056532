"""
What a reply, a silence or a lost connection means: an outcome, and how far it reaches.

Pure. Anything not understood is temporary; our own faults are never permanent.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from functools import lru_cache

from attrs import frozen

from lmrelay.mail.classify import Reason, classify
from lmrelay.mail.outcome import Delayed, Delivered, Failed, Fault, Outcome
from lmrelay.outbound.steps import ENDS, GOOD, IN_TRANSACTION, Step
from lmrelay.smtp.reply import Reply


class Reach(enum.Enum):
    """
    For what a verdict counts.

    C{RECIPIENT}: it is the answer for the recipient; no other host is asked in this attempt.
    C{MESSAGE}: for this message on this host; another host of the site may take it.
    C{HOST}: for this host, whatever the message; go on with the next MX.
    C{SITE}: for the site; asking its other hosts now would only make it worse.
    """

    RECIPIENT = "recipient"
    MESSAGE = "message"
    HOST = "host"
    SITE = "site"


@frozen
class Verdict:
    """
    How it went for one recipient.

    C{slow_down}: the receiver asks for less at a time. C{too_many}: it takes no more recipients of one transaction.
    C{stale}: a connection that had been
    kept ended before it answered anything: a fresh one to the same host is worth a try at once.
    """

    outcome: Outcome
    reach: Reach = Reach.RECIPIENT
    slow_down: bool = False
    stale: bool = False
    too_many: bool = False


class Cause(enum.Enum):
    """
    Why a dialogue broke off without a reply.
    """

    LOST = "lost"
    SILENT = "silent"
    NONSENSE = "nonsense"
    OURS = "ours"
    STOP = "stop"


@frozen
class Trouble:
    """
    A dialogue that broke off. C{text} says how, in words.
    """

    cause: Cause
    text: str


MAX_WORDS = 1000
"""
Characters of what a receiver said that are kept: they are written down several times for each recipient and attempt,
and it could say so much that it filled memory and disk.
"""

_TROUBLES = {
    Cause.LOST: ("4.4.2", Fault.NETWORK),
    Cause.SILENT: ("4.4.2", Fault.NETWORK),
    Cause.NONSENSE: ("4.5.0", Fault.RECEIVER),
    Cause.OURS: ("4.3.0", Fault.OURS),
    Cause.STOP: ("4.3.0", Fault.OURS),
}

STOPPING = Trouble(Cause.STOP, "the relay is stopping")

SLOW_DOWN_WORDS = (
    "concurrent connections",
    "connection rate",
    "rate limit",
    "rate-limit",
    "ratelimit",
    "slow down",
    "throttl",
    "too fast",
    "too many concurrent",
    "too many connections",
    "too many messages",
    "too many sessions",
    "too much mail",
    "unusual rate",
)
"""
In lower case. With one of these a temporary reply asks for less mail at a time.
"""

_GREYLISTING_WORDS = ("greylist", "graylist", "grey-list", "gray-list", "grey list", "gray list")

_MAILBOX_WORDS = ("recipient has exceeded", "user you are trying to contact")
"""
One mailbox gets too much: to send less to all others would not help it.
"""

_TLS_WORDS = ("tls", "encrypt", "ssl", "secure connection")

_SESSION = frozenset({Step.GREETING, Step.EHLO, Step.HELO, Step.STARTTLS, Step.RSET})


KNOWN_REFUSALS = 256
"""
Refusals whose meaning is remembered: a site that takes nothing for now says so of each message, in the same words.
"""


def judge(
    step: Step, reply: Reply, *, relayed: bool = False, tls_failure: str = "", words: Sequence[str] = ()
) -> Verdict:
    """
    What C{reply} at C{step} means for the recipients that wait for it.

    @param relayed: a delivery is to a server without DSN
    @param tls_failure: why the TLS that the server offered is not used
    @param words: the receiver's own that ask for less at a time
    """
    reply = shorten(reply)
    if step in ENDS and reply.code in GOOD[step]:
        return Verdict(Delivered(reply, relayed))
    if not 400 <= reply.code < 600:
        return judge_trouble(step, Trouble(Cause.NONSENSE, f"it answered {reply.code}"))
    return judge_refusal(step, reply, tls_failure, tuple(words))


@lru_cache(KNOWN_REFUSALS)
def judge_refusal(step: Step, reply: Reply, tls_failure: str, words: tuple[str, ...]) -> Verdict:
    """
    The same of a 4xx or 5xx. What is given is as bounded as what is kept of it.
    """
    slow_down = asks_to_slow_down(step, reply, words)
    text = f"the server said {reply} {step.replied}"
    if tls_failure and step in (Step.MAIL, Step.RCPT) and asks_for_tls(reply):
        # It refuses the plaintext that its own broken TLS left us: it may be mended, or another host be whole.
        text = f"{text}, and TLS failed: {tls_failure}"
        return Verdict(Delayed(status_of(reply, 4), text, Fault.POLICY, reply), Reach.HOST)
    if reply.is_permanent() and step not in _SESSION and not _is_too_many_recipients(step, reply):
        return Verdict(Failed(status_of(reply, 5), text, _fault(step, reply), reply))
    delayed = Delayed(status_of(reply, 4), text, _fault(step, reply), reply)
    return Verdict(delayed, _reach(step, reply, slow_down), slow_down, too_many=_is_of_transaction(step, reply))


def judge_trouble(step: Step, trouble: Trouble) -> Verdict:
    """
    What it means that the dialogue broke off at C{step}.

    After the end of data no other host is asked: the message may have arrived. So also when we
    stop: before it nothing was tried that counts, after it the attempt was made.
    """
    status, fault = _TROUBLES[trouble.cause]
    delayed = Delayed(status, f"{trouble.text[:MAX_WORDS]} while {step.doing}", fault)
    final = step in ENDS or trouble.cause is Cause.OURS
    return Verdict(delayed, Reach.RECIPIENT if final else Reach.HOST)


def lacks(status: str, text: str) -> Verdict:
    """
    The host cannot take the message for want of an extension; another of the site may.
    """
    return Verdict(Failed(status, text, Fault.RECEIVER), Reach.MESSAGE)


def belies(reply: Reply) -> Verdict:
    """
    The host refuses what it offers; another of the site may know what it says.
    """
    said = shorten(reply)
    text = f"the server said {said} to what it offers (CHUNKING)"
    return Verdict(Delayed("4.5.0", text, Fault.RECEIVER, said), Reach.HOST)


def asks_to_slow_down(step: Step, reply: Reply, words: Sequence[str] = ()) -> bool:
    """
    Is the receiver overwhelmed? Greylisting is none of it: it wants time, not less. Nor is a mailbox that is (X.2.X in
    RFC 3463 §3.3).

    @param words: the receiver's own, in lower case; they may have codes in them
    """
    if not reply.is_temporary():
        return False
    text = str(reply).lower()
    if any(word in text for word in _GREYLISTING_WORDS):
        return False
    if reply.code == 421 and step in IN_TRANSACTION:
        return True
    if status_of(reply, 4).startswith("4.2.") or any(word in text for word in _MAILBOX_WORDS):
        return False
    return any(word in text for word in (*SLOW_DOWN_WORDS, *words))


def asks_for_tls(reply: Reply) -> bool:
    """
    Is it refused for want of TLS (RFC 3207 §4, RFC 4954 §6; X.7.10 and 11 of RFC 5248's registry)?
    """
    if reply.code in (530, 538):
        return True
    text = reply.text.lower()
    status = status_of(reply, 5)
    return status in ("5.7.10", "5.7.11") or (status.startswith("5.7.") and any(word in text for word in _TLS_WORDS))


def shorten(reply: Reply) -> Reply:
    """
    The reply, and if it has more than L{MAX_WORDS} the first of them.
    """
    lines = reply.lines
    if (len(lines) == 1 and len(lines[0]) <= MAX_WORDS) or len(reply.text) <= MAX_WORDS:
        return reply
    return Reply(reply.code, reply.enhanced, (f"{reply.text[: MAX_WORDS - 1]}…",))


def status_of(reply: Reply, kind: int) -> str:
    """
    The enhanced status code of C{reply} in class C{kind}; one of the wrong class is not believed (RFC 2034 §4).
    """
    if reply.enhanced is None or reply.enhanced[0] != str(reply.code)[0]:
        return f"{kind}.0.0"
    return f"{kind}{reply.enhanced[1:]}"


def _is_too_many_recipients(step: Step, reply: Reply) -> bool:
    """
    RFC 5321 §4.5.3.1.10: 552 to RCPT is what old servers say for 452.
    """
    return step is Step.RCPT and reply.code == 552


def _is_of_transaction(step: Step, reply: Reply) -> bool:
    """
    Is it the transaction that has too many, not the mailbox (RFC 5321 §4.5.3.1.10, X.5.3 of RFC 3463)?
    """
    if step is not Step.RCPT or reply.code not in (452, 552):
        return False
    return status_of(reply, 4)[1:] == ".5.3" or "too many recipients" in reply.text.lower()


def _reach(step: Step, reply: Reply, slow_down: bool) -> Reach:
    if reply.code == 421 or step in _SESSION:
        return Reach.SITE if slow_down and reply.code != 421 else Reach.HOST
    return Reach.SITE if slow_down else Reach.RECIPIENT


def _fault(step: Step, reply: Reply) -> Fault:
    """
    Only a reply to RCPT speaks of the recipient; and that something was our fault is the receiver's opinion.
    """
    reason = classify(status_of(reply, 5), reply.text)
    if reason.fault is Fault.POLICY:
        return Fault.POLICY
    speaks_of_recipient = step is Step.RCPT and reply.code != 421
    if speaks_of_recipient and (reason.fault is Fault.RECIPIENT or reason is Reason.UNKNOWN):
        return Fault.RECIPIENT
    return Fault.RECEIVER
