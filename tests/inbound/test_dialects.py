"""
Control headers: each row of each dialect, what is refused, and what stays as it was.
"""

from __future__ import annotations

import json
from base64 import b64encode
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrelay.config.words import Dialect
from lmrelay.errors import Refused
from lmrelay.inbound.controls import Controls, read_controls
from lmrelay.inbound.dialects import HEADERS, VENDORS
from lmrelay.mail.head import Head

DEFAULT = (Dialect.LETTERMINT, Dialect.MAILPACE)
ALL = tuple(Dialect)
REST = b"From: a@acme.example\r\nSubject: x\r\n y\r\n"


def read(fields: bytes | str, dialects: tuple[Dialect, ...] = ALL) -> Controls:
    """
    What these control headers say; that they are gone, and all else is as it was, is checked on the way.
    """
    octets = fields.encode() if isinstance(fields, str) else fields
    controls, left = read_controls(Head.parse(octets + REST), dialects)
    assert REST == left.to_bytes()
    return controls


def refusal(fields: bytes | str, dialects: tuple[Dialect, ...] = ALL) -> str:
    octets = fields.encode() if isinstance(fields, str) else fields
    with pytest.raises(Refused) as caught:
        read_controls(Head.parse(octets + REST), dialects)
    return str(caught.value.reply)


