"""
Encoded words for people to read, and made from text (RFC 2047). Decoding never fails.
"""

from __future__ import annotations

import base64
import binascii
import re

_WORD = re.compile(r"=\?([^?*\s]{1,40})(?:\*[^?\s]*)?\?([BbQq])\?([^?\s]*)\?=")
_BETWEEN = re.compile(r"(\?=)[ \t]+(?==\?[^?\s]+\?[BbQq]\?[^?\s]*\?=)")


def decode_words(text: str) -> str:
    """
    C{text} with its encoded words decoded; what cannot be decoded stays as it is. Control characters become spaces.
    """
    decoded = _WORD.sub(_decode_word, _BETWEEN.sub(r"\1", text)) if "=?" in text else text
    return decoded if decoded.isprintable() else "".join(c if c.isprintable() else " " for c in decoded)


def _decode_word(match: re.Match[str]) -> str:
    charset, encoding, encoded = match.groups()
    try:
        if encoding in "Bb":
            octets = base64.b64decode(encoded + "=" * (-len(encoded) % 4))
        else:
            octets = binascii.a2b_qp(encoded, header=True)
        return octets.decode(charset, "replace")
    except (LookupError, ValueError):
        # Unknown and odd character sets, and base64 that is none.
        return match[0]
