"""
Endpoints that do what a test has them do, on a network in memory, and a relay's queue that tells them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

from attrs import define, evolve, field, frozen
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from lmrelay.config.project import Webhook
from lmrelay.config.values import Config, Webhooks
from lmrelay.events.post import Post
from lmrelay.events.teller import Teller
from lmrelay.shares import Shares
from lmrelay.testing.name_server import FakeResolver, Zone
from tests.outbound.bench import Network
from tests.queue.doubles import Settings
from tests.queue.hooks import SECRET
from tests.queue.world import World
from tests.signature import signed_at

PUBLIC = "8.8.8.8"


@frozen
class Got:
    """
    A request as it came.
    """

    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def events(self) -> list[dict[str, Any]]:
        found = json.loads(self.body)
        return found if isinstance(found, list) else [found]


def is_signed(got: Got, secret: str = SECRET, prefix: str = "x-lettermint") -> bool:
    """
    Written from the documentation: is any of its signatures that of this secret?
    """
    return signed_at(got.headers, got.body, secret, prefix) is not None


Say = Callable[[Got], int | None]
"""
The status it answers with; None: it never does.
"""


@define(eq=False, slots=False)
class Hook(Resource):
    """
    A web server with all endpoints of a host. C{say} decides.
    """

    clock: Any
    say: Say = lambda _: 204
    body: bytes = b""
    headers: dict[str, str] = field(factory=dict)
    got: list[Got] = field(factory=list)
    now: int = 0
    most: int = 0
    isLeaf = True

    def __attrs_post_init__(self) -> None:
        Resource.__init__(self)

    def render_POST(self, request: Request) -> Any:
        headers = {k.decode().lower(): v[0].decode() for k, v in request.requestHeaders.getAllRawHeaders()}
        got = Got(request.uri.decode(), headers, request.content.read(), self.clock.seconds())
        self.got.append(got)
        status = self.say(got)
        if status is None:
            self.now += 1
            self.most = max(self.most, self.now)
            request.notifyFinish().addBoth(self._end)
            return NOT_DONE_YET
        request.setResponseCode(status)
        for name, value in self.headers.items():
            request.setHeader(name, value)
        return self.body

    def _end(self, _: object) -> None:
        self.now -= 1

    def site(self) -> Site:
        """
        The server, less TLS.
        """
        site = Site(self, reactor=self.clock)
        site.noisy = False
        return site

    @property
    def ids(self) -> list[str]:
        """
        The ids of the events it got, in order.
        """
        return [one["id"] for got in self.got for one in got.events]


def plain(name: str = "shop", **more: Any) -> Webhook:
    """
    An endpoint without TLS.
    """
    return Webhook(name, f"http://{name}.example/hook", SECRET, **more)


@define(eq=False)
class Stage:
    """
    A queue whose events are told over a network in memory.
    """

    config: Config
    network: Network = field(factory=Network)
    zone: Zone = field(factory=Zone)
    world: World = field(init=False)
    settings: Settings = field(init=False)
    teller: Teller = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.world = World(self.config, clock=self.network)
        self.settings = Settings(self.config)

    def start(self) -> None:
        self.world.start()
        self.begin()

    def begin(self) -> None:
        """
        The queue runs: tell what is due.
        """
        self.settings = self.world.queue._settings  # type: ignore[assignment]
        post = Post(self.network, self.network, self.settings, FakeResolver(self.zone), Random(1), self.world.wall)
        self.teller = Teller(self.network, self.settings, post, self.world.wall, Shares(50, 1))
        self.teller.start(self.world.queue.hooks)

    def serve(self, name: str = "shop", address: str = PUBLIC, say: Say = lambda _: 204) -> Hook:
        """
        A server of that host at that address.
        """
        self.zone.addresses(f"{name}.example", address)
        hook = Hook(self.network, say)
        self.network.servers[address] = hook.site()
        return hook

    def reconfigure(self, **webhooks: Any) -> None:
        config = self.settings.config
        self.settings.config = evolve(config, webhooks=evolve(config.webhooks, **webhooks))

    def run(self, seconds: float, step: float = 0.25) -> None:
        """
        Let time pass.
        """
        self.network.settle()
        self.network.pass_time(seconds, step)

    def stop(self) -> None:
        self.teller.drain()
        self.teller.stop()
        self.network.settle()
        self.world.stop()
        self.network.settle()


DEFAULT = Webhooks()
