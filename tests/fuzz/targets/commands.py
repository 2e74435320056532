"""
A command line: refused with a reply that is fit for the wire, or a value that another server reads as the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from attrs import evolve

from lmrelay.errors import Refused, SyntaxRefused
from lmrelay.inbound import sasl
from lmrelay.smtp import client_commands, commands
from lmrelay.smtp.framing import COMMAND_LIMIT, InputBuffer, Line
from tests.fuzz.shared import cuts, sentences

WORDS = (
    b"MAIL FROM:<",
    b"RCPT TO:<",
    b"a@b.example",
    b">",
    b"<>",
    b" SIZE=10",
    b" BODY=8BITMIME",
    b" SMTPUTF8",
    b" RET=FULL",
    b" ENVID=QQ+2B",
    b" AUTH=<>",
    b" REQUIRETLS",
    b" NOTIFY=SUCCESS,DELAY",
    b" ORCPT=rfc822;a+40b",
    b"@r.example:",
    b'"a b"@c.example',
    b'"\\""',
    b"[192.0.2.1]",
    b"[IPv6:::1]",
    b"\xc3\xa9",
    b"\xe2\x80\xae",
    b"\\",
    b"BDAT 10 LAST",
    b"BDAT ",
    b"AUTH PLAIN ",
    b"AGEAYg==",
    b"EHLO ",
    b"\r\n",
    b"\0",
    b" ",
    b"=",
    b"\xc2\xad",
    b"xn--a",
    b" ORCPT=utf-8;\\x{E9}@b.example",
    b"'",
    b"@",
    b".",
    b"..",
    b"\xef\xbc\x8e",
    b"\xe3\x80\x82",
    b'"',
    b"\xc4\xb1",
)

examples = sentences(WORDS, prefix=sentences(WORDS[:2], 1))

EVERYTHING = {"SIZE": (), "8BITMIME": (), "SMTPUTF8": (), "DSN": (), "REQUIRETLS": (), "CHUNKING": ()}

_REPLY = re.compile(rb"[2-5][0-9]{2}[ -][^\r\n\0]{0,506}\r\n")


def target(data: bytes) -> None:
    """
    Framed in all cuts; each line taken as every command.
    """
    for line in _check_framing(data):
        if line.flaw is None:
            _read(line.octets)
    _read(data)


def _check_framing(data: bytes) -> list[Line]:
    """
    However it is cut, the same lines come, none with a line ending within, and nothing gets lost.
    """
    whole = _frame([data])
    assert all(whole == _frame(pieces) for pieces in cuts(data))
    if all(len(line) + 2 <= COMMAND_LIMIT for line in data.split(b"\r\n")):
        assert data.split(b"\r\n")[:-1] == [line.octets for line in whole]
    for line in whole:
        assert line.flaw is not None or not re.search(rb"[\r\n\0]", line.octets)
    return whole


def _frame(pieces: list[bytes]) -> list[Line]:
    buffer, found = InputBuffer(), []
    for piece in pieces:
        buffer.feed(piece)
        while (line := buffer.next_line()) is not None:
            found.append(line)
        assert buffer.pending <= COMMAND_LIMIT
    return found


def _read(octets: bytes) -> None:
    command = _attempt(lambda: commands.parse_command(octets))
    if command is None:
        return
    for argument in {command.argument, octets.decode()}:
        _check_mail(argument)
        for smtputf8 in (False, True):
            _check_rcpt(argument, smtputf8)
        name = _attempt(lambda text=argument: commands.parse_helo(text))
        assert name is None or not re.search(r"[\x00-\x20\x7f]", name)
        chunk = _attempt(lambda text=argument: commands.parse_bdat(text))
        assert chunk is None or chunk.size >= 0
        _check_auth(argument)


def _attempt(read: Callable[[], object]) -> object:
    try:
        return read()
    except Refused as error:
        wire = error.reply.to_wire()
        assert _REPLY.fullmatch(wire)
        assert 400 <= error.reply.code < 600
        return None


def _sent(build: Callable[[], bytes]) -> str | None:
    """
    The argument of a command as it leaves, if it can.
    """
    try:
        line = build()
    except SyntaxRefused:
        return None
    assert line.endswith(b"\r\n")
    assert not re.search(rb"[\r\n\0]", line[:-2])
    return commands.parse_command(line[:-2]).argument


def _check_mail(argument: str) -> None:
    """
    What we take we can say, and who reads it with the same grammar takes the same.
    """
    mail = _attempt(lambda: commands.parse_mail(argument))
    if not isinstance(mail, commands.Mail):
        return
    sent = _sent(
        lambda: client_commands.build_mail(
            mail.reverse_path,
            EVERYTHING,
            size=mail.size,
            eight_bit=mail.eight_bit,
            smtputf8=mail.smtputf8,
            ret=mail.ret,
            envid=mail.envid,
            require_tls=mail.require_tls,
        )
    )
    assert sent is not None, "what was taken cannot be sent"
    again = commands.parse_mail(sent)
    assert evolve(mail, reverse_path=None) == evolve(again, reverse_path=None)
    # In clear of SMTPUTF8 the domain goes in A-labels and lower case.
    assert (mail.reverse_path and mail.reverse_path.key) == (again.reverse_path and again.reverse_path.key)
    # Without the extensions nothing is left of them.
    plain = _sent(lambda: client_commands.build_mail(mail.reverse_path, {}, size=mail.size))
    assert plain is None or (plain.isascii() and " " not in re.sub(r'"(?:[^"\\]|\\.)*"', "", plain))
    assert plain is not None or (mail.reverse_path is not None and not mail.reverse_path.local.isascii())


def _check_rcpt(argument: str, smtputf8: bool) -> None:
    recipient = _attempt(lambda: commands.parse_rcpt(argument, smtputf8=smtputf8))
    if recipient is None:
        return
    assert smtputf8 or recipient.address.is_ascii
    assert not recipient.address.is_literal
    sent = _sent(lambda: client_commands.build_rcpt(recipient, EVERYTHING, smtputf8=True))
    assert sent is not None, "what was taken cannot be sent"
    assert recipient == commands.parse_rcpt(sent, smtputf8=True)


def _check_auth(argument: str) -> None:
    auth = _attempt(lambda: commands.parse_auth(argument))
    if auth is None:
        return
    response = _attempt(lambda: sasl.decode_initial(auth.initial))
    for exchange in (sasl.Plain("192.0.2.7"), sasl.Login("192.0.2.7"), sasl.CramMd5("192.0.2.7", b"<1@x>")):
        step = _attempt(lambda one=exchange: one.begin(response))
        if isinstance(step, sasl.Challenge):
            _attempt(lambda one=exchange: one.respond(argument.encode()))
