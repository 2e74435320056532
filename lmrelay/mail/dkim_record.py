"""
The DNS record of a DKIM key (RFC 6376 §3.6): its text, its line in a zone, and whether what is published is it.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence

from attrs import frozen

STRING = 255
"""
Octets of one character string of a TXT record (RFC 1035 §3.3).
"""


def record_name(domain: str, selector: str) -> str:
    """
    Where the record of a key is.
    """
    return f"{selector}._domainkey.{domain}"


def make_record(algorithm: str, public: bytes) -> str:
    """
    The record's text.
    """
    return f"v=DKIM1; k={algorithm}; p={b64encode(public).decode('ascii')}"


def split_record(text: str) -> list[str]:
    """
    The strings that a TXT record is made of, at most 255 octets each.
    """
    return [text[at : at + STRING] for at in range(0, len(text), STRING)]


def zone_line(name: str, text: str) -> str:
    """
    The record as a line of a zone file (RFC 1035 §5.1).
    """
    strings = " ".join('"' + re.sub(r'(["\\])', r"\\\1", one) + '"' for one in split_record(text))
    return f"{name}. IN TXT {strings}"


@frozen
class Published:
    """
    What the DNS has of a key. C{is_right}: verifiers find the key that signs. C{reason} says what is wrong, else.
    """

    is_right: bool
    reason: str = ""


def compare(algorithm: str, public: bytes, found: Sequence[str]) -> Published:
    """
    Are the texts found in the DNS the one record of this key?
    """
    records = [text for text in found if "p" in parse_tags(text)]
    if not records:
        return Published(False, "there is no record of a key" if found else "there is no TXT record")
    if len(records) > 1:
        return Published(False, f"there are {len(records)} records where one is allowed (RFC 6376 §3.6.2.2)")
    return _compare_tags(algorithm, public, records[0], parse_tags(records[0]))


def _compare_tags(algorithm: str, public: bytes, text: str, tags: Mapping[str, str]) -> Published:
    if tags.get("v", "DKIM1") != "DKIM1" or ("v" in tags and next(iter(tags)) != "v"):
        return Published(False, "the record does not begin with v=DKIM1")
    key = re.sub(r"\s", "", tags["p"])
    if not key:
        return Published(False, "the record revokes the key: its p= is empty")
    if tags.get("k", "rsa").lower() != algorithm:
        return Published(False, f"the record is of a key of another algorithm: k={tags.get('k', 'rsa')}")
    try:
        published = b64decode(key, validate=True)
    except ValueError:
        return Published(False, "the record's p= is no base 64: was it cut when it was pasted?")
    if published != public:
        cut = public.startswith(published[:-3]) and len(published) < len(public)
        return Published(False, "the record's key was cut short" if cut else "the record is of another key")
    return _compare_limits(tags)


def _compare_limits(tags: Mapping[str, str]) -> Published:
    """
    What a record may ask beyond the key itself.
    """
    hashes = [word.strip().lower() for word in tags.get("h", "sha256").split(":")]
    if "sha256" not in hashes:
        return Published(False, "the record does not allow SHA-256: h=" + tags["h"])
    services = [word.strip().lower() for word in tags.get("s", "*").split(":")]
    if "*" not in services and "email" not in services:
        return Published(False, "the record is not for mail: s=" + tags["s"])
    return Published(True)


def is_testing(text: str) -> bool:
    """
    Does the record ask verifiers to take no notice of what is signed with the key (C{t=y})?
    """
    return "y" in [word.strip() for word in parse_tags(text).get("t", "").split(":")]


def parse_tags(text: str) -> dict[str, str]:
    """
    A tag-list (RFC 6376 §3.2) as a mapping, in its order; what is no tag is passed over.
    """
    tags: dict[str, str] = {}
    for part in text.split(";"):
        name, equals, value = part.partition("=")
        if equals:
            tags.setdefault(name.strip(), value.strip())
    return tags
