"""
The head of a message: parted from the body in any cut, read, completed, controls taken out.

Held against the email package, which takes fields apart its own way.
"""

from __future__ import annotations

import re
from email import policy
from email.parser import BytesHeaderParser

from lmrelay.config.words import Dialect
from lmrelay.errors import Refused, SyntaxRefused
from lmrelay.inbound.controls import MAX_METADATA, MAX_TAGS, read_controls
from lmrelay.mail.encoded_words import decode_words
from lmrelay.mail.head import HEAD_LIMIT, LINE_LIMIT, Head, HeadReader, make_field
from lmrelay.mail.prepare import Prepared, prepare
from lmrelay.mail.received import Trace, received_field
from lmrelay.smtp.newlines import to_crlf
from tests.fuzz.reading import BARE
from tests.fuzz.shared import cuts, sentences

WORDS = (
    b"From: a@b.example\r\n",
    b"From : x@y.example\r\n",
    b"Sender: s@b.example\r\n",
    b"To: c@d.example\r\n",
    b"\r\n",
    b" ",
    b"Subject: =?utf-8?q?=0D=0ABcc:_x?=\r\n",
    b"Bcc: x@y.example\r\n",
    b"\t",
    b":",
    b"Date: x\r\n",
    b"Received: x\r\n",
    b"Message-ID: <x@y>\r\n",
    b"X-LM-Tag: a b\r\n",
    b"X-LM-Metadata-k: v\r\n",
    b"X-Mailgun-Variables: {}\r\n",
    b"\n",
    b"\r",
    b"X-MailPace-Tags: a, b\r\n",
    b"X-List-Unsubscribe: <https://x.example/>\r\n",
    b"Idempotency-Key: k\r\n",
    b"\0",
    b"\xff",
    b"X-SES-MESSAGE-TAGS: a=b, c=d\r\n",
    b"X-Lettermint-Route: r\r\n",
    b'{"a":1e999}',
    b"=?x-user?b?_?=",
    b"FROM:\r\n a@b.example\r\n",
    b"From:\x00a@b.example\r\n",
    b"TLS-Required: No\r\n",
    b"\x7f",
    b"\x85",
    b"\xc2\x85",
    b"a\r\n\r\n",
    b"\x0b",
    b"\x1c",
)

examples = sentences(WORDS, 16)

_NAME = re.compile(r"[!-9;-~]+")


def target(data: bytes) -> None:
    """
    Parted, taken apart, put together, prepared; and words of it put into fields of our own.
    """
    content = to_crlf(data)
    head, body = _part([content])
    for pieces in cuts(content):
        # A block never ends within a line ending: what reads the content holds a CR back.
        assert (head, body) == _part(_whole_endings(pieces))
    _check_parts(content, head, body)
    parsed = Head.parse(head)
    _check_fields(parsed)
    _check_prepared(parsed)
    _check_made(data)
    try:
        Head.parse(data)
    except SyntaxRefused:
        return
    assert not BARE.search(data)


def _whole_endings(pieces: list[bytes]) -> list[bytes]:
    whole = [b""]
    for piece in pieces:
        if whole[-1].endswith(b"\r"):
            whole[-1] += piece
        else:
            whole.append(piece)
    return whole


def _part(pieces: list[bytes]) -> tuple[bytes, bytes]:
    reader, body = HeadReader(), b""
    for piece in pieces:
        body += piece if reader.head is not None else reader.feed(piece)
    if reader.head is None:
        body += reader.finish()
    assert reader.head is not None
    return reader.head, body


def _check_parts(content: bytes, head: bytes, body: bytes) -> None:
    """
    Nothing is lost, and nothing is added but an empty line between.
    """
    assert len(head) <= HEAD_LIMIT
    assert head + body == content or (body.startswith(b"\r\n") and head + body[2:] == content)
    assert body == b"" or body.startswith(b"\r\n")


def _check_fields(head: Head) -> None:
    assert head.to_bytes() == b"".join(field.octets for field in head.fields)
    listed: dict[str, list[str]] = {}
    for field in head.fields:
        assert _NAME.fullmatch(field.name)
        listed.setdefault(field.name.lower(), []).append(field.value)
        assert field.text.isprintable()
    assert {name: list(values) for name, values in head.values.items()} == listed
    # The email package takes no space before the colon.
    message = BytesHeaderParser(policy=policy.compat32).parsebytes(
        re.sub(rb"(?m)^([!-9;-~]+)[ \t]+:", rb"\1:", head.to_bytes())
    )
    assert [name.lower() for name in message] == [field.name.lower() for field in head.fields]


def _check_prepared(head: Head) -> None:
    for dialects in (tuple(Dialect), (Dialect.LETTERMINT,)):
        try:
            controls, left = read_controls(head, dialects)
            prepared = prepare(left, id="m1", hostname="mx.example.org", now=1_800_000_000.0)
        except Refused as error:
            assert error.reply.is_permanent()
            assert re.fullmatch(rb"5[^\r\n\0]*\r\n", error.reply.to_wire())
            continue
        assert len(controls.tags) <= MAX_TAGS
        assert len(controls.metadata) <= MAX_METADATA
        assert all(text.isprintable() for text in (*controls.tags, *controls.metadata.values(), controls.key))
        _check_complete(prepared)


def _check_complete(prepared: Prepared) -> None:
    octets = prepared.head.to_bytes()
    assert Head.parse(octets).to_bytes() == octets
    names = [field.name.lower() for field in prepared.head.fields]
    assert 1 == names.count("from")
    assert names.count("sender") <= 1
    assert not {"bcc", "resent-bcc"} & set(names)
    assert {"date", "message-id"} <= set(names)
    assert not [name for name in names if name.startswith(("x-lettermint-", "x-lm-"))]
    assert prepared.senders
    assert all(text.isprintable() for text in (prepared.subject, prepared.sender, prepared.to))


def _check_made(data: bytes) -> None:
    """
    Whatever the words, a field of our own is one field.
    """
    text = data.decode("utf-8", "replace")
    assert decode_words(text).isprintable()
    trace = Trace("mx.example.org", "m1", 1_800_000_000.0, helo=text, client="192.0.2.7", tls=text, recipient=text)
    for field in (make_field("X-Words", text), received_field(trace)):
        assert not BARE.search(field.octets)
        assert all(len(line) <= LINE_LIMIT for line in field.octets.split(b"\r\n"))
        assert 1 == len(Head.parse(field.octets).fields)
    assert 1 == received_field(trace).value.count(" id m1")
