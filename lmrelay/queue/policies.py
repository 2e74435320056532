"""
What recipient domains published by MTA-STS, kept for as long as they said.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache, partial

from attrs import define
from sqlalchemy import Connection, Insert, delete, select
from twisted.internet.defer import Deferred
from zope.interface import implementer

from lmrelay.interfaces import IPolicyStore, StsRecord
from lmrelay.queue.contents import IReader
from lmrelay.queue.schema import sts_policy
from lmrelay.queue.statements import make_insert, run_each
from lmrelay.queue.writer import IWriter


@cache
def _upsert(dialect: str) -> Insert:
    insert = make_insert(dialect, sts_policy)
    fields = {column.name: insert.excluded[column.name] for column in sts_policy.c if column is not sts_policy.c.domain}
    return insert.on_conflict_do_update(
        index_elements=[sts_policy.c.domain],
        set_=fields,
        where=sts_policy.c.fetched_at <= insert.excluded.fetched_at,
    )


def keep_policies(connection: Connection, items: Sequence[StsRecord]) -> list[None]:
    """
    Store them; of a domain the one that was fetched last stays.
    """
    # In order, so that two workers with the same domains wait for each other in one direction.
    ordered = sorted(items, key=lambda one: (one.domain, one.fetched_at))
    run_each(connection, _upsert(connection.dialect.name), [_row(one) for one in ordered])
    return [None] * len(items)


def _row(policy: StsRecord) -> dict[str, object]:
    return {
        "domain": policy.domain,
        "id": policy.id,
        "mode": policy.mode,
        "mx": json.dumps(policy.mx),
        "fetched_at": policy.fetched_at,
        "expires_at": policy.expires_at,
    }


def read_policy(connection: Connection, domain: str) -> StsRecord | None:
    """
    That of the domain, expired or not.
    """
    row = connection.execute(select(sts_policy).where(sts_policy.c.domain == domain)).one_or_none()
    if row is None:
        return None
    return StsRecord(row.domain, row.id, row.mode, tuple(json.loads(row.mx)), row.fetched_at, row.expires_at)


def forget_policies(connection: Connection, now: float, most: int) -> int:
    """
    Delete what has expired; the answer is how many.
    """
    expired = select(sts_policy.c.domain).where(sts_policy.c.expires_at <= now).limit(most)
    # Asked twice: another worker may have renewed it since.
    gone = delete(sts_policy).where(sts_policy.c.domain.in_(expired), sts_policy.c.expires_at <= now)
    return connection.execute(gone).rowcount


@implementer(IPolicyStore)
@define(eq=False)
class PolicyStore:
    """
    See L{IPolicyStore}.
    """

    _writer: IWriter
    _reader: IReader

    def find_policy(self, domain: str) -> Deferred[StsRecord | None]:
        """
        See L{IPolicyStore}.
        """
        return self._reader.run(partial(read_policy, domain=domain))

    def keep_policy(self, policy: StsRecord) -> Deferred[None]:
        """
        See L{IPolicyStore}.
        """
        return self._writer.submit(keep_policies, policy)
