"""
What a request needs of twisted.web: a pool that remembers which connection it gave, an agent that unpacks nothing, a
body out of memory, and one of which only the beginning is read.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer, IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import HTTPConnectionPool
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

MAX_BODY = 2048
"""
Octets of an answer's body that are kept.
"""


@define(eq=False)
class Taken:
    """
    A pool for one request, which remembers the connection that it gave.
    """

    _pool: HTTPConnectionPool
    persistent: bool = True
    is_fresh: bool = field(default=False, init=False)
    _connection: Any = field(default=None, init=False)

    def getConnection(self, key: object, endpoint: IStreamClientEndpoint) -> Deferred[Any]:
        """
        See L{HTTPConnectionPool}.
        """
        getting: Deferred[Any] = self._pool.getConnection(key, _Noted(endpoint, self))
        return getting.addCallback(self._note)

    def _note(self, connection: Any) -> Any:
        self._connection = connection
        return connection

    def abort(self) -> None:
        """
        Drop it.
        """
        if self._connection is not None:
            self._connection.abort()


@implementer(IStreamClientEndpoint)
@define(eq=False, repr=False)
class _Noted:
    """
    Tells when a connection had to be made.
    """

    _endpoint: IStreamClientEndpoint
    _taken: Taken

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        See L{IStreamClientEndpoint}.
        """
        self._taken.is_fresh = True
        return self._endpoint.connect(protocolFactory)


@implementer(IBodyProducer)
@define(eq=False)
class Octets:
    """
    A body that is in memory.
    """

    _octets: bytes

    @property
    def length(self) -> int:
        """
        See L{IBodyProducer}.
        """
        return len(self._octets)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """
        All at once.
        """
        consumer.write(self._octets)
        return succeed(None)

    def pauseProducing(self) -> None:
        """
        Nothing to pause.
        """

    def resumeProducing(self) -> None:
        """
        Nothing to go on with.
        """

    def stopProducing(self) -> None:
        """
        Nothing to stop.
        """


class Beginning(Protocol):
    """
    Gathers the beginning of a body. C{is_whole}: there is no more of it.
    """

    def __init__(self) -> None:
        self.done: Deferred[None] = Deferred()
        self.gathered = bytearray()
        self.is_whole = False

    def dataReceived(self, data: bytes) -> None:
        """
        More than enough ends it.
        """
        self.gathered += data
        if len(self.gathered) > MAX_BODY:
            self._end()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        That was all.
        """
        self.is_whole = not self.done.called
        self._end()

    def _end(self) -> None:
        if not self.done.called:
            self.done.callback(None)
