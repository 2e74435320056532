"""
A daemon with few file descriptors: clients that are too many hear it, and nobody else feels it.
"""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from lmrelay.descriptors import divide
from tests.e2e.daemon import PROJECT, Relay, pause
from tests.e2e.mail import login, message, submit
from tests.e2e.world import World

DESCRIPTORS = 400
MOST = divide(DESCRIPTORS).connections
TOO_MANY = b"421 4.7.0 Too many connections, try again later\r\n"


def few() -> None:
    """
    Soft and hard limit of the process that is to be the daemon.
    """
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS // 2, DESCRIPTORS))


@pytest.fixture
def own(world: World) -> Iterator[Relay]:
    """
    A relay with few descriptors.
    """
    relay = world.relay(limits={"connections_per_address": 10 * MOST}).start(few)
    yield relay
    print(relay.log())  # captured, and shown only on failure
    relay.kill()


class Crowd:
    """
    Clients that connect and say nothing.
    """

    def __init__(self, relay: Relay) -> None:
        self.port = relay.port("plain")
        self.stack = ExitStack()

    def connect(self) -> socket.socket:
        return self.stack.enter_context(socket.create_connection(("127.0.0.1", self.port), timeout=30))

    def greeting(self) -> bytes:
        """
        What one more client hears first.
        """
        client = self.connect()
        try:
            return client.makefile("rb").readline()
        except ConnectionResetError:
            return b""


def test_surplus_clients(world: World, own: Relay) -> None:
    """
    The soft limit is raised to the hard one; clients beyond what that bears read 421, however many come; those inside
    log in and submit, their mail is delivered, and once the crowd is gone others get in.
    """
    warned = own.await_fact("too few file descriptors for [limits] connections")
    assert (warned["descriptors"], warned["most"]) == (str(DESCRIPTORS), str(MOST))
    mx = world.receiver()
    to = f"someone@{world.domain(mx)}"
    with login(own) as session:
        crowd = Crowd(own)
        with crowd.stack:
            inside = [crowd.greeting()[:3] for _ in range(MOST - 1)]
            assert inside == [b"220"] * (MOST - 1)
            assert [crowd.greeting() for _ in range(20)] == [TOO_MANY] * 20
            for _ in range(2 * DESCRIPTORS):
                crowd.connect()
            submit(session, [to])
            mx.wait()
            session.noop()
        assert "Too many open files" not in own.log()
    end = time.monotonic() + 30
    while not is_let_in(own) and time.monotonic() < end:
        pause()
    with login(own) as session:
        submit(session, [to])
    mx.wait(2)


def is_let_in(relay: Relay) -> bool:
    crowd = Crowd(relay)
    with crowd.stack:
        return crowd.greeting().startswith(b"220")


def test_a_revoked_token(world: World) -> None:
    """
    Its open session ends at the next command; content that had its 354 is taken first, and delivered.
    """
    relay = world.relay().start()
    mx = world.receiver()
    to = f"someone@{world.domain(mx)}"
    idle, busy = login(relay), login(relay)
    for command in ("MAIL FROM:<app@acme.example>", f"RCPT TO:<{to}>", "DATA"):
        code, _ = busy.docmd(command)
    assert code == 354
    relay.ask("token", "revoke", PROJECT, relay.token_id)
    assert relay.reload()
    gone = (421, b"4.7.0 The API token was revoked or has expired, closing connection")
    assert idle.noop() == gone
    busy.send(message(to) + b".\r\n")
    assert busy.getreply()[0] == 250
    assert busy.noop() == gone
    mx.wait()
    idle.close()
    busy.close()
