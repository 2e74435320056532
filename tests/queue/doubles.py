"""
Stand-ins for what the queue meets: delivery, settings, and a queue that can be started, crashed and stopped.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from attrs import define, field

from lmrelay.config.values import Config
from lmrelay.interfaces import Lane, Leased, RecipientKey, SiteState


@define(eq=False)
class Dispatch:
    """
    Takes what it is given, as far as it has room in all and in a lane; what is C{under_way} cannot be withdrawn.
    """

    room: int = 1000
    per_lane: int = 1000
    taken: list[Leased] = field(factory=list)
    held: dict[Lane, int] = field(factory=dict)
    paused: bool = False
    pauses: int = 0
    recalled: list[SiteState] = field(factory=list)
    suspended: set[str] = field(factory=set)
    running: dict[str, int] = field(factory=dict)
    under_way: set[RecipientKey] = field(factory=set)
    withdrawn: list[RecipientKey] = field(factory=list)

    def reserve(self, lane: Lane, recipients: int) -> bool:
        held = self.held.get(lane, 0)
        if recipients > self.room or held + recipients > self.per_lane:
            return False
        self.room -= recipients
        self.held[lane] = held + recipients
        return True

    def cancel(self, lane: Lane, recipients: int) -> None:
        self.room += recipients
        self.held[lane] -= recipients

    def take(self, leased: Sequence[Leased]) -> None:
        self.taken += leased

    def withdraw(self, keys: Collection[RecipientKey]) -> set[RecipientKey]:
        withdrawn = set(keys) - self.under_way
        self.withdrawn += sorted(withdrawn)
        return withdrawn

    def pause(self) -> None:
        self.paused = True
        self.pauses += 1

    def resume(self) -> None:
        self.paused = False

    def try_anew(self) -> None:
        pass

    def recall(self, states: Sequence[SiteState]) -> None:
        self.recalled += states

    def suspend(self, suspended: Collection[str]) -> bool:
        resumed = self.suspended - set(suspended)
        self.suspended = set(suspended)
        return bool(resumed)

    def count_running(self, hosts: str) -> int:
        return self.running.get(hosts, 0)

    def handed(self) -> list[RecipientKey]:
        """
        The recipients that were handed over, in order.
        """
        return [(one.message_id, member.number) for one in self.taken for member in one.recipients]


@define
class Settings:
    """
    See L{lmrelay.interfaces.ISettings}.
    """

    config: Config
