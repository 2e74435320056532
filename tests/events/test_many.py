"""
A thousand endpoints of which one stalls: what it costs the others, in seconds of the clock.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred

from lmrelay.config.values import Config
from lmrelay.events.schedule import MAX_REQUESTS, MOST
from lmrelay.events.teller import Teller
from lmrelay.interfaces import Told
from lmrelay.queue.store import find_url, migrate
from lmrelay.shares import Shares
from tests.events.bench import plain
from tests.queue.conftest import make_config
from tests.queue.hooks import with_hooks
from tests.queue.world import World

ENDPOINTS, REQUESTS = 1000, MAX_REQUESTS

ANSWER = 0.2
"""
Seconds that an endpoint takes which does not stall.
"""


@define(eq=False)
class SlowPost:
    """
    Requests that take as long as endpoints do, and never end where one of C{stalled} is told.
    """

    clock: Any
    wall: Any
    stalled: frozenset[str]
    taken_at: dict[Hashable, list[float]] = field(factory=dict)
    begun: dict[Hashable, int] = field(factory=dict)
    most: int = 0
    now: int = 0

    async def send(self, url: str, headers: Mapping[str, str], body: bytes, whose: Hashable = None) -> Told:
        begun = self.wall()
        self.begun[whose] = self.begun.get(whose, 0) + 1
        self.now += 1
        self.most = max(self.most, self.now)
        answer: Deferred[None] = Deferred()
        if whose[1] not in self.stalled:  # type: ignore[index]
            self.clock.callLater(ANSWER, answer.callback, None)
        try:
            await answer
        finally:
            self.now -= 1
        self.taken_at.setdefault(whose, []).append(self.clock.seconds())
        return Told(begun, self.wall(), 204)

    def close(self) -> None:
        pass


def tell(config: Config, messages: int, *stalled: str) -> SlowPost:
    """
    All is in the outbox when the telling begins.
    """
    world = World(with_hooks(config, *(plain(f"h{n}", events=("message.created",)) for n in range(ENDPOINTS))))
    world.start()
    for number in range(1, messages + 1):
        world.accept(number)
    post = SlowPost(world.clock, world.wall, frozenset(stalled))
    teller = Teller(world.clock, world.queue._settings, post, world.wall, Shares(REQUESTS, 1))  # type: ignore[arg-type]
    teller.start(world.queue.hooks)
    for _ in range(80):
        world.clock.advance(0.05)
    teller.drain()
    teller.stop()
    world.stop()
    return post


def test_one_of_a_thousand_stalls(tmp_path: Path) -> None:
    """
    With one of a thousand endpoints stalled, all others are told all they wait for within seconds; of the stalled one
    no more is begun than an endpoint may have at a time. LMRELAY_MESSAGES sets how many events wait for each.
    """
    messages = int(os.environ.get("LMRELAY_MESSAGES", "1"))
    config = make_config(tmp_path)
    migrate(find_url(config))
    post = tell(config, messages, "h7")
    told = {whose: len(times) for whose, times in post.taken_at.items()}
    assert {("acme", f"h{n}"): messages for n in range(ENDPOINTS) if n != 7} == told
    assert max(max(times) for times in post.taken_at.values()) < 3
    assert min(messages, MOST) == post.begun["acme", "h7"]
    assert post.most <= ENDPOINTS + REQUESTS
