"""
How it went lately with each webhook endpoint, as the log tells it. Bounded: those heard of longest ago are forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from attrs import define, field

MOST = 2_000


@define(eq=False)
class Told:
    """
    Requests since the start. C{at} is when the last ended (seconds since the epoch), C{reason} why it failed: the
    endpoint's own words, or empty where it did not.
    """

    delivered: int = 0
    failed: int = 0
    at: float = 0.0
    reason: str = ""


@define(eq=False)
class Endpoints:
    """
    By project and the endpoint's name there.
    """

    _told: OrderedDict[tuple[str, str], Told] = field(factory=OrderedDict, init=False)

    def note(self, event: Mapping[str, Any], outcome: str) -> None:
        """
        A line of the log said how a request went.
        """
        key = (event["project"], event.get("endpoint", ""))
        told = self._told.setdefault(key, Told())
        self._told.move_to_end(key)
        told.at = event.get("log_time", 0.0)
        if outcome == "delivered":
            told.delivered += 1
            told.reason = ""
        else:
            told.failed += 1
            told.reason = str(event.get("reason") or "failed")
        if len(self._told) > MOST:
            self._told.popitem(last=False)

    def find(self, project: str, endpoint: str) -> Told:
        """
        How it went with that one.
        """
        return self._told.get((project, endpoint)) or Told()
