"""
Notifications, as an independent reader sees them, and the trace field.
"""

from __future__ import annotations

import email
import email.policy
from binascii import a2b_qp
from email.message import EmailMessage
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrelay.mail.address import Address
from lmrelay.mail.dsn import FULL_LIMIT, Action, Original, Subject, carries_body, compose
from lmrelay.mail.envelope import Recipient, Ret
from lmrelay.mail.head import Head
from lmrelay.mail.outcome import Delayed, Delivered, Failed, Fault, Outcome
from lmrelay.mail.received import Trace, format_date, received_field
from lmrelay.smtp.reply import reply

NO_SUCH_USER = Failed("5.1.1", "no such user", Fault.RECIPIENT, reply(550, "5.1.1", "no such", "user"))
HEAD = b"From: a@b.example\r\nMessage-ID: <x@b.example>\r\nSubject: hi\r\n"
BODY = b"\r\n.hello\r\n"


def original(**changes: object) -> Original:
    values: dict[str, object] = {"id": "01msg", "sender": Address("a", "b.example"), "received_at": 0.0, "head": HEAD}
    return Original(**{**values, **changes})  # type: ignore[arg-type]


def subject(outcome: Outcome = NO_SUCH_USER, local: str = "r", **changes: object) -> Subject:
    return Subject(Recipient(Address(local, "d.example")), outcome, "mx.d.example", 60.0, **changes)  # type: ignore[arg-type]


def composed(
    message: Original, *subjects: Subject, action: Action = Action.FAILED, retry_until: float | None = None
) -> tuple[bytes, EmailMessage]:
    head, body = compose(
        action,
        message,
        subjects,
        id="01dsn",
        hostname="r.example",
        bounce_from="MAILER-DAEMON@r.example",
        now=120.0,
        retry_until=retry_until,
    )
    Head.parse(head)
    assert body.startswith(b"\r\n")
    read = email.message_from_bytes(head + body, policy=email.policy.default)
    assert isinstance(read, EmailMessage)
    return head + body, read


def status_fields(read: EmailMessage) -> list[dict[str, str]]:
    status = list(read.iter_parts())[1]
    return [{name: str(value) for name, value in group.items()} for group in status.get_payload()]  # type: ignore[union-attr]


def test_failure() -> None:
    """
    Who, why, in the remote's words, for people and for programs, with the head.
    """
    recipient = Recipient(Address("r", "d.example"), orcpt=("rfc822", "old@d.example"))
    one = Subject(recipient, NO_SUCH_USER, "mx.d.example", 60.0)
    octets, read = composed(original(envid="e+1", body=BODY, ret=Ret.HDRS), one, subject(local="s"))
    assert read.get_content_type() == "multipart/report"
    assert read.get_param("report-type") == "delivery-status"
    assert (read["To"], read["Auto-Submitted"]) == ("a@b.example", "auto-replied")
    assert (read["In-Reply-To"], read["Message-ID"]) == ("<x@b.example>", "<01dsn@r.example>")
    text, status, returned = read.iter_parts()
    assert "<r@d.example>\n    mx.d.example said: 550 5.1.1 no such user\n" in text.get_content().replace("\r", "")
    assert (status.get_content_type(), returned.get_content_type()) == (
        "message/delivery-status",
        "text/rfc822-headers",
    )
    assert status_fields(read)[:2] == [
        {
            "Reporting-MTA": "dns; r.example",
            "Original-Envelope-Id": "e+1",
            "Arrival-Date": "Thu, 1 Jan 1970 00:00:00 +0000",
        },
        {
            "Original-Recipient": "rfc822;old@d.example",
            "Final-Recipient": "rfc822;r@d.example",
            "Action": "failed",
            "Status": "5.1.1",
            "Remote-MTA": "dns; mx.d.example",
            "Diagnostic-Code": "smtp; 550 5.1.1 no such user",
            "Last-Attempt-Date": "Thu, 1 Jan 1970 00:01:00 +0000",
        },
    ]
    assert status_fields(read)[2]["Final-Recipient"] == "rfc822;s@d.example"
    assert returned.get_content().replace("\r", "") == HEAD.decode().replace("\r", "")
    assert octets.isascii()


