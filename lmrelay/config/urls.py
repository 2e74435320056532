"""
What a URL in the configuration must be: those that the relay calls, and those that recipients do.

A check gives the text as it is, or raises C{ValueError} that says what was expected.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import SplitResult, parse_qsl, urlsplit

from lmrelay.mail.unsubscribe import MAX_TEMPLATE, PLACEHOLDER

_LINK = re.compile(r"[!-;=?-~]+", re.ASCII)
_LINK_FORM = 'a URL such as "https://example.com/unsubscribe/{token}"'
_HOST = re.compile(r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?", re.ASCII)
_PLACE = re.compile(r"(?:\[[^\[\]]+\]|[^\[\]:]+)(?::[0-9]*)?", re.ASCII)
"""
A host and its port: of what stands beside brackets urlsplit takes no notice, and others take it for the host.
"""
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*", re.ASCII)
"""
As the last label of a name: of none there is, but some read an IPv4 address in it.
"""


def check_url(text: str) -> str:
    """
    Where an endpoint of webhooks is, as it stands in a request.
    """
    form = 'expected a URL such as "https://example.com/hooks"'
    if not _LINK.fullmatch(text):
        raise ValueError(f"{form}, in printable ASCII: other characters as %XX, in a host's name as xn--")
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
        usable = parts.scheme in ("http", "https") and _has_place(parts) and "%" not in host
    except ValueError as error:
        raise ValueError(form) from error
    if not usable or parts.netloc.endswith(":") or parts.netloc.count("@") > 1 or "\\" in parts.netloc:
        raise ValueError(form)
    if _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]) and not _is_address(host):
        raise ValueError(f"{form}: an IPv4 address is four numbers with dots")
    if "#" in text:
        raise ValueError(f"{form}, without a fragment, which no client sends to the server")
    return text


def check_unsubscribe_url(text: str) -> str:
    """
    The template of the link that each recipient gets: the project's own https address (RFC 8058 §3.1).
    """
    if not _LINK.fullmatch(text):
        raise ValueError(f"expected {_LINK_FORM}: printable ASCII characters, no space, no < and >")
    if len(text) > MAX_TEMPLATE:
        raise ValueError(f"expected at most {MAX_TEMPLATE} characters: with the token it must fit a line of a header")
    plain = text.replace(PLACEHOLDER, "", 1)
    if "{" in plain or "}" in plain:
        raise ValueError(f"expected no braces but those of one {PLACEHOLDER}, where the recipient's token goes")
    try:
        parts = urlsplit(text)
        usable = parts.scheme == "https" and _has_place(parts)
    except ValueError as error:
        raise ValueError(f"expected {_LINK_FORM}") from error
    if not usable:
        raise ValueError(f"expected {_LINK_FORM}, with a host")
    if "@" in parts.netloc:
        raise ValueError(f"expected {_LINK_FORM}, without user information: every recipient could read it")
    if "#" in text:
        raise ValueError(f"expected {_LINK_FORM}, without a fragment, which no client sends to the server")
    if PLACEHOLDER not in text and "token" in dict(parse_qsl(parts.query, keep_blank_values=True)):
        raise ValueError(f"has a parameter token already: expected {PLACEHOLDER} where the recipient's token goes")
    return text


def _has_place(parts: SplitResult) -> bool:
    place = parts.netloc.rpartition("@")[2]
    return _PLACE.fullmatch(place) is not None and _is_host(parts.hostname or "") and parts.port != 0


def _is_host(text: str) -> bool:
    return _is_address(text) or _HOST.fullmatch(text) is not None


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
