"""
What came back by mail, understood: a bounce, a notice of delay, a complaint, or nothing of these.

In goes the content, whatever it is; out comes a L{Report}, always. Delivery status notifications (RFC 3464, RFC 6533),
feedback reports (RFC 5965), and the free forms of L{lmrelay.mail.free_forms}; an auto-reply (RFC 3834) is no bounce.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Mapping, Sequence

from attrs import frozen

from lmrelay.mail.address import Address
from lmrelay.mail.classify import Reason, classify
from lmrelay.mail.encoded_words import decode_charset, decode_words
from lmrelay.mail.free_forms import (
    ENHANCED,
    cut_copy,
    is_auto_reply,
    is_submitted_by_program,
    plain_text,
    read_form,
    read_loosely,
)
from lmrelay.mail.mime import Part, read_message

TEXT_LIMIT = 500
"""
Characters of what is told of a report.
"""

_FIELDS_LIMIT = 64 * 1024
_GROUPS_LIMIT = 100

_STATUS_TYPES = ("message/delivery-status", "message/global-delivery-status")
_FEEDBACK_TYPES = ("message/feedback-report",)
_RECEIPT_TYPES = ("message/disposition-notification", "message/global-disposition-notification")

_NO_COMPLAINTS = frozenset({"not-spam", "auth-failure", "dmarc"})
"""
Feedback that is no complaint: RFC 6430, RFC 6591.
"""

_CODE = re.compile(r"(?<![0-9.])([245])\.([0-9]{1,3})\.([0-9]{1,3})(?![0-9])")
_REPLY_AT_FIRST = re.compile(r"[ \t]*([45])[0-5][0-9][ -]")
_COMPLAINT = re.compile(r"complaint about message from ", re.IGNORECASE)
_COMMENT = re.compile(r"\(([^()]*)\)")


class Kind(enum.Enum):
    """
    What came back. C{NONE}: nothing that says how it went.
    """

    BOUNCE = "bounce"
    DELAY = "delay"
    COMPLAINT = "complaint"
    NONE = "none"


@frozen
class Report:
    """
    C{status} is an enhanced status code, empty for complaints; C{text} is the remote's words in one line; C{by} is who
    says so, as it names itself, or in whose form it is written. Of C{NONE} the text says what it seems to be.
    """

    kind: Kind
    status: str = ""
    text: str = ""
    by: str = ""

    @property
    def reason(self) -> Reason:
        """
        What went wrong, by the table that replies go by too.
        """
        return classify(self.status, self.text)


_KINDS = {
    # RFC 3464 §2.3.3, and what some write instead.
    "failed": Kind.BOUNCE,
    "failure": Kind.BOUNCE,
    "expired": Kind.BOUNCE,
    "delayed": Kind.DELAY,
    "deferred": Kind.DELAY,
    "delivered": Kind.NONE,
    "relayed": Kind.NONE,
    "expanded": Kind.NONE,
    "deliverable": Kind.NONE,
}
_WEIGHT = {Kind.BOUNCE: 2, Kind.DELAY: 1}
_STATUS = {Kind.BOUNCE: "5.0.0", Kind.DELAY: "4.0.0"}


def understand(content: bytes, recipient: Address | None = None, *, has_null_path: bool = True) -> Report:
    """
    What a message says of the mail to C{recipient}. Never fails.

    @param recipient: whom the mail was for: where a report is about several, what it says of that one counts
    @param has_null_path: it came with the null reverse path, as reports have to (RFC 5321 §4.5.5). With another one
        words alone count only where the head says that a program wrote them: people quote bounces, and ask about them
    """
    message = read_message(content)
    text = plain_text(message)
    return (
        _read_feedback(message)
        or _read_status(message, text, recipient)
        or _read_receipt(message)
        or ((has_null_path or _is_by_program(message)) and _read_text(message, text, recipient))
        or Report(Kind.NONE, text=_say(f"nothing that is known: {_subject(message)}"))
    )


def _read_feedback(message: Part) -> Report | None:
    part = message.find(*_FEEDBACK_TYPES)
    if part is None:
        return _read_plain_complaint(message)
    said = next(_groups(part.content()), {})
    kind = said.get("feedback-type", "").lower() or "abuse"
    by = _say(said.get("user-agent", ""))
    if kind in _NO_COMPLAINTS:
        return Report(Kind.NONE, text=_say(f"feedback that is no complaint: {kind}"), by=by)
    return Report(Kind.COMPLAINT, text=_say(kind), by=by)


def _read_plain_complaint(message: Part) -> Report | None:
    """
    Outlook.com's: the mail that somebody complained of, under this subject, without a part that says so.
    """
    if not _COMPLAINT.match(_subject(message)) or message.find("message/rfc822") is None:
        return None
    return Report(Kind.COMPLAINT, text="abuse", by=_say(decode_words(message.value("From"))))


def _read_status(message: Part, text: str, recipient: Address | None) -> Report | None:
    part = message.find(*_STATUS_TYPES)
    return None if part is None else _weigh(list(_groups(part.content())), text, recipient)


def _read_stray_status(text: str, recipient: Address | None) -> Report | None:
    """
    The fields where they are in the text, or in parts that are not told apart: only with both that matter.
    """
    groups = list(_groups(text.encode("utf-8", "replace")))
    if not any("final-recipient" in group and group.get("action", "").lower() in _KINDS for group in groups):
        return None
    return _weigh(groups, text, recipient)


def _weigh(groups: Sequence[Mapping[str, str]], told: str, recipient: Address | None) -> Report | None:
    """
    What the fields say; C{told} is what people read of it, for where they say little.
    """
    by = _say(_typed(next((group["reporting-mta"] for group in groups if "reporting-mta" in group), "")))
    chosen = _choose(_about(groups, recipient))
    kind = None if chosen is None else _kind(chosen)
    if chosen is None or kind is None:
        return None
    if kind is Kind.NONE:
        return Report(Kind.NONE, text=_say(f"a notice of success: {chosen.get('action', '')}"), by=by)
    text = _words(chosen)
    if not text:
        read = read_loosely(cut_copy(told))
        text = read.text if read is not None else ""
    return Report(kind, _status(chosen, kind, text), _say(text), by)


def _groups(octets: bytes) -> Iterator[Mapping[str, str]]:
    """
    The fields of the message, then of each recipient (RFC 3464 §2.1): by name in lower case, the first of a name.
    """
    text = decode_charset(octets[:_FIELDS_LIMIT], "utf-8").replace("\r\n", "\n")
    # Blank lines with blanks in them are common; unfolding comes after the groups are apart.
    for block in re.split(r"\n(?:[ \t]*\n)+", text.strip("\n"), maxsplit=_GROUPS_LIMIT)[:_GROUPS_LIMIT]:
        fields: dict[str, str] = {}
        for line in re.sub(r"\n[ \t]+", " ", block).split("\n"):
            name, colon, value = line.partition(":")
            if colon:
                fields.setdefault(name.strip().lower(), value.strip())
        yield fields


def _typed(value: str) -> str:
    """
    The value behind its type: C{smtp; 550 no} is C{550 no}.
    """
    kind, semicolon, rest = value.partition(";")
    return rest.strip() if semicolon and " " not in kind.strip() else value


def _names(group: Mapping[str, str], recipient: Address | None) -> bool:
    if recipient is None:
        return False
    wanted = recipient.key.lower()
    named = (_typed(group.get(name, "")) for name in ("original-recipient", "final-recipient"))
    return any(one.strip("<> ").lower() == wanted for one in named)


def _about(groups: Sequence[Mapping[str, str]], recipient: Address | None) -> list[Mapping[str, str]]:
    """
    Those that say how it went: of the recipient where one names it, else of anybody.
    """
    telling = [group for group in groups if _kind(group) is not None]
    if not any(_names(group, recipient) for group in groups):
        return telling
    # Some put a blank line between the name and what became of it.
    of_nobody = [group for group in telling if "final-recipient" not in group]
    return [group for group in telling if _names(group, recipient)] or of_nobody


def _kind(group: Mapping[str, str]) -> Kind | None:
    """
    None where the fields do not say how it went, which is no success: other words of the report may.
    """
    action = group.get("action", "").lower().split(" ")[0]
    if action in _KINDS:
        return _KINDS[action]
    # Neither said nor known: the class of the status says it, or of the reply.
    said = group.get("status", "") or _typed(group.get("diagnostic-code", ""))
    return {"5": Kind.BOUNCE, "4": Kind.DELAY, "2": Kind.NONE}.get(said[:1])


def _choose(groups: Sequence[Mapping[str, str]]) -> Mapping[str, str] | None:
    return max(groups, key=lambda group: _WEIGHT.get(_kind(group) or Kind.NONE, 0), default=None)


def _status(group: Mapping[str, str], kind: Kind, text: str) -> str:
    match = _CODE.search(group.get("status", ""))
    status = f"{match[1]}.{int(match[2])}.{int(match[3])}" if match and match[1] != "2" else _STATUS[kind]
    # Many reports say 5.0.0, or even 4.0.0, where the reply that they quote says more.
    if status.endswith(".0") and (within := ENHANCED.search(text[:TEXT_LIMIT])):
        return within[1] if within[1][0] == status[0] or status.endswith(".0.0") else status
    reply = _REPLY_AT_FIRST.match(text) if status.endswith(".0.0") else None
    return f"{reply[1]}.0.0" if reply else status


def _words(group: Mapping[str, str]) -> str:
    diagnostic = _typed(group.get("diagnostic-code", ""))
    comment = _COMMENT.search(group.get("status", ""))
    return decode_words(diagnostic) or (comment[1] if comment else "")


def _read_receipt(message: Part) -> Report | None:
    if message.find(*_RECEIPT_TYPES) is None:
        return None
    return Report(Kind.NONE, text="a receipt")


def _read_text(message: Part, text: str, recipient: Address | None) -> Report | None:
    return _read_stray_status(text, recipient) or _read_words(message, cut_copy(text))


def _is_by_program(message: Part) -> bool:
    """
    Does its head say so (RFC 3834 §5, and what mail systems call themselves)?
    """
    if is_submitted_by_program(message) or message.value("X-Failed-Recipients"):
        return True
    return _SENDERS.search(decode_words(message.value("From")).lower()) is not None


def _read_words(message: Part, words: str) -> Report | None:
    subject = _subject(message)
    read = read_form(message, words)
    if read is None and _SENDERS.search(decode_words(message.value("From")).lower()):
        read = read_loosely(words)
    if read is None and is_auto_reply(message, subject):
        return Report(Kind.NONE, text=_say(f"an auto-reply: {subject}"))
    if read is None and _SUBJECTS.search(subject.lower()):
        read = read_loosely(words)
    if read is None:
        return None
    kind = Kind.DELAY if read.is_delay else Kind.BOUNCE
    return Report(kind, read.status or _STATUS[kind], _say(read.text or subject), read.form)


# By either a message may be from a mail system; many of those call their notices auto-replies too.
_SENDERS = re.compile(r"mailer.?daemon|mail delivery (?:sub)?system|postmaster@|mail administrator|mail system")
_SUBJECTS = re.compile(
    r"undeliver|delivery (?:status )?(?:notification|failure|failed|problem|error|report)|failure notice|"
    r"returned mail|mail delivery|returned to sender|could not (?:be )?deliver|message undelivered|"
    r"delayed mail|delivery delayed|mail failure|error sending your mail|mail system error|"
    r"unzustellbar|non remis|non distribu|no entregado|mancata consegna"
)


def _subject(message: Part) -> str:
    return decode_words(message.value("Subject"))


def _say(text: str) -> str:
    """
    One line for people, not too long.
    """
    words = " ".join("".join(c if c.isprintable() else " " for c in text[: 8 * TEXT_LIMIT]).split())
    return words if len(words) <= TEXT_LIMIT else words[: TEXT_LIMIT - 1] + "\u2026"
