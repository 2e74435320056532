"""
What the suite asks of a server under test, whosever it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Server(Protocol):
    """
    Started in a folder of its own, on loopback; everything that it takes goes to the sink.
    """

    name: str

    share: float
    """
    The part of a load's messages that it is given: less than 1 for one so slow that the rest would wait for it.
    """

    easier: Sequence[str]
    """
    Where its task is easier than lmrelay's, in words, besides that no peer is asked for AUTH in clear.
    """

    def start(self) -> None:
        """
        An empty queue, and a server that greets; L{bench.held.Unable} where it cannot.
        """

    def options(self, security: str) -> list[str]:
        """
        What the load generator needs to get in: C{plain}, or C{starttls}, which is with AUTH where the server can;
        L{bench.held.Unable} where it cannot.
        """

    @property
    def pid(self) -> int:
        """
        The root of its process tree.
        """

    def flush(self) -> None:
        """
        Have it try now what waits for its next attempt, as its operator would.
        """

    def stop(self) -> None:
        """
        End it, and wait for its end.
        """

    def version(self) -> str:
        """
        For the report.
        """
