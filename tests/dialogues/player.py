"""
Plays a dialogue: sends its C{C:} lines, compares what comes with its C{S:} lines.

How it connects is a seam (L{Peer}): in memory here, over sockets to a live daemon elsewhere.
The language is told in the README beside this.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from attrs import define, field, frozen

FOLDER = Path(__file__).parent

Cut = Callable[[bytes], Iterator[bytes]]


class Peer(Protocol):
    """
    A connection as the client has it.
    """

    def send(self, octets: bytes) -> None:
        """
        Send these as one segment.
        """

    def receive_line(self) -> bytes | None:
        """
        The next line with its ending; what there is, where the server closed within one; None where it closed.
        Waits for as long as it takes, within reason.
        """

    def start_tls(self) -> None:
        """
        Begin TLS as the client.
        """

    def wait(self, seconds: float) -> None:
        """
        Let time go by.
        """


@frozen
class Action:
    """
    A line of a dialogue: what to do, with which text, and where it stands.
    """

    verb: str
    text: str
    number: int


@frozen
class Dialogue:
    """
    A dialogue read from its file. C{settings} are its directives before the first action.
    """

    name: str
    settings: Mapping[str, str]
    actions: tuple[Action, ...] = field(converter=tuple)

    @property
    def security(self) -> str:
        """
        The kind of port.
        """
        return self.settings.get("listener", "starttls")

    @property
    def is_whole_only(self) -> bool:
        """
        Does it only make sense uncut?
        """
        return "whole" in self.settings

    @property
    def needs(self) -> frozenset[str]:
        """
        What only a relay in memory can be made to do.
        """
        return frozenset(self.settings.get("needs", "").split())


def read_dialogue(path: Path) -> Dialogue:
    """
    The dialogue in a file.
    """
    settings: dict[str, str] = {}
    actions: list[Action] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        mark, _, text = line.partition(" ")
        if mark.startswith("@") and mark[1:] in ("listener", "whole", "needs", "policy"):
            settings[mark[1:]] = text.strip()
        else:
            actions.append(Action(mark.lstrip("@").rstrip(":"), text, number))
    return Dialogue(path.stem, settings, actions)


def all_dialogues(folder: Path = FOLDER) -> list[Dialogue]:
    """
    Every dialogue in the folder.
    """
    return [read_dialogue(path) for path in sorted(folder.glob("*.txt"))]


_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|[rnt0\\])")
_NAMED = {"r": "\r", "n": "\n", "t": "\t", "0": "\0", "\\": "\\"}
_REPEAT = re.compile(r"\{(\d+)\*([^{}]*)\}")
_BASE64 = re.compile(r"\{base64:([^{}]*)\}")


def to_octets(text: str, words: Mapping[str, str]) -> bytes:
    """
    What a C{C:} line puts on the wire, less its CRLF.
    """
    for name, word in words.items():
        text = text.replace("{" + name + "}", word)
    text = _REPEAT.sub(lambda match: match[2] * int(match[1]), text)
    text = _BASE64.sub(lambda match: base64.b64encode(_unescape(match[1])).decode("ascii"), text)
    return _unescape(text)


def _unescape(text: str) -> bytes:
    octets = bytearray()
    end = 0
    for match in _ESCAPE.finditer(text):
        octets += text[end : match.start()].encode("utf-8")
        code = match[1]
        octets += bytes([int(code[1:], 16)]) if code[0] == "x" else _NAMED[code].encode("ascii")
        end = match.end()
    return bytes(octets + text[end:].encode("utf-8"))


def to_pattern(text: str, words: Mapping[str, str]) -> re.Pattern[str]:
    """
    What an C{S:} line matches: itself, C{{id}} any message id, C{...} anything.
    """
    for name, word in words.items():
        text = text.replace("{" + name + "}", word)
    escaped = re.escape(text).replace(re.escape("{id}"), "[0-9a-z]{26}").replace(re.escape("..."), ".*")
    return re.compile(escaped)


def whole(block: bytes) -> Iterator[bytes]:
    """
    Uncut.
    """
    yield block


def by_octets(block: bytes) -> Iterator[bytes]:
    """
    Octet by octet.
    """
    for position in range(len(block)):
        yield block[position : position + 1]


def cut_at(position: int) -> Cut:
    """
    Each block in two, so that over all positions every boundary is a cut.
    """

    def cut(block: bytes) -> Iterator[bytes]:
        at = position % len(block)
        yield from filter(None, (block[:at], block[at:]))

    return cut


@define(eq=False)
class Player:
    """
    Plays dialogues with a peer.
    """

    peer: Peer
    words: Mapping[str, str]
    cut: Cut = whole
    longest: int = 0
    _block: bytearray = field(factory=bytearray)

    def play(self, dialogue: Dialogue) -> None:
        """
        Play it to its end.

        @raise AssertionError: the server said something else; the message names the line
        """
        for action in dialogue.actions:
            where = f"{dialogue.name}.txt:{action.number}"
            if action.verb in ("C", "C+"):
                ending = b"" if action.verb == "C+" else b"\r\n"
                self._block += to_octets(action.text, self.words) + ending
                continue
            self._send()
            if action.verb == "S":
                self._expect(action.text, where)
            elif action.verb == "tls":
                self.peer.start_tls()
            elif action.verb == "wait":
                self.peer.wait(float(action.text))
            elif action.verb == "closed":
                line = self.peer.receive_line()
                if line is not None:
                    raise AssertionError(f"{where}: not closed, but {line!r}")
            elif action.verb != "flush":
                raise AssertionError(f"{where}: unknown {action.verb!r}")
        self._send()

    def _send(self) -> None:
        if self._block:
            block = bytes(self._block)
            self._block.clear()
            self.longest = max(self.longest, len(block))
            for piece in self.cut(block):
                self.peer.send(piece)

    def _expect(self, text: str, where: str) -> None:
        line = self.peer.receive_line()
        if line is None:
            raise AssertionError(f"{where}: expected {text!r}, but the server closed")
        said = line.decode("utf-8", "replace")
        if not said.endswith("\r\n") or not to_pattern(text, self.words).fullmatch(said[:-2]):
            raise AssertionError(f"{where}: expected {text!r}, got {said!r}")
