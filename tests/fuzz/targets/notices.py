"""
The notification that a sender gets, of whatever message, recipients and remote words: mail that others can read.

The data is the message up to C{||}, then the remote's words, an original recipient, and an envelope id.
"""

from __future__ import annotations

import re
from email import policy
from email.message import Message
from email.parser import BytesParser

from lmrelay.mail.address import Address
from lmrelay.mail.dsn import Action, Original, Subject, compose
from lmrelay.mail.envelope import Recipient, Ret
from lmrelay.mail.head import LINE_LIMIT, Head, HeadReader
from lmrelay.mail.outcome import Delayed, Failed, Fault
from lmrelay.mail.reports import Kind, understand
from lmrelay.smtp.newlines import to_crlf
from lmrelay.smtp.reply import Reply
from tests.fuzz.reading import BARE
from tests.fuzz.shared import choices, sentences, take_octets

WORDS = (
    b"||",
    b"From: a@a.example\r\n",
    b"Message-ID: <x@y>\r\n",
    b"\r\n",
    b"\r\n--=m1.0=--\r\n",
    b"=m1.0=",
    b"\xc3\xa9",
    b"\xff",
    b"no such user",
    b"\r\nAction: delivered\r\n",
    b"\0",
    b"\x85",
    b"\xe2\x80\xa8",
    b"5.1.1",
    b";",
    b" ",
    b"x" * 90,
    b"\n",
    b"\r",
    b"Message-ID: <" + b"x" * 200 + b">\r\n",
    b"From \r\n",
    b"=?utf-8?q?x?=",
    b"\xf0\x9f\x98\x80",
    b"Final-Recipient: rfc822;x\r\n",
)

examples = sentences(WORDS, 12, choices(1))

_RECIPIENTS = (
    Address("b", "b.example"),
    Address("é", "b.example"),
    Address('"b\\" c"', "b.example"),
    Address("b", "bücher.example"),
)
_SENDERS = (Address("a", "a.example"), Address("ü", "a.example"))


def target(data: bytes) -> None:
    """
    Composed, read by the email package, and understood as those understand it who get it.
    """
    choice, rest = take_octets(data, 1)
    number = choice[0]
    content, said, original_recipient, envid = (*rest.split(b"||", 3), b"", b"", b"")[:4]
    recipient = Recipient(_RECIPIENTS[number % 4], orcpt=("rfc822", original_recipient.decode("utf-8", "replace")))
    reply = Reply(550, "5.1.1", tuple(said.decode("utf-8", "replace").split("\n")))
    delays = bool(number & 16)
    outcome = (
        Delayed("4.2.2", reply.text, Fault.RECIPIENT) if delays else Failed("5.1.1", reply.text, Fault.RECIPIENT, reply)
    )
    reader = HeadReader()
    body = reader.feed(to_crlf(content))
    body = body if reader.head is not None else reader.finish()
    original = Original(
        "m0",
        _SENDERS[number >> 2 & 1],
        1_800_000_000.0,
        reader.head or b"",
        body if number & 8 else None,
        Ret.FULL,
        envid.decode("utf-8", "replace"),
    )
    head, body = compose(
        Action.DELAYED if delays else Action.FAILED,
        original,
        [Subject(recipient, outcome, "mx.b.example", 1_800_000_000.0)],
        id="m1",
        hostname="relay.example",
        bounce_from="MAILER-DAEMON@relay.example",
        now=1_800_000_100.0,
        retry_until=1_800_100_000.0,
    )
    _check_form(head, body, original)
    _check_parts(BytesParser(policy=policy.compat32).parsebytes(head + body), delays, recipient)
    report = understand(head + body, recipient.address)
    assert (
        (Kind.DELAY, "4.2.2") == (report.kind, report.status)
        if delays
        else (Kind.BOUNCE, "5.1.1") == (report.kind, report.status)
    )


def _check_form(head: bytes, body: bytes, original: Original) -> None:
    assert not BARE.search(head + body)
    assert b"\0" not in head
    assert Head.parse(head).to_bytes() == head
    assert body.startswith(b"\r\n")
    marker = re.search(rb'boundary="([^"]+)"', head)
    assert marker is not None
    assert 4 == body.count(marker[1])
    assert not original.sender.is_ascii or (head + body).isascii() or b"\0" in body
    if original.body is None and max(map(len, original.head.split(b"\r\n"))) <= LINE_LIMIT:
        assert all(len(line) <= LINE_LIMIT for line in (head + body).split(b"\r\n"))


def _check_parts(message: Message, delays: bool, recipient: Recipient) -> None:
    parts = message.get_payload()
    assert isinstance(parts, list)
    assert 3 == len(parts), "a part more or less than we wrote"
    groups = parts[1].get_payload()
    kind = parts[1].get_content_type()
    assert kind in ("message/delivery-status", "message/global-delivery-status")
    if kind == "message/delivery-status":
        assert isinstance(groups, list)
        assert 2 == len(groups), "a group more or less than we wrote"
        assert ["delayed" if delays else "failed"] == groups[1].get_all("Action")
        assert 1 == len(groups[1].get_all("Final-Recipient", []))
        assert 1 == len(groups[1].get_all("Status", []))