def test_full_return() -> None:
    """
    RET=FULL gives the message back whole, octet for octet.
    """
    octets, read = composed(original(body=BODY, ret=Ret.FULL), subject())
    assert list(read.iter_parts())[2].get_content_type() == "message/rfc822"
    assert b"\r\n\r\n" + HEAD + BODY + b"\r\n--" in octets


@pytest.mark.parametrize(
    ("ret", "size", "carried"),
    [(Ret.FULL, FULL_LIMIT, True), (Ret.FULL, FULL_LIMIT + 1, False), (Ret.HDRS, 1, False), (None, 1, False)],
)
def test_carries_body(ret: Ret | None, size: int, carried: bool) -> None:
    """
    Only where it was asked for, and up to 256 KiB.
    """
    assert carries_body(ret, size) == carried


def test_delay_and_relay() -> None:
    """
    Delays say till when it goes on; a hop without DSN is relayed; neither returns the body.
    """
    late = Delayed("4.4.1", "connection timed out", Fault.NETWORK)
    _, read = composed(original(body=BODY, ret=Ret.FULL), subject(late), action=Action.DELAYED, retry_until=3600.0)
    fields = status_fields(read)[1]
    assert (fields["Action"], fields["Status"]) == ("delayed", "4.4.1")
    assert fields["Will-Retry-Until"] == "Thu, 1 Jan 1970 01:00:00 +0000"
    assert fields["Diagnostic-Code"] == "x-lmrelay; connection timed out"
    assert list(read.iter_parts())[2].get_content_type() == "text/rfc822-headers"
    relayed = Delivered(reply(250, None, "ok"), relayed=True)
    _, read = composed(original(), subject(relayed), action=Action.RELAYED)
    assert (status_fields(read)[1]["Action"], status_fields(read)[1]["Status"]) == ("relayed", "2.0.0")


def test_beyond_ascii() -> None:
    """
    A sender's address beyond ASCII makes it an RFC 6533 report; the remote's words stay ASCII there.
    """
    outcome = Failed("5.1.1", "", Fault.RECIPIENT, reply(550, None, "nö"))
    about = original(sender=Address("ü", "b.example"), head="Subject: ü\r\n".encode())
    octets, _ = composed(about, subject(outcome, local="ü"))
    assert b"Content-Type: message/global-delivery-status\r\n" in octets
    assert "Final-Recipient: utf-8;ü@d.example\r\n".encode() in octets
    assert b"Diagnostic-Code: smtp; 550 n\\x{F6}\r\n" in octets
    assert b"Content-Type: message/global-headers\r\n" in octets
    assert b"\r\nContent-Transfer-Encoding: 8bit\r\n\r\nThis is" in octets


@pytest.mark.parametrize("ret", [Ret.FULL, Ret.HDRS])
def test_seven_bits_for_everybody(ret: Ret) -> None:
    """
    To a sender whose address is ASCII all of it is, whatever a remote server said and whatever
    comes back, so that a mail server without 8BITMIME takes it; and nothing of it is lost.
    """
    outcome = Failed("5.1.1", "", Fault.RECIPIENT, reply(550, "5.1.1", "boîte inconnue"))
    about = original(head="Subject: ü\r\n".encode(), body="\r\nü=\r\n.\r\n".encode(), ret=ret)
    recipient = Recipient(Address("ü", "d.example"), orcpt=("utf-8", "ö@d.example"))
    octets, read = composed(about, Subject(recipient, outcome, "mx.d.example", 60.0))
    assert octets.isascii()
    text, status, returned = read.iter_parts()
    assert "<ü@d.example>\n    mx.d.example said: 550 5.1.1 boîte inconnue\n" in text.get_content().replace("\r", "")
    assert status.get_content_type() == "message/delivery-status"
    fields = status_fields(read)[1]
    assert fields["Original-Recipient"] == "utf-8;\\x{F6}@d.example"
    assert fields["Final-Recipient"] == "utf-8;\\x{FC}@d.example"
    assert fields["Diagnostic-Code"] == "smtp; 550 5.1.1 bo\\x{EE}te inconnue"
    assert returned["Content-Transfer-Encoding"] == "quoted-printable"
    encoded = octets.rpartition(b"quoted-printable\r\n\r\n")[2].partition(b"\r\n--=01dsn")[0]
    whole = about.head + (about.body or b"") if ret is Ret.FULL else about.head
    assert a2b_qp(encoded) == whole.removesuffix(b"\r\n") + (b"\r\n" if encoded.endswith(b"\r\n") else b"")
    kind = "message/global" if ret is Ret.FULL else "text/rfc822-headers"
    assert returned.get_content_type() == kind


