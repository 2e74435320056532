"""
What the operator's command asks of the queue: the seam between the two, synchronous.

A L{Desk} reads the store, and asks the living workers for changes or carries them out itself.
Records are what C{--json} shows: plain values, times in seconds since the epoch.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from attrs import frozen

if TYPE_CHECKING:
    from lmrelay.config.values import Config


class Verb(enum.Enum):
    """
    What can be done with recipients that wait.
    """

    RETRY = "retry"
    HOLD = "hold"
    RELEASE = "release"
    DELETE = "delete"


@frozen
class Selector:
    """
    Which recipients are meant: all that fit every field that is set; several values in one are alternatives.

    C{messages} are ids or beginnings of ids, C{domains} in A-labels, ages in seconds since the
    message was accepted. Without C{states}: those that are not final.
    """

    messages: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    recipients: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    older_than: float | None = None
    younger_than: float | None = None

    def is_empty(self) -> bool:
        """
        Does it mean everything?
        """
        return self == Selector()


@frozen
class Change:
    """
    What became of a change: recipients changed, those already in flight, which it could not reach, and
    whether a running daemon carried it out.
    """

    changed: int
    in_flight: int = 0
    by_daemon: bool = False


class Desk(Protocol):
    """
    An open store.
    """

    def recipients(self, selector: Selector, limit: int | None) -> Sequence[Mapping[str, Any]]:
        """
        One record a recipient, oldest message first: C{message}, C{number}, C{project}, C{route}, C{kind}, C{tags},
        C{subject}, C{size}, C{received}, C{recipient}, C{domain}, C{state}, C{attempts}, C{next_attempt}, C{last}.
        """

    def count(self, selector: Selector) -> Sequence[Mapping[str, Any]]:
        """
        Recipients counted by C{project}, C{domain} and C{state}: records with C{recipients}, C{octets}, C{oldest}.
        """

    def find(self, beginning: str) -> Sequence[str]:
        """
        At most ten ids of messages, of any state, that begin so.
        """

    def story(self, message: str) -> Mapping[str, Any]:
        """
        A message with its recipients and all their attempts.
        """

    def head(self, message: str) -> bytes:
        """
        The header block as recipients get it; empty where it is no longer kept.
        """

    def change(self, verb: Verb, selector: Selector, dry_run: bool) -> Change:
        """
        Do it, or with C{dry_run} count what it would change.
        """


OpenDesk = Callable[["Config", Callable[[], float]], AbstractContextManager[Desk]]
"""
Opens the store of a configuration; the other argument is the wall clock.
"""
