"""
Command lines as values, and the replies to those that are none.
"""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrelay.errors import Refused, SyntaxRefused
from lmrelay.mail.address import Address
from lmrelay.mail.envelope import Notify, Recipient, Ret
from lmrelay.smtp.client_commands import build_bdat, build_ehlo, build_mail, build_rcpt
from lmrelay.smtp.commands import (
    Auth,
    Bdat,
    Command,
    Mail,
    parse_auth,
    parse_bdat,
    parse_command,
    parse_helo,
    parse_mail,
    parse_rcpt,
)
from lmrelay.smtp.xtext import decode_utf8_address, decode_xtext, encode_utf8_address, encode_xtext

A = Address("a", "b.example")
ALL = {"SIZE": ("100",), "8BITMIME": (), "SMTPUTF8": (), "DSN": ()}


def code_of(refused: pytest.ExceptionInfo[Refused]) -> str:
    return f"{refused.value.reply.code} {refused.value.reply.enhanced}"


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (b"noop", Command("NOOP", "")),
        (b"MAIL  FROM:<a@b>  ", Command("MAIL", "FROM:<a@b>")),
        (b"", Command("", "")),
        ("ma\u0131l x".encode(), Command("ma\u0131l", "x")),
    ],
)
def test_command(line: bytes, command: Command) -> None:
    """
    A verb in any case, and what follows it.
    """
    assert parse_command(line) == command


@pytest.mark.parametrize("line", [b"\x16\x03\x01\x02", b"NOOP \xff", b"MAIL\tFROM:<>", b"NOOP \xc2\x85"])
def test_command_of_no_text(line: bytes) -> None:
    """
    TLS on a plain port and other octets get a reply and no traceback.
    """
    with pytest.raises(Refused) as refused:
        parse_command(line)
    assert code_of(refused) == "501 5.5.2"


@pytest.mark.parametrize("name", ["a.example", "my_host", "[192.0.2.1]", "[IPv6:::1]", "x)("])
def test_helo(name: str) -> None:
    """
    Clients may call themselves what they like, in one word.
    """
    assert parse_helo(name) == name


@pytest.mark.parametrize("name", ["", "a b", "a\u2028b", "x" * 256])
def test_bad_helo(name: str) -> None:
    """
    No name, and what is more than one, is refused.
    """
    with pytest.raises(Refused) as refused:
        parse_helo(name)
    assert code_of(refused) == "501 5.5.4"


@pytest.mark.parametrize(
    ("argument", "mail"),
    [
        ("FROM:<a@b.example>", Mail(A)),
        ("from: <a@b.example>", Mail(A)),
        ("FROM:<>", Mail(None)),
        ("FROM:<@x.example,@y.example:a@b.example>", Mail(A)),
        ('FROM:<"a>b c"@b.example> SIZE=5', Mail(Address('"a>b c"', "b.example"), size=5)),
        ("FROM:<a@b.example> SIZE=99999999999999999999", Mail(A, size=99999999999999999999)),
        ("FROM:<a@b.example> body=8bitmime SMTPUTF8", Mail(A, eight_bit=True, smtputf8=True)),
        ("FROM:<a@b.example> BODY=7BIT RET=HDRS ENVID=a+2Bb", Mail(A, ret=Ret.HDRS, envid="a+b")),
        ("FROM:<a@b.example> AUTH=<>", Mail(A)),
        ("FROM:<a@b.example> AUTH=e+3Dmc2@example.com", Mail(A)),
        ("FROM:<ü@b.example> SMTPUTF8", Mail(Address("ü", "b.example"), smtputf8=True)),
    ],
)
def test_mail(argument: str, mail: Mail) -> None:
    """
    Paths and parameters of MAIL, source routes dropped.
    """
    assert parse_mail(argument) == mail


