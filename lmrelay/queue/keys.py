"""
Idempotency keys: which message was stored under one, decided and recorded in that message's own commit.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from attrs import define, field, frozen
from sqlalchemy import Connection, Insert, bindparam, delete, select, tuple_, update

from lmrelay.config.values import DAY
from lmrelay.queue.rows import Row
from lmrelay.queue.schema import idempotency
from lmrelay.queue.statements import make_insert, run_each

LIFETIME = DAY
"""
Seconds for which a key means its message.
"""

AHEAD = 60.0
"""
Seconds by which the clocks of two workers may differ.
"""

MANY = 200
"""
Keys looked up by one statement.
"""

Key = tuple[str, str]
"""
A project, and the key that it chose.
"""


@frozen
class Use:
    """
    A message under its key. C{fingerprint} is equal for what may be sent again.
    """

    key: Key
    message: str
    fingerprint: str


@cache
def _upsert(dialect: str) -> Insert:
    insert = make_insert(dialect, idempotency)
    return insert.on_conflict_do_update(
        index_elements=[idempotency.c.project, idempotency.c.key],
        set_={name: insert.excluded[name] for name in ("message", "fingerprint", "expires_at")},
        where=idempotency.c.expires_at <= bindparam("now"),
    )


@define(eq=False)
class Keys:
    """
    The keys of one commit, at C{now}.
    """

    _connection: Connection
    _now: float
    _known: dict[Key, Use] = field(factory=dict, init=False)
    _fresh: dict[Key, Use] = field(factory=dict, init=False)

    def look_up(self, keys: Iterable[Key]) -> None:
        """
        Learn what is stored under these.
        """
        wanted = sorted(set(keys))
        for start in range(0, len(wanted), MANY):
            query = select(idempotency).where(
                tuple_(idempotency.c.project, idempotency.c.key).in_(wanted[start : start + MANY]),
                idempotency.c.expires_at > self._now,
            )
            for row in self._connection.execute(query):
                self._known[row.project, row.key] = Use((row.project, row.key), row.message, row.fingerprint)

    def are_known_of(self, project: str) -> bool:
        """
        Does any key of this project mean a message?
        """
        query = select(idempotency.c.key).where(idempotency.c.project == project, idempotency.c.expires_at > self._now)
        return self._connection.execute(query.limit(1)).first() is not None

    def find(self, key: Key) -> Use | None:
        """
        Whose it is, as far as is known.
        """
        return self._known.get(key)

    def take(self, use: Use) -> None:
        """
        It is this message's from now on.
        """
        self._known[use.key] = self._fresh[use.key] = use

    def write(self) -> list[Use]:
        """
        Store what was taken. The answer is what another worker was faster with: L{find} knows its message now.
        """
        if not self._fresh:
            return []
        expires_at = self._now + LIFETIME
        # In order, so that two workers that want the same keys wait for each other in one direction.
        rows = [self._make_row(self._fresh[key], expires_at) for key in sorted(self._fresh)]
        run_each(self._connection, _upsert(self._connection.dialect.name), rows)
        self.look_up(self._fresh)
        return [use for key, use in self._fresh.items() if self._known[key].message != use.message]

    def _make_row(self, use: Use, expires_at: float) -> Row:
        given = {"message": use.message, "fingerprint": use.fingerprint, "expires_at": expires_at}
        return {"project": use.key[0], "key": use.key[1], "now": self._now, **given}


def forget_keys(connection: Connection, now: float, most: int) -> int:
    """
    Delete keys that have expired; the answer is how many.
    """
    key = (idempotency.c.project, idempotency.c.key)
    expired = idempotency.c.expires_at <= now
    found = select(*key).where(expired).limit(most)
    # Asked twice: another worker may have given one that was found to another message since.
    return connection.execute(delete(idempotency).where(tuple_(*key).in_(found), expired)).rowcount


def cap_keys(connection: Connection, now: float) -> None:
    """
    Let no key live longer than one of now: what does was used under a clock that was ahead.
    """
    latest = now + LIFETIME
    connection.execute(update(idempotency).where(idempotency.c.expires_at > latest + AHEAD).values(expires_at=latest))
