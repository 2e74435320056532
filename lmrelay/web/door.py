"""
HTTP as this port speaks it: GET and HEAD alone, no bodies, one request a connection and few of these, no line in the
log for each.

Whoever reaches the port gets little of the process: what is read is bounded, and what is not wanted is dropped.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from io import BytesIO
from typing import Any, cast

from attrs import field, frozen
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from lmrelay.tasks import Tasks

MAX_CONNECTIONS = 64
IDLE = 30.0
LIFE = 60.0
MAX_BODY = 64 * 1024
"""
Connections at a time; seconds that one may say nothing, and that it may last; octets of a body, which nobody reads,
before it is cut off.
"""

PLAIN = "text/plain; charset=utf-8"

SAFE: Mapping[str, str] = {
    "Server": "lmrelay",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
}
"""
What every answer says, unless it says otherwise itself: nothing is kept, framed, guessed at or loaded.
"""

log = Logger()


@frozen
class Answer:
    """
    What a request gets. C{headers} are laid over L{SAFE}.
    """

    body: bytes
    type: str = PLAIN
    code: int = 200
    headers: Mapping[str, str] = field(factory=dict)


def say(text: str, code: int = 200, **headers: str) -> Answer:
    """
    A line of plain text.
    """
    return Answer(f"{text}\n".encode(), PLAIN, code, headers)


def read_field(request: Request, name: str) -> str:
    """
    A field of the head, several of the name as one (RFC 9110 §5.3); empty: there is none. Whatever octets it has.
    """
    return ", ".join(one.decode("latin-1") for one in request.requestHeaders.getRawHeaders(name.encode("ascii"), []))


Compose = Callable[[Request], Awaitable[Answer]]


class Page(Resource):
    """
    One address, with nothing below it. What C{compose} raises is a fault of ours: logged, and 500 for the client.
    """

    isLeaf = True

    def __init__(self, tasks: Tasks, compose: Compose) -> None:
        Resource.__init__(self)
        self._tasks, self._compose = tasks, compose

    def render(self, request: Request) -> int:
        """
        Answer in a while.
        """
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)
        self._tasks.start(self._answer(request, gone))
        return NOT_DONE_YET

    async def _answer(self, request: Request, gone: list[object]) -> None:
        try:
            answer = await self._choose(request)
        except Exception:  # noqa: BLE001 - whatever broke, the client is answered and the operator told
            log.failure("a page broke", path=request.path.decode("ascii", "replace")[:200])
            answer = say("the relay had an internal error; its log says more", 500)
        if not gone:
            write(request, answer)

    async def _choose(self, request: Request) -> Answer:
        if request.method not in (b"GET", b"HEAD"):
            return say("only GET and HEAD are answered here", 405, Allow="GET, HEAD")
        return await self._compose(request)


def write(request: Request, answer: Answer) -> None:
    """
    Send it and end the request.
    """
    request.setResponseCode(answer.code)
    for name, value in {**SAFE, "Content-Type": answer.type, **answer.headers}.items():
        request.setHeader(name.encode("ascii"), value.encode("latin-1"))
    request.setHeader(b"Content-Length", b"%d" % len(answer.body))
    request.write(answer.body)
    request.finish()


class Root(Resource):
    """
    C{find} gives the page at a path, None: there is none. It is asked at each request, so a reload needs no new root.
    """

    isLeaf = True

    def __init__(self, find: Callable[[str], Page | None]) -> None:
        Resource.__init__(self)
        self._find = find

    def render(self, request: Request) -> int:
        """
        Pass it on to the page.
        """
        if isinstance(request, Bodiless) and request.is_unwanted:
            write(request, say("a request here has no body", 413, Connection="close"))
            return NOT_DONE_YET
        page = self._find(request.path.decode("ascii", "replace"))
        if page is None:
            write(request, say("there is no such page", 404))
            return NOT_DONE_YET
        return page.render(request)


class Bodiless(Request):
    """
    A request whose body, if it brings one, is not kept.
    """

    is_unwanted = False
    _octets = 0

    def process(self) -> None:
        """
        C{OPTIONS *} too is for our pages, of which there is none at C{*}; else Twisted tells its version there.
        """
        if self.path == b"*":
            self.path = b"/*"
        Request.process(self)

    def gotLength(self, length: int | None) -> None:
        """
        Keep no body, whatever its length.
        """
        self.content = BytesIO()
        self.is_unwanted = length is None or length > 0

    def handleContentChunk(self, data: bytes) -> None:
        """
        Drop it; too much of it, and the connection too.
        """
        self._octets += len(data)
        if self._octets > MAX_BODY:
            cast(Channel, self.channel).abort()


class Channel(HTTPChannel):
    """
    A connection that the door knows of.
    """

    transport: Any
    _end: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """
        However slowly it writes or reads, it does not last.
        """
        HTTPChannel.connectionMade(self)
        self._end = self.callLater(LIFE, self.abort)  # type: ignore[no-untyped-call]

    def checkPersistence(self, request: Any, version: bytes) -> bool:
        """
        One request, else who sends many at once and reads nothing has all answers gather in memory.
        """
        request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        return False

    def timeoutConnection(self) -> None:
        """
        Nothing came for long. That is worth no line in the log: browsers open connections and have no use for them.
        """
        self.abort()

    def abort(self) -> None:
        """
        Cut it.
        """
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        It is gone.
        """
        if self._end is not None and self._end.active():
            self._end.cancel()
        HTTPChannel.connectionLost(self, reason)
        self.factory.forget(self)


class Door(Site):
    """
    A site with few connections at a time, and no access log: probes come every few seconds, for ever. One too many
    takes the place of the oldest, so that nobody who holds many keeps a probe out.
    """

    noisy = False
    requestFactory = Bodiless
    protocol = Channel  # type: ignore[assignment]

    def __init__(self, root: Root, reactor: IReactorTime) -> None:
        Site.__init__(self, root, timeout=IDLE, reactor=reactor)
        self._open: dict[Channel, None] = {}

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """
        A channel.
        """
        if len(self._open) >= MAX_CONNECTIONS:
            oldest = next(iter(self._open))
            self.forget(oldest)
            oldest.abort()
        channel: Channel = Site.buildProtocol(self, addr)
        self._open[channel] = None
        return channel

    def forget(self, channel: Channel) -> None:
        """
        It is closed.
        """
        self._open.pop(channel, None)

    def abort(self) -> None:
        """
        Cut what is open.
        """
        for channel in list(self._open):
            channel.abort()

    def startFactory(self) -> None:
        """
        Nothing to begin: it would be the log, and a timer for its dates.
        """

    def stopFactory(self) -> None:
        """
        Nothing to end.
        """

    def log(self, request: Any) -> None:
        """
        Say nothing.
        """
