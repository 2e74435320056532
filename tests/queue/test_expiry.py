"""
When mail is given up: by its age alone, as trustworthy clocks tell it, and by a failure that is not ours.
"""

from __future__ import annotations

import pytest

from lmrelay.mail.outcome import Delayed, Fault
from lmrelay.queue.operations import open_desk
from lmrelay.queue.orders import Selector, Verb
from tests.queue.filling import rows
from tests.queue.world import LATER, World, result_of


def test_no_expiry_while_the_clocks_have_parted(world: World) -> None:
    """
    A wall clock that was set wrong expires nothing; when it is right again, the next failure after the age does.
    """
    result_of(world.accept())
    world.skew = 50 * 3600.0
    world.settle(1, LATER)
    assert [(1, 0, "deferred")] == world.states()
    world.skew = 0.0
    world.clock.advance(51 * 3600.0)
    world.run(6)
    world.settle(1, LATER)
    assert [(1, 0, "failed")] == world.states()


def test_clock_that_stays_set(world: World) -> None:
    """
    A clock that was set and stays so is trusted after an hour: mail expires again.
    """
    result_of(world.accept())
    world.skew = 50 * 3600.0
    world.settle(1, LATER)
    for _ in range(250):
        world.clock.advance(15.0)
    world.settle(1, LATER)
    assert [(1, 0, "failed")] == world.states()


@pytest.mark.parametrize("restart", [False, True])
def test_clock_that_was_ahead(world: World, restart: bool) -> None:
    """
    What was delayed while the clock was far ahead is tried again when the longest delay is over, not in a year:
    that is seen within a minute, and at the start.
    """
    result_of(world.accept())
    world.skew = 365 * 24 * 3600.0
    world.settle(1, LATER)
    world.skew = 0.0
    if restart:
        world.crash()
        world.start()
    else:
        world.run(61)
    row, *_ = rows(world.config)
    assert row.due == row.next_attempt
    assert world.wall() + 4 * 3600 <= row.due <= world.wall() + 1.1 * 4 * 3600


def test_time_alone_expires_nothing(world: World) -> None:
    """
    However old a message is, one more attempt is made before it is given up.
    """
    result_of(world.accept())
    world.settle(1, LATER)
    world.clock.advance(200 * 3600.0)
    world.run(6)
    assert 2 == len(world.dispatch.handed())
    assert [(1, 0, "deferred")] == world.states()


def test_own_fault_expires_nothing(world: World) -> None:
    """
    An attempt that our own stop or defect cut off is no reason to give up, however old the message is: the next
    one that the receiver fails is.
    """
    result_of(world.accept())
    world.clock.advance(50 * 3600.0)
    world.settle(1, Delayed("4.3.0", "the connection was closed", Fault.OURS))
    assert [(1, 0, "deferred")] == world.states()
    world.run(70)
    world.settle(1, LATER)
    assert [(1, 0, "failed")] == world.states()


def change(world: World, verb: Verb) -> None:
    """
    Have an order carried out by the queue.
    """
    with open_desk(world.config, world.wall, world.clock.advance) as desk:
        assert 1 == desk.change(verb, Selector(), False).changed


def test_held_time_does_not_count(world: World) -> None:
    """
    A message that was held has as much time left as before, however long that was and however often.
    """
    result_of(world.accept())
    for _ in range(2):
        change(world, Verb.HOLD)
        world.clock.advance(100 * 3600.0)
        change(world, Verb.RELEASE)
    world.run(6)
    world.settle(1, LATER)
    assert [(1, 0, "deferred")] == world.states()
    world.clock.advance(47 * 3600.0)
    world.run(6)
    world.settle(1, LATER)
    assert [(1, 0, "deferred")] == world.states()
    world.clock.advance(3600.0)
    world.run(6)
    world.settle(1, LATER)
    assert [(1, 0, "failed")] == world.states()


def test_held_while_the_clock_went_back(world: World) -> None:
    """
    A wall clock that is set back takes no time from what was held meanwhile.
    """
    result_of(world.accept())
    change(world, Verb.HOLD)
    world.skew = -3600.0
    change(world, Verb.RELEASE)
    (row,) = rows(world.config)
    assert (0.0, None) == (row.extended, row.held_at)