def words(text: str, charset: str = "utf-8") -> str:
    """
    The text as encoded words of one character each, folded.
    """
    made = (f"=?{charset}?b?{b64encode(character.encode(charset)).decode()}?=" for character in text)
    return "\r\n ".join(made)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        # lettermint
        ("X-Lettermint-Route: news\r\n", Controls(route="news")),
        ("x-lettermint-ROUTE:news \t\r\n", Controls(route="news")),
        ("X-Lettermint-Route:\r\n news\r\n", Controls(route="news")),
        ("X-LM-Tag: welcome\r\n", Controls(tags=("welcome",))),
        ("X-Tag: welcome\r\n", Controls(tags=("welcome",))),
        ("X-LM-Tag : welcome\r\n", Controls(tags=("welcome",))),
        ("X-LM-Tag: two\r\n words\r\n", Controls(tags=("two words",))),
        ("X-LM-Tag: =?utf-8?q?two_words?=\r\n", Controls(tags=("two words",))),
        ("X-Tag: b\r\nX-LM-Tag: a\r\n", Controls(tags=("a",))),
        ("X-LM-Tag: a\r\nX-Tag: not! valid!\r\nX-Tag: twice\r\n", Controls(tags=("a",))),
        (f"X-LM-Tag: {'a' * 255}\r\n", Controls(tags=("a" * 255,))),
        ("X-LM-Metadata-orderId: 12345\r\n", Controls(metadata={"orderId": "12345"})),
        ("x-lm-metadata-Order_ID:  a=b; c \r\n", Controls(metadata={"Order_ID": "a=b; c"})),
        ("X-Metadata-Key: v\r\n", Controls(metadata={"Key": "v"})),
        ("X-LM-Metadata-a:\r\n", Controls(metadata={"a": ""})),
        ("X-Metadata-A: theirs\r\nX-LM-Metadata-a: ours\r\n", Controls(metadata={"a": "ours"})),
        ("X-LM-Metadata-a: 1\r\nX-Metadata-b: 2\r\n", Controls(metadata={"a": "1", "b": "2"})),
        ("X-LM-Metadata-a: =?utf-8?Q?caf=C3=A9?= =?utf-8?b?IQ==?=\r\n", Controls(metadata={"a": "café!"})),
        ("X-LM-Metadata-a: one\r\n\ttwo\r\n", Controls(metadata={"a": "one two"})),
        ("X-LM-Metadata-a: =?utf-8?q?one=0D=0Atwo?=\r\n", Controls(metadata={"a": "one  two"})),
        ("X-LM-Metadata-a: näh\r\n", Controls(metadata={"a": "näh"})),
        (b"X-LM-Metadata-a: n\xe4h\r\n", Controls(metadata={"a": "n\ufffdh"})),
        (f"X-LM-Metadata-{'k' * 128}: {'v' * 1024}\r\n", Controls(metadata={"k" * 128: "v" * 1024})),
        (f"X-LM-Metadata-a: {words('ü' * 1024)}\r\n", Controls(metadata={"a": "ü" * 1024})),
        (
            "".join(f"X-LM-Metadata-k{number}: v\r\n" for number in range(50)),
            Controls(metadata={f"k{number}": "v" for number in range(50)}),
        ),
        ("X-LM-Other: x\r\nX-Lettermint-Anything: y\r\nx-lm-: z\r\n", Controls()),
        # mailpace
        ("X-MailPace-Tags: a, b c,,d ,\r\n", Controls(tags=("a", "b c", "d"))),
        ("X-MailPace-Tags: a\r\nX-MailPace-Tags: b, a\r\n", Controls(tags=("a", "b"))),
        ("X-MailPace-Tags: täg, =?utf-8?q?=C3=BC?=\r\n", Controls(tags=("täg", "ü"))),
        ("X-MailPace-Tags:\r\n", Controls()),
        ("X-MailPace-Other: x\r\n", Controls()),
        # postmark
        ("X-PM-Tag: Any thing: really!\r\n", Controls(tags=("Any thing: really!",))),
        (f"X-PM-Tag: {'a' * 1000}\r\n", Controls(tags=("a" * 1000,))),
        ("X-PM-Metadata-Color: blue\r\n", Controls(metadata={"Color": "blue"})),
        ("X-PM-Message-Stream: outbound\r\n", Controls(route="outbound")),
        ("X-PM-TrackOpens: true\r\n", Controls()),
        # mailgun
        ("X-Mailgun-Tag: a\r\nX-Mailgun-Tag: b\r\n", Controls(tags=("a", "b"))),
        (
            'X-Mailgun-Variables: {"id": 7, "s": "t", "deep": {"a": [1, null, true]}}\r\n',
            Controls(metadata={"id": "7", "s": "t", "deep": '{"a":[1,null,true]}'}),
        ),
        (
            'X-Mailgun-Variables: {"a":\r\n "1"}\r\nX-Mailgun-Variables: {"b": "2"}\r\n',
            Controls(metadata={"a": "1", "b": "2"}),
        ),
        ('X-Mailgun-Variables: {"a": "\\ud800x\\u00e9"}\r\n', Controls(metadata={"a": "\ufffdxé"})),
        ("X-Mailgun-Drop-Message: yes\r\n", Controls()),
        # ses
        ("X-SES-MESSAGE-TAGS: k=v, k2=v2\r\n", Controls(metadata={"k": "v", "k2": "v2"})),
        ("X-SES-MESSAGE-TAGS: a=1\r\nX-SES-Message-Tags: b=2,\r\n", Controls(metadata={"a": "1", "b": "2"})),
        ("X-SES-CONFIGURATION-SET: bulk\r\n", Controls(route="bulk")),
        ("X-SES-SOURCE-ARN: arn\r\n", Controls()),
        # postal
        ("X-Postal-Tag: a b!\r\n", Controls(tags=("a b!",))),
        ("X-Postal-MsgID: x\r\n", Controls()),
        # always
        ("Idempotency-Key: a key / 1\r\n", Controls(key="a key / 1")),
        (f"IDEMPOTENCY-KEY: {'k' * 255}\r\n", Controls(key="k" * 255)),
        ("Idempotency-Key: schlüssel\r\n", Controls(key="schlüssel")),
        ("Idempotency-Key: =?utf-8?q?a?=\r\n", Controls(key="=?utf-8?q?a?=")),
        # several dialects
        ("X-PM-Tag: p\r\nX-Postal-Tag: q\r\nX-LM-Tag: l\r\n", Controls(tags=("l", "p", "q"))),
        ("X-SES-CONFIGURATION-SET: s\r\nX-PM-Message-Stream: p\r\n", Controls(route="p")),
        ("X-PM-Metadata-A: p\r\nX-LM-Metadata-a: l\r\n", Controls(metadata={"a": "l"})),
    ],
)
def test_says(fields: str | bytes, expected: Controls) -> None:
    """
    Each header of each dialect is read and removed, however it is spelt.
    """
    assert expected == read(fields)


