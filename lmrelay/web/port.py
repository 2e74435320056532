"""
The listening socket of C{[http] listen}, on, off and moved by a reload, all or nothing with what else changes.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from lmrelay.config.checks import split_port
from lmrelay.web.door import Door, Root

BACKLOG = 64

log = Logger()

Place = tuple[str, int]


@define(eq=False)
class _Open:
    door: Door
    port: Any


@define(eq=False)
class HttpPort:
    """
    The socket that is open, and one that is to take its place.
    """

    _reactor: Any
    _root: Root
    _place: Place | None = field(default=None, init=False)
    _open: _Open | None = field(default=None, init=False)
    _next: Place | None = field(default=None, init=False)
    _prepared: _Open | None = field(default=None, init=False)

    @property
    def number(self) -> int | None:
        """
        The port in use: where 0 was configured, the one that was chosen. None: none is.
        """
        return None if self._open is None else int(self._open.port.getHost().port)

    def prepare(self, listen: str | None) -> tuple[str, ...]:
        """
        Open the socket of that configuration next to the one in use; L{keep} or L{drop} follows. The answer is what
        went wrong; then nothing was opened.
        """
        self._next = None if listen is None else split_port(listen, 0, "")
        if self._next is None or self._next == self._place:
            return ()
        host, number = self._next
        if self._place is not None and number and number == self._place[1]:
            # A socket that is closed is only free later, and until then there would be none to go back to.
            return (f"this relay has the port on {self._place[0]}; to move it to another interface takes a restart",)
        door = Door(self._root, self._reactor)
        try:
            port = self._reactor.listenTCP(number, door, backlog=BACKLOG, interface=host)
        except CannotListenError as error:
            return (f"cannot listen on {listen}: {error.socketError}",)
        self._prepared = _Open(door, port)
        return ()

    def keep(self) -> None:
        """
        What was prepared takes force.
        """
        if self._next == self._place:
            return
        self._close()
        self._place, self._open, self._prepared = self._next, self._prepared, None
        if self._place is not None:
            log.info("serving http", interface=self._place[0], port=self.number)

    def drop(self) -> None:
        """
        What was prepared is not wanted after all.
        """
        if self._prepared is not None:
            maybeDeferred(self._prepared.port.stopListening)
        self._prepared = None

    def stop(self) -> None:
        """
        Close the socket, and cut what is open.
        """
        self._next = None
        self.keep()

    def _close(self) -> None:
        if self._open is not None:
            maybeDeferred(self._open.port.stopListening)
            self._open.door.abort()
            self._open = None
            log.info("http closed", interface=(self._place or ("",))[0])
