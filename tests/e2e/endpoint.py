"""
An endpoint on a loopback address that takes events, fails, stalls and drops connections, and counts all it got.

Its verifier is written from the documentation alone.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from attrs import define, field, frozen

from tests.signature import signed_at

TAKE, FAIL, STALL, DROP = "take", "fail", "stall", "drop"


@frozen
class Post:
    """
    A request, and what the endpoint did with it.
    """

    headers: dict[str, str]
    body: bytes
    deed: str

    @property
    def events(self) -> list[dict[str, Any]]:
        found = json.loads(self.body)
        return found if isinstance(found, list) else [found]


def verify(post: Post, secret: str) -> bool:
    """
    Was it signed with that secret, at the time that it says?
    """
    return signed_at(post.headers, post.body, secret) == post.headers["x-lettermint-delivery"]


def usually(seed: int) -> Callable[[], str]:
    """
    Mostly it works.
    """
    source = random.Random(seed)
    return lambda: source.choices((TAKE, FAIL, STALL, DROP), (70, 12, 4, 14))[0]


@define(eq=False)
class Endpoint:
    """
    C{choose} says what to do with the next request; it stalls until L{close}.
    """

    choose: Callable[[], str] = lambda: TAKE
    got: list[Post] = field(factory=list)
    _server: ThreadingHTTPServer = field(init=False)
    _over: threading.Event = field(factory=threading.Event)
    _lock: threading.Lock = field(factory=threading.Lock)

    def __attrs_post_init__(self) -> None:
        endpoint = self

        class Answer(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                endpoint.answer(self, {name.lower(): value for name, value in self.headers.items()}, body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            # Else the kernel has those wait a second who come at the same time.
            request_queue_size = 100

        self._server = Server(("127.0.0.1", 0), Answer)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, asked: BaseHTTPRequestHandler, headers: dict[str, str], body: bytes) -> None:
        with self._lock:
            deed = self.choose()
            self.got.append(Post(headers, body, deed))
        if deed == STALL:
            self._over.wait(5)
        if deed in (STALL, DROP):
            asked.close_connection = True
            return
        asked.send_response(200 if deed == TAKE else 503)
        asked.send_header("Content-Length", "2")
        asked.end_headers()
        asked.wfile.write(b"ok")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/hook"

    def close(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
