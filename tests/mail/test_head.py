"""
Heads: parted from bodies, read, changed, written back.
"""

from __future__ import annotations

import codecs
import encodings
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrelay.errors import Refused, SyntaxRefused
from lmrelay.mail import encoded_words
from lmrelay.mail.encoded_words import decode_words
from lmrelay.mail.head import MAX_FIELDS, Head, HeadReader, make_field
from lmrelay.mail.mailboxes import parse_mailboxes
from lmrelay.mail.prepare import Prepared, prepare


def part(blocks: list[bytes]) -> tuple[bytes | None, bytes]:
    reader = HeadReader()
    body = b""
    for block in blocks:
        body += block if reader.head is not None else reader.feed(block)
    if reader.head is None:
        body += reader.finish()
    return reader.head, body


@pytest.mark.parametrize(
    ("content", "head", "body"),
    [
        (b"A: b\r\n\r\nx\r\n", b"A: b\r\n", b"\r\nx\r\n"),
        (b"A: b\r\n c\r\n\td\r\nB:\r\n\r\n", b"A: b\r\n c\r\n\td\r\nB:\r\n", b"\r\n"),
        (b"A: b\r\n", b"A: b\r\n", b""),
        (b"", b"", b""),
        (b"\r\nx\r\n", b"", b"\r\nx\r\n"),
        (b"\r\n\r\n", b"", b"\r\n\r\n"),
        (b"A: b\r\nno field\r\nC: d\r\n\r\n", b"A: b\r\n", b"\r\nno field\r\nC: d\r\n\r\n"),
        (b" x: y\r\nA: b\r\n\r\n", b"", b"\r\n x: y\r\nA: b\r\n\r\n"),
        (b"From : a\r\n\r\n", b"From : a\r\n", b"\r\n"),
        (b"A: b\r\n  \r\nC: d\r\n\r\n", b"A: b\r\n  \r\nC: d\r\n", b"\r\n"),
        (b"\xff: b\r\n\r\n", b"", b"\r\n\xff: b\r\n\r\n"),
        (b": b\r\n", b"", b"\r\n: b\r\n"),
    ],
)
def test_head_ends(content: bytes, head: bytes, body: bytes) -> None:
    """
    The head ends at an empty line, or before what is no field, wherever the cuts fall.
    """
    splits = [[content], [content[at : at + 1] for at in range(len(content))]]
    splits += [[content[:at], content[at:]] for at in range(len(content))]
    for blocks in splits:
        assert part(blocks) == (head, body)


