"""
The control headers of each dialect, one row a header: what it sets, how it is read, what it takes precedence over.

A new dialect is new rows. L{lmrelay.inbound.controls} applies them.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Any

from attrs import frozen

from lmrelay.config.words import Dialect
from lmrelay.inbound import header_values as values
from lmrelay.mail.head import Field


class Sets(enum.Enum):
    """
    What a header is about.
    """

    ROUTE = "route"
    TAGS = "tags"
    METADATA = "metadata"
    UNSUBSCRIBE = "List-Unsubscribe"
    KEY = "idempotency key"


@frozen
class Header:
    """
    A control header. A C{name} that ends in a hyphen is a prefix, and what follows it a key of metadata.

    C{read} gives what it sets, and refuses what is not valid: texts, for a prefix the one value of its key, for
    other metadata pairs of key and value.
    C{several}: it may be given more than once. C{rank}: of headers of one dialect that set the same only those of
    the lowest rank that are there count (of metadata: for each key); the others are removed unread.
    C{dialect} None: it is always understood.
    """

    dialect: Dialect | None
    name: str
    sets: Sets
    read: Callable[[Field], Sequence[Any]]
    several: bool = False
    rank: int = 0

    @property
    def is_prefix(self) -> bool:
        """
        Does a key follow the name?
        """
        return self.name.endswith("-")


HEADERS = (
    Header(None, "Idempotency-Key", Sets.KEY, values.read_key),
    Header(Dialect.LETTERMINT, "X-Lettermint-Route", Sets.ROUTE, values.read_word),
    Header(Dialect.LETTERMINT, "X-LM-Tag", Sets.TAGS, values.read_strict_tag),
    Header(Dialect.LETTERMINT, "X-Tag", Sets.TAGS, values.read_strict_tag, rank=1),
    Header(Dialect.LETTERMINT, "X-LM-Metadata-", Sets.METADATA, values.read_metadata),
    Header(Dialect.LETTERMINT, "X-Metadata-", Sets.METADATA, values.read_metadata, rank=1),
    Header(Dialect.MAILPACE, "X-MailPace-Tags", Sets.TAGS, values.read_tag_list, several=True),
    Header(Dialect.MAILPACE, "X-List-Unsubscribe", Sets.UNSUBSCRIBE, values.read_unsubscribe),
    Header(Dialect.POSTMARK, "X-PM-Tag", Sets.TAGS, values.tag_reader(1000)),
    Header(Dialect.POSTMARK, "X-PM-Metadata-", Sets.METADATA, values.read_metadata),
    Header(Dialect.POSTMARK, "X-PM-Message-Stream", Sets.ROUTE, values.read_word),
    Header(Dialect.MAILGUN, "X-Mailgun-Tag", Sets.TAGS, values.tag_reader(128), several=True),
    Header(Dialect.MAILGUN, "X-Mailgun-Variables", Sets.METADATA, values.read_variables, several=True),
    Header(Dialect.SES, "X-SES-MESSAGE-TAGS", Sets.METADATA, values.read_pairs, several=True),
    Header(Dialect.SES, "X-SES-CONFIGURATION-SET", Sets.ROUTE, values.read_word),
    Header(Dialect.POSTAL, "X-Postal-Tag", Sets.TAGS, values.tag_reader(255)),
)

VENDORS = {
    Dialect.LETTERMINT: ("X-Lettermint-", "X-LM-"),
    Dialect.MAILPACE: ("X-MailPace-",),
    Dialect.POSTMARK: ("X-PM-",),
    Dialect.MAILGUN: ("X-Mailgun-",),
    Dialect.SES: ("X-SES-",),
    Dialect.POSTAL: ("X-Postal-",),
}
"""
What else begins so is for the service alone: it is removed unread, for recipients never get it.
"""
