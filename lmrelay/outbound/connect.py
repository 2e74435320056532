"""
From an address of an MX host to a L{Connection} that is ready for mail, or to why not.
"""

from __future__ import annotations

from attrs import define, frozen
from twisted.internet.interfaces import IReactorTCP, IReactorTime

from lmrelay.interfaces import ISettings
from lmrelay.mail.outcome import Delayed
from lmrelay.outbound.client import Connection
from lmrelay.outbound.tls import Demand


@frozen
class Target:
    """
    One address of one MX host. C{host} is what a certificate must be valid for.
    """

    host: str
    address: str
    port: int = 25


@frozen
class HostFailure:
    """
    Why there is no connection. Always temporary: another host or a later time may do.

    C{of_host}: it is the host that speaks (its greeting, EHLO, TLS), so its other addresses
    need not be asked; else only this address did not answer. C{slow_down}: it asks for less at a time.
    """

    target: Target
    outcome: Delayed
    of_host: bool
    slow_down: bool = False
    tls_failure: str = ""


@define(eq=False)
class Connector:
    """
    Opens connections.
    """

    reactor: IReactorTCP
    clock: IReactorTime
    settings: ISettings

    async def connect(self, target: Target, demand: Demand) -> Connection | HostFailure:
        """
        Connect, greet, STARTTLS as C{demand} says. Never raises. With opportunistic TLS a failed
        handshake is followed by a plaintext connection in the same call.
        """
        raise NotImplementedError
