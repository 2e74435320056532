"""
How long a client may take: to say a line, to log in, over content, and in all. Pure but for the clock, which is given.

Nothing runs while the relay itself works: a slow commit must never end in a 421 after the message was taken.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

from lmrelay.config.values import Timeouts
from lmrelay.smtp import replies
from lmrelay.smtp.reply import Reply

SLOWEST = 500
"""
Octets of content a second, on the average.
"""
GRACE = 60.0
"""
Seconds of content before its average counts, and between two looks at it.
"""

LOGIN_TIME = 120.0
"""
Seconds from the banner, or from the end of the TLS handshake, to a login; C{[timeouts] command} where that is less.
"""
CROWDED_LOGIN_TIME = 15.0
"""
The same while connections are about to run out: who only holds one must not keep those out who would log in.
"""

LINGER = 10.0
"""
Seconds that a client has to close after the last reply.
"""

SHORT_LINGER = 1.0
"""
The same when the relay stops, which is not to wait for clients that leave TLS open.
"""


@define(eq=False)
class Patience:
    """
    Of one session. C{heard}: the client said something. C{known}: it logged in.

    Noting costs a look at the clock; a timer asks L{judge} now and then, so none is reset by a segment.
    """

    clock: Callable[[], float]
    heard: bool = False
    known: bool = False
    _began: float = field()
    _last: float = field()
    _greeted: float = field()
    _work: float | None = None
    _content: float | None = None
    _octets: int = 0

    @_began.default
    def _start(self) -> float:
        return self.clock()

    @_last.default
    @_greeted.default
    def _start_turn(self) -> float:
        return self._began

    def greet(self) -> None:
        """
        The client is (once more) to say who it is.
        """
        self._last = self._greeted = self.clock()

    def hear(self, octets: int) -> None:
        """
        So much came. Of content each octet is progress; of a command only its end is (L{note_line}), else one
        octet now and then would hold a connection for ever.
        """
        if self._content is not None:
            self._last = self.clock()
            self._octets += octets

    def note_line(self) -> None:
        """
        The client said a whole line.
        """
        self._last = self.clock()

    def note_content(self, reading: bool) -> None:
        """
        Is the client in the middle of content? The time between its chunks is such time too, else
        many small ones would never be too slow.
        """
        if not reading:
            self._content = None
        elif self._content is None:
            self._content, self._octets = self._last, 0

    def begin_work(self) -> None:
        """
        From here on the client waits for the relay.
        """
        self._work = self.clock()

    def end_work(self) -> None:
        """
        From here on it is the client's turn.
        """
        now = self.clock()
        if self._work is not None:
            self._greeted += now - self._work
            if self._content is not None:
                self._content += now - self._work
        self._last, self._work = now, None

    def judge(self, timeouts: Timeouts, *, crowded: bool = False) -> Reply | float:
        """
        The reply that ends the session, or in how many seconds to look again. C{crowded}: there are hardly any
        connections left, which may be so at any time.
        """
        now = self.clock()
        if self._work is not None:
            return timeouts.command
        deadline = self._last + (timeouts.command if self._content is None else timeouts.data)
        if not self.known:
            most = CROWDED_LOGIN_TIME if crowded else LOGIN_TIME
            deadline = min(deadline, self._greeted + min(most, timeouts.command))
        if timeouts.session is not None:
            deadline = min(deadline, self._began + timeouts.session)
        if now >= deadline:
            return replies.TIMEOUT
        if self._content is None:
            return deadline - now if self.known else min(deadline - now, CROWDED_LOGIN_TIME)
        spent = now - self._content
        if spent > GRACE and self._octets < SLOWEST * spent:
            return replies.TOO_SLOW
        return min(deadline - now, GRACE)