@pytest.mark.parametrize(
    ("argument", "code"),
    [
        ("", "501 5.5.4"),
        ("TO:<a@b.example>", "501 5.5.4"),
        ("FROM:a@b.example", "501 5.5.4"),
        ("FROM:<a@b.example", "501 5.5.4"),
        ("FROM:<a@b.example>SIZE=1", "501 5.5.4"),
        ("FROM:<a@b.example> =1", "501 5.5.4"),
        ("FROM:<a@b.example> SIZE", "501 5.5.4"),
        ("FROM:<a@b.example> SIZE=", "501 5.5.4"),
        ("FROM:<a@b.example> SIZE=-1", "501 5.5.4"),
        ("FROM:<a@b.example> SIZE=\u0661", "501 5.5.4"),
        ("FROM:<a@b.example> SIZE=1 size=1", "501 5.5.4"),
        ("FROM:<a@b.example> SIZE=999999999999999999999", "501 5.5.4"),
        ("FROM:<a@b.example> BODY=BINARYMIME", "501 5.5.4"),
        ("FROM:<a@b.example> BODY", "501 5.5.4"),
        ("FROM:<a@b.example> SMTPUTF8=1", "501 5.5.4"),
        ("FROM:<a@b.example> REQUIRETLS=1", "501 5.5.4"),
        ("FROM:<a@b.example> REQUIRETLS REQUIRETLS", "501 5.5.4"),
        ("FROM:<a@b.example> RET=ALL", "501 5.5.4"),
        ("FROM:<a@b.example> RET=HDR\u017f", "501 5.5.4"),
        ("FROM:<a@b.example> SIZE=1\u00a0BODY=8BITMIME", "501 5.5.4"),
        ("FROM:<a@b.example> ENVID=" + "x" * 101, "501 5.5.4"),
        ("FROM:<a@b.example> ENVID=+0D+0A", "501 5.5.4"),
        ("FROM:<a@b.example> ENVID=a+b", "501 5.5.4"),
        ("FROM:<a@b.example> AUTH", "501 5.5.4"),
        ("FROM:<a@b.example> FOO=BAR", "555 5.5.4"),
        ("FROM:<a@b.example> NOTIFY=NEVER", "555 5.5.4"),
        ("FROM:<ü@b.example>", "553 5.6.7"),
        ("FROM:<a@ü.example>", "553 5.6.7"),
        ("FROM:<a>", "553 5.1.7"),
        ("FROM:<a..b@c.example>", "553 5.1.7"),
        ("FROM:<a@b..example>", "553 5.1.7"),
        ("FROM:<" + "x" * 65 + "@b.example>", "553 5.1.7"),
    ],
)
def test_bad_mail(argument: str, code: str) -> None:
    """
    What MAIL may not say, each with its reply.
    """
    with pytest.raises(Refused) as refused:
        parse_mail(argument)
    assert code_of(refused) == code


@pytest.mark.parametrize(
    ("argument", "recipient"),
    [
        ("TO:<a@b.example>", Recipient(A)),
        ("To: <a@b.example> NOTIFY=never", Recipient(A, frozenset({Notify.NEVER}))),
        ("TO:<a@b.example> NOTIFY=SUCCESS,DELAY", Recipient(A, frozenset({Notify.SUCCESS, Notify.DELAY}))),
        ("TO:<a@b.example> ORCPT=rfc822;x+2By@z", Recipient(A, orcpt=("rfc822", "x+y@z"))),
        ("TO:<a@b.example> ORCPT=utf-8;\\x{FC}@z", Recipient(A, orcpt=("utf-8", "ü@z"))),
    ],
)
def test_rcpt(argument: str, recipient: Recipient) -> None:
    """
    Paths and parameters of RCPT.
    """
    assert parse_rcpt(argument, smtputf8=False) == recipient


@pytest.mark.parametrize(
    ("argument", "code"),
    [
        ("TO:<>", "553 5.1.3"),
        ("TO:<Postmaster>", "553 5.1.3"),
        ("TO:<a@[192.0.2.1]>", "550 5.1.2"),
        ("TO:<a@ü.example>", "553 5.6.7"),
        ("TO:<a b@c.example>", "501 5.5.4"),
        ("TO:<.a@b.example>", "553 5.1.3"),
        ("TO:<a@b.example> NOTIFY=NEVER,DELAY", "501 5.5.4"),
        ("TO:<a@b.example> NOTIFY=DELAY,DELAY", "501 5.5.4"),
        ("TO:<a@b.example> NOTIFY=", "501 5.5.4"),
        ("TO:<a@b.example> NOTIFY=\u017fUCCESS", "501 5.5.4"),
        ("TO:<a@b.example> NOTIFY", "501 5.5.4"),
        ("TO:<a@b.example> ORCPT=x@y", "501 5.5.4"),
        ("TO:<a@b.example> ORCPT=rfc822;", "501 5.5.4"),
        ("TO:<a@b.example> ORCPT=utf-8;ü@z", "501 5.5.4"),
        ("TO:<a@b.example> ORCPT=utf-8;\\x{D800}@z", "501 5.5.4"),
        ("TO:<a@b.example> ORCPT=rfc822;" + "x" * 494, "501 5.5.4"),
        ("TO:<a@b.example> SIZE=1", "555 5.5.4"),
    ],
)
def test_bad_rcpt(argument: str, code: str) -> None:
    """
    What RCPT may not say, each with its reply.
    """
    with pytest.raises(Refused) as refused:
        parse_rcpt(argument, smtputf8=False)
    assert code_of(refused) == code


def test_bdat_and_auth() -> None:
    """
    Sizes and mechanisms.
    """
    assert [parse_bdat("0"), parse_bdat("86 last")] == [Bdat(0, last=False), Bdat(86, last=True)]
    assert [parse_auth("plain ="), parse_auth("CRAM-MD5")] == [Auth("PLAIN", "="), Auth("CRAM-MD5", None)]


