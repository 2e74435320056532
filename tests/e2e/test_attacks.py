"""
Clients that hold on to a connection in every bad way, at a daemon with little patience: it serves the others meanwhile,
and in the end nothing of them is left.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.daemon import PATIENCE, Relay, pause
from tests.e2e.mail import login, unverified
from tests.e2e.world import World

ENVELOPE = b"MAIL FROM:<app@acme.example>\r\nRCPT TO:<ok@testing.relay.test>\r\n"

_sources = (f"127.98.0.{number}" for number in itertools.count(1))


@pytest.fixture(scope="module")
def hasty(world: World) -> Iterator[Relay]:
    """
    A relay that waits two seconds where others wait five minutes.
    """
    relay = world.relay(timeouts={"command": "2s", "data": "2s"}).start()
    yield relay
    assert relay.stop() == 0


@pytest.fixture(scope="module", autouse=True)
def at_rest(hasty: Relay) -> int:
    """
    How many sockets it has open with nobody there.
    """
    return sockets(hasty)


def connect(relay: Relay, security: str, *, window: int = 0) -> socket.socket:
    """
    A connection that is read from by whoever has it; C{window}: the octets it takes in unread.
    """
    client = socket.socket()
    client.settimeout(PATIENCE)
    if window:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    client.bind((next(_sources), 0))
    client.connect(("127.0.0.1", relay.port(security)))
    return client


def log_in(client: socket.socket, relay: Relay) -> None:
    """
    As far as the login, with every reply read.
    """
    token = base64.b64encode(b"\0lettermint\0" + relay.token.encode())
    client.sendall(b"EHLO x\r\nAUTH PLAIN " + token + b"\r\n")
    heard = b""
    while b"\r\n235 " not in heard:
        block = client.recv(4096)
        assert block, heard
        heard += block


def read_to_the_end(client: socket.socket) -> bytes:
    heard = b""
    with contextlib.suppress(ConnectionResetError, ssl.SSLError):
        while block := client.recv(65536):
            heard += block
    return heard


def sockets(relay: Relay) -> int:
    found = 0
    for descriptor in Path(f"/proc/{relay.pid}/fd").iterdir():
        # One may be closed while they are being counted.
        with contextlib.suppress(FileNotFoundError):
            found += descriptor.readlink().name.startswith("socket:")
    return found


def memory(relay: Relay) -> int:
    """
    KiB that it has resident.
    """
    lines = Path(f"/proc/{relay.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end
        pause()


def test_never_read(hasty: Relay) -> None:
    """
    Who sends commands without end and reads no reply is not read from either: it is cut off, and others are served.
    """
    clients = [connect(hasty, "plain", window=4096), connect(hasty, "implicit", window=4096)]
    clients[1] = unverified().wrap_socket(clients[1], server_hostname="relay.test")
    before = memory(hasty)
    for client in clients:
        log_in(client, hasty)
    line = b"EHLO x\r\n" * 8192
    for client in clients:
        client.settimeout(0.3)
        # What the relay does not take fills the kernel's buffers; then it waits.
        with contextlib.suppress(TimeoutError, ssl.SSLError, ConnectionError):
            for _ in range(500):
                client.sendall(line)
            pytest.fail("the relay has taken 32 MiB of commands")
    with login(hasty) as other:
        assert 250 == other.noop()[0]
    assert memory(hasty) - before < 16 * 1024
    until(lambda: len(hasty.facts("timeout")) >= len(clients))
    for client in clients:
        client.close()


def test_half_closed(hasty: Relay) -> None:
    """
    Who closes its side ends the session, wherever it is; what was not ended is not stored.
    """
    head = b"From: app@acme.example\r\n\r\n"
    wires = [b"", b"EHLO x", ENVELOPE + b"DATA\r\n" + head + b"x\r\n.", ENVELOPE + b"BDAT 100\r\n" + head]
    accepted = len(hasty.facts("message accepted"))
    for wire in wires:
        with connect(hasty, "plain") as client:
            log_in(client, hasty)
            client.sendall(wire)
            client.shutdown(socket.SHUT_WR)
            assert b"id=" not in read_to_the_end(client)
    assert accepted == len(hasty.facts("message accepted"))


def test_stalls(hasty: Relay, at_rest: int) -> None:
    """
    Who says nothing, or too little, is told so and cut off: before the banner, within a handshake, a command, a login
    or content. Nothing of all that came to this relay is left.
    """
    stalls = [
        ("plain", b""),
        ("plain", b"NOO"),
        ("plain", b"EHLO x\r\nAUTH LOGIN\r\n"),
        ("starttls", b"EHLO x\r\nSTARTTLS\r\n"),
        ("implicit", b""),
        ("implicit", b"\x16\x03\x01\x02\x00\x01\x00"),
        ("implicit", b"\x16\x03\x01\x00\x00" * 1000),
        ("implicit", b"EHLO x\r\n" * 100),
        ("auto", b"\x16\x03\x01\x02\x00\x01\x00"),
        ("auto", b"\x80\x2e\x01\x00\x02"),
    ]
    clients = [connect(hasty, security) for security, _ in stalls]
    for client, (_, wire) in zip(clients, stalls, strict=True):
        client.sendall(wire)
    dribbler = connect(hasty, "plain")
    log_in(dribbler, hasty)
    dribbler.sendall(ENVELOPE + b"DATA\r\nFrom: ")
    for client in (*clients, dribbler):
        assert b"235" not in read_to_the_end(client)
        client.close()
    until(lambda: sockets(hasty) <= at_rest)
