"""
What an operator may ask of the queue, as plain values: which recipients, and what to do.

Light on purpose: the operator's command imports this at once and the store only where it is needed.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Any

from attrs import field, frozen


def _texts(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(values)


class Verb(enum.Enum):
    """
    What can be done with recipients that wait.
    """

    RETRY = "retry"
    HOLD = "hold"
    RELEASE = "release"
    DELETE = "delete"


class SiteVerb(enum.Enum):
    """
    What can be done with sites. The rows say which are suspended; the order asks a worker to look at once, and to tell
    what is under way there.
    """

    SUSPEND = "suspend"
    RESUME = "resume"


@frozen
class Selector:
    """
    Which recipients are meant: all that fit every field that is set; several values in one are alternatives.

    C{messages} are ids or beginnings of ids, C{domains} in A-labels, ages in seconds since the
    message was accepted. Without C{states}: those that are not final. C{sites} is of orders about sites alone.
    """

    messages: tuple[str, ...] = field(default=(), converter=_texts)
    projects: tuple[str, ...] = field(default=(), converter=_texts)
    routes: tuple[str, ...] = field(default=(), converter=_texts)
    tags: tuple[str, ...] = field(default=(), converter=_texts)
    domains: tuple[str, ...] = field(default=(), converter=_texts)
    recipients: tuple[str, ...] = field(default=(), converter=_texts)
    states: tuple[str, ...] = field(default=(), converter=_texts)
    older_than: float | None = None
    younger_than: float | None = None
    sites: tuple[str, ...] = field(default=(), converter=_texts)

    def is_empty(self) -> bool:
        """
        Does it mean everything?
        """
        return self == Selector()


@frozen
class Search:
    """
    Which messages are meant, of all that are kept: those that fit every field that is set; several values in one are
    alternatives.

    C{recipients} and C{senders} are addresses, or C{@domain} for all there; a sender is who stands in the envelope or
    in From. A message is in a state if a recipient is. C{subject} is a part of it, C{message_ids} are of the header
    field. Accepted at C{since} or later and before C{until}, in seconds since the epoch. C{redacted}: also those of
    routes that keep subject and addresses to themselves.
    """

    projects: tuple[str, ...] = field(default=(), converter=_texts)
    routes: tuple[str, ...] = field(default=(), converter=_texts)
    tags: tuple[str, ...] = field(default=(), converter=_texts)
    recipients: tuple[str, ...] = field(default=(), converter=_texts)
    senders: tuple[str, ...] = field(default=(), converter=_texts)
    states: tuple[str, ...] = field(default=(), converter=_texts)
    message_ids: tuple[str, ...] = field(default=(), converter=_texts)
    subject: str = ""
    since: float | None = None
    until: float | None = None
    redacted: bool = True


@frozen
class Listing:
    """
    What was found, the newest first. C{more}: there is, or may be, more that fits. C{looked_back_to} is of when the
    oldest was that was looked at (a message: when it was accepted), where the search ended before it was through; None:
    it was through, or has as many as were asked for.
    """

    records: tuple[dict[str, Any], ...] = ()
    more: bool = False
    looked_back_to: float | None = None


@frozen
class Change:
    """
    What became of a change: recipients changed, those already in flight, which it could not
    reach, and whether a running daemon carried it out.

    C{late} are the ids of the first L{LATE} messages that have some in flight.
    """

    changed: int
    in_flight: int = 0
    by_daemon: bool = False
    late: tuple[str, ...] = field(default=(), converter=_texts)


LATE = 100
