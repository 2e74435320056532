"""
What a remote server offers: its reply to EHLO as a mapping (RFC 5321 §4.1.1.1).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from lmrelay.smtp.reply import Reply

_KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
_SIZE = re.compile(r"[0-9]{1,20}")

MAX_PARAMETERS = 20
"""
Of an extension: more mean nothing, and would be kept for as long as the connection is.
"""

Extensions = Mapping[str, tuple[str, ...]]
"""
Keyword in upper case → its parameters as they came.
"""


def parse_extensions(reply: Reply) -> Extensions:
    """
    The extensions in a reply to EHLO; its first line is a greeting, never one. Lines that are none are passed over.
    """
    found: dict[str, tuple[str, ...]] = {}
    for line in reply.lines[1:]:
        # "AUTH=LOGIN PLAIN" is how servers for Outlook Express of old say it.
        keyword, *parameters = line.replace("=", " ", 1).split() or [""]
        if _KEYWORD.fullmatch(keyword):
            name = keyword.upper()
            found[name] = (*found.get(name, ()), *parameters)[:MAX_PARAMETERS]
    return found


def size_limit(extensions: Extensions) -> int | None:
    """
    The largest message that the server says it takes, in octets (RFC 1870); None: it says nothing of one.
    """
    return _read_limit(extensions.get("SIZE", ()))


@lru_cache(maxsize=256)
def _read_limit(parameters: tuple[str, ...]) -> int | None:
    if not parameters or not _SIZE.fullmatch(parameters[0]):
        return None
    return int(parameters[0]) or None
