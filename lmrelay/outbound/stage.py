"""
Where parts are played instead of mail being sent: for test addresses, and for projects in the sandbox.

Pure. No DNS, no socket: nothing leaves from here. Projects have their turns here as they have with receivers, and what
is played is settled as what is sent.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

from attrs import define, field

from lmrelay.config.values import Config
from lmrelay.interfaces import ISettings
from lmrelay.mail.outcome import Attempt, Delayed, Delivered, Failed, Fault, Outcome
from lmrelay.mail.parts import Part, find_part, parts_domain
from lmrelay.outbound.sites import Held
from lmrelay.shares import Shares, Turns
from lmrelay.smtp.reply import reply

MAX_PLAYING = 200
LEAST_PLAYING = 10
"""
Messages whose outcome is being recorded at a time, and those that a project may have of a kind whatever the others do.
"""

_TAKEN = Delivered(reply(250, "2.0.0", "OK, nothing was sent: a test"))
_FULL = reply(452, "4.2.2", "Mailbox full: a test")
_UNKNOWN = reply(550, "5.1.1", "User unknown: a test")

OUTCOMES: dict[Part, Outcome] = {
    Part.OK: _TAKEN,
    Part.SOFT_BOUNCE: Delayed("4.2.2", f"the test address said {_FULL}", Fault.RECIPIENT, _FULL),
    Part.HARD_BOUNCE: Failed("5.1.1", f"the test address said {_UNKNOWN}", Fault.RECIPIENT, _UNKNOWN),
    # What comes back is added when the outcome is recorded.
    Part.SPAM_COMPLAINT: _TAKEN,
}


@define(eq=False)
class Stage:
    """
    Who plays what, and whose turn it is. C{has_work}: somebody waits for a turn.
    """

    _settings: ISettings
    has_work: bool = field(default=False, init=False)
    _config: Config | None = field(default=None, init=False)
    _domain: str = field(default="", init=False)
    _turns: Turns[list[Held]] = field(factory=lambda: Turns(Shares(MAX_PLAYING, LEAST_PLAYING)), init=False)

    def admit(self, recipients: Iterable[Held]) -> list[Held]:
        """
        Keep those that play a part; the answer is the others.
        """
        if self._config is not self._settings.config:
            self._config = self._settings.config
            self._domain = parts_domain(self._config.server.hostname)
        domain = self._domain
        playing: dict[str, list[Held]] = {}
        others: list[Held] = []
        for held in recipients:
            if held.leased.sandbox or held.leased.lane.domain == domain:
                playing.setdefault(held.leased.message_id, []).append(held)
            else:
                others.append(held)
        for together in playing.values():
            self._turns.add(together[0].leased.lane.party, together)
            self.has_work = True
        return others

    def begin(self) -> tuple[Hashable, list[Held]] | None:
        """
        Those of a message who play now, and whose they are.
        """
        turn = self._turns.next()
        self.has_work = bool(self._turns)
        return turn

    def end(self, party: Hashable) -> None:
        """
        They have played.
        """
        self._turns.end(party)

    def play(self, recipients: Sequence[Held], now: float) -> dict[int, Attempt]:
        """
        How it went, by recipient number.
        """
        domain = parts_domain(self._settings.config.server.hostname)
        played = {}
        for held in recipients:
            part = _choose(held, domain)
            played[held.recipient.number] = Attempt(now, now, OUTCOMES[part], domain, part=part)
        return played


def _choose(held: Held, domain: str) -> Part:
    if held.leased.lane.domain != domain:
        return Part.OK
    # None was accepted from a client, but a notification may be for one: it is refused as it would have been.
    return find_part(held.recipient.recipient.address) or Part.HARD_BOUNCE