def test_boundary_is_never_in_a_part() -> None:
    """
    A sender who guesses the notification's id cannot end a part.
    """
    _, read = composed(original(body=b"\r\n--=01dsn.0=--\r\n--=01dsn.1=\r\n", ret=Ret.FULL), subject())
    assert len(list(read.iter_parts())) == 3


@given(st.text(max_size=200), st.binary(max_size=100))
def test_remote_words_add_nothing(words: str, octets: bytes) -> None:
    """
    Whatever the remote said and the message was, the report has its three parts, its fields, and whole lines.
    """
    outcome = Failed("5.0.0", words, Fault.RECEIVER, reply(550, None, words + "\r\nAction: relayed", words * 30))
    wire, read = composed(
        original(head=octets, body=None), subject(outcome), subject(Failed("5.0.0", words, Fault.DNS))
    )
    assert len(list(read.iter_parts())) == 3
    assert [group.get("Action") for group in status_fields(read)] == [None, "failed", "failed"]
    assert wire.isascii()
    assert wire.count(b"\r") == wire.count(b"\n") == wire.count(b"\r\n")
    assert max(map(len, wire.split(b"\r\n"))) <= 998


TRACE = Trace("r.example", "01x", 1.0, helo="c.example", client="192.0.2.1")


@pytest.mark.parametrize(
    ("trace", "value"),
    [
        (TRACE, "from c.example ([192.0.2.1]) by r.example (lmrelay) with ESMTP id 01x"),
        (
            Trace("r.example", "01x", 1.0, helo="h", tls="TLSv1.3 AES", authenticated=True, recipient="a@b"),
            "by r.example (lmrelay) with ESMTPSA (TLSv1.3 AES) id 01x for <a@b>",
        ),
        (Trace("r.example", "01x", 1.0, esmtp=False), "by r.example (lmrelay) with SMTP id 01x"),
        (
            Trace("r.example", "01x", 1.0, client="::1", helo="a) by evil (", smtputf8=True, tls="T"),
            "from [IPv6:::1] (helo=a? by evil ?) by r.example (lmrelay) with UTF8SMTPS (T) id 01x",
        ),
        (Trace("r.example", "01x", 1.0, recipient="a> x; <b"), "by r.example (lmrelay) with ESMTP id 01x"),
    ],
)
def test_received(trace: Trace, value: str) -> None:
    """
    Each clause stands only for what is so; the client is left out where it is hidden.
    """
    assert received_field(trace).value == value + "; Thu, 1 Jan 1970 00:00:01 +0000"


@given(st.text(), st.text(), st.text())
def test_received_is_one_field(helo: str, tls: str, recipient: str) -> None:
    """
    Nothing a client said adds a line, a clause or a comment's end.
    """
    field = received_field(Trace("r.example", "01x", 1.0, helo=helo, client="::1", tls=tls, recipient=recipient))
    assert [one.name for one in Head.parse(field.octets).fields] == ["Received"]
    assert max(map(len, field.octets.split(b"\r\n"))) <= 998
    assert field.value.count("(") == field.value.count(")")


@pytest.mark.parametrize("at", [0.0, 1.7e9, 951782400.0, 1e9 + 0.999])
def test_dates(at: float) -> None:
    """
    Another reader reads the same second.
    """
    assert parsedate_to_datetime(format_date(at)).timestamp() == int(at)
