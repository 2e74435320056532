"""
Content on its way out: no faster than the receiver takes it.
"""

from __future__ import annotations

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IPushProducer
from zope.interface import implementer


@implementer(IPushProducer)
@define(eq=False)
class Flow:
    """
    What a connection's transport is told of blocks of content, and tells of the room it has for more.

    C{is_full}: wait for L{room} before the next block.
    """

    is_full: bool = field(default=False, init=False)
    _consumer: IConsumer | None = field(default=None, init=False)
    _room: Deferred[None] | None = field(default=None, init=False)

    def write(self, consumer: IConsumer, octets: bytes) -> None:
        """
        Hand a block over.
        """
        if self._consumer is None:
            self._consumer = consumer
            consumer.registerProducer(self, True)
        consumer.write(octets)

    async def room(self) -> None:
        """
        Until there is room again.
        """
        self._room = Deferred()
        try:
            await self._room
        finally:
            self._room = None

    def stop(self, *, connected: bool) -> None:
        """
        The content is through, or given up.
        """
        consumer, self._consumer = self._consumer, None
        self.is_full = False
        if consumer is not None and connected:
            consumer.unregisterProducer()

    def pauseProducing(self) -> None:
        self.is_full = True

    def resumeProducing(self) -> None:
        self.is_full = False
        room, self._room = self._room, None
        if room is not None:
            room.callback(None)

    def stopProducing(self) -> None:
        """
        The connection is lost, which it is told by itself.
        """
