"""
The values of control headers: a field in, what it sets out, or a refusal (554 5.6.0) that names header and rule.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any, NoReturn

from lmrelay.errors import Refused
from lmrelay.mail.encoded_words import decode_exactly, make_printable
from lmrelay.mail.head import Field
from lmrelay.smtp import replies

MAX_TAG = 255
MAX_KEY, MAX_VALUE = 128, 1024
MAX_IDEMPOTENCY_KEY = 255
MAX_URI = 900
NAME_SHOWN = 150
"""
Characters of a field's name that its refusal repeats: longer than any that is valid, and short enough that the rule
still has room in a reply line.
"""
RAW_LIMIT = 32 * 1024
"""
Characters of a field as it was written: room for the longest value in encoded words of one character each.
"""

_STRICT_TAG = re.compile(r"[a-zA-Z0-9_-]+(?: [a-zA-Z0-9_-]+)*")
_PAIR = re.compile(r"([A-Za-z0-9_-]+)=([A-Za-z0-9_.@-]*)")
_BETWEEN = re.compile(r"(?<=>)[ \t]*,[ \t]*(?=<)")
_URI = re.compile(r"<((?:mailto:|https?://)[!-;=?-~]+)>", re.IGNORECASE)


def refuse(name: str, rule: str) -> NoReturn:
    """
    @raise Refused: always
    """
    shown = name if len(name) <= NAME_SHOWN else f"{name[:NAME_SHOWN]}..."
    raise Refused(replies.bad_header(shown, rule))


def read_word(field: Field) -> Sequence[str]:
    """
    The value as it stands.
    """
    return [_decode(field)]


def read_strict_tag(field: Field) -> Sequence[str]:
    """
    One tag of letters, digits, hyphens and underscores, words parted by one U+0020.
    """
    tag = _decode(field)
    if len(tag) > MAX_TAG or not _STRICT_TAG.fullmatch(tag):
        refuse(field.name, f"a tag is 1 to {MAX_TAG} letters, digits, - and _, its words parted by one space")
    return [tag]


def tag_reader(limit: int) -> Callable[[Field], Sequence[str]]:
    """
    A reader of one tag of printable characters.
    """

    def read(field: Field) -> Sequence[str]:
        return [_check_tag(field.name, _decode(field), limit)]

    return read


def read_tag_list(field: Field) -> Sequence[str]:
    """
    Tags between commas; what is empty between two is passed over.
    """
    return [_check_tag(field.name, tag, MAX_TAG) for part in _decode(field).split(",") if (tag := part.strip(" \t"))]


def _check_tag(name: str, tag: str, limit: int) -> str:
    if not 1 <= len(tag) <= limit or not tag.isprintable():
        refuse(name, f"a tag is 1 to {limit} printable characters")
    return tag


def read_metadata(field: Field) -> Sequence[str]:
    """
    The value of one key; control characters become spaces.
    """
    return [make_printable(_decode(field))]


def read_variables(field: Field) -> Sequence[tuple[str, str]]:
    """
    The members of a JSON object; values that are no strings become JSON again, as short as it gets.
    """
    try:
        found = json.loads(
            _decode(field), object_pairs_hook=_members, parse_constant=_refuse_constant, parse_float=_read_float
        )
    except (ValueError, RecursionError):
        refuse(field.name, "expected a JSON object whose keys differ")
    if not isinstance(found, dict):
        refuse(field.name, "expected a JSON object")
    return [(_storable(key), _storable(_write(value))) for key, value in found.items()]


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key is there twice")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _read_float(text: str) -> float:
    value = float(text)
    # Written again, an infinity is no JSON.
    return value if isfinite(value) else _refuse_constant(text)


def _write(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _storable(text: str) -> str:
    # JSON can name halves of surrogate pairs, which are no characters.
    return make_printable(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def read_pairs(field: Field) -> Sequence[tuple[str, str]]:
    """
    C{name=value}, parted by commas.
    """
    pairs = []
    for part in _decode(field).split(","):
        match = _PAIR.fullmatch(part.strip(" \t"))
        if match is not None:
            pairs.append((match[1], match[2]))
        elif part.strip(" \t"):
            refuse(field.name, "expected name=value, ..., names of letters, digits, hyphens and underscores")
    return pairs


def read_unsubscribe(field: Field) -> Sequence[str]:
    """
    The value of a List-Unsubscribe field (RFC 2369 §3.2): C{<mailto:...>} and C{<https://...>} between commas.
    """
    # A comma within a URI is allowed, and so no comma parts anything but one between brackets.
    links = _BETWEEN.split(field.value)
    for link in links:
        if len(link) > MAX_URI or not _URI.fullmatch(link):
            refuse(field.name, f"expected <mailto:...> or <https://...>, ..., each at most {MAX_URI} ASCII characters")
    return [", ".join(links)]


def read_key(field: Field) -> Sequence[str]:
    """
    An Idempotency-Key, octet for octet.
    """
    key = field.value
    # Octets that are no UTF-8 all read the same, so two keys would be one.
    if not 1 <= len(key) <= MAX_IDEMPOTENCY_KEY or not key.isprintable() or "\N{REPLACEMENT CHARACTER}" in key:
        refuse(field.name, f"a key is 1 to {MAX_IDEMPOTENCY_KEY} printable characters")
    return [key]


def _decode(field: Field) -> str:
    raw = field.value
    if len(raw) > RAW_LIMIT:
        refuse(field.name, f"it is longer than {RAW_LIMIT} characters")
    return decode_exactly(raw)