RULE = "a tag is 1 to 255 letters, digits, - and _, its words parted by one space"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        *(
            (f"{name}: {value}\r\n", f"Bad {name} header: {RULE}")
            for name in ("X-LM-Tag", "X-Tag")
            for value in (
                "",
                "a  b",
                "a\tb",
                "a\r\n\tb",
                "a.b",
                "a,b",
                "tag!",
                "täg",
                "a\u00a0b",
                "=?utf-8?q?a=0Bb?=",
                "=?utf-8?q?a=0A?=",
                "=?utf-8?q?_a?=",
                "=?x-none?q?a?=",
                "a" * 256,
            )
        ),
        ("X-LM-Tag: a\r\nX-LM-Tag: a\r\n", "Bad X-LM-Tag header: it may be there only once"),
        ("X-Tag: a\r\nx-tag: b\r\n", "Bad X-Tag header: it may be there only once"),
        (
            "X-Lettermint-Route: a\r\nX-Lettermint-Route: a\r\n",
            "Bad X-Lettermint-Route header: it may be there only once",
        ),
        (
            "X-LM-Metadata-a: 1\r\nX-LM-Metadata-A: 2\r\n",
            "Bad X-LM-Metadata-A header: the same key of metadata is there twice",
        ),
        ("X-LM-Metadata-: 1\r\n", "Bad X-LM-Metadata- header: a key of metadata is 1 to 128 characters long"),
        (
            f"X-Metadata-{'k' * 129}: 1\r\n",
            f"Bad X-Metadata-{'k' * 129} header: a key of metadata is 1 to 128 characters long",
        ),
        (
            f"X-LM-Metadata-a: {'v' * 1025}\r\n",
            "Bad X-LM-Metadata-a header: a value of metadata is at most 1024 characters long",
        ),
        (
            f"X-LM-Metadata-a: {words('ü' * 1025)}\r\n",
            "Bad X-LM-Metadata-a header: a value of metadata is at most 1024 characters long",
        ),
        (
            f"X-LM-Metadata-a: {'=?utf-8?q??= ' * 4000}\r\n",
            "Bad X-LM-Metadata-a header: it is longer than 32768 characters",
        ),
        (
            "".join(f"X-LM-Metadata-k{number}: v\r\n" for number in range(51)),
            "Bad X-LM-Metadata-k50 header: a message has at most 50 keys of metadata",
        ),
        (f"X-MailPace-Tags: a,{'b' * 256}\r\n", "Bad X-MailPace-Tags header: a tag is 1 to 255 printable characters"),
        (
            "X-MailPace-Tags: a,=?utf-8?q?b=07?=\r\n",
            "Bad X-MailPace-Tags header: a tag is 1 to 255 printable characters",
        ),
        (
            f"X-MailPace-Tags: {','.join(map(str, range(51)))}\r\n",
            "Bad X-MailPace-Tags header: a message has at most 50 tags",
        ),
        (f"X-PM-Tag: {'a' * 1001}\r\n", "Bad X-PM-Tag header: a tag is 1 to 1000 printable characters"),
        ("X-PM-Tag: a\r\nX-PM-Tag: b\r\n", "Bad X-PM-Tag header: it may be there only once"),
        ("X-PM-Message-Stream: a\r\n" * 2, "Bad X-PM-Message-Stream header: it may be there only once"),
        (f"X-Mailgun-Tag: {'a' * 129}\r\n", "Bad X-Mailgun-Tag header: a tag is 1 to 128 printable characters"),
        ("X-Mailgun-Tag:\r\n", "Bad X-Mailgun-Tag header: a tag is 1 to 128 printable characters"),
        *(
            (f"X-Mailgun-Variables: {value}\r\n", f"Bad X-Mailgun-Variables header: expected a JSON object{more}")
            for value, more in (
                ("", " whose keys differ"),
                ("{", " whose keys differ"),
                ('{"a": NaN}', " whose keys differ"),
                ('{"a": -Infinity}', " whose keys differ"),
                ('{"a": 1, "a": 2}', " whose keys differ"),
                ("[" * 15_000, " whose keys differ"),
                (f'{{"a": {"9" * 5000}}}', " whose keys differ"),
                ('["a"]', ""),
                ("null", ""),
                ('"a"', ""),
            )
        ),
        (
            'X-Mailgun-Variables: {"": 1}\r\n',
            "Bad X-Mailgun-Variables header: a key of metadata is 1 to 128 characters long",
        ),
        (
            'X-Mailgun-Variables: {"a": 1}\r\nX-Mailgun-Variables: {"A": 1}\r\n',
            "Bad X-Mailgun-Variables header: the same key of metadata is there twice",
        ),
        (
            f"X-Mailgun-Variables: {json.dumps({'a': 'x' * 1025})}\r\n",
            "Bad X-Mailgun-Variables header: a value of metadata is at most 1024 characters long",
        ),
        *(
            (
                f"X-SES-MESSAGE-TAGS: {value}\r\n",
                "Bad X-SES-MESSAGE-TAGS header: expected name=value, ..., names of letters, digits, hyphens and "
                "underscores",
            )
            for value in ("a", "a=b;c=d", "=b", "a b=c", "a=b c")
        ),
        ("X-SES-CONFIGURATION-SET: a\r\n" * 2, "Bad X-SES-CONFIGURATION-SET header: it may be there only once"),
        ("X-Postal-Tag: a\r\n" * 2, "Bad X-Postal-Tag header: it may be there only once"),
        (f"X-Postal-Tag: {'a' * 256}\r\n", "Bad X-Postal-Tag header: a tag is 1 to 255 printable characters"),
        *(
            (field, "Bad Idempotency-Key header: a key is 1 to 255 printable characters")
            for field in (
                b"Idempotency-Key:\r\n",
                b"Idempotency-Key: " + b"k" * 256 + b"\r\n",
                b"Idempotency-Key: a\tb\r\n",
                b"Idempotency-Key: a\xff\r\n",
                b"Idempotency-Key: a\x07\r\n",
            )
        ),
        ("Idempotency-Key: a\r\n" * 2, "Bad Idempotency-Key header: it may be there only once"),
        *(
            (
                f"X-List-Unsubscribe: {value}\r\n",
                "Bad X-List-Unsubscribe header: expected <mailto:...> or <https://...>, ..., each at most 900 ASCII "
                "characters",
            )
            for value in (
                "",
                "https://a.example/",
                "<https://a.example/",
                "<ftp://a.example/>",
                "<javascript:alert(1)>",
                "<https://a.example/>,",
                "<https://a.example/> <mailto:a@b>",
                "<https://a.example/ x>",
                "<https://ä.example/>",
                "<mailto:>",
                "x <mailto:a@b.example>",
                f"<https://a.example/{'x' * 900}>",
            )
        ),
        ("X-List-Unsubscribe: <mailto:a@b>\r\n" * 2, "Bad X-List-Unsubscribe header: it may be there only once"),
    ],
)
def test_refused(fields: str | bytes, expected: str) -> None:
    """
    What is not valid is refused in words that name the header and its rule.
    """
    assert f"554 5.6.0 {expected}" == refusal(fields)


