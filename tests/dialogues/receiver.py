"""
Plays a dialogue the other way round: says what a receiver says in its C{S:} lines, and compares what the relay says
with its C{C:} lines, octet for octet and to the end.

The language is told in the README beside this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from lmrelay.config.words import TlsPolicy
from lmrelay.mail.address import parse_address
from lmrelay.outbound.client import Connection
from lmrelay.outbound.connect import HostFailure, Target
from lmrelay.outbound.tls import configured
from lmrelay.outbound.verdicts import Verdict
from tests.dialogues.player import Action, Cut, Dialogue, to_octets, to_pattern, whole
from tests.outbound.bench import Blocks, Relay, leased

ADDRESS = "192.0.2.1"
CONTENT = b"From: a@acme.example\r\n\r\nHello\r\n"


class Session(Protocol):
    """
    The receiver's end of a connection: keeps what comes.
    """

    def __init__(self) -> None:
        self.heard = bytearray()
        self.is_lost = False

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.is_lost = True


class Sessions(Factory):
    """
    All that the relay opened.
    """

    noisy = False

    def __init__(self) -> None:
        self.opened: list[Session] = []

    def buildProtocol(self, addr: object) -> Session:
        self.opened.append(Session())
        return self.opened[-1]


def tell(verdict: Verdict) -> str:
    """
    How it went for a recipient, as a dialogue writes it.
    """
    outcome = verdict.outcome
    status = getattr(outcome, "status", "")
    return f"{type(outcome).__name__.lower()} {status}".strip()


@define(eq=False)
class Receiver:
    """
    Plays dialogues to C{relay}. C{contexts} are those that it has for TLS, by name.
    """

    relay: Relay
    contexts: Mapping[str, Any]
    cut: Cut = whole
    longest: int = 0
    _sessions: Sessions = field(factory=Sessions)
    _session: Session = field(init=False)
    _opening: Deferred[Connection | HostFailure] = field(init=False)
    _sending: Deferred[dict[int, Verdict]] | None = None
    _content: bytes = CONTENT
    _sender: str = "a@acme.example"
    _block: bytearray = field(factory=bytearray)

    def play(self, dialogue: Dialogue) -> None:
        """
        Play it to its end.

        @raise AssertionError: the relay said something else, or more; the message names the line
        """
        policy = TlsPolicy(dialogue.settings.get("policy", "opportunistic"))
        self.relay.network.servers[ADDRESS] = self._sessions
        target = Target("mx.example", ADDRESS)
        self._opening = self.relay.begin(self.relay.connector.connect(target, configured(policy)))
        self._session = self._sessions.opened[0]
        for action in dialogue.actions:
            self._do(action, f"{dialogue.name}.txt:{action.number}")
        self._say()
        left = [bytes(session.heard) for session in self._sessions.opened if session.heard]
        if left:
            raise AssertionError(f"{dialogue.name}.txt: the relay went on: {left!r}")

    def _do(self, action: Action, where: str) -> None:
        if action.verb in ("S", "S+"):
            self._block += to_octets(action.text, {}) + (b"\r\n" if action.verb == "S" else b"")
            return
        self._say()
        if action.verb == "C":
            self._expect(action.text, where)
            return
        known: Callable[[str], str | None] | None = getattr(self, f"_do_{action.verb}", None)
        if known is None:
            raise AssertionError(f"{where}: unknown {action.verb!r}")
        if wrong := known(action.text):
            raise AssertionError(f"{where}: {wrong}")

    def _say(self) -> None:
        if self._block:
            block = bytes(self._block)
            self._block.clear()
            self.longest = max(self.longest, len(block))
            for piece in self.cut(block):
                transport: Any = self._session.transport
                transport.write(piece)
                self.relay.network.settle()

    def _expect(self, text: str, where: str) -> None:
        line, ending, rest = bytes(self._session.heard).partition(b"\r\n")
        if not ending:
            closed = " and closed" if self._session.is_lost else ""
            raise AssertionError(f"{where}: expected {text!r}, the relay said {line!r}{closed}")
        # As it is compared, no line can hide a CR or LF of its own.
        if not to_pattern(text, {}).fullmatch(line.decode("latin-1")):
            raise AssertionError(f"{where}: expected {text!r}, got {line!r}")
        self._session.heard[:] = rest

    def _do_flush(self, text: str) -> None:
        """
        What was said so far was a segment of its own.
        """

    def _do_wait(self, text: str) -> None:
        self.relay.network.pass_time(float(text), 50)

    def _do_close(self, text: str) -> None:
        transport: Any = self._session.transport
        transport.loseConnection()
        self.relay.network.settle()

    def _do_closed(self, text: str) -> str | None:
        if self._session.heard:
            return f"before it closed the relay said {bytes(self._session.heard)!r}"
        return None if self._session.is_lost else "not closed"

    def _do_anything(self, text: str) -> str | None:
        said = bool(self._session.heard)
        self._session.heard.clear()
        return None if said else "the relay said nothing"

    def _do_nothing(self, text: str) -> str | None:
        return f"the relay said {bytes(self._session.heard)!r}" if self._session.heard else None

    def _do_connected(self, text: str) -> str | None:
        number = self._sessions.opened.index(self._session) + 1
        if number == len(self._sessions.opened):
            return "there is no other connection"
        self._session = self._sessions.opened[number]
        return None

    def _do_tls(self, text: str) -> None:
        transport: Any = self._session.transport
        transport.startTLS(self.contexts[text or "good"])
        # The relay's hello came before there was TLS to take it.
        hello = bytes(self._session.heard)
        self._session.heard.clear()
        transport.protocol.dataReceived(hello)
        self.relay.network.settle()

    def _do_ready(self, text: str) -> str | None:
        connection = self._opening.result if self._opening.called else None
        return None if isinstance(connection, Connection) else f"the opening gave {connection!r}"

    def _do_refused(self, text: str) -> str | None:
        failure = self._opening.result if self._opening.called else None
        if not isinstance(failure, HostFailure):
            return f"the opening gave {failure!r}"
        status, _, words = text.partition(" ")
        told = failure.outcome
        return None if status == told.status and words in told.text else f"refused for {told.status} {told.text}"

    def _do_sender(self, text: str) -> None:
        self._sender = text

    def _do_content(self, text: str) -> None:
        self._content = to_octets(text, {})

    def _do_send(self, text: str) -> str | None:
        connection: Any = self._opening.result
        message = leased(
            *text.split(),
            reverse_path=parse_address(self._sender),
            size=len(self._content),
            eight_bit=not self._content.isascii(),
        )
        # One octet a block: wherever blocks end, the wire looks the same.
        blocks = [self._content[at : at + 1] for at in range(len(self._content))]
        self._sending = self.relay.begin(connection.deliver(message, Blocks(blocks)))
        return None

    def _do_outcome(self, text: str) -> str | None:
        verdicts = self._sending.result if self._sending is not None and self._sending.called else None
        if not isinstance(verdicts, dict):
            return "the delivery goes on"
        told = ", ".join(tell(verdicts[number]) for number in sorted(verdicts))
        return None if told == text else f"it was {told}: {[verdicts[n].outcome for n in sorted(verdicts)]!r}"

    def _do_usable(self, text: str) -> str | None:
        connection: Any = self._opening.result
        return None if str(connection.is_usable).lower() == text else f"usable: {connection.is_usable}"
