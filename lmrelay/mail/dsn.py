"""
Delivery status notifications (RFC 3461, 3462, 3464, 6533).

Values in, head and body out. What a remote server or a sender said stands in a
notification only as text of one line: it can add no field, part or boundary.
"""

from __future__ import annotations

import enum
import textwrap
from binascii import b2a_qp
from collections.abc import Sequence

from attrs import frozen

from lmrelay.errors import SyntaxRefused
from lmrelay.mail.address import Address
from lmrelay.mail.envelope import Recipient, Ret
from lmrelay.mail.head import Head, make_field
from lmrelay.mail.outcome import Delayed, Delivered, Failed, Outcome
from lmrelay.mail.received import format_date
from lmrelay.smtp.newlines import to_crlf
from lmrelay.smtp.xtext import encode_utf8_address

FULL_LIMIT = 256 * 1024
HEAD_LIMIT = 64 * 1024
REMOTE_LIMIT = 2000


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


_TITLES = {
    Action.FAILED: "Undelivered mail returned to sender",
    Action.DELAYED: "Delayed mail (still being retried)",
    Action.RELAYED: "Mail was relayed",
}

_WORDS = {
    Action.FAILED: "Your message could not be delivered to the recipients below. It will not be tried again.",
    Action.DELAYED: (
        "Your message could not be delivered to the recipients below so far."
        " It will be tried again, so there is nothing that you need to do."
    ),
    Action.RELAYED: (
        "Your message was handed on to the mail servers of the recipients below."
        " They do not say whether they put it into the mailbox."
    ),
}


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

    The body begins with the empty line. Only where the sender's own address is beyond ASCII, so
    that the notification needs SMTPUTF8 and with it 8BITMIME, have they octets beyond ASCII: a
    mail server without these must be able to take any other.

    @param id: the notification's own message id
    @param retry_until: for delays: when the relay gives up
    """
    utf8 = not original.sender.is_ascii
    returned = _returned_part(action, original, utf8)
    parts = [
        _readable_part(action, original, subjects, hostname, retry_until, utf8),
        _status_part(action, original, subjects, hostname, retry_until, utf8),
        returned,
    ]
    boundary = _choose_boundary(id, parts)
    marker = b"--" + boundary.encode("ascii")
    body = b"\r\nThis is a delivery status notification in MIME format.\r\n"
    for part in parts:
        body += b"\r\n" + marker + b"\r\n" + part
    body += b"\r\n" + marker + b"--\r\n"
    fields = [
        ("Date", format_date(now)),
        ("From", f"Mail Delivery System <{bounce_from}>"),
        ("To", f"<{original.sender}>"),
        ("Subject", _TITLES[action]),
        ("Message-ID", f"<{id}@{hostname}>"),
        *_references(original.head),
        ("Auto-Submitted", "auto-replied"),
        ("MIME-Version", "1.0"),
        ("Content-Type", f'multipart/report; report-type=delivery-status; boundary="{boundary}"'),
        ("Content-Transfer-Encoding", "7bit" if body.isascii() else "8bit"),
    ]
    return _fields(fields), body


def carries_body(ret: Ret | None, size: int) -> bool:
    """
    Does a failure notification return the whole message? C{size} is that of head and body.
    """
    return ret is Ret.FULL and size <= FULL_LIMIT


def _fields(fields: Sequence[tuple[str, str]]) -> bytes:
    return b"".join(make_field(name, value).octets for name, value in fields)


def _references(head: bytes) -> list[tuple[str, str]]:
    """
    So that people's mail programs show the notification beside the message.
    """
    field = _parse(head).first("Message-ID")
    value = field.value if field else ""
    if not (
        value.startswith("<") and value.endswith(">") and value.isascii() and len(value) <= 900 and " " not in value
    ):
        return []
    return [("In-Reply-To", value), ("References", value)]


def _choose_boundary(id: str, parts: Sequence[bytes]) -> str:
    """
    One that no part has in it, whatever a sender who guessed the id put there.
    """
    number = 0
    while any(f"={id}.{number}=".encode("ascii") in part for part in parts):
        number += 1
    return f"={id}.{number}="


def _part(description: str, kind: str, octets: bytes, utf8: bool) -> bytes:
    """
    A part of the report; quoted-printable (RFC 2045 §6.7) where it may not go as it is.
    """
    encoding = "7bit" if octets.isascii() else "8bit" if utf8 else "quoted-printable"
    fields = [("Content-Description", description), ("Content-Type", kind), ("Content-Transfer-Encoding", encoding)]
    return _fields(fields) + b"\r\n" + (b2a_qp(octets) if encoding == "quoted-printable" else octets)


def _readable_part(
    action: Action,
    original: Original,
    subjects: Sequence[Subject],
    hostname: str,
    retry_until: float | None,
    utf8: bool,
) -> bytes:
    lines = [f"This is the mail relay at {hostname}.", "", *textwrap.wrap(_WORDS[action], 72), ""]
    if action is Action.DELAYED and retry_until is not None:
        lines += [f"It will be given up at {format_date(retry_until)}.", ""]
    for subject in subjects:
        lines.append(f"<{_one_line(str(subject.recipient.address))}>")
        lines += textwrap.wrap(_explain(subject), 72, initial_indent="    ", subsequent_indent="    ")
        lines.append("")
    lines.append(f"The message has the id {original.id}.")
    text = "\r\n".join(lines).encode("utf-8", "replace") + b"\r\n"
    return _part("Notification", "text/plain; charset=" + ("us-ascii" if text.isascii() else "utf-8"), text, utf8)


def _explain(subject: Subject) -> str:
    reply = subject.outcome.reply
    if reply is not None:
        who = subject.host or "The receiving server"
        return _one_line(f"{who} said: {reply}")
    text = "" if isinstance(subject.outcome, Delivered) else subject.outcome.text
    return _one_line(text or "There is no more to say of it.")


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:REMOTE_LIMIT]


def _status_part(
    action: Action,
    original: Original,
    subjects: Sequence[Subject],
    hostname: str,
    retry_until: float | None,
    utf8: bool,
) -> bytes:
    message = [("Reporting-MTA", f"dns; {hostname}")]
    if original.envid is not None:
        message.append(("Original-Envelope-Id", _one_line(original.envid)))
    message.append(("Arrival-Date", format_date(original.received_at)))
    groups = [message, *(_status_fields(action, one, retry_until) for one in subjects)]
    if not utf8:
        groups = [[(name, _escape(value)) for name, value in group] for group in groups]
    kind = "message/global-delivery-status" if utf8 else "message/delivery-status"
    return _part("Delivery report", kind, b"\r\n".join(map(_fields, groups)), utf8)


def _status_fields(action: Action, subject: Subject, retry_until: float | None) -> list[tuple[str, str]]:
    outcome = subject.outcome
    fields = []
    if subject.recipient.orcpt is not None:
        type_, address = subject.recipient.orcpt
        fields.append(("Original-Recipient", f"{type_};{_one_line(address)}"))
    address_type = "rfc822" if subject.recipient.address.is_ascii else "utf-8"
    fields += [
        ("Final-Recipient", f"{address_type};{_one_line(str(subject.recipient.address))}"),
        ("Action", action.value),
        ("Status", _status(outcome)),
    ]
    if subject.host is not None:
        fields.append(("Remote-MTA", f"dns; {_one_line(subject.host)}"))
    diagnostic = _diagnostic(outcome)
    if diagnostic:
        fields.append(("Diagnostic-Code", diagnostic))
    if subject.attempted_at is not None:
        fields.append(("Last-Attempt-Date", format_date(subject.attempted_at)))
    if action is Action.DELAYED and retry_until is not None:
        fields.append(("Will-Retry-Until", format_date(retry_until)))
    return fields


def _status(outcome: Outcome) -> str:
    if isinstance(outcome, Failed | Delayed):
        return outcome.status
    return outcome.reply.enhanced or "2.0.0"


def _diagnostic(outcome: Outcome) -> str:
    """
    The remote's words, in ASCII.
    """
    if outcome.reply is not None:
        type_, text = "smtp", _one_line(str(outcome.reply))
    elif isinstance(outcome, Delivered) or not outcome.text:
        return ""
    else:
        type_, text = "x-lmrelay", _one_line(outcome.text)
    return f"{type_}; {_escape(' '.join(text.split()))}"


def _escape(text: str) -> str:
    """
    In ASCII: the words that are not, escaped as RFC 6533 §3 escapes addresses.
    """
    if text.isascii():
        return text
    return " ".join(word if word.isascii() else encode_utf8_address(word) for word in text.split(" "))


def _returned_part(action: Action, original: Original, utf8: bool) -> bytes:
    """
    The whole message where that was asked for and is at hand, else its head (RFC 3461 §4.3).

    C{message/rfc822} may not be encoded (RFC 2046 §5.2.1), C{message/global} may (RFC 6532 §3.7),
    and so may C{text/rfc822-headers} (RFC 6522 §4).
    """
    size = len(original.head) + len(original.body or b"")
    if action is Action.FAILED and original.body is not None and carries_body(original.ret, size):
        content, description = original.head + original.body, "Undelivered message"
        is_plain = original.head.isascii() if utf8 else content.isascii()
        kind = "message/rfc822" if is_plain else "message/global"
    else:
        content, description = _cut_head(original.head), "Message headers"
        kind = "message/global-headers" if utf8 and not content.isascii() else "text/rfc822-headers"
    content = to_crlf(content)
    if not content.endswith(b"\r\n"):
        content += b"\r\n"
    return _part(description, kind, content, utf8)


def _cut_head(head: bytes) -> bytes:
    """
    As many whole fields as a notification carries.
    """
    kept: list[bytes] = []
    size = 0
    for field in _parse(head).fields:
        size += len(field.octets)
        if size > HEAD_LIMIT:
            break
        kept.append(field.octets)
    return b"".join(kept)


def _parse(head: bytes) -> Head:
    """
    A head that cannot be read is no reason to leave a sender without notice.
    """
    try:
        return Head.parse(head)
    except SyntaxRefused:
        return Head()
