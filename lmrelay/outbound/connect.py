"""
From an address of an MX host to a L{Connection} that is ready for mail, or to why not.

What goes wrong is a value. With opportunistic TLS a handshake that fails is followed by a
plaintext connection of its own, for nothing of the broken one can be used.
"""

from __future__ import annotations

import errno
from ipaddress import ip_address
from typing import Any

from attrs import define, evolve, field, frozen
from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import (
    ConnectBindError,
    ConnectionRefusedError,
    NoRouteError,
    TCPTimedOutError,
    TimeoutError,
)
from twisted.internet.interfaces import IAddress, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from lmrelay.config.words import TlsPolicy
from lmrelay.interfaces import ISettings
from lmrelay.mail.outcome import Delayed, Failed, Fault
from lmrelay.outbound.chunk import Chunkless
from lmrelay.outbound.client import Connection
from lmrelay.outbound.opening import Opening, TlsFailed
from lmrelay.outbound.rules import find_words
from lmrelay.outbound.terms import REQUIRETLS
from lmrelay.outbound.tls import Demand, Level, configured
from lmrelay.outbound.trace import step
from lmrelay.tasks import is_cancelled
from lmrelay.trust import Contexts

log = Logger()


@frozen
class Target:
    """
    One address of one MX host. C{host} is what a certificate must be valid for.

    C{source} is the address to connect from (empty: the system chooses), C{name} the one to say in EHLO (empty: the
    server's host name).
    """

    host: str
    address: str
    port: int = 25
    source: str = ""
    name: str = ""


@frozen
class HostFailure:
    """
    Why there is no connection. Temporary, for another host or a later time may do, but where a sender asks for what the
    host does not offer at all.

    C{of_host}: it is the host that speaks (its greeting, EHLO, TLS), so its other addresses
    need not be asked; else only this address did not answer. C{slow_down}: it asks for less at a time.
    C{demand}: mail that asks for this failed here, and mail that asks for less may not. C{failed} is why, then.
    C{of_source}: this machine has not got the source, so another may do. C{steps} are those until then, for the trace.
    """

    target: Target
    outcome: Delayed | Failed
    of_host: bool
    slow_down: bool = False
    tls_failure: str = ""
    demand: Demand | None = None
    failed: TlsFailed | None = None
    of_source: bool = False
    steps: tuple[str, ...] = field(default=(), eq=False, repr=False)


@define(eq=False)
class Connector:
    """
    Opens connections, each within the timeouts of the configuration in force.
    """

    reactor: Any
    clock: IReactorTime
    settings: ISettings
    _contexts: Contexts = field(init=False)
    _missing: set[str] = field(factory=set, init=False)
    _chunkless: Chunkless = field(factory=Chunkless, init=False)

    def __attrs_post_init__(self) -> None:
        self._contexts = Contexts(self.settings)

    async def connect(self, target: Target, demand: Demand) -> Connection | HostFailure:
        """
        Connect, greet, STARTTLS as C{demand} says. Never raises, but when it is cancelled. With
        opportunistic TLS a failed handshake is followed by a plaintext connection in the same call.
        """
        steps: list[str] = []
        result = await self._connect(target, demand, "", steps)
        if isinstance(result, TlsFailed) and demand.required > Level.NONE:
            outcome = _judge(result)
            failure = HostFailure(
                target, outcome, of_host=True, tls_failure=result.reason, demand=demand, failed=result
            )
            return evolve(failure, steps=tuple(steps))
        if isinstance(result, TlsFailed):
            result = await self._connect(target, _WITHOUT_TLS, result.reason, steps)
        if isinstance(result, TlsFailed):
            result = _unreachable(target, result.reason)
        if isinstance(result, HostFailure):
            return evolve(result, steps=tuple(steps))
        result.serve(demand)
        _watch(result, demand)
        return result

    async def _connect(
        self, target: Target, demand: Demand, tls_failure: str, steps: list[str]
    ) -> Connection | HostFailure | TlsFailed:
        config, began = self.settings.config, self.clock.seconds()
        connection = Connection(target.host, target.address, self.clock, config.delivery.timeouts)
        connection.opening, connection.source = steps, target.source
        connection.tls_failure = tls_failure
        connection.words = find_words(config, target.host)
        connection.chunkless = self._chunkless
        try:
            await self._endpoint(target).connect(_Once(connection))
            self._missing.discard(target.source)
        except Exception as error:
            # Whatever kept us from connecting, this address is not to be had now; giving up says nothing of it.
            if is_cancelled(error):
                raise CancelledError from error
            steps.append(step("connect", self.clock.seconds() - began, f"{_tell(target)}: {_reason(error)}"))
            if _is_ours(error):
                return self._short(target, error, tls_failure)
            return _unreachable(target, _reason(error), tls_failure)
        steps.append(step("connect", self.clock.seconds() - began, _tell(target)))
        opening = Opening(connection, demand, target.name or config.server.hostname, self._contexts.get)
        result = await opening.run()
        if result is None:
            return connection
        connection.close()
        if isinstance(result, TlsFailed):
            return result
        return HostFailure(target, result.outcome, True, result.slow_down, connection.tls_failure)

    def _short(self, target: Target, error: Exception, tls_failure: str) -> HostFailure:
        """
        This machine had nothing to connect with.
        """
        text = f"cannot connect from {target.source}: {_reason(error)}" if target.source else _reason(error)
        of_source = bool(target.source) and _is_foreign(error)
        if of_source and target.source not in self._missing:
            # Once: mail goes on from the others, and each attempt would say it again.
            self._missing.add(target.source)
            log.warn("source address is not one of this machine", source=target.source)
        outcome = Delayed("4.3.0", text, Fault.OURS)
        return HostFailure(target, outcome, False, tls_failure=tls_failure, of_source=of_source)

    def _endpoint(self, target: Target) -> IStreamClientEndpoint:
        timeout = self.settings.config.delivery.timeouts.connect
        endpoint = TCP4ClientEndpoint if ip_address(target.address).version == 4 else TCP6ClientEndpoint
        source = (target.source, 0) if target.source else None
        return endpoint(self.reactor, target.address, target.port, timeout=timeout, bindAddress=source)


