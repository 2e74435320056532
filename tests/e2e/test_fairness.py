"""
Two tenants and one busy receiver, with the real daemon: orders are counted, not seconds.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator

import pytest
from attrs import define, field

from tests.e2e.daemon import DOMAIN, PATIENCE, PROJECT, Relay
from tests.e2e.mail import login, message, submit
from tests.e2e.receiver import Receiver
from tests.e2e.world import World

RATE = 50
CONNECTIONS = 20
NEWSLETTER, OWN = 200, 60
"""
Messages of the other tenant's newsletter and of the tenant's own.
"""

BETWEEN = 3 * CONNECTIONS
"""
Of a newsletter that may arrive between a reset's 250 and the reset: what is under way on each connection, and as much
again twice, for the receiver's threads keep no order.
"""


@define(eq=False)
class Pace:
    """
    A receiver's script: it takes so many contents a second, over all its connections, from when it is C{open} on.
    """

    rate: float
    open: threading.Event = field(factory=threading.Event)
    _free_at: float = 0.0
    _lock: threading.Lock = field(factory=threading.Lock)
    _never: threading.Event = field(factory=threading.Event)

    def __call__(self, verb: str, argument: str) -> str | None:
        if verb == "CONTENT":
            self.open.wait(PATIENCE)
            with self._lock:
                now = time.monotonic()
                self._free_at = max(now, self._free_at) + 1 / self.rate
                left = self._free_at - now
            self._never.wait(left)
        return None


@pytest.fixture
def busy(world: World) -> Iterator[tuple[Relay, Receiver, str, Pace]]:
    """
    A relay with two projects, and a receiver that takes 50 messages a second.
    """
    pace = Pace(RATE)
    mx = world.receiver(script=pace)
    timeouts = {"connect": "30s", "command": "5m", "data": "5m"}
    relay = world.relay(delivery={"connections_per_site": CONNECTIONS, "timeouts": timeouts})
    routes = {"news": {"kind": "broadcast"}}
    relay.change_project(PROJECT, routes=routes)
    token = relay.add_project("beta", routes=routes)
    relay.start()
    yield relay, mx, token, pace
    pace.open.set()
    relay.kill()


def news(name: str, number: int, domain: str) -> tuple[list[str], bytes]:
    """
    Recipient and content of one of a newsletter.
    """
    to = f"{name}{number}@{domain}"
    return [to], message(to, "News.\r\n", "X-Lettermint-Route: news", subject=f"{name} {number}")


def test_resets_pass_newsletters(busy: tuple[Relay, Receiver, str, Pace], world: World) -> None:
    """
    A tenant's password resets arrive before a few more messages of anybody's newsletter do, its own included; and the
    newsletters go on meanwhile.
    """
    relay, mx, token, pace = busy
    domain = world.domain(mx)
    with login(relay) as other, login(relay, token=token) as mine:
        for number in range(NEWSLETTER):
            submit(other, *news("acme", number, domain))
        for number in range(OWN):
            submit(mine, *news("beta", number, domain))
        pace.open.set()
        for number in range(3):
            to = f"reset{number}@{domain}"
            submit(mine, [to], message(to, subject=f"reset {number}"), f"app@{DOMAIN}")
            before = len(mx.taken)
            for count in itertools.count(before):
                taken = mx.wait(count + 1)
                if any(to in one.recipients for one in taken):
                    break
            arrived = next(place for place, one in enumerate(mx.taken) if to in one.recipients)
            assert arrived - before <= BETWEEN
    left = NEWSLETTER + OWN + 3 - len(mx.taken)
    assert left > BETWEEN, "the newsletters were over before the resets were to pass them"
    done = len(mx.taken)
    assert len(mx.wait(done + 10)) >= done + 10