@pytest.mark.parametrize("argument", ["", "x", "-1", "+1", "1 FIRST", "1 LAST LAST", "\u0661", "1" * 21])
def test_bad_bdat(argument: str) -> None:
    """
    A size that is none is never guessed.
    """
    with pytest.raises(Refused) as refused:
        parse_bdat(argument)
    assert code_of(refused) == "501 5.5.4"


@pytest.mark.parametrize("argument", ["", "PLAIN a b", "!", "PLAIN  x"])
def test_bad_auth(argument: str) -> None:
    """
    AUTH needs a mechanism, and at most one response.
    """
    with pytest.raises(Refused) as refused:
        parse_auth(argument)
    assert code_of(refused) == "501 5.5.4"


@given(st.text(max_size=60))
def test_arguments_are_read_or_refused(argument: str) -> None:
    """
    No text makes the parsers fail in any other way.
    """
    for text in (argument, f"FROM:<{argument}>", f"TO:<{argument}>", f"TO:<a@b.c> {argument}", f"FROM:<> {argument}"):
        for parse in (parse_mail, lambda it: parse_rcpt(it, smtputf8=True)):
            with suppress(Refused):
                assert isinstance(parse(text), Mail | Recipient)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_xtext_undone(text: str) -> None:
    """
    Encoded and decoded, text is the same, + and = included, and nothing in it can end a parameter.
    """
    encoded = encode_xtext(text)
    assert (decode_xtext(encoded), " " in encoded, "=" in encoded) == (text, False, False)
    assert decode_utf8_address(encode_utf8_address(text)) == text


def test_utf8_addresses_undone() -> None:
    """
    So are addresses beyond ASCII.
    """
    assert encode_utf8_address("ü\\+@z") == "\\x{FC}\\x{5C}\\x{2B}@z"
    assert decode_utf8_address("\\x{FC}\\x{5C}\\x{2B}@z") == "ü\\+@z"


@pytest.mark.parametrize("text", ["a\r\nb", "\x00", "ü"])
def test_xtext_is_printable(text: str) -> None:
    """
    What could break a line, or is not ASCII, is not encoded.
    """
    with pytest.raises(SyntaxRefused):
        encode_xtext(text)


def test_builds() -> None:
    """
    Parameters go only where they are offered.
    """
    rcpt = Recipient(Address("ü", "b.example"), frozenset({Notify.DELAY, Notify.SUCCESS}), ("rfc822", "a+b@c"))
    mail = build_mail(A, ALL, size=5, eight_bit=True, smtputf8=True, ret=Ret.FULL, envid="a b")
    assert mail == b"MAIL FROM:<a@b.example> SIZE=5 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=a+20b\r\n"
    assert build_mail(None, {}, size=5, eight_bit=True, ret=Ret.FULL, envid="x") == b"MAIL FROM:<>\r\n"
    wire = "RCPT TO:<ü@b.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+2Bb@c\r\n"
    assert build_rcpt(rcpt, ALL, smtputf8=True) == wire.encode()
    assert build_rcpt(Recipient(Address("a", "ü.example")), {}) == b"RCPT TO:<a@xn--tda.example>\r\n"
    assert build_rcpt(Recipient(Address('"a b"', "c.example")), {}) == b'RCPT TO:<"a b"@c.example>\r\n'
    assert [build_bdat(5, last=False), build_bdat(0, last=True)] == [b"BDAT 5\r\n", b"BDAT 0 LAST\r\n"]
    assert build_ehlo("r.example") == b"EHLO r.example\r\n"


@pytest.mark.parametrize(
    "address",
    [
        Address("a\r\nRCPT TO:<x", "b.example"),
        Address("a> SIZE=1 <b", "c.example"),
        Address("a\0", "b.example"),
        Address("a b", "c.example"),
        Address("a", "b.example> NOTIFY=NEVER"),
        Address('"a"> X="', "b.example"),
        Address("ü", "b.example"),
    ],
)
def test_no_address_adds_anything(address: Address) -> None:
    """
    An address that could end its path, or needs what the transaction has not, is not sent.
    """
    with pytest.raises(SyntaxRefused):
        build_rcpt(Recipient(address), ALL)
    with pytest.raises(SyntaxRefused):
        build_mail(address, ALL)


@pytest.mark.parametrize("name", ["", "a b", "a\r\nQUIT", "a\0"])
def test_no_name_adds_anything(name: str) -> None:
    """
    Nor does the name in EHLO, nor an ORCPT type.
    """
    with pytest.raises(SyntaxRefused):
        build_ehlo(name)
    with pytest.raises(SyntaxRefused):
        build_rcpt(Recipient(A, orcpt=(name + " x", "a")), ALL)
