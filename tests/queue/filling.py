"""
Rows for tests: messages as they were accepted, in whatever state a test needs them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any

from sqlalchemy import Connection, select, update

from lmrelay.config.values import Config
from lmrelay.config.words import Kind
from lmrelay.ids import make_id
from lmrelay.interfaces import RecipientKey, Submission
from lmrelay.mail.address import parse_address
from lmrelay.mail.envelope import Envelope, Recipient
from lmrelay.queue.rows import event_row, message_row, recipient_rows
from lmrelay.queue.schema import recipient
from lmrelay.queue.store import find_url, make_engine
from lmrelay.queue.storing import Accept, write_messages

NOW = 1_700_000_000.0
_random = Random(1)


@contextmanager
def writing(config: Config) -> Iterator[Connection]:
    """
    A transaction of the store.
    """
    engine = make_engine(find_url(config))
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def make_rows(
    to: Sequence[str], *, at: float = NOW, project: str = "acme", route: str = "outgoing", tags: Sequence[str] = ()
) -> Accept:
    """
    A message of that time to those recipients.
    """
    id_ = make_id(at, _random.randbytes)
    envelope = Envelope(parse_address("s@acme.example"), tuple(Recipient(parse_address(one)) for one in to))
    submission = Submission(
        project, route, Kind.TRANSACTIONAL, envelope, b"Subject: x\r\n", at, id_, subject="x", tags=tuple(tags)
    )
    created = event_row(
        _random.randbytes,
        "message.created",
        at,
        (project, route),
        (id_, None),
    )
    body = {"body": id_, "number": 0, "size": 4, "octets": b"\r\nx\n"}
    return Accept(message_row(submission, 16, id_), recipient_rows(submission, {}), created, [body])


def fill(config: Config, *accepts: Accept) -> list[str]:
    """
    Store them; their ids.
    """
    with writing(config) as connection:
        write_messages(connection, accepts, 0.0)
    return [one.message["id"] for one in accepts]


def alter(config: Config, key: RecipientKey, **values: Any) -> None:
    """
    Give a recipient other values.
    """
    with writing(config) as connection:
        connection.execute(
            update(recipient).where(recipient.c.message == key[0], recipient.c.number == key[1]).values(**values)
        )


def rows(config: Config) -> list[Any]:
    """
    All recipients, in order.
    """
    with writing(config) as connection:
        return list(connection.execute(select(recipient).order_by(recipient.c.message, recipient.c.number)))
