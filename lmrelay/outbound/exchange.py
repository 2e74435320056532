"""
One step of the opening: a command, its one reply, and nothing else until the next.
"""

from __future__ import annotations

from twisted.internet.interfaces import IConsumer, ITLSTransport

from lmrelay.outbound.steps import Step
from lmrelay.outbound.verdicts import Cause, Trouble
from lmrelay.smtp.reply import Reply

NO_REPLY = Reply(0, None, ("something",))
"""
For what came behind the last answer and is no reply, or not yet.
"""


class IClientTransport(ITLSTransport, IConsumer):
    """
    What a connection runs on.
    """


class Exchange:
    """
    What is waited for, and at the end C{result}: the reply, or why there is none.

    C{is_broken}: the connection is not to be used again.
    """

    def __init__(self, step: Step) -> None:
        self.step = step
        self.result: Reply | Trouble | None = None
        self.is_over = self.is_broken = False

    def answer(self, reply: Reply, at: float = 0.0) -> None:
        """
        A reply came. A second one makes the first worthless: it was not in answer to us.
        """
        if self.is_over:
            self.is_broken = True
            self.result = Trouble(Cause.NONSENSE, "the server said more than was asked")
        else:
            self.is_over = True
            self.result = reply

    def end(self, trouble: Trouble, at: float = 0.0) -> None:
        """
        No reply will come.
        """
        if not self.is_over:
            self.is_over = True
            self.result = trouble
        self.is_broken = True