@pytest.mark.parametrize("field", [b"A: b\r\n", b"A: " + b"x" * 990 + b"\r\n", b"x" * 4096])
def test_head_is_bounded(field: bytes) -> None:
    """
    A head without an end is refused, and not gathered for ever.
    """
    with pytest.raises(Refused) as refused:
        part([field] * (300 * 1024 // len(field)))
    assert str(refused.value.reply) == "552 5.3.4 Header too large"


def test_fields_are_bounded() -> None:
    """
    A head of more fields than anybody writes is refused, however it comes; lines that go on with a field do not count.
    """
    folded = b"A: b\r\n c\r\n\td\r\n"
    assert part([folded * MAX_FIELDS, b"\r\n"]) == (folded * MAX_FIELDS, b"\r\n")
    for blocks in ([b"A:\r\n" * (MAX_FIELDS + 1) + b"\r\n"], [b"A:\r\n"] * (MAX_FIELDS + 1)):
        with pytest.raises(Refused) as refused:
            part(blocks)
        assert "552 5.3.4 Too many header fields" == str(refused.value.reply)


lines = st.lists(
    st.sampled_from([b"From: a@b\r\n", b" x\r\n", b"\r\n", b"no\r\n", b"A :\r\n", b"\t\r\n", b"\xff\0:\r\n", b":\r\n"]),
    max_size=12,
).map(b"".join)


@given(lines, st.integers(1, 9))
def test_nothing_is_lost(content: bytes, size: int) -> None:
    """
    Head and body are the content, less the empty line put in, and the head can be read and written back.
    """
    head, body = part([content[at : at + size] for at in range(0, len(content), size)])
    assert head is not None
    assert content in (head + body, head + body.removeprefix(b"\r\n"))
    assert Head.parse(head).to_bytes() == head


@given(st.binary(max_size=80))
def test_any_octets_are_read_or_refused(octets: bytes) -> None:
    """
    No octets make the reading of a head fail in any other way, nor do those of a field's value.
    """
    with suppress(SyntaxRefused):
        assert Head.parse(octets).to_bytes() == octets
    head = Head.parse(b"From: " + octets.replace(b"\r", b"").replace(b"\n", b"") + b"\r\n")
    assert head.fields[0].text.isprintable()
    with suppress(SyntaxRefused):
        assert all(mailbox.address.domain for mailbox in head.mailboxes("from"))


HEAD = Head.parse(b"From : A <a@b.example>\r\nTo:\r\n c@d.example\r\nX: 1\r\nx: =?utf-8?q?=C3=BC?=\r\n")


def test_fields() -> None:
    """
    Fields are found in any case and spelling, unfolded, decoded, removed and added.
    """
    assert [field.value for field in HEAD.all("x")] == ["1", "=?utf-8?q?=C3=BC?="]
    assert [field.text for field in HEAD.all("X")] == ["1", "ü"]
    assert HEAD.first("to") == HEAD.fields[1]
    assert HEAD.fields[1].value == "c@d.example"
    assert HEAD.first("Y") is None
    assert HEAD.remove(["X", "TO"]).to_bytes() == b"From : A <a@b.example>\r\n"
    changed = HEAD.remove(["from", "x", "to"]).append(make_field("C", "d")).prepend(make_field("A", "b"))
    assert changed.to_bytes() == b"A: b\r\nC: d\r\n"
    assert [str(mailbox.address) for mailbox in HEAD.mailboxes("From")] == ["a@b.example"]


@given(st.text(max_size=3000))
def test_fields_of_our_own_are_one_field(value: str) -> None:
    """
    Whatever its value, a field stays one, with lines that may be sent.
    """
    octets = make_field("X", value).octets
    assert [field.octets for field in Head.parse(octets).fields] == [octets]
    assert max(map(len, octets.split(b"\r\n"))) <= 998


@given(st.lists(st.text("ab.:é", min_size=1, max_size=34), min_size=1, max_size=40))
def test_lines_are_full(words: list[str]) -> None:
    """
    Lines are at most 78 octets long, and none ends before the next word would be one too many.
    """
    field = make_field("X-Name", " ".join(words))
    assert field.value == " ".join(words)
    lines = field.octets.removesuffix(b"\r\n").split(b"\r\n")
    assert max(map(len, lines)) <= 78
    assert all(len(line) + 1 + len(rest.split(b" ")[1]) > 78 for line, rest in pairwise(lines))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("=?utf-8?B?w7w=?= =?utf-8?B?w7w?=", "üü"),
        ("a =?iso-8859-1?q?=fc_b?= c", "a ü b c"),
        ("=?nope?q?a?=", "=?nope?q?a?="),
        ("=?utf-8?b?a?=", "=?utf-8?b?a?="),
        ("=?utf-8?q?a=0D=0Ab?=", "a  b"),
        ("=?utf-8*en?q?a?=", "a"),
        ("=?idna?q?=ff?=", "=?idna?q?=ff?="),
        ("=?UTF-7?q?+AGE-?=", "=?UTF-7?q?+AGE-?="),
        ("=?punycode?q?a-b?=", "=?punycode?q?a-b?="),
        ("=?unicode_escape?q?a?=", "=?unicode_escape?q?a?="),
        ("=?Windows-1251?q?=DF?= =?latin1?q?=e9?= =?KOI8-R?q?=D1?=", "Яéя"),
        ("=?gb2312?B?xOO6ww==?= =?ISO-2022-JP?B?GyRCRnxLXBsoQg==?=", "你好日本"),
        ("=?big5?B?p0Gmbg==?= =?shift_jis?B?k/qWew==?= =?euc-kr?B?x9GxuQ==?=", "你好日本한국"),
    ],
)
def test_encoded_words(text: str, expected: str) -> None:
    """
    For people to read; what cannot be decoded stays.
    """
    assert decode_words(text) == expected


def test_unknown_charsets_leave_no_trace() -> None:
    """
    A name that is no charset is not looked up: Python would keep it for ever.
    """
    before = len(encodings._cache)  # type: ignore[attr-defined]
    decode_words(" ".join(f"=?x-nobody-{number}?q?a?=" for number in range(100)))
    assert before == len(encodings._cache)  # type: ignore[attr-defined]


def test_every_charset_has_a_codec() -> None:
    """
    No name of the table is one that Python does not know.
    """
    assert all(codecs.lookup(codec) for codec in encoded_words._CODECS.values())


def test_long_text_is_cut_before_it_is_decoded() -> None:
    """
    What no list shows costs nothing, and no half of an encoded word is shown.
    """
    long = decode_words(" ".join(["=?utf-8?q?=C3=BC?="] * 20_000))
    assert {"ü"} == set(long)
    assert len(long) < 4096
    assert 4096 == len(decode_words("x" * 200_000))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", []),
        ("a@b.c", ["a@b.c"]),
        (",a@b.c,,", ["a@b.c"]),
        ('A <a@b.c>, "X, <y@z>" <c@d.e> (hi (there \\) ))', ["a@b.c", "c@d.e"]),
        ("J. Doe <a@b.c>", ["a@b.c"]),
        ("(x) <a@b.c>", ["a@b.c"]),
        ("a (x) @ (y) b . c", ["a@b.c"]),
        ('"a b"@c.d', ['"a b"@c.d']),
        ("=?utf-8?Q?Foo,_Bar?= <a@b.c>", ["a@b.c"]),
        ("a@b.c <d@e.f>", ["a@b.c", "d@e.f"]),
        ("g: a@b.c, X <d@e.f>;, h@i.j", ["a@b.c", "d@e.f", "h@i.j"]),
        ("undisclosed:;", []),
        ("ü <ü@ü.de>", ["ü@ü.de"]),
        ("a@[192.0.2.1]", ["a@[192.0.2.1]"]),
    ],
)
def test_mailboxes(value: str, expected: list[str]) -> None:
    """
    Lists, groups, comments, quotes and names; an address that is another's name counts too.
    """
    found = [address for one in parse_mailboxes(value) for address in (one.shown, one.address) if address is not None]
    assert expected == list(map(str, found))


