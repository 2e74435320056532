"""
Command lines of a client as values (RFC 5321 §4.1, RFC 1870, 3030, 3461, 4954, 6152, 6531).

A line goes in, a frozen value comes out; L{Refused} with the right reply if it is not valid.
"""

from __future__ import annotations

from attrs import frozen

from lmrelay.mail.address import Address
from lmrelay.mail.envelope import Recipient, Ret


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
    MAIL. C{reverse_path} is None for C{<>}; C{size} is as declared.
    """

    reverse_path: Address | None
    size: int | None = None
    eight_bit: bool = False
    smtputf8: bool = False
    ret: Ret | None = None
    envid: str | None = None


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
    raise NotImplementedError


def parse_helo(argument: str) -> str:
    """
    The client's name for itself, as it said it, of HELO or EHLO.

    @raise Refused: 501 5.5.4
    """
    raise NotImplementedError


def parse_mail(argument: str) -> Mail:
    """
    The argument of MAIL (C{FROM:<path> parameters}).

    @raise Refused: 501, 553 or 555
    """
    raise NotImplementedError


def parse_rcpt(argument: str, *, smtputf8: bool) -> Recipient:
    """
    The argument of RCPT (C{TO:<path> parameters}).

    @param smtputf8: MAIL said so
    @raise Refused: 501, 550, 553 or 555
    """
    raise NotImplementedError


def parse_bdat(argument: str) -> Bdat:
    """
    The argument of BDAT. After a Refused nobody knows where the next command begins: close the session.

    @raise Refused: 501 5.5.4
    """
    raise NotImplementedError


def parse_auth(argument: str) -> Auth:
    """
    The argument of AUTH.

    @raise Refused: 501 5.5.4
    """
    raise NotImplementedError
