"""
The listening sockets: begun all or none, and changed by a reload without dropping a session.

C{::} takes IPv4 too; where there is no IPv6, C{0.0.0.0} stands in for it. Port 0 is any free one.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IReactorTCP
from twisted.logger import Logger

from lmrelay.config.values import Listener
from lmrelay.inbound.factory import SubmissionFactory, describe
from lmrelay.inbound.services import Services

BACKLOG = 1024
_NO_IPV6 = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})

Key = tuple[str, int, str, int]
"""
Interface and port as configured. Several may ask for any free port, so there it is known by its security too, and by
which of them it is: one that goes must not pass its port on to another that is less protected.
"""


@define(eq=False)
class _Open:
    factory: SubmissionFactory
    port: Any


@define(eq=False)
class Listeners:
    """
    The listeners that are open, by interface and port as configured.
    """

    reactor: IReactorTCP
    services: Services
    log: Logger = field(factory=Logger)
    _open: dict[Key, _Open] = field(factory=dict)
    _leaving: list[SubmissionFactory] = field(factory=list)

    def change(self, listeners: Iterable[Listener]) -> tuple[str, ...]:
        """
        Open these and close all others; kept ones go by their new settings.

        The answer is what went wrong, a line each naming the listener. Then nothing was changed.
        """
        wanted = _number(listener for listener in listeners if listener.enabled)
        added: dict[Key, _Open] = {}
        errors = []
        for key, listener in wanted.items():
            if key not in self._open:
                try:
                    added[key] = self._listen(listener)
                except CannotListenError as error:
                    reason = self._find_holder(key) or f"cannot listen: {error.socketError}"
                    errors.append(f"listener {describe(listener)}: {reason}")
        if errors:
            for begun in added.values():
                maybeDeferred(begun.port.stopListening)
            return tuple(errors)
        for key in self._open.keys() - wanted.keys():
            self._close(key)
        for key, kept in self._open.items():
            kept.factory.listener = wanted[key]
        self._open.update(added)
        for key, begun in added.items():
            listener = wanted[key]
            self.log.info(
                "listening",
                port=begun.factory.port,
                interface=listener.interface,
                security=listener.security.value,
                configured=listener.port,
            )
        return ()

    def hold(self) -> None:
        """
        Keep the ports, but greet nobody: who connects waits until L{release}.
        """
        for opened in self._open.values():
            opened.port.stopReading()

    def release(self) -> None:
        """
        Greet those who wait, and all who come.
        """
        for opened in self._open.values():
            opened.port.startReading()

    def ports(self) -> dict[Key, int]:
        """
        The ports in use, by L{Key}: where 0 was configured, the one that was chosen.
        """
        return {key: opened.factory.port or key[1] for key, opened in self._open.items()}

    def stop(self) -> Deferred[None]:
        """
        Take no more connections, and let the open ones end. Fires when all have.
        """
        for key in list(self._open):
            self._close(key)
        return Deferred.fromCoroutine(self._wait())

    def abort(self) -> None:
        """
        Cut the sessions that are left.
        """
        for factory in self._leaving:
            factory.abort()

    def _find_holder(self, key: Key) -> str:
        """
        Why the port is not to be had, if this relay itself has it on another interface: a socket that is closed is
        only free later, and until then there would be none to go back to.
        """
        for interface, port, *_ in self._open:
            if port and port == key[1] and interface != key[0]:
                return f"this relay has the port on {interface}; to move it to another interface takes a restart"
        return ""

    async def _wait(self) -> None:
        await gatherResults([factory.drain() for factory in self._leaving])
        self._leaving.clear()

    def _close(self, key: Key) -> None:
        closed = self._open.pop(key)
        self._leaving = [factory for factory in self._leaving if factory.sessions] + [closed.factory]
        maybeDeferred(closed.port.stopListening)
        self.log.info("listener closed", listener=describe(closed.factory.listener, closed.factory.port))
        closed.factory.drain()

    def _listen(self, listener: Listener) -> _Open:
        factory = SubmissionFactory(self.services, listener)
        try:
            port = self.reactor.listenTCP(listener.port, factory, backlog=BACKLOG, interface=listener.interface)
        except CannotListenError as error:
            if listener.interface != "::" or getattr(error.socketError, "errno", None) not in _NO_IPV6:
                raise
            port = self.reactor.listenTCP(listener.port, factory, backlog=BACKLOG, interface="0.0.0.0")
        factory.port = getattr(port.getHost(), "port", listener.port)
        return _Open(factory, port)


def _number(listeners: Iterable[Listener]) -> dict[Key, Listener]:
    numbered: dict[Key, Listener] = {}
    for listener in listeners:
        security = "" if listener.port else listener.security.value
        place = sum(key[:3] == (listener.interface, listener.port, security) for key in numbered)
        numbered[(listener.interface, listener.port, security, place)] = listener
    return numbered
