"""
Who is suppressed when, by what the events say one after the other, and what that does to mail.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, field

from lmrelay.mail.address import parse_address
from lmrelay.mail.suppression import REFUSING, key_of

Key = tuple[str, str, str]
"""
Project, route (empty: all) and address.
"""

Place = tuple[str, int]
"""
A message's id and a recipient's number.
"""

SOON = 2.0
"""
Seconds from when somebody is suppressed in which an attempt may still begin: of what delivery has in memory.
"""


def refuses_for_good(attempts: Sequence[Any]) -> bool:
    """
    Did a receiver say of the mailbox itself that it takes no mail?
    """
    last = attempts[-1] if attempts else None
    if last is None or last.outcome != "failed" or last.fault != "recipient" or not last.reply:
        return False
    return last.status in REFUSING


@define(eq=False)
class Withheld:
    """
    Holds events, one by one in the order of their commits, against what a list of suppressions promises.

    C{refused} are those who are to be on the list once the commit that said so is over, C{barred} the recipients that
    may not be tried any more: for good where they were so from the beginning, else until the list changes. C{listed}
    says since when somebody is there for ever, or None for a time. C{jumped} is by how much the clock was set.
    """

    messages: Mapping[str, Any]
    recipients: Mapping[str, Sequence[Any]]
    attempts: Mapping[Place, Sequence[Any]]
    testing: str
    jumped: float = 0.0
    broken: list[str] = field(factory=list)
    _listed: dict[Key, float | None] = field(factory=dict)
    _refused: set[Key] = field(factory=set)
    _barred: dict[Place, bool] = field(factory=dict)

    def read(self, row: Any) -> None:
        """
        The next event.
        """
        if row.type.startswith("suppression."):
            self._change(row, json.loads(row.document))
        elif row.message in self.messages and not self.messages[row.message].notification:
            (self._begin if row.type == "message.created" else self._go_on)(row)

    def end(self) -> None:
        """
        There is no more.
        """
        self._tell_refused()
        for id_, number in (place for place, since_created in self._barred.items() if since_created):
            self.broken.append(f"{self.messages[id_].subject}, recipient {number}, is suppressed, and nobody was told")

    def _change(self, row: Any, said: Mapping[str, Any]) -> None:
        key = row.project, row.route if said["scope"] == "route" else "", said["recipient"]
        if row.type == "suppression.added":
            if self._listed.get(key) is not None:
                self.broken.append(f"{key} was added again")
            self._listed[key] = row.at if said["expires_at"] is None else None
            self._refused.discard(key)
            return
        if key not in self._listed:
            self.broken.append(f"{key} was removed and not there")
        self._listed.pop(key, None)
        for place, since_created in list(self._barred.items()):
            about = self.messages[place[0]]
            if not since_created and not _is_for_ever(self._find(about.project, about.route, place)):
                del self._barred[place]

    def _find(self, project: str, route: str, place: Place) -> list[float | None]:
        """
        What suppresses such mail: since when it does so for ever.
        """
        address = self._address(place)
        keys = {(project, "", address), (project, route, address)}
        return [self._listed[key] for key in keys if key in self._listed]

    def _address(self, place: Place) -> str:
        return key_of(parse_address(self.recipients[place[0]][place[1]].address))

    def _begin(self, row: Any) -> None:
        # Another commit: what followed from the refusals of the one before is told.
        self._tell_refused()
        for to in self.recipients[row.message]:
            place = row.message, to.number
            if _is_for_ever(self._find(row.project, row.route, place)):
                self._barred[place] = True

    def _tell_refused(self) -> None:
        self.broken += (f"{key} refused for good and is not suppressed" for key in self._refused)
        self._refused.clear()

    def _go_on(self, row: Any) -> None:
        place = row.message, row.recipient
        found = self._find(row.project, row.route, place)
        barred = self._barred.pop(place, None) is not None
        if barred != (row.type == "message.suppressed") and (barred or not found):
            address = self._address(place)
            self.broken.append(f"{row.message} to {address}: {row.type}, with {len(found)} suppressions of it")
        self._check_start(row, place, found)
        if row.type == "message.deferred" and _is_for_ever(found):
            # It is taken up anew for its next attempt, and then it is seen.
            self._barred[place] = False
        if row.type == "message.hard_bounced" and self._is_real(place) and refuses_for_good(self.attempts[place]):
            key = row.project, "", self._address(place)
            if self._listed.get(key) is None:
                self._refused.add(key)

    def _check_start(self, row: Any, place: Place, found: Sequence[float | None]) -> None:
        """
        Delivery had it in memory when its recipient was suppressed: was its attempt under way by then?
        """
        number = json.loads(row.document).get("attempt")
        since = min((one for one in found if one is not None), default=None)
        if number is None or since is None:
            return
        late = self.attempts[place][number - 1].started_at - since
        if late > SOON + self.jumped:
            address = self._address(place)
            self.broken.append(f"{row.message} to {address} was tried {late:.1f} s after it was suppressed")

    def _is_real(self, place: Place) -> bool:
        return bool(self.recipients[place[0]][place[1]].domain != self.testing)


def _is_for_ever(found: Sequence[float | None]) -> bool:
    return any(one is not None for one in found)
