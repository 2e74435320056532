"""
One message to some recipients over one connection: two cursors over one list of steps.

Pure. C{take_octets} moves the sent cursor, C{answer} the answered one; neither goes back. At
the end every recipient has a verdict, whatever came or did not come.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve

from lmrelay.errors import SyntaxRefused
from lmrelay.interfaces import Leased, LeasedRecipient
from lmrelay.mail.address import Address
from lmrelay.outbound.chunk import MAX_STROKE, STALE
from lmrelay.outbound.steps import GOOD, Step
from lmrelay.outbound.trace import Heard
from lmrelay.outbound.verdicts import Cause, Trouble, Verdict, belies, judge, judge_trouble, lacks, shorten
from lmrelay.smtp.client_commands import build_bdat, build_mail, build_rcpt
from lmrelay.smtp.extensions import Extensions, size_limit
from lmrelay.smtp.reply import Reply

LONE_DOT = b".\r\n"

UNKNOWN = frozenset({500, 501, 502, 503, 504})
"""
What a server says to a command that it does not know, or not here.
"""


_Command = tuple[Step, bytes, int]
"""
What is waited for once these octets were sent, and for whom (by number; -1: for all).
"""

_RSET = (Step.RSET, b"RSET\r\n", -1)
_DATA = (Step.DATA, b"DATA\r\n", -1)
_END = (Step.END_OF_DATA, b"", -1)


class Transaction:
    """
    C{verdicts} are by recipient number. C{is_over}: nothing is left to send or to wait for.

    C{is_broken}: the connection is not to be used again. C{wants_content}: 354 came, and
    somebody is to get it. C{needs_reset}: the next transaction must begin with RSET.
    C{tls_failure}: why the connection does not use the TLS that the server offered. C{words} are the receiver's own
    that ask for less at a time. C{heard} is what was said, for the trace.

    With a C{chunk}, the whole content, it goes out right behind the recipients, in one BDAT (RFC 3030): that spares the
    wait for 354. A large one waits until a recipient was taken, and so does any on a connection that C{rested} for too
    many seconds (None: it is new). As no 354 shows that replies and commands are in step, the reply to it has to show
    it by its enhanced code. C{chunk_failed}: the server does not know what it offered, or its answer is none to rely
    on: it had better get its next mail by DATA.
    """

    def __init__(
        self,
        leased: Leased,
        extensions: Extensions,
        *,
        reset: bool = False,
        rested: float | None = None,
        tls_failure: str = "",
        words: tuple[str, ...] = (),
        chunk: bytes | None = None,
    ) -> None:
        self.verdicts: dict[int, Verdict] = {}
        self.heard: list[Heard] = []
        self.is_over = False
        self.is_broken = False
        self.wants_content = False
        self.needs_reset = reset
        self.chunk_failed = False
        self._reused = rested is not None
        self._tls_failure = tls_failure
        self._words = words
        self._pipelining = "PIPELINING" in extensions
        self._chunk = chunk or b""
        self._is_careful = chunk is not None and (len(chunk) > MAX_STROKE or (rested or 0.0) >= STALE)
        # Where the sender is signed, what later servers tell comes to the relay: the client hears no more of it.
        self._relayed = "DSN" not in extensions or bool(leased.return_path)
        self._accepted: list[int] = []
        self._sent = self._answered = 0
        self._proven = False
        self._numbers = [leased_recipient.number for leased_recipient in leased.recipients]
        self._commands = self._plan(leased, extensions, reset, chunk)
        self._unfit = dict(self.verdicts)
        if not self._commands:
            self.is_over = True

    def _plan(self, leased: Leased, extensions: Extensions, reset: bool, chunk: bytes | None) -> list[_Command]:
        if not (message_lacks := unfit_message(leased, extensions)):
            smtputf8 = "SMTPUTF8" in extensions and _uses_utf8(leased)
            try:
                mail = build_mail(
                    leased.reverse_path,
                    extensions,
                    size=leased.size,
                    eight_bit=leased.eight_bit or leased.utf8_head,
                    smtputf8=smtputf8,
                    ret=leased.ret,
                    envid=leased.envid,
                    require_tls=leased.require_tls,
                )
            except SyntaxRefused as error:
                message_lacks = lacks("5.6.7", f"the sender's address cannot be sent: {error}")
        if message_lacks:
            self._decide(message_lacks)
            return []
        recipients = [command for one in leased.recipients if (command := self._rcpt(one, extensions, smtputf8))]
        if not recipients:
            return []
        last = _DATA if chunk is None else (Step.CHUNK, build_bdat(len(chunk), last=True), -1)
        commands = [(Step.MAIL, mail, -1), *recipients, last]
        return [_RSET, *commands] if reset else commands

    def _rcpt(self, leased: LeasedRecipient, extensions: Extensions, smtputf8: bool) -> _Command | None:
        address = leased.recipient.address
        if not (smtputf8 or address.local.isascii()):
            text = "the recipient's address needs SMTPUTF8, which the server does not offer"
            self.verdicts[leased.number] = lacks("5.6.7", text)
            return None
        try:
            octets = build_rcpt(leased.recipient, extensions, smtputf8=smtputf8)
        except SyntaxRefused as error:
            self.verdicts[leased.number] = lacks("5.6.7", f"the recipient's address cannot be sent: {error}")
            return None
        return Step.RCPT, octets, leased.number

    @property
    def step(self) -> Step:
        """
        What is waited for: the oldest step without an answer.
        """
        if self.wants_content:
            return Step.CONTENT
        return self._commands[min(self._answered, len(self._commands) - 1)][0]

    def take_octets(self) -> bytes:
        """
        What is to be sent now, once. Nothing goes past DATA before its answer.
        """
        if self.is_over or self._sent == len(self._commands):
            return b""
        if self._pipelining or self._commands[self._sent][0] is Step.END_OF_DATA:
            commands = self._commands[self._sent : -1 if self._waits_for_recipients() else None]
        elif self._sent == self._answered:
            commands = self._commands[self._sent : self._sent + 1]
        else:
            return b""
        self._sent += len(commands)
        blocks = [octets for _, octets, _ in commands]
        if self._has_sent_chunk():
            # Joined here and nowhere else: each time that costs as much as to receive it.
            blocks.append(self._chunk)
        return b"".join(blocks)

    def _waits_for_recipients(self) -> bool:
        return self._is_careful and self._answered < len(self._commands) - 1

    def answer(self, reply: Reply, at: float = 0.0) -> None:
        """
        The next reply came, at that second of a clock. Of the longest there could be gigabytes under way.
        """
        reply = shorten(reply)
        if self.is_over:
            if not self.is_broken:
                self.is_broken = True
                self._doubt(reply, at)
            return
        if self.wants_content:
            self.heard.append((Step.CONTENT, -1, at, reply))
            self._answer_early(reply)
            return
        if self._answered == self._sent:
            self.end(Trouble(Cause.NONSENSE, f"the server said {reply} unasked"), at)
            return
        step, _, whose = self._commands[self._answered]
        code = reply.code
        self._answered += 1
        self.heard.append((step, whose, at, reply))
        if code == 421:
            self._break(lambda: self._judge_leaving(step, reply))
        elif code not in GOOD[step] and not 400 <= code < 600:
            self._answered -= 1
            self.end(Trouble(Cause.NONSENSE, f"the server said {reply}"), at)
        else:
            _ANSWERS[step](self, whose, reply)
            if not self.is_over and self._answered == self._sent:
                self._skip_pointless()

    def _doubt(self, reply: Reply, at: float) -> None:
        """
        A reply too many: unless a 354 or an enhanced code showed that the answers were in step, each may have been an
        earlier one's. After content in one stroke a refusal may be that of the content all the same. Not 421, which may
        come at any time.
        """
        refuses = self._has_sent_chunk() and 400 <= reply.code < 600
        if reply.code != 421 and (refuses or not self._proven):
            step = self._last_step
            self.heard.append((step, -1, at, reply))
            self._distrust(judge_trouble(step, Trouble(Cause.NONSENSE, f"the server said {reply} too")))

    def _distrust(self, verdict: Verdict) -> None:
        """
        Replies and commands are out of step: none of the answers is known to be for the recipient it was taken for.
        """
        self.chunk_failed = self._has_sent_chunk()
        self.verdicts.clear()
        self.verdicts.update(self._unfit)
        self._decide(verdict)

    def content_sent(self, at: float = 0.0) -> None:
        """
        The content and the final dot have been handed to the connection, at that second of a clock.
        """
        self.heard.append((Step.CONTENT, -1, at, None))
        self.wants_content = False
        self._commands.append(_END)
        self._sent += 1

    def end(self, trouble: Trouble, at: float = 0.0) -> None:
        """
        The dialogue broke off, at that second of a clock: everybody without an answer gets what that means.
        """
        if not self.is_over:
            if self._sent:
                self.heard.append((self.step, -1, at, trouble))
            verdict = judge_trouble(self._last_step, trouble)
            if trouble.cause is Cause.NONSENSE:
                self._distrust(verdict)
            elif trouble.cause is Cause.SILENT:
                # All but the content was answered: what stands on the way may not know BDAT, and must not hold up each
                # message for as long.
                self.chunk_failed = self._has_sent_chunk() and self.step is Step.CHUNK
            is_stale = self._is_stale(trouble.cause is Cause.LOST) and not self._has_sent_chunk()
            self._break(lambda: evolve(verdict, stale=is_stale))

    @property
    def _last_step(self) -> Step:
        """
        How far it came. What went out in one stroke may have been taken, whichever answer is the one that did not come;
        a content that waits was not.
        """
        if self._has_sent_chunk():
            return Step.CHUNK
        return Step.RCPT if self.step is Step.CHUNK else self.step

    def _has_sent_chunk(self) -> bool:
        return bool(self._sent) and self._commands[self._sent - 1][0] is Step.CHUNK

    def _is_stale(self, closed: bool) -> bool:
        return closed and self._reused and self._answered == 0

    def _judge(self, step: Step, reply: Reply, *, relayed: bool = False, tls_failure: str = "") -> Verdict:
        return judge(step, reply, relayed=relayed, tls_failure=tls_failure, words=self._words)

    def _judge_leaving(self, step: Step, reply: Reply) -> Verdict:
        """
        421. As the first answer on a connection that had been kept, it only ends that connection.
        """
        verdict = self._judge(step, reply)
        if self._reused and self._answered == 1:
            return evolve(verdict, slow_down=False, stale=True)
        return verdict

    def _break(self, verdict: Callable[[], Verdict]) -> None:
        self.is_broken = True
        self._finish(verdict())

    def _finish(self, verdict: Verdict) -> None:
        self._decide(verdict)
        self.wants_content = False
        self.is_over = True

    def _decide(self, verdict: Verdict) -> None:
        for number in self._numbers:
            self.verdicts.setdefault(number, verdict)

    def _answer_rset(self, whose: int, reply: Reply) -> None:
        if reply.code < 400:
            self.needs_reset = False
        elif self._has_sent_chunk():
            # It may take what is behind it all the same.
            refused = Trouble(Cause.NONSENSE, f"the server said {reply} in reply to RSET")
            self._break(lambda: judge_trouble(Step.CHUNK, refused))
        else:
            self._break(lambda: self._judge(Step.RSET, reply))

    def _answer_mail(self, whose: int, reply: Reply) -> None:
        self.needs_reset = True
        if reply.code >= 400:
            self._decide(self._judge(Step.MAIL, reply, tls_failure=self._tls_failure))

    def _answer_rcpt(self, whose: int, reply: Reply) -> None:
        if whose in self.verdicts:
            return
        if reply.code < 400:
            self._accepted.append(whose)
        else:
            self.verdicts[whose] = self._judge(Step.RCPT, reply, tls_failure=self._tls_failure)

    def _answer_data(self, whose: int, reply: Reply) -> None:
        self._proven = reply.code == 354
        if not self._proven:
            self._finish(self._judge(Step.DATA, reply))
        elif self._accepted:
            self.wants_content = True
        else:
            # Pipelined, and everybody was refused: nothing may be sent but the dot (RFC 2920 §3.1).
            self._commands.append((Step.END_OF_DATA, LONE_DOT, -1))

    def _answer_end(self, whose: int, reply: Reply) -> None:
        self.needs_reset = False
        self._finish(self._judge(Step.END_OF_DATA, reply, relayed=self._relayed))

    def _answer_chunk(self, whose: int, reply: Reply) -> None:
        self.needs_reset = reply.code >= 400
        if reply.code in UNKNOWN and self._accepted:
            # Did it pass over the content, or take it for commands, whose answers are still to come? Nobody knows.
            self.chunk_failed = True
            self._break(lambda: belies(reply))
        elif _is_of_address(reply) if self._accepted else reply.code < 400:
            # The answer to a RCPT, or it was taken for nobody: there was one too many before it. A refusal that was
            # meant so is said again to DATA, by which it is tried next.
            verdict = judge_trouble(Step.CHUNK, Trouble(Cause.NONSENSE, f"the server said {reply} out of step"))
            self._distrust(verdict)
            self._break(lambda: verdict)
        else:
            self._proven = reply.enhanced is not None
            self.chunk_failed = not self._proven
            self._finish(self._judge(Step.CHUNK, reply, relayed=self._relayed))

    def _answer_early(self, reply: Reply) -> None:
        """
        A reply while the content goes out: nothing more is sent, for what came next would be taken as content.
        """
        if 400 <= reply.code < 600:
            self._break(lambda: self._judge(Step.CONTENT, reply))
        else:
            self.end(Trouble(Cause.NONSENSE, f"the server said {reply}"))

    def _skip_pointless(self) -> None:
        """
        Without pipelining, or before a chunk that waits: what is not yet sent and can no longer help is not sent.
        """
        if len(self.verdicts) == len(self._numbers):
            if self._sent < len(self._commands) and self._commands[self._sent][0] is Step.END_OF_DATA:
                return
            self.is_over = True


_ANSWERS: dict[Step, Callable[[Transaction, int, Reply], None]] = {
    Step.RSET: Transaction._answer_rset,
    Step.MAIL: Transaction._answer_mail,
    Step.RCPT: Transaction._answer_rcpt,
    Step.DATA: Transaction._answer_data,
    Step.CHUNK: Transaction._answer_chunk,
    Step.END_OF_DATA: Transaction._answer_end,
}


def unfit_message(leased: Leased, extensions: Extensions) -> Verdict | None:
    """
    Why a server with these extensions cannot take the message at all, or None.
    """
    limit = size_limit(extensions)
    if leased.require_tls and "REQUIRETLS" not in extensions:
        return lacks("5.7.30", "the sender requires TLS all the way, and the server does not offer REQUIRETLS")
    if limit and leased.size > limit:
        return lacks("5.3.4", f"the message has {leased.size} octets, the server takes {limit}")
    if (leased.eight_bit or leased.utf8_head) and "8BITMIME" not in extensions:
        return lacks("5.6.3", "the message has 8-bit content, and the server does not offer 8BITMIME")
    if "SMTPUTF8" not in extensions:
        if leased.smtputf8 and leased.utf8_head:
            return lacks("5.6.7", "the message's head needs SMTPUTF8, which the server does not offer")
        if leased.reverse_path is not None and not leased.reverse_path.local.isascii():
            return lacks("5.6.7", "the sender's address needs SMTPUTF8, which the server does not offer")
    return None


def _is_of_address(reply: Reply) -> bool:
    """
    Does it speak of an address (X.1.X, RFC 3463 §3.2)?
    """
    return reply.enhanced is not None and reply.enhanced[1:4] == ".1."


def _uses_utf8(leased: Leased) -> bool:
    addresses: list[Address] = [one.recipient.address for one in leased.recipients]
    if leased.reverse_path is not None:
        addresses.append(leased.reverse_path)
    return leased.smtputf8 or not all(address.is_ascii for address in addresses)
