"""
The operator's command beside a running daemon, and without one.
"""

from __future__ import annotations

import pytest

from tests.e2e.daemon import Relay, lmrelay
from tests.e2e.mail import message, send
from tests.e2e.receiver import always, in_turn
from tests.e2e.story import await_states, states
from tests.e2e.world import World


def listed(relay: Relay) -> list[str]:
    """
    The ids of the messages in the queue.
    """
    return [row["message"] for row in relay.ask("queue", "list")]


def test_explain_tells_every_attempt(world: World, relay: Relay) -> None:
    """
    The remote's own words, the MX, the TLS version, and that it was delivered at the second attempt.
    """
    mx = world.receiver(tls=world.server_tls(), script=in_turn("RCPT", "450 4.2.0 greylisted for a moment"))
    to = f"someone@{world.domain(mx)}"
    identity = send(relay, to, message(to, subject="Explain this"))
    await_states(relay, identity, {to: "delivered"})
    told = lmrelay(relay.config, "explain", identity)
    assert told.returncode == 0, told.stderr
    for words in (
        "greylisted for a moment",
        "250 2.0.0 taken",
        "TLSv1.3",
        "Explain this",
        to,
        f"mx1.{to.split('@')[1]}",
    ):
        assert words in told.stdout, words


def test_explain_of_what_is_unknown(relay: Relay) -> None:
    """
    One line and exit code 1.
    """
    told = lmrelay(relay.config, "explain", "nosuchmessage")
    assert told.returncode == 1
    assert len(told.stderr.splitlines()) == 1


@pytest.mark.parametrize("alive", [True, False], ids=["running", "stopped"])
def test_hold_release_and_delete(world: World, alive: bool) -> None:
    """
    Held mail does not go, released mail goes, deleted mail is gone; with the daemon and without it.
    """
    relay = world.relay(delivery={"retry": ["5m"]}).start()
    mx = world.receiver(script=in_turn("RCPT", "450 4.2.0 later", "450 4.2.0 later"))
    domain = world.domain(mx)
    kept = send(relay, f"kept@{domain}")
    gone = send(relay, f"gone@{domain}")
    for identity, to in ((kept, f"kept@{domain}"), (gone, f"gone@{domain}")):
        await_states(relay, identity, {to: "deferred"})
    if not alive:
        assert relay.stop() == 0
    for identity in (kept, gone):
        assert relay.ask("queue", "hold", identity)["by_daemon"] == alive
    assert states(relay, kept)[f"kept@{domain}"]["state"] == "held"
    assert sorted(listed(relay)) == sorted([kept, gone])
    relay.ask("queue", "delete", gone)
    assert listed(relay) == [kept]
    relay.command("queue", "release", kept)
    if not alive:
        relay.start()
    relay.ask("queue", "retry", kept)
    assert [one.recipients for one in mx.wait()] == [(f"kept@{domain}",)]
    assert relay.stop() == 0
    assert listed(relay) == []


def test_a_retry_goes_at_once(world: World) -> None:
    """
    What would wait an hour goes within seconds of the command.
    """
    relay = world.relay(delivery={"retry": ["1h"]}).start()
    mx = world.receiver(script=in_turn("RCPT", "450 4.2.0 later"))
    to = f"someone@{world.domain(mx)}"
    identity = send(relay, to)
    await_states(relay, identity, {to: "deferred"})
    relay.ask("queue", "retry", identity)
    assert mx.wait(timeout=10)[0].recipients == (to,)
    assert relay.stop() == 0


def test_a_dry_run_changes_nothing(world: World) -> None:
    """
    --dry-run says what would be deleted, and deletes nothing.
    """
    relay = world.relay(delivery={"retry": ["1h"]}).start()
    mx = world.receiver(script=always("RCPT", "450 4.2.0 later"))
    to = f"someone@{world.domain(mx)}"
    identity = send(relay, to)
    await_states(relay, identity, {to: "deferred"})
    change = relay.ask("queue", "delete", identity, "--dry-run")
    assert (change["changed"], change["dry_run"]) == (1, True)
    assert listed(relay) == [identity]
    relay.kill()


def test_check_finds_nothing_wrong(relay: Relay) -> None:
    """
    The check of a good configuration exits 0 while the daemon runs.
    """
    checked = lmrelay(relay.config, "check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
