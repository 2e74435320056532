"""
The SMTP client protocol: one connection, one message at a time, pipelined where offered.
"""

from __future__ import annotations

from collections.abc import Callable

from lmrelay.interfaces import IContent, Leased
from lmrelay.mail.outcome import Tls
from lmrelay.outbound.tls import Level
from lmrelay.outbound.verdicts import Verdict


class Connection:
    """
    A connection to one MX host that greeted us and answered EHLO: ready for transactions.

    Made by L{lmrelay.outbound.connect.Connector}. C{host} is the MX's name, C{address} its IP
    address. C{tls} is None for plaintext; C{tls_failure} says why TLS that was offered is not
    used. C{transactions} counts those begun.
    """

    host: str
    address: str
    tls: Tls | None
    tls_failure: str
    transactions: int

    @property
    def proved(self) -> Level:
        """
        The security the connection proved; compare with L{Demand.allows}.
        """
        raise NotImplementedError

    @property
    def is_usable(self) -> bool:
        """
        Can it take a transaction now? Once False after a transaction, it stays False.
        """
        raise NotImplementedError

    async def deliver(self, leased: Leased, content: IContent) -> dict[int, Verdict]:
        """
        One transaction: the message to these recipients (at most 100). Never raises.

        The answer has a verdict for every recipient, by number. The connection is usable
        afterwards only if C{is_usable}; what is not usable has closed itself.
        """
        raise NotImplementedError

    def notify_lost(self, lost: Callable[[Connection], None]) -> None:
        """
        Call C{lost}, once, when the connection ends or stops being usable while idle
        (the receiver closed it or said something unasked); at once if it already did.
        """
        raise NotImplementedError

    def close(self) -> None:
        """
        Say QUIT and close, without waiting for the answer. For idle connections.
        """
        raise NotImplementedError

    def abort(self, reason: str = "the relay is stopping") -> None:
        """
        Drop it at once. A C{deliver} under way ends with L{Delayed} for all unanswered.
        """
        raise NotImplementedError
