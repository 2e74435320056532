"""
Commands to a remote server, each a line with its CRLF (RFC 5321 §4.1.1).

Parameters are added only for extensions that it offers. No value can add a command or
a parameter: what has a line ending, a NUL or a space where none may be is L{SyntaxRefused}.
"""

from __future__ import annotations

import re
from functools import lru_cache

from lmrelay.errors import SyntaxRefused
from lmrelay.mail.address import Address, ascii_domain, parse_address
from lmrelay.mail.envelope import Notify, Recipient, Ret
from lmrelay.smtp.extensions import Extensions
from lmrelay.smtp.xtext import encode_utf8_address, encode_xtext

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')


def build_ehlo(name: str, *, verb: str = "EHLO") -> bytes:
    """
    EHLO, HELO or LHLO as C{name}.
    """
    return _line(verb, name)


def build_mail(
    reverse_path: Address | None,
    extensions: Extensions,
    *,
    size: int | None = None,
    eight_bit: bool = False,
    smtputf8: bool = False,
    ret: Ret | None = None,
    envid: str | None = None,
    require_tls: bool = False,
) -> bytes:
    """
    MAIL FROM. C{smtputf8}: the transaction needs SMTPUTF8; whether it is offered is
    the caller's check, as it is for 8BITMIME and REQUIRETLS. Without it the domain goes in A-labels.

    @raise SyntaxRefused: the address cannot be sent so
    """
    words = ["FROM:<>" if reverse_path is None else "FROM:" + _path(reverse_path.local, reverse_path.domain, smtputf8)]
    if size is not None and "SIZE" in extensions:
        words.append(f"SIZE={size:d}")
    if eight_bit and "8BITMIME" in extensions:
        words.append("BODY=8BITMIME")
    if smtputf8 and "SMTPUTF8" in extensions:
        words.append("SMTPUTF8")
    if "DSN" in extensions:
        if ret is not None:
            words.append(f"RET={ret.value}")
        if envid is not None:
            words.append(f"ENVID={encode_xtext(envid)}")
    if require_tls:
        words.append("REQUIRETLS")
    return _line("MAIL", *words)


def build_rcpt(recipient: Recipient, extensions: Extensions, *, smtputf8: bool = False) -> bytes:
    """
    RCPT TO.

    @raise SyntaxRefused: the address cannot be sent so
    """
    address = recipient.address
    words = ["TO:" + _path(address.local, address.domain, smtputf8)]
    if "DSN" in extensions:
        if recipient.notify:
            wanted = [notify.value for notify in Notify if notify in recipient.notify]
            words.append("NOTIFY=" + ",".join(wanted))
        if recipient.orcpt is not None:
            type_, original = recipient.orcpt
            encode = encode_utf8_address if type_.lower() == "utf-8" else encode_xtext
            words.append(f"ORCPT={type_};{encode(original)}")
    return _line("RCPT", *words)


def build_bdat(size: int, *, last: bool) -> bytes:
    """
    BDAT (RFC 3030).
    """
    return b"BDAT %d LAST\r\n" % size if last else b"BDAT %d\r\n" % size


@lru_cache(maxsize=4096)
def _path(local: str, domain: str, smtputf8: bool) -> str:
    if not smtputf8:
        if not local.isascii():
            raise SyntaxRefused("a non-ASCII local part needs SMTPUTF8")
        domain = ascii_domain(domain)
    # Parsed again: what is no mailbox could close the path early and add parameters of its own.
    return f"<{parse_address(f'{local}@{domain}')}>"


def _line(verb: str, *words: str) -> bytes:
    text = " ".join((verb, *words))
    # A space more than between the words must be in quotes; an empty word would hide one.
    if not all(words) or (text.count(" ") != len(words) and _QUOTED.sub("", text).count(" ") != len(words)):
        raise SyntaxRefused("a space where none may be")
    if not text.isprintable():
        raise SyntaxRefused("a control character in a command")
    return f"{text}\r\n".encode()
