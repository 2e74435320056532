"""
Endpoints that mean harm: what they answer is bounded, and counts for nothing but the request that it answers.
"""

from __future__ import annotations

import gzip
from typing import Any

from twisted.internet.protocol import Factory, Protocol

from lmrelay.events.post import MAX_RESPONSE, MAX_TEXT
from lmrelay.events.wire import MAX_BODY
from tests.events import test_post
from tests.events.bench import PUBLIC
from tests.events.test_post import NAME

OK = b"HTTP/1.1 200 OK\r\n"
FINE = OK + b"Content-Length: 0\r\n\r\n"

REFUSED = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"

NO_ANSWERS = {
    "HTTP/0.9": b"hello\r\n\r\n",
    "another protocol": b"220 mx.example ESMTP\r\n250 ok\r\n",
    "100 for ever": b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000,
    "a line without end": b"HTTP/1.1 200 " + b"x" * 10_000_000,
    "a field without end": OK + b"X-A: " + b"x" * 10_000_000,
    "a folded field without end": OK + b"X-A: b\r\n" + b" x\r\n" * 1_000_000,
    "no length": OK + b"Content-Length: x\r\n\r\n",
    "two lengths": OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "control characters": OK + b"X\x1b[2J: \x1b[31m\r\nContent-Length: 0\r\n\r\n",
    "less than nothing": OK + b"Content-Length: -1\r\n\r\n",
}
"""
What is no HTTP, or no end of it.
"""

ANSWERS = {
    "chunks without end": OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"5\r\nhello\r\n" * 100_000,
    "a chunk of any size": OK + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n" + b"x" * 1_000_000,
    "a body of any size": OK + b"Content-Length: 99999999999999999999\r\n\r\n" + b"x" * 1_000_000,
    "a gzip bomb": OK
    + b"Content-Encoding: gzip\r\nContent-Length: 9999\r\n\r\n"
    + gzip.compress(bytes(5_000_000), mtime=0),
}
"""
What has a status, and then no measure.
"""


class HostileTests(test_post.Posting):
    def test_no_answer(self) -> None:
        """
        It is told as such in few words, and the connection is left.
        """
        for name, octets in NO_ANSWERS.items():
            self.answer(octets)
            sending = self.begin(f"http://{NAME}/")
            self.network.pass_time(31)
            told = self.successResultOf(sending)
            self.assertEqual((None, ""), (told.status, told.body), name)
            self.assertLessEqual(len(told.text), MAX_TEXT, name)
            self.assertTrue(all(wire.client.disconnected for wire in self.network.wires), name)

    def test_no_measure(self) -> None:
        """
        The status counts; of the body so much is kept, nothing is unpacked, and no more is read than a good one has.
        """
        for name, octets in ANSWERS.items():
            self.answer(octets)
            sending = self.begin(f"http://{NAME}/")
            self.network.pass_time(6)
            told = self.successResultOf(sending)
            self.assertEqual(200, told.status, name)
            self.assertLessEqual(len(told.body or ""), MAX_BODY, name)
            self.network.settle()
            [left] = [len(wire.server.outgoing) for wire in self.network.wires[-1:]]
            self.assertEqual(0, left if len(octets) < MAX_RESPONSE else 0, name)

    def test_redirects(self) -> None:
        """
        Wherever a redirect leads, by whatever scheme, nobody goes there, be it allowed.
        """
        self.allow("127.0.0.0/8")
        self.listen("127.0.0.1", None)
        for place in (b"http://127.0.0.1/", b"//127.0.0.1:25/", b"http://shop.example:25/", b"file:///etc/passwd"):
            self.answer(b"HTTP/1.1 307 Elsewhere\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % place)
            self.assertEqual(307, self.send(f"http://{NAME}/").status)
        self.assertEqual((1, []), (len(self.network.wires), self.hook.got))

    def test_answers_in_advance(self) -> None:
        """
        An answer to what was not asked yet is never the next request's, however much of it comes with the one before.
        """
        for cut in range(len(FINE) + 1):

            class Eager(Protocol):
                asked = 0
                ahead = FINE[:cut]

                def dataReceived(self, data: bytes) -> None:
                    self.asked += 1
                    transport: Any = self.transport
                    transport.write(FINE + self.ahead if self.asked == 1 else REFUSED)

            self.network.servers[PUBLIC] = Factory.forProtocol(Eager)
            url = f"http://{NAME}/{cut}"
            self.assertEqual(200, self.send(url).status)
            self.network.wires[-1].server.write(FINE[cut:])
            self.network.settle()
            self.answer(REFUSED)
            self.assertEqual(500, self.send(url).status, cut)
            self.post.close()
