"""
A database of the first version is brought up to date at the start, with all that is in it, on both databases.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from alembic import command as alembic
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, MetaData, create_engine, insert, text
from sqlalchemy.pool import NullPool

from lmrelay.config.values import Config
from lmrelay.errors import StoreError
from lmrelay.queue import store
from lmrelay.queue.operations import open_desk
from lmrelay.queue.schema import metadata
from lmrelay.queue.store import find_url, make_private, migrate
from tests.queue.conftest import make_config
from tests.queue.filling import NOW, writing
from tests.queue.world import OK, World, name, result_of

HEAD = b"Subject: Hi\r\n"
BODY = b"\r\nhello\r\n"
LATER_TABLES = {"idempotency", "usage", "token_use", "site", "site_domain", "sts_policy", "tls_count", "bounce"} | {
    "webhook_attempt",
    "webhook_endpoint",
    "suppression_news",
}


@pytest.fixture
def old(config: Config, tmp_path: Any) -> Iterator[Config]:
    """
    A store with the first version's tables, and nothing in them.
    """
    if config.queue.url == "sqlite":
        fresh = make_config(tmp_path / "old")
        fresh.server.state_dir.mkdir(mode=0o700)
        make_private(find_url(fresh))
        _upgrade(fresh, "0001")
        yield fresh
        return
    _empty(config)
    _upgrade(config, "0001")
    yield config
    _empty(config)
    migrate(find_url(config))


def _empty(config: Config) -> None:
    with writing(config) as connection:
        found = MetaData()
        found.reflect(connection)
        found.drop_all(connection)


def _upgrade(config: Config, version: str) -> None:
    """
    What the code of that version did at its first start.
    """
    url = find_url(config)
    engine = store.make_engine(url) if config.queue.url == "sqlite" else create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        how = store._alembic()
        how.attributes["connection"] = connection
        alembic.upgrade(how, version)
    engine.dispose()


def sample(column: Any, number: int) -> Any:
    """
    A value of the column's type.
    """
    kind = column.type.python_type
    if kind is str:
        return name(number)
    return b"x" if kind is bytes else kind(number)


def fill(connection: Connection) -> dict[str, dict[str, Any]]:
    """
    A row in every table; message, recipient and chunk are mail that is due.
    """
    found = MetaData()
    found.reflect(connection)
    special: dict[str, dict[str, Any]] = {
        "message": {"id": name(1), "kind": "transactional", "tags": '["x"]', "metadata": "{}", "client": "{}"}
        | {
            "head": HEAD,
            "size": len(HEAD + BODY),
            "body": name(1),
            "reverse_path": "s@acme.example",
            "route": "outgoing",
        }
        | {"project": "acme", "received_at": NOW, "ret": None, "tls": None, "notification": False},
        "recipient": {"message": name(1), "number": 0, "kind": "transactional", "domain": "b.example", "owner": None}
        | {"address": "a@b.example", "notify": None, "orcpt_type": None, "orcpt": None, "state": "queued"}
        | {"attempts": 0, "due": NOW, "next_attempt": NOW, "project": "acme", "held_at": None, "ended_at": None},
        "attempt": {"message": name(1), "number": 0, "recipient": 0, "tls": None},
        "chunk": {"body": name(1), "number": 0, "size": len(BODY), "octets": BODY},
        "upload": {"body": name(2)},
        "webhook_delivery": {"event": 1},
        "event": {"message": name(1), "document": "{}"},
        "command": {"done_at": NOW},
    }
    rows = {}
    for table in found.sorted_tables:
        if table.name == "alembic_version":
            continue
        given = {
            column.name: sample(column, 1) for column in metadata.tables[table.name].columns if column.name in table.c
        }
        rows[table.name] = given | {key: value for key, value in special.get(table.name, {}).items() if key in table.c}
        rows[table.name].pop("sequence", None)  # the database counts on from its own
        connection.execute(insert(table), [rows[table.name]])
    return rows


def test_upgrade(old: Config) -> None:
    """
    Nothing of it is lost or altered, the mail in it is delivered, and the new version's tables are as the code means.
    """
    with writing(old) as connection:
        rows = fill(connection)
    assert set(metadata.tables) - LATER_TABLES == set(rows)
    migrate(find_url(old))
    with writing(old) as connection:
        for table, expected in rows.items():
            (found,) = connection.execute(metadata.tables[table].select()).mappings()
            assert expected == {key: found[key] for key in expected}
        assert None is connection.execute(text("SELECT unsubscribe FROM message")).scalar_one()
        assert not connection.execute(text("SELECT redact FROM message")).scalar_one()
        assert "0005" == MigrationContext.configure(connection).get_current_revision()


def test_mail_goes_on(old: Config) -> None:
    """
    What the first version accepted is delivered by this one, and what is accepted then is stored next to it.
    """
    with writing(old) as connection:
        fill(connection)
    world = World(old)
    world.start()
    world.run(6)
    assert [(name(1), 0)] == world.dispatch.handed()
    assert (("x",), False, "") == (
        world.dispatch.taken[0].tags,
        world.dispatch.taken[0].redact,
        world.dispatch.taken[0].unsubscribe,
    )
    assert HEAD + BODY == world.read(name(1))
    world.settle(1, OK)
    result_of(world.accept(2, key="k", fingerprint="a" * 64))
    assert [(1, 0, "delivered"), (2, 0, "queued")] == world.states()
    with open_desk(old, world.wall) as desk:
        assert "delivered" == desk.story(name(1))["recipients"][0]["state"]
    world.stop()


def test_command_before_the_upgrade(old: Config) -> None:
    """
    The operator's command changes no tables: it says what to do.
    """
    with (
        pytest.raises(StoreError, match="older version of lmrelay; start the daemon once"),
        open_desk(old, lambda: NOW),
    ):
        pass
    with writing(old) as connection:
        assert "0001" == MigrationContext.configure(connection).get_current_revision()
