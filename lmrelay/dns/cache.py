"""
What the DNS said, for as long as it said so, in bounded memory.

Pure: the time is an argument. No timer an entry: what has expired goes when it is asked for
or when newer entries push it out.
"""

from __future__ import annotations

from collections import OrderedDict

from attrs import define, evolve, field

from lmrelay.dns.message import Question
from lmrelay.errors import DnsError
from lmrelay.interfaces import Answer

FAILURE_TTL = 5.0
"""
Seconds for which a failure counts (RFC 9520 §3.2 asks for at least one): a dead zone must not
cost a round of timeouts a message.
"""


@define(eq=False)
class Cache:
    """
    The C{size} questions asked last, with their answers or failures.
    """

    size: int = 10_000
    _entries: OrderedDict[Question, tuple[float, Answer | DnsError]] = field(factory=OrderedDict, init=False)

    def find(self, question: Question, now: float) -> Answer | DnsError | None:
        """
        What is known now. The TTL of an answer is what remains of it.
        """
        entry = self._entries.get(question)
        if entry is None:
            return None
        expires, known = entry
        if expires <= now:
            del self._entries[question]
            return None
        self._entries.move_to_end(question)
        return evolve(known, ttl=expires - now) if isinstance(known, Answer) else known

    def keep(self, question: Question, known: Answer | DnsError, now: float) -> None:
        """
        Remember it for its TTL.
        """
        ttl = known.ttl if isinstance(known, Answer) else FAILURE_TTL
        if ttl <= 0:
            return
        self._entries[question] = (now + ttl, known)
        self._entries.move_to_end(question)
        while len(self._entries) > self.size:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        """
        Forget everything: other servers are asked now.
        """
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)
