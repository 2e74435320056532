"""
Mailboxes and domains (RFC 5321 §4.1.2, RFC 6531 §3.3).

Text in, values out. Refused with L{SyntaxRefused}: source routes, bare local
parts, bad dots, control characters, over-long parts, names that are no domain.
"""

from __future__ import annotations

import re
from functools import cached_property, lru_cache
from ipaddress import IPv4Address, IPv6Address

import idna
from attrs import frozen

from lmrelay.errors import SyntaxRefused

MAX_LOCAL = 64
MAX_DOMAIN = 255
MAX_ADDRESS = 254

_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\u0080-\U0010ffff]"
_DOT_STRING = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*")
_QUOTED_STRING = re.compile(r'"(?:[\x20\x21\x23-\x5b\x5d-\x7e\u0080-\U0010ffff]|\\[\x20-\x7e])*"')
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_QUOTED_PAIR = re.compile(r"\\(.)")
_TO_QUOTE = re.compile(r'(["\\])')


@frozen(order=True)
class Address:
    """
    A mailbox. C{local} stays as it was written (quoted if it was), for it belongs to
    its host; C{domain} stays as written too, L{ascii_domain} is what to compare and look up.
    """

    local: str
    domain: str

    @cached_property
    def ascii_domain(self) -> str:
        """
        The domain in A-labels and lower case; an address literal keeps its brackets.
        """
        return ascii_domain(self.domain)

    @property
    def is_literal(self) -> bool:
        """
        Is the domain an address literal (C{[192.0.2.1]})?
        """
        return self.domain.startswith("[")

    @property
    def is_ascii(self) -> bool:
        """
        Can it be sent without SMTPUTF8 as it is?
        """
        return self.local.isascii() and self.domain.isascii()

    def to_ascii(self) -> Address | None:
        """
        The same mailbox without a non-ASCII character, or None if its local part has some.
        """
        if not self.local.isascii():
            return None
        return self if self.domain == self.ascii_domain else Address(self.local, self.ascii_domain)

    @property
    def key(self) -> str:
        """
        What is equal for two spellings of one mailbox: quotes undone, domain in A-labels.
        """
        local = self.local
        if local.startswith('"'):
            local = _QUOTED_PAIR.sub(r"\1", local[1:-1])
        return f"{local}@{self.ascii_domain}"

    @property
    def simplest(self) -> Address:
        """
        The mailbox in the simplest of its spellings: quotes only where it needs them (RFC 5321 §4.1.2), domain in
        A-labels.
        """
        if not self.local.startswith('"'):
            return Address(self.local, self.ascii_domain)
        plain = _QUOTED_PAIR.sub(r"\1", self.local[1:-1])
        quoted = '"' + _TO_QUOTE.sub(r"\\\1", plain) + '"'
        return Address(plain if _DOT_STRING.fullmatch(plain) else quoted, self.ascii_domain)

    def __str__(self) -> str:
        return f"{self.local}@{self.domain}"


@lru_cache(maxsize=4096)
def ascii_domain(domain: str) -> str:
    """
    C{domain} in A-labels (IDNA 2008 with UTS 46 mapping), lower case, no final dot.

    @raise SyntaxRefused: it is not a domain name
    """
    if domain.startswith("["):
        return domain.lower()
    if domain.isascii():
        name = domain.lower()
    else:
        try:
            name = idna.encode(domain, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError) as error:
            raise SyntaxRefused("the domain is not a valid internationalized name") from error
    name = name.removesuffix(".")
    if len(name) > MAX_DOMAIN - 2 or not all(map(_LABEL.fullmatch, name.split("."))):
        raise SyntaxRefused("the domain is not a valid name")
    return name


@lru_cache(maxsize=4096)
def parse_address(text: str, *, smtputf8: bool = True) -> Address:
    """
    The mailbox in C{text}, without angle brackets. Of one message each is read several times over.

    @param smtputf8: may it have characters beyond ASCII?
    @raise SyntaxRefused: it is none; the message says why
    """
    if not smtputf8 and not text.isascii():
        raise SyntaxRefused("a non-ASCII address needs SMTPUTF8")
    match = _QUOTED_STRING.match(text) if text.startswith('"') else _DOT_STRING.match(text)
    if match is None:
        raise SyntaxRefused("the local part is not valid")
    local, rest = match[0], text[match.end() :]
    if not rest.startswith("@"):
        raise SyntaxRefused("the address needs a local part, an @ and a domain")
    domain = rest[1:]
    if len(local.encode("utf-8", "surrogatepass")) > MAX_LOCAL:
        raise SyntaxRefused(f"the local part is longer than {MAX_LOCAL} octets")
    _check_encodable(text)
    if domain.startswith("["):
        _parse_literal(domain)
    elif domain.endswith("."):
        raise SyntaxRefused("the domain must not end in a dot")
    # Before the domain is looked at: mapping an internationalized one takes time that grows with more than its length.
    if len(text.encode("utf-8")) > MAX_ADDRESS:
        raise SyntaxRefused(f"the address is longer than {MAX_ADDRESS} octets")
    ascii_domain(domain)
    return Address(local, domain)


def _check_encodable(text: str) -> None:
    # Else an address taken here could be one that no command to a receiver may carry.
    if not text.replace(" ", "").isprintable():
        raise SyntaxRefused("the address has characters that are not printable")


def _parse_literal(domain: str) -> IPv4Address | IPv6Address:
    """
    RFC 5321 §4.1.3: C{[192.0.2.1]} or C{[IPv6:2001:db8::1]}.
    """
    inner = domain[1:-1]
    try:
        if not domain.endswith("]"):
            raise ValueError(domain)
        if inner.lower().startswith("ipv6:"):
            return IPv6Address(inner[5:])
        return IPv4Address(inner)
    except ValueError as error:
        raise SyntaxRefused("the address literal is not valid") from error