def _judge(failed: TlsFailed) -> Delayed | Failed:
    text = f"TLS is required ({failed.policy}), but {failed.reason}"
    if failed.policy == REQUIRETLS and failed.unoffered:
        # Nobody promised that it would: the sender is to hear at once (RFC 8689 §4.2.1).
        return Failed("5.7.10", text, Fault.POLICY)
    return Delayed("4.7.5", text, Fault.POLICY)


_WITHOUT_TLS = configured(TlsPolicy.NONE)


def _watch(connection: Connection, demand: Demand) -> None:
    """
    Tell what policies that are only tested would have stopped.
    """
    for doubt in demand.watch(connection.shown):
        log.info(
            "a policy in testing would stop this delivery",
            policy=doubt.policy,
            host=connection.host,
            address=connection.address,
            domains=sorted(demand.domains),
            reason=doubt.reason,
            tls_failure=connection.tls_failure,
        )


class _Once(Factory):
    """
    A factory of one connection.
    """

    noisy = False

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def buildProtocol(self, addr: IAddress | None) -> Connection:
        return self._connection


def _tell(target: Target) -> str:
    return f"{target.host} [{target.address}]" + (f" from {target.source}" if target.source else "")


def _unreachable(target: Target, reason: str, tls_failure: str = "") -> HostFailure:
    text = f"cannot connect to {target.host} [{target.address}]: {reason}"
    return HostFailure(target, Delayed("4.4.1", text, Fault.NETWORK), of_host=False, tls_failure=tls_failure)


def _is_ours(error: Exception) -> bool:
    """
    Did this machine have nothing to connect with, so that nothing is known of the host?
    """
    number = getattr(error, "osError", None) or getattr(error, "errno", None)
    # A family that the kernel lacks is none of it: the address cannot be reached, and another may be.
    return number in _SHORTAGES or _is_foreign(error)


def _is_foreign(error: Exception) -> bool:
    """
    Is it that the source is no address of this machine?
    """
    return isinstance(error, ConnectBindError) and getattr(error, "osError", None) == errno.EADDRNOTAVAIL


def _reason(error: Exception) -> str:
    if _is_foreign(error):
        return "it is not an address of this machine"
    for kind, words in _REASONS:
        if isinstance(error, kind):
            return words
    return str(error) or type(error).__name__


_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_REASONS = (
    (ConnectionRefusedError, "the connection was refused"),
    (TimeoutError, "no answer in time"),
    (TCPTimedOutError, "no answer"),
    (NoRouteError, "there is no route"),
)
