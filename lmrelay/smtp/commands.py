"""
Command lines of a client as values (RFC 5321 §4.1, RFC 1870, 3030, 3461, 4954, 6152, 6531).

A line goes in, a frozen value comes out; L{Refused} with the right reply if it is not valid.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TypeVar

from attrs import frozen

from lmrelay.errors import Refused, SyntaxRefused
from lmrelay.mail.address import MAX_DOMAIN, Address, parse_address
from lmrelay.mail.envelope import Notify, Recipient, Ret
from lmrelay.smtp import replies
from lmrelay.smtp.reply import Reply
from lmrelay.smtp.xtext import decode_utf8_address, decode_xtext

MAX_ENVID = 100
MAX_ORCPT = 500

_MAIL_PARAMETERS = frozenset({"SIZE", "BODY", "SMTPUTF8", "RET", "ENVID", "AUTH", "REQUIRETLS"})
_RCPT_PARAMETERS = frozenset({"NOTIFY", "ORCPT"})

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_PATH = re.compile(r' *<([^"<>\\ ]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*"[^"<>\\ ]*+)*)>')
_SOURCE_ROUTE = re.compile(r"@[^@,:]+(?:,@[^@,:]+)*:")
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([^\s=]+))?")
_SIZE = re.compile(r"[0-9]{1,20}")
_BDAT = re.compile(r"([0-9]{1,20})(?: +([Ll][Aa][Ss][Tt]))?")
_MECHANISM = re.compile(r"[A-Za-z0-9_-]{1,20}")
_BODIES = {"7BIT": False, "8BITMIME": True}
_RETS = {ret.value: ret for ret in Ret}
_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+")

_T = TypeVar("_T")
_Given = dict[str, str | None]


@frozen
class Command:
    """
    C{verb} is upper case, C{argument} what follows it, without the spaces around it.
    """

    verb: str
    argument: str


@frozen
class Mail:
    """
    MAIL. C{reverse_path} is None for C{<>}; C{size} is as declared. C{require_tls} is REQUIRETLS (RFC 8689 §2).
    """

    reverse_path: Address | None
    size: int | None = None
    eight_bit: bool = False
    smtputf8: bool = False
    ret: Ret | None = None
    envid: str | None = None
    require_tls: bool = False


@frozen
class Bdat:
    """
    BDAT: how many octets follow, and whether they are the last.
    """

    size: int
    last: bool


@frozen
class Auth:
    """
    AUTH. C{mechanism} is upper case; C{initial} is still base64 (C{=} for an empty one), None without one.
    """

    mechanism: str
    initial: str | None


def parse_command(line: bytes) -> Command:
    """
    Split a line. An empty verb is left to the caller (it is in no table).

    @raise Refused: it is not UTF-8 or has control characters (501 5.5.2)
    """
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(replies.BAD_COMMAND) from error
    # What is printable has no control character; what is not may be a character that is merely unusual.
    if not text.isprintable() and _CONTROL.search(text):
        raise Refused(replies.BAD_COMMAND)
    verb, _, argument = text.strip(" ").partition(" ")
    # Not upper() on all: "\u0131" and its like would become ASCII letters.
    return Command(verb.upper() if verb.isascii() else verb, argument.strip(" "))


def parse_helo(argument: str) -> str:
    """
    The client's name for itself, as it said it, of HELO or EHLO.

    Whatever is one printable word will do: clients say host names with underscores,
    bare addresses, and worse.

    @raise Refused: 501 5.5.4
    """
    if not argument or len(argument) > MAX_DOMAIN or " " in argument or not argument.isprintable():
        raise Refused(replies.BAD_ARGUMENT)
    return argument


@lru_cache(maxsize=256)
def parse_mail(argument: str) -> Mail:
    """
    The argument of MAIL (C{FROM:<path> parameters}). An application says the same few over and over.

    @raise Refused: 501, 553 or 555
    """
    path, given = _split_path(argument, "FROM", replies.MAIL_SYNTAX)
    if not given:
        _check_utf8(path, False)
        return Mail(_read_reverse_path(path))
    _check_known(given, _MAIL_PARAMETERS)
    smtputf8, require_tls = _is_given(given, "SMTPUTF8"), _is_given(given, "REQUIRETLS")
    _check_mail_auth(given)
    _check_utf8(path, smtputf8)
    return Mail(
        _read_reverse_path(path),
        size=_read_size(given),
        eight_bit=_choose(given, "BODY", _BODIES) or False,
        smtputf8=smtputf8,
        ret=_choose(given, "RET", _RETS),
        envid=_read_envid(given),
        require_tls=require_tls,
    )


def _read_reverse_path(path: str) -> Address | None:
    try:
        return parse_address(path) if path else None
    except SyntaxRefused as error:
        raise Refused(replies.bad_sender(str(error))) from error


def parse_rcpt(argument: str, *, smtputf8: bool) -> Recipient:
    """
    The argument of RCPT (C{TO:<path> parameters}).

    C{<Postmaster>} without a domain is refused too: nobody's mailbox is here.

    @param smtputf8: MAIL said so
    @raise Refused: 501, 550, 553 or 555
    """
    path, given = _split_path(argument, "TO", replies.RCPT_SYNTAX)
    _check_known(given, _RCPT_PARAMETERS)
    if path and "@" not in path:
        raise Refused(replies.UNQUALIFIED_RECIPIENT)
    _check_utf8(path, smtputf8)
    try:
        address = parse_address(path)
    except SyntaxRefused as error:
        raise Refused(replies.bad_recipient(str(error))) from error
    if address.is_literal:
        raise Refused(replies.LITERAL_RECIPIENT)
    if not given:
        return Recipient(address)
    return Recipient(address, notify=_read_notify(given), orcpt=_read_orcpt(given, smtputf8))


def parse_bdat(argument: str) -> Bdat:
    """
    The argument of BDAT. After a Refused nobody knows where the next command begins: close the session.

    @raise Refused: 501 5.5.4
    """
    match = _BDAT.fullmatch(argument)
    if match is None:
        raise Refused(replies.BAD_ARGUMENT)
    return Bdat(int(match[1]), match[2] is not None)


def parse_auth(argument: str) -> Auth:
    """
    The argument of AUTH.

    @raise Refused: 501 5.5.4
    """
    words = argument.split(" ")
    if not 1 <= len(words) <= 2 or not _MECHANISM.fullmatch(words[0]):
        raise Refused(replies.BAD_ARGUMENT)
    return Auth(words[0].upper(), words[1] if len(words) == 2 else None)


def _split_path(argument: str, keyword: str, syntax: Reply) -> tuple[str, _Given]:
    """
    The path without brackets and source route (RFC 5321 appendix C), and the parameters by keyword.
    """
    before, colon, after = argument.partition(":")
    match = _PATH.match(after)
    if before.rstrip(" ").upper() != keyword or not colon or match is None:
        raise Refused(syntax)
    path = _drop_source_route(match[1])
    words = after[match.end() :]
    if not words:
        return path, {}
    if not words.startswith(" "):
        raise Refused(syntax)
    given: _Given = {}
    for word in filter(None, words.split(" ")):
        parameter = _PARAMETER.fullmatch(word)
        if parameter is None:
            raise Refused(syntax)
        name = parameter[1].upper()
        if name in given:
            raise Refused(replies.bad_parameter(name))
        given[name] = parameter[2]
    return path, given


def _drop_source_route(path: str) -> str:
    route = _SOURCE_ROUTE.match(path) if path.startswith("@") else None
    return path[route.end() :] if route else path


def _check_known(given: _Given, known: frozenset[str]) -> None:
    for name in given:
        if name not in known:
            raise Refused(replies.unknown_parameter(name))


def _is_given(given: _Given, name: str) -> bool:
    """
    Was it said? It takes no value.
    """
    if given.get(name) is not None:
        raise Refused(replies.bad_parameter(name))
    return name in given


def _check_utf8(path: str, smtputf8: bool) -> None:
    if not smtputf8 and not path.isascii():
        raise Refused(replies.NEEDS_SMTPUTF8)


def _check_mail_auth(given: _Given) -> None:
    """
    RFC 4954 §5: the value is not trusted, only its form is looked at.
    """
    if "AUTH" not in given:
        return
    value = given["AUTH"]
    try:
        if not value:
            raise SyntaxRefused("AUTH without a value")
        decode_xtext(value)
    except SyntaxRefused as error:
        raise Refused(replies.bad_parameter("AUTH")) from error


def _choose(given: _Given, name: str, values: Mapping[str, _T]) -> _T | None:
    if name not in given:
        return None
    value = _upper(given[name])
    if value not in values:
        raise Refused(replies.bad_parameter(name))
    return values[value]


def _upper(value: str | None) -> str:
    """
    As keywords are compared: in capitals, but nothing that is no ASCII letter becomes one.
    """
    return value.upper() if value and value.isascii() else ""


def _read_size(given: _Given) -> int | None:
    if "SIZE" not in given:
        return None
    value = given["SIZE"]
    if not value or not _SIZE.fullmatch(value):
        raise Refused(replies.bad_parameter("SIZE"))
    return int(value)


def _read_envid(given: _Given) -> str | None:
    if "ENVID" not in given:
        return None
    value = given["ENVID"]
    if not value or len(value) > MAX_ENVID:
        raise Refused(replies.bad_parameter("ENVID"))
    try:
        return decode_xtext(value)
    except SyntaxRefused as error:
        raise Refused(replies.bad_parameter("ENVID")) from error


def _read_notify(given: _Given) -> frozenset[Notify] | None:
    if "NOTIFY" not in given:
        return None
    words = _upper(given["NOTIFY"]).split(",")
    try:
        notify = frozenset(map(Notify, words))
    except ValueError as error:
        raise Refused(replies.bad_parameter("NOTIFY")) from error
    if len(notify) != len(words) or (Notify.NEVER in notify and len(notify) > 1):
        raise Refused(replies.bad_parameter("NOTIFY"))
    return notify


def _read_orcpt(given: _Given, smtputf8: bool) -> tuple[str, str] | None:
    if "ORCPT" not in given:
        return None
    value = given["ORCPT"] or ""
    type_, _, address = value.partition(";")
    try:
        if len(value) > MAX_ORCPT or not address or not _ATOM.fullmatch(type_):
            raise SyntaxRefused("not an address type and an address")
        if type_.lower() != "utf-8":
            return type_, decode_xtext(address)
        if not smtputf8 and not address.isascii():
            raise SyntaxRefused("a non-ASCII address needs SMTPUTF8")
        return type_, decode_utf8_address(address)
    except SyntaxRefused as error:
        raise Refused(replies.bad_parameter("ORCPT")) from error