@pytest.mark.parametrize(
    "value",
    [
        "<mailto:list@acme.example?subject=unsubscribe>",
        "<https://acme.example/u?a=1,2>, <MAILTO:x@acme.example>",
        "<http://acme.example/>,<https://acme.example/u>",
        "<https://acme.example/u>,\r\n <mailto:a@b.example>",
    ],
)
def test_list_unsubscribe(value: str) -> None:
    """
    X-List-Unsubscribe is sent on as List-Unsubscribe.
    """
    _, head = read_controls(Head.parse(f"X-List-Unsubscribe: {value}\r\n".encode() + REST), DEFAULT)
    field = head.first("List-Unsubscribe")
    assert field is not None
    expected = value.replace("\r\n ", " ").replace(">,<", ">, <")
    assert (expected, None) == (field.value, head.first("X-List-Unsubscribe"))


def test_list_unsubscribe_of_the_message_stays() -> None:
    """
    A message that brings the field keeps it as it is.
    """
    own = b"List-Unsubscribe:   <mailto:own@acme.example>\r\n"
    _, head = read_controls(Head.parse(own + b"X-List-Unsubscribe: <mailto:x@acme.example>\r\n" + REST), DEFAULT)
    assert own + REST == head.to_bytes()


@pytest.mark.parametrize("header", [header for header in HEADERS if header.dialect is not None], ids=lambda h: h.name)
def test_other_dialects_are_nothing_special(header: object) -> None:
    """
    A header of a dialect that is not in use is one like any other.
    """
    name = header.name + ("x" if header.name.endswith("-") else "")  # type: ignore[attr-defined]
    dialects = tuple(dialect for dialect in Dialect if dialect is not header.dialect)  # type: ignore[attr-defined]
    head = Head.parse(f"{name}: whatever, it! is\r\n".encode() + REST)
    assert (Controls(), head) == read_controls(head, dialects)


