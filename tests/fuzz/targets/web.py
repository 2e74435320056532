"""
A connection to the port for people and their monitoring, from its first octet on.

However much of HTTP it is, there is at most one answer, which is whole, says what ours say, and quotes nothing.
"""

from __future__ import annotations

import re
from functools import cache

from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from lmrelay.config.values import Http
from lmrelay.web.door import SAFE
from tests.fuzz.faults import no_faults
from tests.fuzz.shared import cuts, sentences
from tests.web.front import Front

WORDS = (
    b"GET /",
    b" HTTP/1.1\r\n",
    b"Host: 127.0.0.1:9100\r\n",
    b"\r\n",
    b"metrics",
    b"health",
    b"status",
    b"?q=",
    b"HEAD /",
    b"POST /",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"Authorization: Basic ",
    b"Og==",
    b"Host: evil.example\r\n",
    b"%0d%0a",
    b"../",
    b"%00",
    b"<script>",
    b"Sec-Fetch-Site: cross-site\r\n",
    b" HTTP/1.0\r\n",
    b"\0",
    b"Connection: keep-alive\r\n",
    b"Expect: 100-continue\r\n",
    b"OPTIONS *",
    b"\n",
    b" HTTP/2.0\r\n",
    b"Content-Length: -1\r\n",
    b"/message?id=",
    b"&recipient=a%40b.example",
    b"/static/style.css",
    b"/sites",
    b"Range: bytes=0-1\r\n",
    b"\xff",
    b"\r",
    b"http://x/",
)

examples = sentences(WORDS, 12, sentences((b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\n", b"GET /"), 1))

_HEADS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2}) [ -~]*\r\n((?:[!-9;-~]+: [ -~\x80-\xff]*\r\n)*)\r\n")


@cache
def _front() -> Front:
    """
    One for all inputs: none may leave anything behind.
    """
    front = Front(Http("127.0.0.1:9100", status=True))
    front.open()
    return front


class _Transport(StringTransport):
    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True
        self.loseConnection()


def target(data: bytes) -> None:
    """
    The octets in one piece and in others.
    """
    with no_faults():
        whole = _talk([data])
        _check(whole, data)
        for pieces in cuts(data, 100):
            assert _without_numbers(whole) == _without_numbers(_talk(pieces))


def _talk(pieces: list[bytes]) -> bytes:
    front = _front()
    transport = _Transport()
    protocol = front.reactor.tcpServers[-1][1].buildProtocol(None)
    protocol.makeConnection(transport)
    for piece in pieces:
        if transport.disconnecting:
            break
        protocol.dataReceived(piece)
    front.reactor.advance(0)
    protocol.connectionLost(Failure(ConnectionDone()))
    answer: bytes = transport.value()
    return answer


def _check(answer: bytes, octets: bytes) -> None:
    answer = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    if not answer:
        return
    head = _HEADS.match(answer)
    assert head is not None, answer[:200]
    code, body = int(head[1]), answer[head.end() :]
    fields = [line.split(b": ", 1) for line in head[2].split(b"\r\n")[:-1]]
    named = {name.lower(): value for name, value in fields}
    assert b"HTTP/1." not in body, "two answers"
    if code == 400 and not body:
        # The library's own, to what is no HTTP.
        return
    assert {name.lower().encode() for name in SAFE} <= set(named)
    if not octets.startswith(b"HEAD"):
        assert int(named[b"content-length"]) == len(body)
    assert b"<script>" not in body


def _without_numbers(answer: bytes) -> bytes:
    """
    What does not change from one request to the next.
    """
    return re.sub(rb"[0-9]+", b"0", answer)