@pytest.mark.parametrize(
    "value",
    [
        "a",
        "A B",
        "<>",
        "<a@b.c",
        "a@b.c>",
        "<a@b.c> <d@e.f>",
        "<a@b.c> d@e.f",
        "<a@b.c,d@e.f>",
        "<@x:a@b.c>",
        "a@b@c.d",
        "a@b.c d@e.f",
        "a b@c.d",
        "a@b .c d",
        "g: a@b.c",
        "g: h: a@b.c;;",
        "a@b.c;",
        ":a@b.c;",
        "(a@b.c",
        '"a@b.c',
        "a@b.c\\",
        "a)@b.c",
        "a@\ufffd.c",
        '"a"."b"@c.d',
        "[x] <a@b.c>",
        "=?u?q?<a@b.c>?= <d@e.f>",
        "a@b..c",
        "a\x00@b.c",
    ],
)
def test_doubtful_mailboxes(value: str) -> None:
    """
    What readers could read differently is refused.
    """
    with pytest.raises(SyntaxRefused):
        parse_mailboxes(value)


def test_mailboxes_are_bounded() -> None:
    """
    What nobody would write is not read to its end; a hundred addresses with their names are.
    """
    long = ", ".join(f'"Doe, {n}" <j.doe.{n}@mail.acme.example>' for n in range(200))
    assert 200 == len(parse_mailboxes(long))
    for value in ("," * 5000 + "a@b.c", "a " * 5000 + "<a@b.c>", "a." * 5000 + "@b.c"):
        with pytest.raises(SyntaxRefused, match="more than 4096 words and signs"):
            parse_mailboxes(value)


def prepared(octets: bytes, *, require_to: bool = False) -> Prepared:
    return prepare(Head.parse(octets), id="01x", hostname="r.example", now=0.0, require_to=require_to)


def test_prepare_completes() -> None:
    """
    Date and Message-ID come, Bcc goes, the rest stays octet for octet.
    """
    kept = b"from:  A  <a@b.c>\r\nX:\t1\r\nSender: d@e.f\r\n"
    result = prepared(b"Bcc: x@y.z\r\n" + kept + b"RESENT-BCC: x@y.z\r\nBcc : q@y.z\r\n")
    added = b"Date: Thu, 1 Jan 1970 00:00:00 +0000\r\nMessage-ID: <01x@r.example>\r\n"
    assert result.head.to_bytes() == kept + added
    assert [str(address) for address in result.senders] == ["a@b.c", "d@e.f"]
    assert (result.message_id, result.sender) == ("<01x@r.example>", "A  <a@b.c>")


def test_prepare_keeps() -> None:
    """
    An existing Date and Message-ID are kept.
    """
    octets = b"From: a@b.c\r\nTo: g:;\r\nDate: x\r\nMessage-Id: <y>\r\nSubject: =?utf-8?q?=C3=BC?=\r\n"
    result = prepared(octets, require_to=True)
    assert (result.head.to_bytes(), result.message_id, result.subject) == (octets, "<y>", "ü")


@pytest.mark.parametrize(
    ("octets", "reply"),
    [
        (b"", "554 5.6.0 Message has no From header"),
        (b"From: a@b.c\r\nFROM : d@e.f\r\n", "554 5.6.0 Message has more than one From header"),
        (b"From: a@b.c\r\nSender: a@b.c\r\nSender: a@b.c\r\n", "554 5.6.0 Message has more than one Sender header"),
        (b"From: g:;\r\n", "554 5.6.0 Bad From header: it has no address"),
        (b"From: a@b.c\r\nSender: x\r\n", "554 5.6.0 Bad Sender header: it has no address"),
        (b"From: a@b.c\r\n", "554 5.6.0 Message has no To header"),
        (
            b"From: " + b",".join([b"a@b.c"] * 101) + b"\r\n",
            "554 5.6.0 Bad From header: it has more than 100 addresses",
        ),
        (
            b"From: a@b.c\r\nSender: " + b"," * 32768 + b"\r\n",
            "554 5.6.0 Bad Sender header: it is longer than 32768 octets",
        ),
        (b"Received: x\r\n" * 101 + b"From: a@b.c\r\n", "554 5.4.6 Routing loop"),
    ],
)
def test_prepare_refuses(octets: bytes, reply: str) -> None:
    """
    A head that may not go on is refused in words.
    """
    with pytest.raises(Refused) as refused:
        prepared(octets, require_to=True)
    assert str(refused.value.reply) == reply
