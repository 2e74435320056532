"""
One SMTP session without I/O: octets in through C{buffer}, one reply at a time out of L{Session.step}.

Commands are a table: verb, phase, parser, method. What takes time is an awaitable; until it is done
nothing more is read, so that replies leave in order. RSET, EHLO and STARTTLS drop the transaction.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from attrs import define, field
from twisted.logger import Logger

from lmrelay.config.words import Security
from lmrelay.errors import Refused
from lmrelay.inbound import table
from lmrelay.inbound.content import EXCESS
from lmrelay.inbound.intake import Intake, Taker, Unwanted, blame
from lmrelay.inbound.login import AUTH_LINE_LIMIT, Login
from lmrelay.inbound.offer import answer_ehlo
from lmrelay.inbound.returns import Return, Visit
from lmrelay.inbound.services import Client, Services, Step
from lmrelay.inbound.submission import submit
from lmrelay.inbound.table import Phase, Row, anything, no_argument, say
from lmrelay.inbound.tally import Tally
from lmrelay.inbound.transaction import Terms, Transaction, begin, make_terms
from lmrelay.inbound.turns import Next, Turn
from lmrelay.interfaces import ISubmitter
from lmrelay.smtp import commands, replies
from lmrelay.smtp.data import ChunkReader, DataReader
from lmrelay.smtp.framing import COMMAND_LIMIT, InputBuffer
from lmrelay.smtp.reply import Reply


@define(eq=False)
class Session:
    """
    C{next} is what the protocol has to do once the last reply is out; C{turn} what it reads.
    """

    services: Services
    client: Client
    log: Logger
    buffer: InputBuffer = field(factory=InputBuffer)
    next: Next = Next.GO_ON
    turn: Turn = Turn.COMMAND
    draining: bool = False
    transaction: Transaction | Return | None = None
    intake: Intake | None = None
    tally: Tally = field(factory=Tally)
    login: Login = field()
    visit: Visit = field()
    _terms: Terms | None = None
    _unwanted: Unwanted | None = None

    @login.default
    def _make_login(self) -> Login:
        return Login(self.services, self.log, self.client.address)

    @visit.default
    def _make_visit(self) -> Visit:
        return Visit(self.services, self.log, self.client.address, self.client.takes_bounces)

    # --- what the protocol calls ---------------------------------------------------------

    def greet(self) -> Reply:
        """
        The banner.
        """
        return replies.greeting(self.services.config.server.hostname)

    def step(self) -> Step:
        """
        Carry out what has arrived, up to the next reply.

        A reply is to be sent; an awaitable to be awaited, its result then to be sent
        (None: nothing is to be said yet); None means that more must arrive.
        """
        if self.next in _LAST:
            return None
        if self.draining and not self.is_in_content:
            return self._end(replies.SHUTTING_DOWN)
        # Of a chunk the end is still to be told when all of it was read.
        if not self.buffer.pending and self.turn is not Turn.CHUNK:
            return None
        try:
            result = _READ[self.turn](self)
        except Refused as error:
            result = error.reply
        except Exception as error:  # noqa: BLE001 our own fault is temporary for the client, and logged
            result = blame(error, self.log, self.client.address)
        if result is None:
            return None
        if not isinstance(result, Reply):
            return self._conclude(result)
        if result.is_positive():
            return result
        self.login.note_answer(result)
        return self._weigh(result)

    async def _conclude(self, awaited: Awaitable[Reply | None]) -> Reply | None:
        try:
            return self._weigh(await awaited)
        except Exception as error:  # noqa: BLE001 our own fault is temporary for the client, and logged
            return self._weigh(blame(error, self.log, self.client.address))

    def secured(self, version: str, cipher: str) -> None:
        """
        TLS is up: everything learnt before it is forgotten (RFC 3207 §4.2).
        """
        self._drop()
        self.buffer.clear()
        self.next = Next.GO_ON
        self.client = self.client.in_tls(version, cipher)

    def drain(self) -> None:
        """
        End before the next command. Only content is waited for, and its commit.
        """
        self.draining = True
        self.login.interrupt()

    def lost(self) -> None:
        """
        The connection is gone, or no longer listened to. May be said twice.
        """
        self.next = Next.CLOSE
        self._drop()
        self.buffer.clear()
        self._leave()

    @property
    def is_known(self) -> bool:
        """
        Did the client log in, or bring mail that is awaited?
        """
        return self.submitter is not None or self.visit.is_welcome

    @property
    def is_in_content(self) -> bool:
        """
        Has the client begun with content, and not ended it yet?
        """
        transaction = self.transaction
        return (transaction is not None and transaction.content is not None) or self.turn is Turn.REFUSED_CHUNK

    @property
    def is_committing(self) -> bool:
        """
        Is a message on its way to the disk, to be told of as soon as it is there?
        """
        return self.intake is not None and self.intake.committing

    @property
    def offers_tls(self) -> bool:
        """
        Is STARTTLS offered now?
        """
        security = self.client.security in (Security.STARTTLS, Security.AUTO)
        return security and not self.client.tls_version and self.services.context() is not None

    def _read_command(self) -> Step:
        submitter, client = self.login.submitter, self.client
        if submitter is None and self.login.is_waiting:
            return self.login.read(self.buffer)
        line = self.buffer.next_line(AUTH_LINE_LIMIT if submitter is None and client.is_secure else COMMAND_LIMIT)
        if line is None:
            return None
        if submitter is None:
            self.tally.count_command()
        command = table.read_command(line, client)
        if submitter is not None and command.verb not in _UNCHECKED:
            submitter.check_token()
        row = _COMMANDS.get(command.verb)
        if row is None:
            return self._end(table.NOT_HTTP) if command.verb in table.HTTP_METHODS else replies.UNKNOWN_COMMAND
        if row.phase is not Phase.ANY:
            may_send = submitter is not None or self.visit.is_open
            table.check_phase(row.phase, client, may_send=may_send, in_message=self.transaction is not None)
        return row.carry_out(self, row.parse(command.argument))

    def _weigh(self, result: Reply | None) -> Reply | None:
        """
        Count errors. A 421 says that the connection closes, whoever said it (RFC 5321 §4.2.3).
        """
        if result is None or result.is_positive():
            return result
        if result.code == 421:
            return result if self.next is Next.LINGER else self._end(result)
        if self.tally.is_too_many(result, known=self.login.submitter is not None):
            self.log.info("too many errors", peer=self.client.address)
            return self._end(replies.TOO_MANY_ERRORS)
        return result

    def _end(self, last: Reply, how: Next = Next.CLOSE) -> Reply:
        self.next = how
        self._drop()
        # Of the project's sessions it is none any more, however long the client takes to close.
        self._leave()
        return last

    def _leave(self) -> None:
        self.login.close()
        self.visit.end()

    def _drop(self) -> None:
        self._release()
        intake, self.intake = self.intake, None
        if intake is not None:
            intake.abandon()

    def _release(self) -> None:
        transaction, self.transaction = self.transaction, None
        if transaction is not None:
            transaction.release()

    def _helo(self, name: str) -> Step:
        self._drop()
        self.client = self.client.named(name, esmtp=False)
        return replies.helo(self.services.config.server.hostname)

    def _ehlo(self, name: str) -> Step:
        self._drop()
        self.client = self.client.named(name, esmtp=True)
        return answer_ehlo(self.services, self.client, self.login, starttls=self.offers_tls)

    def _rset(self, _: None) -> Step:
        self._drop()
        return replies.OK

    def _quit(self, _: None) -> Step:
        return self._end(replies.BYE)

    def _starttls(self, _: None) -> Step:
        if self.client.tls_version:
            return replies.TLS_ACTIVE
        if self.client.security is Security.PLAIN:
            return replies.NOT_IMPLEMENTED
        if not self.offers_tls:
            return replies.TLS_UNAVAILABLE
        if self.buffer.pending:
            # Carried out inside TLS, it would pass for something the client said there.
            self.log.warn("octets behind STARTTLS", peer=self.client.address)
            return self._end(table.INJECTION)
        self.next = Next.START_TLS
        return replies.START_TLS

    # --- AUTH ----------------------------------------------------------------------------

    def _auth(self, command: commands.Auth) -> Step:
        if self.transaction is not None:
            return replies.AUTH_IN_TRANSACTION
        if self.submitter is not None:
            return replies.AUTH_AGAIN
        return self.login.begin(command)

    @property
    def submitter(self) -> ISubmitter | None:
        """
        Who logged in, if anybody did.
        """
        return self.login.submitter

    def _mail(self, mail: commands.Mail) -> Step:
        if self.transaction is not None:
            return replies.NESTED_MAIL
        if mail.require_tls and not self.client.tls_version:
            # What came in clear is not secret any more, whatever follows (RFC 8689 §2).
            return replies.bad_parameter("REQUIRETLS")
        submitter, services = self.login.submitter, self.services
        if submitter is None:
            self.transaction = self.visit.begin(mail)
            return replies.SENDER_OK
        self.visit.end()
        project, config = submitter.project(), services.config
        terms = self._terms
        if terms is None or terms.project is not project or terms.config is not config:
            terms = self._terms = make_terms(project, config)
        transaction = begin(mail, terms, services.holdings)
        if mail.reverse_path is not None:
            submitter.check_sender(mail.reverse_path.domain)
        services.acceptance.check_quota(project.slug)
        services.acceptance.check_room(mail.size)
        self.transaction = transaction
        return replies.SENDER_OK

    def _rcpt(self, argument: str) -> Step:
        transaction = self._transaction()
        return transaction.add(commands.parse_rcpt(argument, smtputf8=transaction.mail.smtputf8))

    def _transaction(self, *, in_chunks: bool = False) -> Transaction | Return:
        if self.transaction is None:
            raise Refused(replies.MAIL_FIRST)
        if self.transaction.chunked and not in_chunks:
            raise Refused(replies.BAD_SEQUENCE)
        return self.transaction

    def _data(self, _: None) -> Step:
        transaction = self._transaction()
        if not transaction.recipients:
            return replies.NO_VALID_RECIPIENTS
        self._open_content(transaction, DataReader())
        self.turn = Turn.DATA
        return replies.GO_AHEAD

    def _bdat(self, argument: str) -> Step:
        try:
            chunk = commands.parse_bdat(argument)
        except Refused as error:
            # Where the next command begins is not known.
            return self._end(error.reply)
        refusal = self._refuse_chunk(chunk)
        if chunk.size > EXCESS * self.services.config.limits.message_size:
            return self._end(refusal or replies.TOO_LARGE, Next.LINGER)
        if refusal is not None:
            self._drop()
            self._unwanted, self.turn = Unwanted(chunk.size, refusal), Turn.REFUSED_CHUNK
        elif self.intake is not None:
            self.intake.open_chunk(chunk)
            self.turn = Turn.CHUNK
        return _READ[self.turn](self)

    def _refuse_chunk(self, chunk: commands.Bdat) -> Reply | None:
        try:
            if self.submitter is not None:
                # Here, so that the chunk is read: closed on one, the connection would be reset, and the reply lost.
                self.submitter.check_token()
            transaction = self._transaction(in_chunks=True)
            if not transaction.recipients:
                return replies.NO_VALID_RECIPIENTS
            if transaction.content is None:
                self._open_content(transaction, ChunkReader())
        except Refused as error:
            return error.reply
        content = transaction.content
        if content is not None and content.size + chunk.size > content.limit.octets:
            return content.limit.refusal
        return None

    def _open_content(self, transaction: Transaction | Return, reader: DataReader | ChunkReader) -> None:
        submitter = self.login.submitter
        if isinstance(transaction, Return):
            taker: Taker = transaction.open(reader)
        elif submitter is None:
            raise Refused(replies.AUTH_REQUIRED)
        else:
            taker = submit(self.services, self.log, self.client, submitter, transaction, reader)
        self.intake = Intake(self.log, self.client.address, self.buffer, taker)

    def _read_content(self) -> Step:
        intake = self.intake
        if intake is None:
            return self._end(replies.STORE_FAILED)
        result = intake.read()
        if intake.paused:
            self.turn = Turn.COMMAND
        if intake.is_over:
            # From here on the transaction is the intake's: it is stored, or dropped.
            self._release()
            self.tally.forgive()
        return self._end(replies.TOO_LARGE, Next.LINGER) if intake.is_excessive else result

    def _read_refused(self) -> Step:
        answer = None if self._unwanted is None else self._unwanted.read(self.buffer)
        if answer is not None:
            self.turn = Turn.COMMAND
        return answer


_LAST = (Next.CLOSE, Next.LINGER)

# At the end of content the token is not asked for: the client got its 354, and may have nothing left to send it all
# again from. BDAT asks for it where the chunk is read all the same.
_UNCHECKED = ("QUIT", "BDAT")

_READ: dict[Turn, Callable[[Session], Step]] = {
    Turn.COMMAND: Session._read_command,
    Turn.DATA: Session._read_content,
    Turn.CHUNK: Session._read_content,
    Turn.REFUSED_CHUNK: Session._read_refused,
}

_COMMANDS = {
    "EHLO": Row(Phase.ANY, commands.parse_helo, Session._ehlo),
    "HELO": Row(Phase.ANY, commands.parse_helo, Session._helo),
    "STARTTLS": Row(Phase.ANY, no_argument, Session._starttls),
    "AUTH": Row(Phase.SECURE, commands.parse_auth, Session._auth),
    "MAIL": Row(Phase.LOGGED_IN, commands.parse_mail, Session._mail),
    "RCPT": Row(Phase.MESSAGE, anything, Session._rcpt),
    "DATA": Row(Phase.MESSAGE, no_argument, Session._data),
    "BDAT": Row(Phase.ANY, anything, Session._bdat),
    "RSET": Row(Phase.ANY, no_argument, Session._rset),
    "NOOP": Row(Phase.ANY, anything, say(replies.OK)),
    "HELP": Row(Phase.ANY, anything, say(replies.HELP)),
    "VRFY": Row(Phase.ANY, anything, say(replies.CANNOT_VRFY)),
    "EXPN": Row(Phase.ANY, anything, say(replies.NOT_IMPLEMENTED)),
    "QUIT": Row(Phase.ANY, no_argument, Session._quit),
}
