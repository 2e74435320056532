"""
The opening of a dialogue: greeting, EHLO, STARTTLS and EHLO again, as far as is asked.

At its end the connection is ready for mail, or there is a value that says why not. MAIL is
not reached on a connection that proved less than was required.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, frozen
from OpenSSL import SSL

from lmrelay.mail.outcome import Delayed, Fault
from lmrelay.outbound.client import Connection
from lmrelay.outbound.handshake import Handshake
from lmrelay.outbound.steps import Step
from lmrelay.outbound.tls import Demand, Level, Shown
from lmrelay.outbound.verdicts import Cause, Trouble, judge, judge_trouble
from lmrelay.smtp.client_commands import build_ehlo
from lmrelay.smtp.extensions import parse_extensions
from lmrelay.smtp.reply import Reply


@frozen
class TlsFailed:
    """
    TLS did not come about, or not well enough for C{policy}. C{reason} in words. C{unoffered}: the server does not know
    STARTTLS. C{shown}: what it showed in a handshake that finished.
    """

    reason: str
    policy: str
    unoffered: bool = False
    shown: Shown | None = None


@frozen
class Unready:
    """
    The host does not want us now.
    """

    outcome: Delayed
    slow_down: bool = False


@define(eq=False)
class Opening:
    """
    The opening on one fresh connection, introducing ourselves as C{name}.
    """

    connection: Connection
    demand: Demand
    name: str
    context: Callable[[bool], SSL.Context]

    async def run(self) -> Unready | TlsFailed | None:
        """
        Greeting to the last EHLO. None: the connection is ready.
        """
        trouble = await self._expect(Step.GREETING) or await self._introduce()
        if trouble or not self.demand.starttls:
            return trouble
        if "STARTTLS" not in self.connection.extensions:
            required = self.demand.required > Level.NONE
            return TlsFailed("the server does not offer STARTTLS", self.demand.policy, True) if required else None
        return await self._secure()

    def _fail(self, reason: str) -> TlsFailed:
        return TlsFailed(reason, self.demand.policy)

    async def _expect(self, step: Step, command: bytes = b"") -> Unready | None:
        answer = await self.connection.exchange(step, command)
        return None if _is_good(step, answer) else self._unready(step, answer)

    async def _introduce(self) -> Unready | None:
        """
        EHLO, and HELO for servers that refuse it; never after 421, which ends the connection.
        """
        answer = await self.connection.exchange(Step.EHLO, build_ehlo(self.name))
        if isinstance(answer, Reply) and Step.EHLO.is_answered_by(answer.code):
            self.connection.extensions = parse_extensions(answer)
            return None
        if isinstance(answer, Reply) and answer.is_permanent() and self.connection.shown is None:
            self.connection.extensions = {}
            return await self._expect(Step.HELO, build_ehlo(self.name, verb="HELO"))
        return self._unready(Step.EHLO, answer)

    async def _secure(self) -> Unready | TlsFailed | None:
        """
        What was learnt in clear is forgotten (RFC 3207 §4.2); what is required is checked before EHLO.
        """
        strict = self.demand.required > Level.NONE
        try:
            context = self.context(strict)
        except (OSError, SSL.Error) as error:
            return Unready(Delayed("4.3.5", f"the certificate authorities cannot be read: {error}", Fault.OURS))
        answer = await self.connection.exchange(Step.STARTTLS, b"STARTTLS\r\n")
        if isinstance(answer, Reply) and answer.code == 421:
            return self._unready(Step.STARTTLS, answer)
        if not _is_good(Step.STARTTLS, answer):
            return self._fail(self._unready(Step.STARTTLS, answer).outcome.text)
        self.connection.extensions = {}
        handshake = Handshake(self.connection.host, context, self.demand.server_name)
        trouble = await self.connection.start_tls(handshake)
        if trouble is not None:
            return self._fail(f"{trouble.text} while {Step.HANDSHAKE.doing}")
        doubt = self.demand.doubt(self.connection.shown)
        if doubt is not None:
            return TlsFailed(doubt.reason, doubt.policy, shown=self.connection.shown)
        unready = await self._introduce()
        # In TLS 1.3 a server can still refuse the handshake after we have finished ours.
        if unready is not None and unready.outcome.fault is Fault.NETWORK:
            return self._fail(unready.outcome.text)
        return unready

    def _unready(self, step: Step, answer: Reply | Trouble) -> Unready:
        words = self.connection.words
        verdict = judge(step, answer, words=words) if isinstance(answer, Reply) else judge_trouble(step, answer)
        if isinstance(verdict.outcome, Delayed):
            return Unready(verdict.outcome, verdict.slow_down)
        return self._unready(step, Trouble(Cause.NONSENSE, "the server's answer is out of order"))


def _is_good(step: Step, answer: Reply | Trouble) -> bool:
    return isinstance(answer, Reply) and step.is_answered_by(answer.code)
