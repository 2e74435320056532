"""
AUTH within one session (RFC 4954): exchanges, the portal's answer, and the price of failing.

A user name may be a token, so neither is ever logged.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from lmrelay.errors import Refused
from lmrelay.inbound import sasl
from lmrelay.inbound.services import Services, Step
from lmrelay.interfaces import ISubmitter
from lmrelay.smtp import replies
from lmrelay.smtp.commands import Auth
from lmrelay.smtp.framing import AUTH_LIMIT, Flaw, InputBuffer, Line
from lmrelay.smtp.reply import Reply

ALWAYS = ("PLAIN", "LOGIN")
AUTH_LINE_LIMIT = AUTH_LIMIT + 64
"""
Room for the longest response behind C{AUTH MECHANISM}.
"""


@define(eq=False)
class Login:
    """
    C{submitter} is there once a login succeeded.
    """

    services: Services
    log: Logger
    address: str
    submitter: ISubmitter | None = None
    _exchange: sasl.Exchange | None = None
    _failures: int = 0
    _logout: Callable[[], object] | None = None
    _sleep: Deferred[None] | None = None
    _closed: bool = False

    @property
    def is_waiting(self) -> bool:
        """
        Is the next line a response?
        """
        return self._exchange is not None

    def mechanisms(self) -> list[str]:
        """
        What is offered now.
        """
        return [*ALWAYS, *(["CRAM-MD5"] if self.services.offer_cram() else [])]

    def begin(self, command: Auth) -> Step:
        """
        Carry out AUTH.

        @raise Refused: it is not valid (501, 504)
        """
        # Of the two that are always there, it need not be known whether the third is.
        if command.mechanism not in ALWAYS and command.mechanism not in self.mechanisms():
            return replies.AUTH_UNKNOWN_MECHANISM
        initial = sasl.decode_initial(command.initial)
        exchange = self._open(command.mechanism)
        return self._advance(exchange, lambda: exchange.begin(initial))

    def read(self, buffer: InputBuffer) -> Step:
        """
        Go on with a response, once all of it is there.

        @raise Refused: it is not valid (501)
        """
        line = buffer.next_line(AUTH_LINE_LIMIT)
        return None if line is None else self._respond(line)

    def _respond(self, line: Line) -> Step:
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return replies.BAD_SEQUENCE
        if line.flaw is not None:
            return replies.AUTH_LINE_TOO_LONG if line.flaw is Flaw.TOO_LONG else replies.AUTH_NOT_BASE64
        response = sasl.decode(line.octets)
        return self._advance(exchange, lambda: exchange.respond(response))

    def interrupt(self) -> None:
        """
        Wait no longer for what the client's failures cost: the login under way is given up (454).
        """
        if self._sleep is not None:
            self._sleep.cancel()

    def close(self) -> None:
        """
        The session ended.
        """
        self._closed = True
        self.interrupt()
        logout, self._logout = self._logout, None
        if logout is not None:
            logout()

    def _open(self, mechanism: str) -> sasl.Exchange:
        if mechanism == "PLAIN":
            return sasl.Plain(self.address)
        if mechanism == "LOGIN":
            return sasl.Login(self.address)
        services = self.services
        hostname = services.config.server.hostname
        return sasl.CramMd5(self.address, sasl.make_challenge(hostname, services.wall(), services.entropy))

    def _advance(self, exchange: sasl.Exchange, advance: Callable[[], sasl.Step]) -> Step:
        try:
            step = advance()
        except Refused as error:
            if error.reply.code != 535:
                raise
            return self._fail(error.reply)
        if isinstance(step, sasl.Challenge):
            self._exchange = exchange
            return replies.auth_challenge(sasl.encode(step.octets))
        return self._ask(step)

    def note_answer(self, answer: Reply) -> None:
        """
        Log a command that was refused, if anybody is logged in: whoever asks the operator why is a customer then.
        """
        if self.submitter is not None and not answer.is_positive():
            self.log.info(
                "command refused",
                project=self.submitter.slug,
                token=self.submitter.token_id,
                reply=str(answer),
                peer=self.address,
            )

    async def _ask(self, credentials: sasl.Credentials) -> Reply:
        if not await self._pay():
            return replies.AUTH_UNAVAILABLE
        try:
            _, avatar, logout = await self.services.portal.login(credentials, None, ISubmitter)
        except Refused as error:
            return self._fail(error.reply)
        except UnauthorizedLogin:
            return self._fail(replies.AUTH_INVALID)
        except Exception:  # noqa: BLE001 our own fault is temporary for the client, and logged
            self.log.failure("login could not be checked", peer=self.address)
            return replies.AUTH_UNAVAILABLE
        if self._closed:
            logout()
        else:
            submitter = ISubmitter(avatar)
            self.submitter, self._logout = submitter, logout
            self.log.info("login", peer=self.address, project=submitter.slug, token=submitter.token_id)
        return replies.AUTHENTICATED

    async def _pay(self) -> bool:
        """
        Wait as long as the address owes for its failures. False: it is not to be waited for.
        """
        seconds = self.services.failures.enter(self.address)
        if seconds is None:
            self.log.warn("too many logins wait", peer=self.address)
            return False
        try:
            if seconds:
                self._sleep = self.services.sleep(seconds)
                await self._sleep
        except CancelledError:
            return False
        finally:
            self._sleep = None
            self.services.failures.leave(self.address)
        return True

    def _fail(self, refusal: Reply) -> Reply:
        if refusal != replies.AUTH_INVALID:
            # The token is right: nothing was guessed, so nothing is owed.
            self.log.info("login refused", peer=self.address, reply=str(refusal))
            return refusal
        self._failures += 1
        self.log.info("login failed", peer=self.address, failures=self._failures, reply=str(refusal))
        self.services.failures.note(self.address)
        if self._failures >= self.services.config.auth.max_failures:
            return replies.TOO_MANY_AUTH_FAILURES
        return refusal
