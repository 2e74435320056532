"""
What a remote server offers: its reply to EHLO as a mapping (RFC 5321 §4.1.1.1).
"""

from __future__ import annotations

from collections.abc import Mapping

from lmrelay.smtp.reply import Reply

Extensions = Mapping[str, tuple[str, ...]]
"""
Keyword in upper case → its parameters as they came.
"""


def parse_extensions(reply: Reply) -> Extensions:
    """
    The extensions in a reply to EHLO; its first line is a greeting, never one. Lines that are none are passed over.
    """
    raise NotImplementedError


def size_limit(extensions: Extensions) -> int | None:
    """
    The largest message that the server says it takes, in octets (RFC 1870); None: it says nothing of one.
    """
    raise NotImplementedError
