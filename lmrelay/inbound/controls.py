"""
What the control headers of a message say, and its head without them: the one reader of the table of dialects.

Which headers there are is L{lmrelay.inbound.dialects}. What is no control header stays as it is, octet for octet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache

from attrs import define, field, frozen

from lmrelay.config.words import Dialect
from lmrelay.inbound.dialects import HEADERS, VENDORS, Header, Sets
from lmrelay.inbound.header_values import MAX_KEY, MAX_VALUE, refuse
from lmrelay.mail.head import Field, Head, make_field

MAX_TAGS = 50
MAX_METADATA = 50


@frozen
class Controls:
    """
    What a message asks for. C{route} None: the default one. C{key}: its Idempotency-Key, or empty.
    """

    route: str | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(factory=dict)
    key: str = ""


NOTHING = Controls()


@frozen
class _Plan:
    """
    The headers of some dialects, names in lower case; C{beginnings} are those of names that a key follows, or
    that only the service knows.
    """

    names: Mapping[str, Header]
    prefixes: tuple[tuple[str, Header | None], ...]
    beginnings: tuple[str, ...]

    def find(self, name: str) -> Header | None:
        """
        The header of that name; None for one that is only to be removed.
        """
        return self.names.get(name) or next(header for prefix, header in self.prefixes if name.startswith(prefix))


@cache
def _plan(dialects: tuple[Dialect, ...]) -> _Plan:
    headers = [header for header in HEADERS if header.dialect is None or header.dialect in dialects]
    prefixes = [(header.name.lower(), header) for header in headers if header.is_prefix]
    unread = [(prefix.lower(), None) for dialect in dialects for prefix in VENDORS[dialect]]
    return _Plan(
        {header.name.lower(): header for header in headers if not header.is_prefix},
        (*prefixes, *unread),
        tuple(prefix for prefix, _ in (*prefixes, *unread)),
    )


def read_controls(head: Head, dialects: Sequence[Dialect]) -> tuple[Controls, Head]:
    """
    What the control headers of C{dialects} say, and the head without them. Where dialects differ, that which is
    named first counts; tags of all are joined.

    @raise Refused: one of them is not valid (554 5.6.0), in words that name header and rule
    """
    plan = _plan(tuple(dialects))
    kept: list[Field] = []
    found: list[tuple[Header, Field]] = []
    for one in head.fields:
        name = one.name.lower()
        if name not in plan.names and not name.startswith(plan.beginnings):
            kept.append(one)
        elif (header := plan.find(name)) is not None:
            found.append((header, one))
    if len(kept) == len(head.fields):
        return NOTHING, head
    reading = _Reading()
    for dialect in (None, *dict.fromkeys(dialects)):
        reading.take([(header, one) for header, one in found if header.dialect is dialect])
    left = Head(tuple(kept))
    # RFC 2369 allows one only, and one that the message brings is what its author meant.
    if reading.unsubscribe and left.first("List-Unsubscribe") is None:
        left = left.append(make_field("List-Unsubscribe", reading.unsubscribe))
    return reading.controls(), left


@define(eq=False)
class _Reading:
    """
    What was read so far; C{metadata} goes by the key in lower case, for the names of headers have no case.
    """

    unsubscribe: str = ""
    _route: str | None = None
    _key: str = ""
    _tags: dict[str, None] = field(factory=dict)
    _metadata: dict[str, tuple[str, str]] = field(factory=dict)

    def take(self, found: Sequence[tuple[Header, Field]]) -> None:
        """
        Read the headers of one dialect.
        """
        for header, values in _read_winners([each for each in found if each[0].sets is not Sets.METADATA]):
            if header.sets is Sets.TAGS:
                self._tags.update(dict.fromkeys(values))
            elif header.sets is Sets.ROUTE:
                self._route = values[0] if self._route is None else self._route
            elif header.sets is Sets.UNSUBSCRIBE:
                self.unsubscribe = values[0]
            else:
                self._key = values[0]
            if len(self._tags) > MAX_TAGS:
                refuse(header.name, f"a message has at most {MAX_TAGS} tags")
        of_dialect: dict[str, tuple[str, str]] = {}
        for name, key, value in _read_pairs([each for each in found if each[0].sets is Sets.METADATA]):
            if not 1 <= len(key) <= MAX_KEY:
                refuse(name, f"a key of metadata is 1 to {MAX_KEY} characters long")
            if len(value) > MAX_VALUE:
                refuse(name, f"a value of metadata is at most {MAX_VALUE} characters long")
            if key.lower() in of_dialect:
                refuse(name, "the same key of metadata is there twice")
            of_dialect[key.lower()] = key, value
            self._metadata.setdefault(key.lower(), (key, value))
            if len(self._metadata) > MAX_METADATA:
                refuse(name, f"a message has at most {MAX_METADATA} keys of metadata")

    def controls(self) -> Controls:
        """
        All of it.
        """
        return Controls(self._route, tuple(self._tags), dict(self._metadata.values()), self._key)


def _read_winners(found: Sequence[tuple[Header, Field]]) -> Iterator[tuple[Header, Sequence[str]]]:
    """
    What the headers set that have precedence.
    """
    ranks: dict[Sets, int] = {}
    for header, _ in found:
        ranks[header.sets] = min(header.rank, ranks.get(header.sets, header.rank))
    seen: set[str] = set()
    for header, one in found:
        if header.rank > ranks[header.sets]:
            continue
        if header.name in seen and not header.several:
            refuse(header.name, "it may be there only once")
        seen.add(header.name)
        yield header, header.read(one)


def _read_pairs(found: Sequence[tuple[Header, Field]]) -> Iterator[tuple[str, str, str]]:
    """
    Metadata: the name of its header, key and value.
    """
    ranks: dict[str, int] = {}
    for header, one in found:
        key = _key_of(header, one).lower()
        ranks[key] = min(header.rank, ranks.get(key, header.rank))
    for header, one in found:
        key = _key_of(header, one)
        if header.rank > ranks[key.lower()]:
            continue
        pairs = [(key, value) for value in header.read(one)] if header.is_prefix else header.read(one)
        for key, value in pairs:
            yield one.name, key, value


def _key_of(header: Header, one: Field) -> str:
    return one.name[len(header.name) :] if header.is_prefix else ""