def test_every_dialect_has_rows() -> None:
    """
    No dialect that a project may list is without headers.
    """
    assert set(Dialect) == {header.dialect for header in HEADERS} - {None}
    assert set(Dialect) == set(VENDORS)


def test_order_of_dialects() -> None:
    """
    Where dialects say different things, the one that is listed first counts.
    """
    fields = "X-PM-Message-Stream: p\r\nX-SES-CONFIGURATION-SET: s\r\nX-PM-Tag: a\r\nX-Postal-Tag: b\r\n"
    assert Controls("s", ("b", "a")) == read(fields, (Dialect.SES, Dialect.POSTAL, Dialect.POSTMARK))


_NAMES = st.one_of(
    st.sampled_from([header.name for header in HEADERS]),
    st.sampled_from([f"{header.name}k" for header in HEADERS if header.is_prefix]),
    st.from_regex(r"\A[!-9;-~]{1,12}\Z"),
).map(lambda name: name.encode())
_VALUES = st.binary(max_size=60).map(lambda octets: octets.replace(b"\r", b"").replace(b"\n", b"\r\n "))
_FIELDS = st.lists(st.tuples(_NAMES, _VALUES).map(lambda pair: pair[0] + b":" + pair[1] + b"\r\n"), max_size=12)


@given(_FIELDS, st.lists(st.sampled_from(ALL), unique=True).map(tuple))
def test_any_octets(fields: list[bytes], dialects: tuple[Dialect, ...]) -> None:
    """
    Whatever a head holds, it is read or refused, and what is no control header stays as it was, in its order.
    """
    head = Head.parse(b"".join(fields))
    names = {header.name.lower() for header in HEADERS if header.dialect in (None, *dialects) and not header.is_prefix}
    prefixes = [header.name.lower() for header in HEADERS if header.dialect in dialects and header.is_prefix]
    prefixes += [prefix.lower() for dialect in dialects for prefix in VENDORS[dialect]]
    plain = tuple(
        one for one in head.fields if one.name.lower() not in names and not one.name.lower().startswith(tuple(prefixes))
    )
    with suppress(Refused):
        _, left = read_controls(head, dialects)
        assert plain == left.fields[: len(plain)]
        assert all(one.name == "List-Unsubscribe" for one in left.fields[len(plain) :])


def test_the_rule_is_told_of_a_long_name() -> None:
    """
    A reply line has 512 octets: a name that would fill them is cut, not what is wrong with it.
    """
    name = "X-LM-Metadata-" + "k" * 600
    expected = f"554 5.6.0 Bad {name[:150]}... header: a key of metadata is 1 to 128 characters long"
    assert expected == refusal(f"{name}: v\r\n")


@pytest.mark.parametrize("number", ["1e999", "[-1e999]"])
def test_a_number_beyond_all_bounds(number: str) -> None:
    """
    No JSON would come of it again.
    """
    expected = "554 5.6.0 Bad X-Mailgun-Variables header: expected a JSON object whose keys differ"
    assert expected == refusal(f'X-Mailgun-Variables: {{"a": {number}}}\r\n')
