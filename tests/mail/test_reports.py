"""
What comes back by mail, form by form, and whatever else may come.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrelay.mail.address import Address
from lmrelay.mail.classify import Reason
from lmrelay.mail.dsn import Action, Original, Subject, compose
from lmrelay.mail.envelope import Recipient
from lmrelay.mail.mime import DEPTH_LIMIT, PARTS_LIMIT, SIZE_LIMIT, read_message
from lmrelay.mail.outcome import Delayed, Failed, Fault
from lmrelay.mail.reports import TEXT_LIMIT, Kind, Report, understand
from lmrelay.smtp.reply import reply

FOLDER = Path(__file__).parent / "reports"
JANE = Address("jane", "b.example")

GOLDEN = {
    "rfc3464_failed": (Kind.BOUNCE, "5.1.1", Reason.UNKNOWN_USER, "User unknown", "mx.b.example"),
    "rfc3464_delayed": (Kind.DELAY, "4.4.1", Reason.RECEIVER, "Connection timed out", "mx.b.example"),
    "rfc3464_success": (Kind.NONE, "", Reason.UNKNOWN, "a notice of success", "mx.b.example"),
    "rfc3464_several": (Kind.BOUNCE, "5.2.2", Reason.MAILBOX_FULL, "Mailbox full", "mx.b.example"),
    "rfc3464_vague": (Kind.BOUNCE, "5.1.10", Reason.UNKNOWN_USER, "RecipientNotFound", "store.b.example"),
    "rfc3464_expired": (Kind.BOUNCE, "4.4.7", Reason.EXPIRED, "delivery time expired", "mx.b.example"),
    "rfc6533_global": (Kind.BOUNCE, "5.7.1", Reason.REPUTATION, "blocked using", "mx.b.example"),
    "arf_abuse": (Kind.COMPLAINT, "", Reason.UNKNOWN, "abuse", "ExampleLoop/1.0"),
    "arf_not_spam": (Kind.NONE, "", Reason.UNKNOWN, "no complaint: not-spam", "ExampleLoop/1.0"),
    "qmail": (Kind.BOUNCE, "5.1.1", Reason.UNKNOWN_USER, "Remote host said: 550 5.1.1", "qmail"),
    "qmail_local": (Kind.BOUNCE, "5.1.1", Reason.UNKNOWN_USER, "no mailbox here by that name", "qmail"),
    "exim": (Kind.BOUNCE, "5.2.2", Reason.MAILBOX_FULL, "over quota", "Exim"),
    "exim_local": (Kind.BOUNCE, "5.0.0", Reason.UNKNOWN_USER, "Unrouteable address", "Exim"),
    "exim_delay": (Kind.DELAY, "4.0.0", Reason.RECEIVER, "Connection timed out", "Exim"),
    "postfix_old": (Kind.BOUNCE, "5.0.0", Reason.UNKNOWN_USER, 'unknown user: "jane"', "Postfix"),
    "sendmail_old": (Kind.BOUNCE, "5.1.1", Reason.UNKNOWN_USER, "User unknown", "Sendmail"),
    "exchange": (Kind.BOUNCE, "5.2.2", Reason.MAILBOX_FULL, "STOREDRV", "Exchange"),
    "exchange_old": (Kind.BOUNCE, "5.1.1", Reason.UNKNOWN_USER, "account does not exist", "Exchange"),
    "gmail_old": (Kind.BOUNCE, "5.7.1", Reason.CONTENT, "rejected as spam", "Gmail"),
    "domino": (Kind.BOUNCE, "5.0.0", Reason.UNKNOWN_USER, "not listed in Domino Directory", "Domino"),
    "mailbox_full": (Kind.BOUNCE, "5.0.0", Reason.MAILBOX_FULL, "the mailbox is full", ""),
    "german": (Kind.BOUNCE, "5.0.0", Reason.UNKNOWN_USER, "unbekannter Empfaenger", ""),
    "rfc3464_contrary": (Kind.BOUNCE, "5.0.0", Reason.REPUTATION, "blocked for spamming", "mx.b.example"),
    "stray_fields": (Kind.BOUNCE, "5.1.1", Reason.UNKNOWN_USER, "No such user", "mx.b.example"),
    "torn_multipart": (Kind.BOUNCE, "5.2.2", Reason.MAILBOX_FULL, "Mailbox full", "mx.b.example"),
    "outlook_complaint": (Kind.COMPLAINT, "", Reason.UNKNOWN, "abuse", "<staff@b.example>"),
    "daemon_auto_submitted": (Kind.BOUNCE, "5.1.1", Reason.UNKNOWN_USER, "no such person", ""),
    "auto_reply": (Kind.NONE, "", Reason.UNKNOWN, "an auto-reply: Re: Your order", ""),
    "out_of_office": (Kind.NONE, "", Reason.UNKNOWN, "an auto-reply", ""),
    "person": (Kind.NONE, "", Reason.UNKNOWN, "nothing that is known: Re: Your order", ""),
    "receipt": (Kind.NONE, "", Reason.UNKNOWN, "a receipt", ""),
}


def read(name: str) -> bytes:
    return (FOLDER / f"{name}.eml").read_bytes()


def test_each_has_its_expectation() -> None:
    """
    No file stands there unread.
    """
    assert sorted(GOLDEN) == sorted(path.stem for path in FOLDER.iterdir())


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
@pytest.mark.parametrize("name", GOLDEN)
def test_golden(name: str, newline: bytes) -> None:
    """
    Each form says what it says, whatever its line endings.
    """
    kind, status, reason, words, by = GOLDEN[name]
    report = understand(read(name).replace(b"\n", newline), JANE)
    assert (kind, status, by) == (report.kind, report.status, report.by)
    assert words in report.text
    if kind is not Kind.NONE:
        assert reason == report.reason


LIKE_A_PERSONS = {"exchange_old"}
"""
Bounces whose head is like that of a person's mail.
"""


@pytest.mark.parametrize("name", [name for name, golden in GOLDEN.items() if golden[0] is not Kind.NONE])
def test_with_a_sender(name: str) -> None:
    """
    With another reverse path than the null one each form counts too where its head says that a program wrote it.
    """
    kind = Kind.NONE if name in LIKE_A_PERSONS else GOLDEN[name][0]
    assert kind is understand(read(name), JANE, has_null_path=False).kind


@pytest.mark.parametrize(
    "text",
    [
        "Subject: Undelivered mail?\n\nMy colleague was told: 550 5.1.1 user unknown.",
        "Subject: Re: Undeliverable parcel\n\nYour invoice 550 is wrong.",
        "Subject: help\n\nI was told: Your message could not be delivered. What now?",
        "Subject: Fwd: it\n\nFinal-Recipient: rfc822; jane@b.example\nAction: failed\nStatus: 5.1.1",
        "Subject: Fwd: it\nAuto-Submitted: no\n\nThis is the mail system at host b.example.",
    ],
)
def test_people_write_of_bounces(text: str) -> None:
    """
    Words such as bounces have are none in the mail of a person, who has a reverse path; they are without one.
    """
    content = f"From: Jane <jane@b.example>\n{text}\n".encode()
    assert Kind.NONE is understand(content, JANE, has_null_path=False).kind
    assert Kind.BOUNCE is understand(content, JANE).kind


def test_of_several_the_one_that_was_meant() -> None:
    """
    Without a recipient, or where none is named so, the worst counts.
    """
    content = read("rfc3464_several")
    assert "5.1.1" == understand(content).status
    assert "5.1.1" == understand(content, Address("joe", "b.example")).status
    assert "5.2.2" == understand(content, Address("JANE", "b.EXAMPLE")).status


NAMED = "Final-Recipient: rfc822; jane@b.example\n"
OTHER = "Final-Recipient: rfc822; joe@b.example\nAction: failed\nStatus: 5.2.1\n"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (NAMED + "Diagnostic-Code: smtp; 550 5.1.1 no such user", "5.1.1"),
        (NAMED + "Diagnostic-Code: smtp; 452 4.2.2 mailbox full", "4.2.2"),
        (NAMED + "\nAction: failed\nStatus: 5.1.1", "5.1.1"),
        (NAMED + "Action: failed\nStatus: 550 5.7.1 blocked", "5.7.1"),
        (NAMED, "5.1.6"),
        (NAMED + "\n" + OTHER, "5.1.6"),
        (NAMED + "Action: delivered\n\n" + OTHER, ""),
        (NAMED + "Status: 2.0.0\n\n" + OTHER, ""),
    ],
)
def test_fields_that_say_little(fields: str, status: str) -> None:
    """
    Without an action that is known, status, reply and text tell; only what says so is a success, and what became of
    others is not what became of this one.
    """
    head = "From: MAILER-DAEMON@b.example\nContent-Type: multipart/report; boundary=b\n\n"
    text = "--b\n\nIt came back: 550 5.1.6 He has moved.\n"
    report = f"--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.b.example\n\n{fields}\n--b--\n"
    assert status == understand((head + text + report).encode(), JANE).status


@pytest.mark.parametrize("action", [Action.FAILED, Action.DELAYED, Action.RELAYED])
@pytest.mark.parametrize("local", ["jane", "jöß"])
def test_our_own(action: Action, local: str) -> None:
    """
    What lmrelay writes itself, it reads.
    """
    outcome = {
        Action.FAILED: Failed("5.2.2", "no", Fault.RECIPIENT, reply(552, "5.2.2", "<jöß@b.example>: over quota")),
        Action.DELAYED: Delayed("4.4.1", "nobody answers", Fault.NETWORK),
        Action.RELAYED: Delayed("4.0.0", "", Fault.NETWORK),
    }[action]
    to = Recipient(Address(local, "b.example"))
    original = Original("0" * 26, Address("jöß" if local != "jane" else "a", "acme.example"), 1.0, b"Subject: x\r\n")
    subject = Subject(to, outcome, "mx.b.example", 2.0)
    head, body = compose(
        action, original, [subject], id="1" * 26, hostname="relay.example", bounce_from="m@relay.example", now=3.0
    )
    report = understand(head + body, to.address)
    expected = {Action.FAILED: (Kind.BOUNCE, "5.2.2"), Action.DELAYED: (Kind.DELAY, "4.4.1")}
    assert expected.get(action, (Kind.NONE, "")) == (report.kind, report.status)
    assert "relay.example" == report.by


@given(st.binary(max_size=4096))
def test_any_octets(octets: bytes) -> None:
    """
    Whatever comes, there is a report that can be shown.
    """
    check(understand(octets, JANE))


def check(report: Report) -> None:
    assert len(report.text) <= TEXT_LIMIT
    assert len(report.by) <= TEXT_LIMIT
    assert report.text.isprintable()
    assert report.by.isprintable()
    assert report.status == "" or report.status[0] in "45"
    assert isinstance(report.reason, Reason)


LINES = sorted({line for name in GOLDEN for line in read(name).split(b"\n")})


@given(st.lists(st.sampled_from(LINES) | st.binary(max_size=40), max_size=60))
def test_torn_and_mixed(lines: list[bytes]) -> None:
    """
    Reports with their lines out of order are read, or not, but never stumbled over.
    """
    check(understand(b"\r\n".join(lines), JANE))


@given(st.sampled_from(sorted(GOLDEN)), st.data())
def test_cut(name: str, data: st.DataObject) -> None:
    """
    So with a report that ends anywhere, or has octets changed.
    """
    octets = bytearray(read(name)[: data.draw(st.integers(0, 3000))])
    for _ in range(data.draw(st.integers(0, 5)) if octets else 0):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    check(understand(bytes(octets), JANE))


def nested(depth: int, inner: bytes) -> bytes:
    for level in range(depth):
        head = b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (level, level)
        inner = head + inner + b"\r\n--b%d--\r\n" % level
    return inner


def test_depth_is_bounded() -> None:
    """
    A report within so many envelopes is found, deeper ones are not looked for, however many there are.
    """
    content = read("rfc3464_failed")
    assert Kind.BOUNCE is understand(nested(DEPTH_LIMIT - 1, content)).kind
    assert Kind.NONE is understand(nested(10_000, content)).kind


def test_number_of_parts_is_bounded() -> None:
    """
    So with parts beside each other.
    """
    part = b"--b\r\n\r\nx\r\n"
    many = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + part * 1000
    assert PARTS_LIMIT == len(read_message(many).parts)


def test_size_is_bounded() -> None:
    """
    What lies beyond a mebibyte is not read.
    """
    content = read("rfc3464_failed").replace(b"\n", b"\r\n")
    assert Kind.NONE is understand(b"Subject: x\r\n\r\n" + b"x" * SIZE_LIMIT + content).kind


def test_returned_mail_is_not_the_report() -> None:
    """
    A report that a sender sent on, attached to other mail, says nothing of that other mail.
    """
    inner = read("rfc3464_failed").replace(b"\n", b"\r\n")
    head = b"From: joe@b.example\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nLook.\r\n--b\r\n"
    content = head + b"Content-Type: message/rfc822\r\n\r\n" + inner + b"\r\n--b--\r\n"
    assert Kind.NONE is understand(content).kind


def test_parts() -> None:
    """
    Empty parts, parts without a head, and what stands around them.
    """
    content = (
        b'Content-Type: Multipart/Mixed;\r\n\tboundary="a \\"b"\r\n\r\npre\r\n--a "b  \r\n--a "b\r\nX: y\r\n--a "bc\r\n'
    )
    content += b'\r\nbody\r\n--a "b\r\n\r\nlast\r\n--a "b--\r\n\r\npost'
    message = read_message(content)
    assert "multipart/mixed" == message.type
    assert [b"", b'--a "bc\r\n\r\nbody', b"last"] == [part.octets for part in message.parts]
    assert "y" == message.parts[1].value("x")


@pytest.mark.parametrize("between", [b"", b"\r\n", b" \r\n", b"-_=\x00\xff"])
def test_base64(between: bytes) -> None:
    """
    Whatever stands between its characters is passed over, and so is what is left of a torn end.
    """
    encoded = b"Tm8gc3VjaCB1c2Vy"
    body = between.join(encoded[at : at + 1] for at in range(len(encoded)))
    for end in (b"", b"Q", b"=="):
        content = b"Content-Transfer-Encoding: base64\r\n\r\n" + body + end
        assert b"No such user" == read_message(content).content()
