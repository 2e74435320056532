"""
What a client gets wrong, and how much it says before it logged in: both end the session in the end.
"""

from __future__ import annotations

from attrs import define

from lmrelay.errors import Refused
from lmrelay.smtp.reply import Reply, reply

MAX_ERRORS = 20
MAX_EARLY = 100
"""
Commands before login.
"""

TOO_MANY_EARLY = reply(421, "4.7.0", "Too many commands before authentication, closing connection")

_NONSENSE = (500, 501, 502, 504)


@define(eq=False)
class Tally:
    """
    Of one session.
    """

    _errors: int = 0
    _early: int = 0

    def count_command(self) -> None:
        """
        A command before login.

        @raise Refused: it is one too many (421)
        """
        self._early += 1
        if self._early > MAX_EARLY:
            raise Refused(TOO_MANY_EARLY)

    def is_too_many(self, answer: Reply, *, known: bool) -> bool:
        """
        Count an answer; is it the last error that is borne? Of C{known} clients only nonsense is one. Failed
        logins have a limit of their own.
        """
        is_error = answer.is_permanent() and answer.code != 535
        if is_error and (not known or answer.code in _NONSENSE):
            self._errors += 1
        return self._errors >= MAX_ERRORS

    def forgive(self) -> None:
        """
        A message was read: whoever sends mail is no attacker at random.
        """
        self._errors = self._early = 0
