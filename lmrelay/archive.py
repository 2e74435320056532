"""
The store as the status page looks things up in it: what the operator's command finds, off the reactor thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredSemaphore, fail
from twisted.internet.interfaces import IReactorThreads
from twisted.internet.threads import deferToThreadPool

from lmrelay.cli.explain import with_settings
from lmrelay.cli.output import iso_time
from lmrelay.cli.queue import with_iso_times
from lmrelay.cli.story import tell_way, why_it_waits
from lmrelay.cli.waiting import how_it_ended, what_else_counts
from lmrelay.errors import StoreError
from lmrelay.interfaces import ISettings, Record
from lmrelay.queue.operations import Desk, open_desk
from lmrelay.queue.orders import Search
from lmrelay.queue.search import WINDOW
from lmrelay.queue.stories import Bounds
from lmrelay.web.sources import Found

AT_A_TIME = 2
WAITING = 8
SECONDS = 5.0
"""
Looks at a time, how many may wait for their turn, and for how long a search looks: as long as people wait for a page.
"""

BOUNDS = Bounds(recipients=50, attempts=10)
"""
Of a message: all of a thousand recipients with a trace for each attempt would be a page of 60 MB.
"""

T = TypeVar("T")

_NAMES = {
    "project": "projects",
    "route": "routes",
    "tag": "tags",
    "recipient": "recipients",
    "sender": "senders",
    "state": "states",
    "message_id": "message_ids",
}

_TELLING = frozenset({"recipient", "sender", "subject"})
"""
Searches whose answer tells what a redacted route keeps to itself, even if the answer is only that there is one.
"""


@define(eq=False)
class StoredArchive:
    """
    See L{lmrelay.web.sources.Archive}. C{rows} are looked at in one transaction.
    """

    _reactor: Any
    _settings: ISettings
    _wall: Callable[[], float]
    _rows: int = WINDOW
    _stopped: bool = field(default=False, init=False)
    _turns: DeferredSemaphore = field(factory=lambda: DeferredSemaphore(AT_A_TIME), init=False)

    def stop(self) -> None:
        """
        See L{lmrelay.web.sources.Archive}.
        """
        self._stopped = True

    def _look(self, work: Callable[[Desk], T]) -> Deferred[T]:
        def run() -> T:
            if self._stopped:
                raise StoreError("the relay stops")
            with open_desk(self._settings.config, self._wall) as desk:
                return work(desk)

        if len(self._turns.waiting) >= WAITING:
            return fail(StoreError("too much is asked of this page at once; try again in a while"))
        threads = IReactorThreads(self._reactor)
        looked: Deferred[T] = self._turns.run(deferToThreadPool, threads, threads.getThreadPool(), run)
        return looked

    def find(self, fields: Mapping[str, str], limit: int) -> Deferred[Found]:
        """
        See L{lmrelay.web.sources.Archive}.
        """
        several: dict[str, Any] = {_NAMES[name]: (value,) for name, value in fields.items() if name in _NAMES and value}
        telling = any(fields.get(name) for name in _TELLING)
        search = Search(**several, subject=fields.get("subject", ""), redacted=not telling)

        def work(desk: Desk) -> Found:
            found = desk.messages(search, limit, SECONDS, self._rows)
            return Found(found.records, found.more, found.looked_back_to)

        return self._look(work)

    def tell(self, message: str) -> Deferred[Record | None]:
        """
        See L{lmrelay.web.sources.Archive}.
        """

        def work(desk: Desk) -> Record | None:
            ids = desk.find(message)
            return self._explain(desk, ids[0]) if len(ids) == 1 else None

        return self._look(work)

    def _explain(self, desk: Desk, id_: str) -> Record:
        story = with_settings(desk.story(id_, BOUNDS), self._settings.config)
        now, workers = self._wall(), story["workers"]
        for recipient in story["recipients"]:
            told = with_iso_times(recipient)
            why = why_it_waits(told, now, id_, workers)
            recipient["why"] = [why, *what_else_counts(told, now, workers)] if why else []
            recipient["end"] = how_it_ended(told, str(iso_time(story["received"])))
            for attempt in recipient["attempts"]:
                attempt["way"] = tell_way(attempt)
        return story

    def sites(self) -> Deferred[Sequence[Record]]:
        """
        See L{lmrelay.web.sources.Archive}.
        """
        return self._look(lambda desk: desk.sites())
