"""
When tokens were last used, on both databases: told after a while, and never in the way of mail.
"""

from __future__ import annotations

from collections.abc import Mapping

from zope.interface.verify import verifyObject

from lmrelay.config.values import Config
from lmrelay.interfaces import ITokenUse
from lmrelay.queue.operations import open_desk
from lmrelay.queue.token_use import write_uses
from tests.queue.filling import NOW, writing
from tests.queue.world import World, result_of


def uses(world: World) -> Mapping[str, float]:
    """
    As the operator's command sees them.
    """
    with open_desk(world.config, world.wall) as desk:
        return desk.token_uses()


def test_written_together(world: World) -> None:
    """
    A token's latest use is in the store some seconds later, in one write for all.
    """
    verifyObject(ITokenUse, world.queue)
    for token in ("a", "b", "a"):
        world.queue.note(token)
        world.run(2)
    assert {} == uses(world)
    world.run(4)
    assert {"a": NOW + 4, "b": NOW + 2} == uses(world)
    world.queue.note("b")
    world.run(10)
    assert {"a": NOW + 4, "b": NOW + 10} == uses(world)


def test_written_at_the_stop(world: World) -> None:
    """
    What was noted last is not lost with an orderly stop, and is there after the next start.
    """
    world.queue.note("a")
    world.stop()
    assert {"a": NOW} == uses(world)
    world.start()
    world.run(10)
    assert {"a": NOW} == uses(world)


def test_newest_wins(config: Config) -> None:
    """
    Whichever worker writes later, the latest use stays.
    """
    with writing(config) as connection:
        for step in ({"a": 5.0, "b": 1.0}, {"a": 3.0, "b": 2.0}):
            write_uses(connection, [step, {"c": 1.0}])
    with open_desk(config, lambda: NOW) as desk:
        assert {"a": 5.0, "b": 2.0, "c": 1.0} == desk.token_uses()


def test_store_that_is_out_of_order(world: World) -> None:
    """
    While it cannot be written mail goes on, and the newest time is written when it can.
    """
    with writing(world.config) as connection:
        connection.exec_driver_sql("ALTER TABLE token_use RENAME TO away")
    world.queue.note("a")
    world.queue.note("b")
    world.run(10)
    world.queue.note("a")
    result_of(world.accept(1))
    world.run(10)
    with writing(world.config) as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO token_use")
    assert {} == uses(world)
    world.run(10)
    assert {"a": NOW + 10, "b": NOW} == uses(world)
