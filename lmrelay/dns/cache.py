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
from lmrelay.interfaces import Answer, MxRecord

MAX_OCTETS = 32 * 1024 * 1024
"""
Of memory for all answers, which are some hundred octets each: the zones of one tenant could have thousands of names,
and sixty thousand octets to say of each.
"""

RECORD = 160
"""
Octets that one takes in memory besides those that are its own.
"""

FAILURE_TTL = 5.0
"""
Seconds for which a failure counts (RFC 9520 §3.2 asks for at least one): a dead zone must not
cost a round of timeouts a message.
"""


@define(eq=False)
class Cache:
    """
    The C{size} questions asked last, with their answers or failures, as far as they take C{octets} in all.
    """

    size: int = 10_000
    octets: int = MAX_OCTETS
    _entries: OrderedDict[Question, tuple[float, Answer | DnsError]] = field(factory=OrderedDict, init=False)
    _weight: int = field(default=0, init=False)

    def find(self, question: Question, now: float) -> Answer | DnsError | None:
        """
        What is known now. The TTL of an answer is what remains of it.
        """
        entry = self._entries.get(question)
        if entry is None:
            return None
        expires, known = entry
        if expires <= now:
            self._drop(question)
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
        if question in self._entries:
            self._drop(question)
        self._entries[question] = (now + ttl, known)
        self._weight += _weigh(known)
        while len(self._entries) > self.size or self._weight > self.octets:
            self._drop(next(iter(self._entries)))

    def _drop(self, question: Question) -> None:
        _, known = self._entries.pop(question)
        self._weight -= _weigh(known)

    def clear(self) -> None:
        """
        Forget everything: other servers are asked now.
        """
        self._entries.clear()
        self._weight = 0

    def __len__(self) -> int:
        return len(self._entries)


def _weigh(known: Answer | DnsError) -> int:
    """
    About how many octets of memory it takes.
    """
    if isinstance(known, DnsError):
        return RECORD
    return RECORD + sum(RECORD + len(record) for record in map(_words_of, known.records))


def _words_of(record: object) -> str | bytes:
    if isinstance(record, MxRecord):
        return record.host
    return record if isinstance(record, (str, bytes)) else ""
