"""
The addresses in From, Sender, To and their like (RFC 5322 §3.4, §4.4, RFC 6854).

Who sends as whom is decided on them, so what two readers could read differently is
refused, and where a display name is an address itself both are told.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise

from attrs import define, frozen

from lmrelay.errors import SyntaxRefused
from lmrelay.mail.address import Address, parse_address

_TOKEN = re.compile(
    r'(?P<quoted>"(?:[^"\\]|\\.)*")'
    # Commas and the like are not allowed in one here, but many write them, and no address can be made of them.
    r'|(?P<encoded>=\?[^?\s<>@"()]+\?[BbQq]\?[^?\s<>@"()]*\?=)'
    r"|(?P<literal>\[[^\[\]\\\s<>@()]*\])"
    r"|(?P<special>[<>@,;:.])"
    # Of the white space that Unicode knows none but these two parts words (RFC 5322 §3.2.2), and readers do not agree
    # what control characters do.
    r'|(?P<atom>[^\x00-\x20\x7f<>@,;:."()\[\]\\]+)'
    r"|(?P<space>[ \t]+)"
)
_ENCODED_WORD = re.compile(r"=\?[^?]+\?[BbQq]\?[^?]*\?=")
_COMMENT_PART = re.compile(r"[^()\\]+|\\.")


MAX_TOKENS = 4096
"""
Words and signs of a value: what has more was not written by anybody, and to read it would hold up all other sessions.
"""
SHORT = 200
"""
Characters of a value that is remembered.
"""


@frozen
class Mailbox:
    """
    A mailbox in a header field. C{shown} is the address that stands where its display name should, if one does:
    readers show it as the sender.
    """

    address: Address
    shown: Address | None = None


_Tokens = list[tuple[str, str]]


def parse_mailboxes(value: str) -> list[Mailbox]:
    """
    The mailboxes in an unfolded field value, groups opened, in order. Empty members of a list are passed over.

    @raise SyntaxRefused: it cannot be read without doubt; the message says why
    """
    # An application writes the same few over and over.
    return list(_parse_short(value)) if len(value) <= SHORT else _Parser(_tokenize(value)).parse()


@lru_cache(maxsize=512)
def _parse_short(value: str) -> tuple[Mailbox, ...]:
    return tuple(_Parser(_tokenize(value)).parse())


def _tokenize(value: str) -> _Tokens:
    tokens: _Tokens = []
    at = 0
    while at < len(value):
        if value[at] == "(":
            at = _skip_comment(value, at)
            continue
        match = _TOKEN.match(value, at)
        if match is None or match.lastgroup is None:
            raise SyntaxRefused(f"{value[at]!a} where none may be")
        if match.lastgroup != "space":
            if len(tokens) == MAX_TOKENS:
                raise SyntaxRefused(f"it is made of more than {MAX_TOKENS} words and signs")
            tokens.append((match.lastgroup, match[0]))
        at = match.end()
    return tokens


def _skip_comment(value: str, at: int) -> int:
    depth = 0
    while at < len(value):
        if value[at] in "()":
            depth += 1 if value[at] == "(" else -1
            at += 1
            if depth == 0:
                return at
            continue
        match = _COMMENT_PART.match(value, at)
        if match is None:
            break
        at = match.end()
    raise SyntaxRefused("a comment is not closed")


@define(eq=False)
class _Parser:
    _tokens: _Tokens
    _at: int = 0
    _in_group: bool = False

    def parse(self) -> list[Mailbox]:
        found: list[Mailbox] = []
        while self._at < len(self._tokens):
            before = self._until("<,;:")
            special = self._next()
            if special == "<":
                found.append(self._named(before))
                self._end_of_member()
            elif special == ":":
                if self._in_group or not before:
                    raise SyntaxRefused("a colon where none may be")
                _check_phrase(before)
                self._in_group = True
            else:
                if before:
                    found.append(Mailbox(_address(before)))
                self._close(special)
        if self._in_group:
            raise SyntaxRefused("a group is not closed")
        return found

    def _named(self, phrase: _Tokens) -> Mailbox:
        inside = self._until("<>,;")
        closing = self._next()
        if closing == ",":
            # Only a source route has commas in brackets; nobody writes one in good faith.
            raise SyntaxRefused("a comma within angle brackets")
        if closing != ">":
            raise SyntaxRefused("angle brackets are not closed")
        address = _address(inside)
        if ("special", "@") in phrase:
            return Mailbox(address, _address(phrase))
        _check_phrase(phrase)
        return Mailbox(address)

    def _end_of_member(self) -> None:
        if self._at == len(self._tokens):
            return
        special = self._next()
        if special not in (",", ";"):
            raise SyntaxRefused("something follows an address")
        self._close(special)

    def _close(self, special: str) -> None:
        if special != ";":
            return
        if not self._in_group:
            raise SyntaxRefused("a semicolon where none may be")
        self._in_group = False

    def _until(self, specials: str) -> _Tokens:
        start = self._at
        while self._at < len(self._tokens):
            kind, text = self._tokens[self._at]
            if kind == "special" and text in specials:
                break
            self._at += 1
        return self._tokens[start : self._at]

    def _next(self) -> str:
        """
        The token here, and step over it; empty at the end.
        """
        text = self._tokens[self._at][1] if self._at < len(self._tokens) else ""
        self._at += 1
        return text


def _check_phrase(tokens: _Tokens) -> None:
    for kind, text in tokens:
        if kind == "literal" or (kind == "special" and text != "."):
            raise SyntaxRefused("a display name that needs quotes")


def _address(tokens: _Tokens) -> Address:
    """
    An addr-spec, maybe with spaces or comments around its dots (RFC 5322 §4.4).
    """
    kinds = [kind for kind, _ in tokens]
    texts = [text for _, text in tokens]
    if texts.count("@") != 1:
        raise SyntaxRefused("it has no address" if "@" not in texts else "more than one @ in an address")
    at = texts.index("@")
    local, domain = kinds[:at], kinds[at + 1 :]
    if ("quoted" in local and len(local) > 1) or "literal" in local or "quoted" in domain:
        raise SyntaxRefused("an address that is not valid")
    _check_dots(local)
    _check_dots(domain)
    text = "".join(texts)
    # Not allowed there (RFC 2047 §5), and readers that decode first find another address in it.
    if _ENCODED_WORD.search(text):
        raise SyntaxRefused("an encoded word within an address")
    if "\ufffd" in text:
        raise SyntaxRefused("an address that is not valid UTF-8")
    return parse_address(text)


def _check_dots(kinds: list[str]) -> None:
    """
    Two words side by side are two words, never one address.
    """
    for first, second in pairwise(kinds):
        if "special" not in (first, second):
            raise SyntaxRefused("a space within an address")
