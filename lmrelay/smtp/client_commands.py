"""
Commands to a remote server, each a line with its CRLF (RFC 5321 §4.1.1).

Parameters are added only for extensions that it offers. No value can add a command or
a parameter: what has a line ending, a NUL or a space where none may be is L{SyntaxRefused}.
"""

from __future__ import annotations

from lmrelay.mail.address import Address
from lmrelay.mail.envelope import Recipient, Ret
from lmrelay.smtp.extensions import Extensions


def build_ehlo(name: str, *, verb: str = "EHLO") -> bytes:
    """
    EHLO, HELO or LHLO as C{name}.
    """
    raise NotImplementedError


def build_mail(
    reverse_path: Address | None,
    extensions: Extensions,
    *,
    size: int | None = None,
    eight_bit: bool = False,
    smtputf8: bool = False,
    ret: Ret | None = None,
    envid: str | None = None,
) -> bytes:
    """
    MAIL FROM. C{smtputf8}: the transaction needs SMTPUTF8; whether it is offered is
    the caller's check, as it is for 8BITMIME. Without it the domain goes in A-labels.

    @raise SyntaxRefused: the address cannot be sent so
    """
    raise NotImplementedError


def build_rcpt(recipient: Recipient, extensions: Extensions, *, smtputf8: bool = False) -> bytes:
    """
    RCPT TO.

    @raise SyntaxRefused: the address cannot be sent so
    """
    raise NotImplementedError


def build_bdat(size: int, *, last: bool) -> bytes:
    """
    BDAT (RFC 3030).
    """
    raise NotImplementedError
