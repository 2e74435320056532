"""
What a session is given, and what it knows of its client: the values of this room.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from ssl import SSLContext
from typing import Union

from attrs import field, frozen
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from lmrelay.config.values import Config
from lmrelay.config.words import Security
from lmrelay.inbound.holdings import Holdings
from lmrelay.inbound.limits import ConnectionLimits, LoginFailures
from lmrelay.inbound.visitors import Visitors
from lmrelay.interfaces import IAcceptance, IReturns, ISettings
from lmrelay.mail.signing import Signers
from lmrelay.smtp.reply import Reply

Step = Union[Reply, Awaitable[Union[Reply, None]], None]
"""
What a session does next: say this; await this and say its result, if any; or read more.
"""


@frozen(eq=False)
class Services:
    """
    What all sessions share, whatever port they came by.

    C{context} gives the TLS context in force, or None where there is no
    certificate; C{offer_cram} says whether CRAM-MD5 is offered now; C{returns} gives what remembers what comes back,
    which is there once the relay has started. C{wall} is seconds since the
    epoch, C{entropy(n)} n random octets. C{most_connections} is what the process can bear.
    """

    reactor: IReactorTime
    settings: ISettings
    portal: Portal
    acceptance: IAcceptance
    wall: Callable[[], float]
    entropy: Callable[[int], bytes]
    context: Callable[[], SSLContext | None]
    offer_cram: Callable[[], bool]
    returns: Callable[[], IReturns]
    most_connections: int = sys.maxsize
    connections: ConnectionLimits = field()
    failures: LoginFailures = field()
    visitors: Visitors = field()
    signers: Signers = field()
    holdings: Holdings = field(factory=Holdings)

    @connections.default
    def _make_connections(self) -> ConnectionLimits:
        return ConnectionLimits(lambda: self.settings.config.limits, self.most_connections)

    @failures.default
    def _make_failures(self) -> LoginFailures:
        return LoginFailures(self.reactor.seconds)

    @visitors.default
    def _make_visitors(self) -> Visitors:
        return Visitors(self.settings, self.reactor.seconds)

    @signers.default
    def _make_signers(self) -> Signers:
        return Signers(lambda: self.settings.config.dkim)

    @property
    def config(self) -> Config:
        """
        The configuration in force.
        """
        config: Config = self.settings.config
        return config

    def sleep(self, seconds: float) -> Deferred[None]:
        """
        Fires after so long.
        """
        return deferLater(self.reactor, seconds)


@frozen
class Client:
    """
    What is known of a client. C{address} is its IP address, IPv4-mapped ones unmapped;
    C{tls_version} is empty in clear. C{takes_bounces}: its listener does.
    """

    address: str
    listener: str
    security: Security
    takes_bounces: bool = False
    helo: str = ""
    esmtp: bool = False
    tls_version: str = ""
    tls_cipher: str = ""

    def named(self, helo: str, *, esmtp: bool) -> Client:
        """
        The same once it said its name, by EHLO or by HELO.
        """
        known = (self.address, self.listener, self.security, self.takes_bounces)
        return Client(*known, helo, esmtp, self.tls_version, self.tls_cipher)

    def in_tls(self, version: str, cipher: str) -> Client:
        """
        The same within TLS, where it has not said its name yet.
        """
        known = (self.address, self.listener, self.security, self.takes_bounces)
        return Client(*known, tls_version=version, tls_cipher=cipher)

    @property
    def is_secure(self) -> bool:
        """
        May a token be said here?
        """
        return bool(self.tls_version) or self.security is Security.PLAIN

    @cached_property
    def tls(self) -> str:
        """
        Version and cipher, or empty.
        """
        return f"{self.tls_version} {self.tls_cipher}" if self.tls_version else ""

    @cached_property
    def facts(self) -> Mapping[str, str]:
        """
        For those who ask later how a message came in.
        """
        facts = {"helo": self.helo, "address": self.address, "listener": self.listener, "tls": self.tls}
        return {key: value for key, value in facts.items() if value}
