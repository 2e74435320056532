"""
What an operator may ask of the queue, as plain values: which recipients, and what to do.

Light on purpose: the operator's command imports this at once and the store only where it is needed.
"""

from __future__ import annotations

import enum

from attrs import field, frozen


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

    messages: tuple[str, ...] = field(default=(), converter=tuple)
    projects: tuple[str, ...] = field(default=(), converter=tuple)
    routes: tuple[str, ...] = field(default=(), converter=tuple)
    tags: tuple[str, ...] = field(default=(), converter=tuple)
    domains: tuple[str, ...] = field(default=(), converter=tuple)
    recipients: tuple[str, ...] = field(default=(), converter=tuple)
    states: tuple[str, ...] = field(default=(), converter=tuple)
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
    What became of a change: recipients changed, those already in flight, which it could not
    reach, and whether a running daemon carried it out.
    """

    changed: int
    in_flight: int = 0
    by_daemon: bool = False
