"""
Words of a client that end up in a header, a reply, an event or the log: none of them adds a line to it.
"""

from __future__ import annotations

import re

import pytest
from attrs import evolve
from twisted.logger import LogEvent, globalLogPublisher

from lmrelay.config.values import SubmissionRules
from lmrelay.config.words import Dialect, Security
from lmrelay.lines import format_text
from lmrelay.mail.head import Head
from tests.inbound.doubles import Relay
from tests.inbound.peers import MemoryPeer
from tests.inbound.test_protocol import AUTH

ENCODED = [
    "=?utf-8?q?x=0D=0ABcc:_evil@c.example?=",
    "=?utf-8?q?x=0ABcc:_evil@c.example?=",
    "=?utf-8?b?eA0KQmNjOiBldmlsQGMuZXhhbXBsZQ==?=",
    "=?utf-8?q?x=0D=0A=0D=0Abody?=",
    "=?utf-8?q?x=00y?=",
    "=?utf-8?q?x=C2=85Bcc:_y?=",
    "=?utf-8?q?x=E2=80=A8Bcc:_y?=",
    "=?utf-16?b?AHgADQAKAEIAYwBj?=",
    "=?utf-8?q?=1B[2J=1B]0;x=07?=",
    "x\x0bBcc: y",
    "x\x1b[2J",
]
"""
The line endings are in encoded words: bare ones do not get as far as a header.
"""
HEADERS = [
    "X-LM-Tag",
    "X-MailPace-Tags",
    "X-LM-Metadata-key",
    "X-PM-Tag",
    "X-PM-Metadata-key",
    "X-Mailgun-Tag",
    "X-SES-MESSAGE-TAGS",
    "X-Lettermint-Route",
    "X-SES-CONFIGURATION-SET",
    "X-List-Unsubscribe",
    "Idempotency-Key",
    "Subject",
    "To",
    "Message-ID",
    "Date",
]
KNOWN = {"received", "from", "subject", "to", "message-id", "date", "list-unsubscribe"}


def submit(
    relay: Relay, *fields: str, helo: str = "client.example", sender: str = "a@acme.example", to: str = "b@b.example"
) -> list[str]:
    """
    What the last command hears; at the end of the content, if it gets there.
    """
    peer = MemoryPeer(relay)
    peer.say(f"EHLO {helo}", AUTH)
    heard = peer.say(f"MAIL FROM:<{sender}>", f"RCPT TO:<{to}>", "DATA")
    if heard[-1][:3] == "354":
        heard = peer.say("From: a@acme.example", *fields, "", "x", ".")
    return heard[-1:] if len(heard) != 1 else heard


@pytest.mark.parametrize("value", ENCODED)
@pytest.mark.parametrize("name", HEADERS)
def test_in_a_header(name: str, value: str) -> None:
    """
    It is refused in one line, or taken for text: in no field, tag or metadata of the message is a line more.
    """
    relay = Relay(Security.PLAIN)
    relay.settings.config = evolve(relay.config, submission=SubmissionRules(dialects=tuple(Dialect)))
    events: list[str] = []

    def observe(event: LogEvent) -> None:
        events.append(format_text(event))

    globalLogPublisher.addObserver(observe)
    try:
        [said] = submit(relay, f"{name}: {value}")
    finally:
        globalLogPublisher.removeObserver(observe)
    assert said[:3] in ("250", "554")
    assert said.isprintable()
    assert [line for line in events if not line.removesuffix("\n").isprintable()] == []
    assert events
    for submission, body in relay.acceptance.accepted:
        head = Head.parse(submission.head)
        assert {field.name.lower() for field in head.fields} <= KNOWN
        assert b"\r\nx\r\n" == body
        shown = [submission.subject, submission.to, submission.sender, submission.message_id, submission.key]
        assert all(text.isprintable() for text in (*shown, *submission.tags, *submission.metadata.values()))


@pytest.mark.parametrize(
    "helo",
    [
        "x)",
        "x\\",
        "(x",
        "a;b",
        "x@y",
        "<x>",
        '"x"',
        "a,b",
        "[192.0.2.1](x)",
        "x" * 255,
        "ü.example",
        "=?utf-8?q?x=0D=0ABcc:_y?=",
        "x\\r\\nBcc:y",
    ],
)
def test_in_the_name_of_a_client(helo: str) -> None:
    """
    The trace field is one field with one clause of each kind, whatever the client calls itself.
    """
    relay = Relay(Security.PLAIN)
    relay.settings.config = evolve(relay.config, submission=SubmissionRules(hide_client=False))
    assert "250" == submit(relay, helo=helo)[0][:3]
    [(submission, _)] = relay.acceptance.accepted
    head = Head.parse(submission.head)
    [field] = head.all("Received")
    clauses = re.sub(r"\([^()]*\)", "", field.value)
    assert not set(clauses) & set('()"\\')
    assert ["from", "by", "with", "id", "for", ";"] == re.findall(
        r"(?:^|(?<= ))(?:from|by|with|id|for)(?= )|;", clauses
    )
    assert {name.lower() for name in head.values} <= KNOWN


@pytest.mark.parametrize(
    "local",
    [
        r'"a\\r\\nBcc: evil"',
        r'"a\"> (x) with HTTP id 1; Thu"',
        '"a b"',
        '"a>b"',
        '"a;b"',
        '"a(b"',
        '"<>"',
        '"=?utf-8?q?=0D=0A?="',
        "a%0d%0aBcc",
        "{a}",
        "a+b=c#d",
    ],
)
def test_in_an_address(local: str) -> None:
    """
    Nor does an address, of the sender or of a recipient, that is valid and means to look like more.
    """
    relay = Relay(Security.PLAIN)
    said = submit(relay, sender=f"{local}@acme.example", to=f"{local}@b.example")
    assert "250" == said[0][:3], said
    [(submission, _)] = relay.acceptance.accepted
    assert f"{local}@acme.example" == str(submission.envelope.reverse_path)
    assert [f"{local}@b.example"] == [str(one.address) for one in submission.envelope.recipients]
    head = Head.parse(submission.head)
    [field] = head.all("Received")
    assert 1 == re.sub(r'"(?:[^"\\]|\\.)*"', "", field.value).count(";")
    assert {name.lower() for name in head.values} <= KNOWN


def test_in_a_reply() -> None:
    """
    What a refusal repeats of a client's words is one line, printable, and no longer than a line may be.
    """
    for value in (*ENCODED, "x" * 5000):
        for name in ("X-Lettermint-Route", "X-LM-Tag", "X-LM-" + "y" * 5000, "From", "Sender"):
            relay = Relay(Security.PLAIN)
            [said] = submit(relay, f"{name}: {value}")
            assert said.isprintable()
            assert len(said.encode()) <= 510
