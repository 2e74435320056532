"""
A long queue is in the store, not in memory.
"""

from __future__ import annotations

import gc
from collections import Counter
from pathlib import Path

import pytest

from lmrelay.interfaces import Leased, LeasedRecipient
from lmrelay.mail.address import Address
from lmrelay.outbound.dispatch import LANE_WINDOW
from lmrelay.outbound.sites import Held
from tests.simulation.fairness import hand_over, queue
from tests.simulation.receivers import Mood
from tests.simulation.world import World


def count_objects(folder: Path, backlog: int, fresh: int) -> Counter[str]:
    """
    The relay's own objects by class, while so many messages from before, and so many new ones, wait for a site that
    hangs.
    """
    before = take_stock()
    world = World(folder)
    receiver = world.receiver("b.example", mood=Mood.SILENT)
    queue(world, "acme", *(f"a{number}@b.example" for number in range(backlog)))
    world.start()
    for number in range(fresh):
        hand_over(world, "acme", f"n{number}", f"n{number}@b.example", "news")
    world.network.run(20)
    counts = take_stock() - before
    assert [] == receiver.arrivals
    world.end()
    return counts


def take_stock() -> Counter[str]:
    """
    All objects of the relay's own that there are.
    """
    gc.collect()
    kinds = (type(one) for one in gc.get_objects())
    ours = (kind for kind in kinds if str(kind.__module__).startswith("lmrelay."))
    # Addresses that were read lately are remembered, up to a bound of their own.
    return Counter(kind.__qualname__ for kind in ours if kind is not Address)


@pytest.mark.parametrize("fresh", [0, 40])
def test_bounded_by_the_window(tmp_path: Path, fresh: int) -> None:
    """
    Five times the mail takes hardly more objects, and no more of what is held than a lane's window; so also where new
    mail comes all the time.
    """
    short, long = (count_objects(tmp_path / str(number), number, fresh) for number in (600, 3000))
    for kind in (Held, Leased, LeasedRecipient):
        assert 0 < long[kind.__qualname__] <= LANE_WINDOW
    assert sum(long.values()) <= 1.2 * sum(short.values())
