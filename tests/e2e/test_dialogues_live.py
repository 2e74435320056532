"""
The dialogues over sockets: the daemon says on the wire what the sessions say in memory.

All are played at once, each from an address of its own, for failed logins cost their address time.
"""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import pytest
from attrs import define, field

from tests.dialogues.player import Cut, Dialogue, Player, all_dialogues, by_octets, whole
from tests.e2e.daemon import PATIENCE, Relay, pause
from tests.e2e.mail import unverified

DIALOGUES = [dialogue for dialogue in all_dialogues() if not dialogue.needs]
CUTS: dict[str, Cut] = {"whole": whole, "octets": by_octets}
PLAYS = [(one.name, cut) for one in DIALOGUES for cut in CUTS if cut == "whole" or not one.is_whole_only]
LONGEST = 3000
"""
Octets that are sent one at a time.
"""


@define(eq=False)
class SocketPeer:
    """
    A connection over TCP.
    """

    connection: socket.socket
    _received: bytearray = field(factory=bytearray)

    def send(self, octets: bytes) -> None:
        # A server that has closed is read to its end all the same.
        with suppress(BrokenPipeError, ConnectionResetError):
            self.connection.sendall(octets)

    def receive_line(self) -> bytes | None:
        while not (end := self._received.find(b"\n") + 1):
            block = self._receive()
            if not block:
                rest = bytes(self._received)
                self._received.clear()
                return rest or None
            self._received += block
        line = bytes(self._received[:end])
        del self._received[:end]
        return line

    def _receive(self) -> bytes:
        with suppress(ConnectionResetError):
            return self.connection.recv(65536)
        return b""

    def start_tls(self) -> None:
        self.connection = unverified().wrap_socket(self.connection, server_hostname="relay.test")

    def wait(self, seconds: float) -> None:
        pause(seconds)


def play(relay: Relay, dialogue: Dialogue, cut: Cut, source: str) -> None:
    """
    Play it.
    """
    address = ("127.0.0.1", relay.port(dialogue.security))
    peer = SocketPeer(socket.create_connection(address, PATIENCE, (source, 0)))
    peer.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        if dialogue.security == "implicit":
            peer.start_tls()
        Player(peer, {"token": relay.token, "host": "relay.test"}, cut).play(dialogue)
    finally:
        peer.connection.close()


def shorter(cut: Cut) -> Cut:
    """
    The same for what is not too long; that goes uncut.
    """
    return lambda block: cut(block) if len(block) <= LONGEST else whole(block)


@pytest.fixture(scope="module")
def plays(running: Relay) -> Iterator[dict[tuple[str, str], Future[None]]]:
    """
    Every dialogue, whole and octet by octet, being played.
    """
    sources = (f"127.99.0.{number}" for number in itertools.count(1))
    by_name = {dialogue.name: dialogue for dialogue in DIALOGUES}
    with ThreadPoolExecutor(len(PLAYS)) as pool:
        yield {
            (name, cut): pool.submit(play, running, by_name[name], shorter(CUTS[cut]), source)
            for (name, cut), source in zip(PLAYS, sources, strict=False)
        }


@pytest.mark.parametrize(("name", "cut"), PLAYS)
def test_dialogue(plays: dict[tuple[str, str], Future[None]], relay: Relay, name: str, cut: str) -> None:
    """
    The daemon says what the dialogue says, however its octets arrive.
    """
    assert plays[name, cut].result(PATIENCE) is None
