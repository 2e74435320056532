"""
Text of others, such as a receiver's reply, without the mail addresses in it. Linear in the text's length.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from lmrelay.mail.address import Address

REDACTED = "[redacted]"

_WORD = re.compile(r'"(?:[^"\\]|\\.){0,64}"@[^\s<>(),;"]*|[^\s<>(),;"]+')
"""
A quoted local part with its domain, or anything without the characters that stand between addresses. Each begins
where the last ended, so that nothing is looked at twice but what is in quotes, and of that so much as a local part has.
"""


def redact(text: str, addresses: Iterable[Address | None] = ()) -> str:
    """
    The text with C{[redacted]} for each mail address, and for the local parts of C{addresses} where they are words.
    """
    text = _WORD.sub(_redact_word, text)
    for address in addresses:
        if address is not None:
            # Receivers name the mailbox alone too ("no such user: jane.doe").
            local = re.escape(address.key.rpartition("@")[0])
            text = re.sub(rf"(?<!\w){local}(?!\w)", REDACTED, text, flags=re.IGNORECASE)
    return text


def _redact_word(match: re.Match[str]) -> str:
    word = match[0]
    # In a URL the @ is escaped (RFC 3986 §2.1).
    return REDACTED if "@" in word or "%40" in word else word
