"""
SIGTERM ends the daemon in order, and a restart goes on where it stopped.
"""

from __future__ import annotations

import threading

import pytest

from tests.e2e.mail import login, message, send
from tests.e2e.receiver import Script
from tests.e2e.story import await_states
from tests.e2e.world import World


def holding(verb: str, gate: threading.Event, reached: threading.Event) -> Script:
    """
    A script that answers C{verb} as usual, but only when the gate is open.
    """

    def script(spoken: str, argument: str) -> str | None:
        if spoken == verb:
            reached.set()
            gate.wait(30)
        return None

    return script


def test_a_delivery_under_way_is_finished(world: World) -> None:
    """
    The receiver's late 250 still counts: the message is delivered once, exit code 0.
    """
    gate, reached = threading.Event(), threading.Event()
    mx = world.receiver(script=holding("CONTENT", gate, reached))
    to = f"someone@{world.domain(mx)}"
    relay = world.relay().start()
    send(relay, to)
    assert reached.wait(20)
    stopping = threading.Timer(0.5, gate.set)
    stopping.start()
    assert relay.stop() == 0
    assert len(mx.taken) == 1
    relay.start()
    assert relay.ask("queue", "list") == []
    assert relay.stop() == 0
    assert len(mx.taken) == 1


def test_a_session_in_its_data_is_finished(world: World) -> None:
    """
    A message whose data is on its way is taken and answered before the daemon ends, and sent after the next start.
    """
    mx = world.receiver()
    to = f"someone@{world.domain(mx)}"
    relay = world.relay().start()
    client = login(relay)
    client.mail("app@acme.example")
    client.rcpt(to)
    client.putcmd("data")
    assert client.getreply()[0] == 354
    relay.signal(15)
    relay.await_fact("stopping")
    client.send(message(to).replace(b"\r\n.", b"\r\n..") + b"\r\n.\r\n")
    assert client.getreply()[0] == 250
    assert relay.wait() == 0
    client.close()
    relay.start()
    mx.wait()
    assert relay.stop() == 0


def test_new_connections_are_not_taken_while_it_ends(world: World) -> None:
    """
    From SIGTERM on nobody gets a banner.
    """
    gate, reached = threading.Event(), threading.Event()
    mx = world.receiver(script=holding("CONTENT", gate, reached))
    relay = world.relay().start()
    send(relay, f"someone@{world.domain(mx)}")
    assert reached.wait(20)
    relay.signal(15)
    relay.await_fact("stopping")
    with pytest.raises(OSError, match=r"refused|closed|reset"):
        login(relay)
    gate.set()
    assert relay.wait() == 0


def test_what_waits_is_there_after_a_restart(world: World) -> None:
    """
    Deferred mail survives the stop, is due when it was due, and goes.
    """
    mx = world.receiver()
    domain = world.domain(mx)
    world.names.failing.add(domain)
    relay = world.relay().start()
    identity = send(relay, f"someone@{domain}")
    await_states(relay, identity, {f"someone@{domain}": "deferred"})
    assert relay.stop() == 0
    listed = relay.ask("queue", "list")
    assert identity in str(listed)
    world.names.failing.discard(domain)
    relay.start()
    assert mx.wait(timeout=30)[0].recipients == (f"someone@{domain}",)
    assert relay.stop() == 0
