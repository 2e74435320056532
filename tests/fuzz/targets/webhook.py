"""
What an endpoint answers: whatever it is, the teller gets a result that fits its row, in bounded time and memory.

The answer is cut where the input has C{||}; pieces come a second apart, the last one ends the connection if the first
octet is odd.
"""

from __future__ import annotations

import re
from pathlib import Path
from random import Random
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol

from lmrelay.config.values import Config, Server
from lmrelay.events.post import MAX_TEXT, STATUSES, Post
from lmrelay.events.wire import MAX_BODY
from lmrelay.interfaces import Told
from lmrelay.testing.name_server import FakeResolver, Zone
from tests.fuzz.faults import no_faults
from tests.fuzz.shared import choices, sentences, take_octets
from tests.outbound.bench import Network, Settings

WORDS = (
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 204 x\r\n\r\n",
    b"\r\n",
    b"Content-Length: 5\r\n",
    b"hello",
    b"||",
    b"HTTP/1.1 ",
    b"99999",
    b"Transfer-Encoding: chunked\r\n",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"Content-Length: -1\r\n",
    b"HTTP/1.0 410 Gone\r\n\r\n",
    b"Content-Encoding: gzip\r\n",
    b"Location: http://127.0.0.1/\r\n",
    b"HTTP/1.1 301 x\r\n",
    b"\0",
    b"\n",
    b"Connection: close\r\n",
    b"Retry-After: 1\r\n",
    b"ffffffffffffffff\r\n",
    b"\x1f\x8b\x08",
    b"Upgrade: x\r\n",
    b"101",
    b"x" * 70,
    b"\xff",
    b"220 mx ESMTP\r\n",
    b": \r\n",
    b" folded\r\n",
    b"Content-Length: 5\r\nContent-Length: 6\r\n",
    b"HTTP/1.1 -1 x\r\n",
    b"HTTP/1.1 200\r\n",
)

examples = sentences(WORDS, 10, choices(1).map(lambda choice: choice + b"HTTP/1.1 200 OK\r\n"))

ADDRESS = "8.8.8.8"
TIMEOUT = 40.0


def target(data: bytes) -> None:
    """
    One request to an endpoint that answers so.
    """
    choice, script = take_octets(data, 1)
    with no_faults():
        network, zone = Network(), Zone()
        zone.addresses("shop.example", ADDRESS)
        endpoint = _Endpoint(network, script.split(b"||"), closes=bool(choice[0] & 1))
        network.servers[ADDRESS] = endpoint
        settings = Settings(Config(Path("lmrelay.toml"), Server("relay.example")))
        post = Post(network, network, settings, FakeResolver(zone), Random(1), lambda: 1_800_000_000.0)
        told: list[Any] = []
        body = b'{"event":"message.sent"}'
        sending = Deferred.fromCoroutine(post.send("http://shop.example/hook?a=b", {"X-A": "b"}, body))
        sending.addBoth(told.append)
        network.settle()
        network.pass_time(TIMEOUT, 1.0)
        post.close()
        network.settle()
        network.pass_time(1)
    [result] = told
    assert isinstance(result, Told), result
    _check(result)
    for heard in endpoint.heard:
        assert re.match(rb"POST /hook\?a=b HTTP/1\.1\r\n", heard)
        assert heard.endswith(b"\r\n\r\n" + body)
        assert 1 == heard.count(body)


def _check(told: Told) -> None:
    assert told.status is None or told.status in STATUSES
    assert len(told.text) <= MAX_TEXT
    assert len(told.body.encode("utf-8", "surrogatepass")) <= 3 * MAX_BODY
    assert told.status is not None or told.text


@define(eq=False, slots=False)
class _Endpoint(Factory):
    clock: Any
    pieces: list[bytes]
    closes: bool
    heard: list[bytearray] = field(factory=list)
    noisy = False

    def buildProtocol(self, addr: Any) -> Protocol:
        """
        One connection.
        """
        return _Answering(self)


class _Answering(Protocol):
    def __init__(self, endpoint: _Endpoint) -> None:
        self.endpoint, self.heard, self.begun = endpoint, bytearray(), False
        endpoint.heard.append(self.heard)

    def dataReceived(self, data: bytes) -> None:
        self.heard += data
        if not self.begun:
            self.begun = True
            self._say(0)

    def _say(self, number: int) -> None:
        transport: Any = self.transport
        if number < len(self.endpoint.pieces):
            transport.write(self.endpoint.pieces[number])
            self.endpoint.clock.callLater(1.0, self._say, number + 1)
        elif self.endpoint.closes:
            transport.loseConnection()
