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
    may not be tried any more: for good where they were so from the beginning, else until the list changes.
    """

    messages: Mapping[str, Any]
    recipients: Mapping[str, Sequence[Any]]
    attempts: Mapping[Place, Sequence[Any]]
    testing: str
    broken: list[str] = field(factory=list)
    _listed: dict[Key, bool] = field(factory=dict)
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
            if self._listed.get(key):
                self.broken.append(f"{key} was added again")
            self._listed[key] = said["expires_at"] is None
            self._refused.discard(key)
            return
        if self._listed.pop(key, None) is None:
            self.broken.append(f"{key} was removed and not there")
        for place, since_created in list(self._barred.items()):
            about = self.messages[place[0]]
            if not since_created and not any(self._find(about.project, about.route, place)):
                del self._barred[place]

    def _find(self, project: str, route: str, place: Place) -> list[bool]:
        """
        What suppresses such mail: whether for ever.
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
            if any(self._find(row.project, row.route, place)):
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
        if row.type == "message.deferred" and any(found):
            # It is taken up anew for its next attempt, and then it is seen.
            self._barred[place] = False
        if row.type == "message.hard_bounced" and self._is_real(place) and refuses_for_good(self.attempts[place]):
            key = row.project, "", self._address(place)
            if not self._listed.get(key):
                self._refused.add(key)

    def _is_real(self, place: Place) -> bool:
        return bool(self.recipients[place[0]][place[1]].domain != self.testing)
