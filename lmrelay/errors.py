"""
Every exception that lmrelay raises on purpose.

Only L{Refused} becomes an SMTP reply. What a remote server does is never an
exception but an outcome (L{lmrelay.mail.outcome}).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from lmrelay.smtp.reply import Reply


class LmrelayError(Exception):
    """
    The root of the errors below.
    """


class Refused(LmrelayError):
    """
    The client gets C{reply}; nothing else of the error is for its eyes.
    """

    def __init__(self, reply: Reply, reason: str = "") -> None:
        super().__init__(reason or str(reply))
        self.reply = reply
        self.reason = reason


class StoreError(LmrelayError):
    """
    The store could not do it now; nothing of it was stored. Clients get 451.
    """


class StoreFull(StoreError):
    """
    There is no room on the disk. Clients get 452.
    """


class StoreFault(StoreError):
    """
    What was to be stored is wrong, not the store: trying others makes sense.
    """


class StoreChanged(StoreError):
    """
    What was taken for known is no longer so, and is no longer taken for known: it is to be tried again at once.
    """


class DnsError(LmrelayError):
    """
    A question that got no usable answer (timeout, SERVFAIL, nonsense): temporary.
    """


class FetchError(LmrelayError):
    """
    What was to be fetched from a web server could not be had, or is not what it should be; the message says why.
    """


class UnprovedError(FetchError):
    """
    A web server's certificate is not good for its name.
    """


class SyntaxRefused(LmrelayError):
    """
    Octets that the grammar does not allow; the message says which rule.
    """


@frozen
class Problem:
    """
    One thing wrong with the configuration: where, and what was expected.

    C{key} is dotted (C{listeners[2].port}), or empty for the file as a whole.
    """

    file: str
    key: str
    reason: str

    def __str__(self) -> str:
        where = f"{self.file}: {self.key}" if self.key else self.file
        return f"{where}: {self.reason}"


class ConfigError(LmrelayError):
    """
    The configuration cannot be used; C{problems} are all that is wrong with it.
    """

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems
