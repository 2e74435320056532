"""
Who is suppressed, test addresses and the sandbox, by a live daemon.
"""

from __future__ import annotations

import smtplib
from collections.abc import Iterator

import pytest

from tests.e2e.daemon import Relay
from tests.e2e.mail import SENDER, login, send
from tests.e2e.story import await_states, events, query, until
from tests.e2e.world import World

TESTING = "testing.relay.example"


@pytest.fixture(scope="module")
def own(world: World) -> Iterator[Relay]:
    """
    A relay of its own: nobody else's mail is to be suppressed.
    """
    relay = world.relay()
    relay.start()
    yield relay
    print(relay.log())  # captured, and shown only on failure
    assert 0 == relay.stop()


def types(relay: Relay, identity: str) -> list[str]:
    return [type_ for type_, _, _ in events(relay, identity)]


def host(relay: Relay) -> str:
    return f"testing.{relay.settings['server']['hostname']}"


def test_refused_once(world: World, own: Relay) -> None:
    """
    Who refused mail for good gets no more, until the operator says so; then the next is sent.
    """
    refusing = [True]
    mx = world.receiver(script=lambda verb, _: "550 5.1.1 no such user" if verb == "RCPT" and refusing[0] else None)
    to = f"someone@{world.domain(mx)}"
    first = send(own, to)
    await_states(own, first, {to: "failed"})
    (listed,) = own.ask("suppressions", "list", "--address", to)
    assert ("hard_bounce", first, "550 5.1.1 no such user") == (listed["reason"], listed["message"], listed["text"])
    refusing[0] = False
    second = send(own, to.upper())
    assert {to.upper(): "suppressed"} == {one["address"]: one["state"] for one in recipients(own, second)}
    assert ["message.created", "message.suppressed"] == types(own, second)
    assert [(0,)] == query(own, "SELECT count(*) FROM chunk WHERE body = ?", second)
    assert "recipient suppressed" in own.log()
    (removed,) = own.command("suppressions", "remove", to, "--project", "acme")["removed"]
    assert to == removed["address"]
    third = send(own, to)
    await_states(own, third, {to: "delivered"})
    assert [(to,)] == [one.recipients for one in mx.taken]


def recipients(relay: Relay, identity: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = relay.ask("explain", identity)["recipients"]
    return found


def test_while_it_waits(world: World, own: Relay) -> None:
    """
    What waits for its next attempt when the operator suppresses its recipient is not sent.
    """
    mx = world.receiver(script=lambda verb, _: "451 4.2.0 later" if verb == "RCPT" else None)
    to = f"someone@{world.domain(mx)}"
    identity = send(own, to)
    await_states(own, identity, {to: "deferred"})
    assert 1 == own.command("suppressions", "import", "-", "--project", "acme", stdin=f"email\n{to}\n")["added"]
    own.command("queue", "retry", identity)
    await_states(own, identity, {to: "suppressed"})
    assert [] == mx.taken


def test_in_memory(world: World) -> None:
    """
    What waits in memory for a receiver with a low rate when the operator suppresses its recipient is not sent: it ends
    at once, hours before its turn.
    """
    relay = world.relay(delivery={"receivers": "receivers.toml"})
    mx = world.receiver()
    domain = world.domain(mx)
    (relay.folder / "receivers.toml").write_text(
        f'[[receivers]]\nname = "slow"\nhosts = ["*.{domain}"]\nrate = 0.001\n'
    )
    relay.start()
    first, second = (send(relay, f"{name}@{domain}") for name in ("first", "second"))
    await_states(relay, first, {f"first@{domain}": "delivered"})
    assert {f"second@{domain}": "queued"} == {one["address"]: one["state"] for one in recipients(relay, second)}
    assert 1 == relay.command("suppressions", "add", f"second@{domain}", "--project", "acme")["added"]
    await_states(relay, second, {f"second@{domain}": "suppressed"})
    assert [(0,)] == query(relay, "SELECT count(*) FROM chunk WHERE body = ?", second)
    assert 1 == len(mx.taken)
    assert 0 == relay.stop()


def test_list_without_a_daemon(world: World) -> None:
    """
    What is changed while no daemon runs holds when it runs again.
    """
    relay = world.relay()
    relay.start()
    assert 0 == relay.stop()
    assert 1 == relay.command("suppressions", "add", "a@b.example", "--project", "acme")["added"]
    relay.start()
    await_states(relay, send(relay, "a@b.example"), {"a@b.example": "suppressed"})
    assert 0 == relay.stop()


def test_parts(own: Relay) -> None:
    """
    Each test address plays its part, twice over, with the events of real mail; and no other is a recipient.
    """
    ended = {"ok": "delivered", "softbounce": "failed", "hardbounce": "failed", "spamcomplaint": "delivered"}
    begun = ["message.created", "message.sent"]
    told = {
        "ok": [*begun, "message.delivered"],
        "softbounce": [*begun, "message.deferred", "message.soft_bounced"],
        "hardbounce": [*begun, "message.hard_bounced"],
        "spamcomplaint": [*begun, "message.delivered", "message.spam_complaint"],
    }
    sent = [(part, f"{part}{more}@{host(own)}") for part in ended for more in ("", "+x", "+x")]
    identities = [(send(own, to), part, to) for part, to in sent]
    for identity, part, to in identities:
        await_states(own, identity, {to: ended[part]})
        assert told[part] == types(own, identity), part
    assert [] == [one for one in own.ask("suppressions", "list") if host(own) in one["address"]]
    with login(own) as client:
        client.mail(SENDER)
        code, words = client.rcpt(f"nobody@{host(own)}")
    assert (550, True) == (code, b"ok, softbounce, hardbounce and spamcomplaint" in words)


def test_sandbox(world: World) -> None:
    """
    Of a project in the sandbox nothing leaves: everybody is as if delivered, and its mail stays there when it is live.
    """
    mx = world.receiver()
    to = f"someone@{world.domain(mx)}"
    relay = world.relay()
    relay.change_project(mode="sandbox")
    relay.start()
    held = send(relay, [to, f"hardbounce@{host(relay)}", "x@nowhere.example"])
    await_states(
        relay, held, {to: "delivered", f"hardbounce@{host(relay)}": "failed", "x@nowhere.example": "delivered"}
    )
    story = relay.ask("explain", held)
    assert story["sandbox"]
    assert [True] * 3 == [one["attempts"][0]["played"] for one in story["recipients"]]
    # The notification of the bounce stays there as well.
    until(lambda: query(relay, "SELECT 1 FROM recipient WHERE address = ? AND state = 'delivered'", SENDER), "notice")
    with pytest.raises(smtplib.SMTPResponseException) as refused:
        send(relay, to, sender="app@other.example")
    assert 550 == refused.value.smtp_code
    assert [] == mx.taken
    relay.change_project(mode="live")
    assert relay.reload()
    await_states(relay, send(relay, to), {to: "delivered"})
    assert 1 == len(mx.wait())
    assert 0 == relay.stop()
