"""
The daemon's side of suppressions: mail that delivery has in memory is asked back when its recipient is suppressed.

Whoever suppresses an address leaves news of it to each worker in the same commit, which are looked for every second.
What is asked back goes to the queue, due at once, where to take it is to find it suppressed. An attempt under way is
never torn off; where it would be followed by another turn the recipient comes back instead.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

from attrs import define, field
from sqlalchemy import Connection, Select, and_, bindparam, select
from twisted.logger import Logger

from lmrelay.errors import StoreError
from lmrelay.interfaces import IDispatch, RecipientKey
from lmrelay.mail.address import Address
from lmrelay.mail.suppression import key_of
from lmrelay.queue.contents import IReader
from lmrelay.queue.schema import message, recipient, suppression_news
from lmrelay.queue.statements import find_rows, name_given
from lmrelay.queue.suppressions import drop_news
from lmrelay.queue.writer import IWriter

SLICE = 2000
"""
News that are looked at together. All that a worker has is read once for each slice, so it is not small.
"""

log = Logger()


class News(NamedTuple):
    """
    An address is suppressed; C{route} empty: on all routes of the project.
    """

    number: int
    project: str
    route: str
    address: str


_NEWS = (
    suppression_news.c.number,
    suppression_news.c.project,
    suppression_news.c.route,
    suppression_news.c.address,
)
_FIND_NEWS = (
    select(*_NEWS).where(suppression_news.c.worker == bindparam("of")).order_by(suppression_news.c.number).limit(SLICE)
)
_MAILBOX = (recipient.c.message, recipient.c.number, recipient.c.project, recipient.c.domain, recipient.c.address)


def find_news(connection: Connection, worker: str) -> list[News]:
    """
    The next that C{worker} has not looked at.
    """
    return [News(*row) for row in connection.execute(_FIND_NEWS, {"of": worker})]


def find_leased(connection: Connection, worker: str, news: Iterable[News]) -> list[RecipientKey]:
    """
    Recipients that C{worker} owns and that are suppressed by these news. The relay's own notifications never are.
    """
    routes: dict[tuple[str, str], set[str]] = {}
    for _, project, route, address in news:
        routes.setdefault((project, address), set()).add(route)
    places = {(project, address.rpartition("@")[2]) for project, address in routes}
    query = select(*_MAILBOX).where(
        recipient.c.owner == worker,
        recipient.c.project.in_(sorted({project for project, _ in places})),
        recipient.c.domain.in_(sorted({domain for _, domain in places})),
    )
    meant: dict[RecipientKey, set[str]] = {}
    for id_, number, project, domain, address in connection.execute(query):
        found = routes.get((project, _read_key(address, domain)))
        if found is not None:
            meant[id_, number] = found
    # Of the messages of these alone: to look at all would take most of the time.
    route_of = dict(find_rows(connection, _select_routes, sorted({(id_,) for id_, _ in meant})))
    return [key for key, found in meant.items() if key[0] in route_of and not found.isdisjoint(("", route_of[key[0]]))]


@cache
def _select_routes(size: int) -> Select[Any]:
    given = name_given(size, message.c.id)
    mail = given.join(message, and_(message.c.id == given.c.id, message.c.notification.is_(False)))
    return select(message.c.id, message.c.route).select_from(mail)


def _read_key(address: str, domain: str) -> str:
    """
    The L{key_of} the mailbox in a row, C{domain} being in A-labels.
    """
    local = address.rpartition("@")[0]
    if local.isascii() and not local.startswith('"'):
        # Nearly all are like that, and of thousands each would have to be parsed.
        return f"{local.lower()}@{domain}"
    return key_of(Address(local, domain))


@cache
def _select_owners(size: int) -> Select[Any]:
    given = name_given(size, recipient.c.message, recipient.c.number)
    same = and_(recipient.c.message == given.c.message, recipient.c.number == given.c.number)
    return select(recipient.c.message, recipient.c.number, recipient.c.owner).select_from(given.join(recipient, same))


def find_still_leased(connection: Connection, worker: str, keys: Collection[RecipientKey]) -> set[RecipientKey]:
    """
    Those of these recipients that C{worker} owns.
    """
    rows = find_rows(connection, _select_owners, sorted(keys))
    return {(id_, number) for id_, number, owner in rows if owner == worker}


def note_seen(connection: Connection, items: Sequence[Sequence[News]]) -> list[None]:
    """
    These were looked at.
    """
    for news in items:
        drop_news(connection, [one.number for one in news])
    return [None] * len(items)


def pass_by(connection: Connection, items: Sequence[None]) -> list[None]:
    """
    Write nothing: for waiting until what was submitted before is on disk, and those who did so know.
    """
    return [None] * len(items)


@define(eq=False)
class SuppressionWatch:
    """
    Looks for C{worker}. C{release} gives recipients back to the queue, due at once, and never fails.
    """

    _writer: IWriter
    _reader: IReader
    _dispatch: IDispatch
    _worker: str
    _release: Callable[[tuple[RecipientKey, ...]], Awaitable[None]]
    _late: set[RecipientKey] = field(factory=set, init=False)
    _stopped: bool = field(default=False, init=False)

    def stop(self) -> None:
        """
        Look no further: what is not looked at ends with this worker, as its leases do.
        """
        self._stopped = True

    async def look(self) -> None:
        """
        Ask back who was suppressed since the last look.

        @raise StoreError: not now; what was not looked at is there for the next time
        """
        more = True
        while more and not self._stopped:
            news = await self._reader.run(partial(find_news, worker=self._worker))
            if news:
                await self._follow(news)
            more = len(news) == SLICE
        if self._late:
            late = tuple(self._late)
            leased = await self._reader.run(partial(find_still_leased, worker=self._worker, keys=late))
            self._late.intersection_update(leased)
            await self._ask_back(leased)

    async def _follow(self, news: Sequence[News]) -> None:
        # What was leased in ignorance of these may be on its way to delivery, which would not know it yet: once this
        # is through it does, and what is leased later was looked up with these in the store.
        try:
            await self._writer.submit(pass_by, None)
        except StoreError:
            # A store that takes nothing, such as on a full disk, keeps nobody from asking back what delivery has.
            await self._ask_back_those(news)
            raise
        await self._ask_back_those(news)
        await self._writer.submit(note_seen, news)

    async def _ask_back_those(self, news: Sequence[News]) -> None:
        leased = await self._reader.run(partial(find_leased, worker=self._worker, news=news))
        self._late.update(leased)
        await self._ask_back(leased)

    async def _ask_back(self, leased: Collection[RecipientKey]) -> None:
        withdrawn = self._dispatch.withdraw(leased)
        self._late.difference_update(withdrawn)
        if withdrawn:
            log.info("suppressed recipients taken back from delivery", recipients=len(withdrawn))
            await self._release(tuple(withdrawn))
