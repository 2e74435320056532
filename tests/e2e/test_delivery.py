"""
The way to the MX, against receivers and a name server that do what real ones do.
"""

from __future__ import annotations

import smtplib

from tests.e2e.daemon import Relay
from tests.e2e.mail import message, send
from tests.e2e.receiver import always, in_turn
from tests.e2e.story import await_states, state_of
from tests.e2e.world import World


def test_greylisting_then_success(world: World, relay: Relay) -> None:
    """
    A first 450 costs a retry, not the message.
    """
    mx = world.receiver(script=in_turn("RCPT", "450 4.2.0 greylisted, come back"))
    to = f"someone@{world.domain(mx)}"
    identity = send(relay, to)
    assert mx.wait()[0].recipients == (to,)
    assert len(mx.heard("RCPT")) == 2
    assert await_states(relay, identity, {to: "delivered"})[to]["attempts"] == 2


def test_the_next_mx_where_the_first_does_not_listen(world: World, relay: Relay) -> None:
    """
    A refused connection to the best MX leads to the next one in the same attempt.
    """
    mx = world.receiver()
    domain = world.domain(mx)
    world.names.mx(domain, 1, f"dead.{domain}")
    world.names.host(f"dead.{domain}", world.closed_address())
    identity = send(relay, f"someone@{domain}")
    mx.wait()
    assert await_states(relay, identity, {f"someone@{domain}": "delivered"})[f"someone@{domain}"]["attempts"] == 1


def test_the_next_mx_where_the_first_is_busy(world: World, relay: Relay) -> None:
    """
    A 421 greeting is that host's trouble only.
    """
    busy = world.receiver(script=always("CONNECT", "421 4.3.2 too busy"))
    good = world.receiver()
    domain = world.domain(busy, good)
    send(relay, f"someone@{domain}")
    good.wait()
    assert busy.taken == []
    assert busy.connections >= 1


def test_no_mx_means_the_address(world: World, relay: Relay) -> None:
    """
    A domain without MX gets its mail at its own address (RFC 5321 §5.1).
    """
    mx = world.receiver()
    world.names.host("bare.example", mx.address)
    send(relay, "someone@bare.example")
    assert mx.wait()[0].recipients == ("someone@bare.example",)


def test_null_mx_fails_for_good(world: World, relay: Relay) -> None:
    """
    A domain that takes no mail fails at once with 5.1.10 (RFC 7505), and the sender is told.
    """
    world.names.mx("nomail.example", 0, "")
    identity = send(relay, "someone@nomail.example")
    failed = await_states(relay, identity, {"someone@nomail.example": "failed"})
    assert "5.1.10" in str(failed["someone@nomail.example"])


def test_nxdomain_fails_and_servfail_waits(world: World, relay: Relay) -> None:
    """
    A name that does not exist is final; a name server in trouble is not, and the mail goes when it is well again.
    """
    gone = send(relay, "someone@nowhere.example")
    await_states(relay, gone, {"someone@nowhere.example": "failed"})
    mx = world.receiver()
    domain = world.domain(mx)
    world.names.failing.add(domain)
    waiting = send(relay, f"someone@{domain}")
    await_states(relay, waiting, {f"someone@{domain}": "deferred"})
    world.names.failing.discard(domain)
    assert mx.wait(timeout=60)[0].recipients == (f"someone@{domain}",)


def test_one_bad_recipient_harms_no_other(world: World, relay: Relay) -> None:
    """
    550 to one RCPT fails that recipient, 450 to another delays it, and the third gets the message at once.
    """
    first = in_turn("RCPT")
    slow = iter(["450 4.2.2 mailbox full"])

    def script(verb: str, argument: str) -> str | None:
        if verb == "RCPT" and "nobody@" in argument:
            return "550 5.1.1 no such user"
        if verb == "RCPT" and "full@" in argument:
            return next(slow, None)
        return first(verb, argument)

    mx = world.receiver(script=script)
    domain = world.domain(mx)
    wanted = {f"good@{domain}": "delivered", f"nobody@{domain}": "failed", f"full@{domain}": "delivered"}
    identity = send(relay, list(wanted))
    taken = mx.wait(2)
    assert [one.recipients for one in taken] == [(f"good@{domain}",), (f"full@{domain}",)]
    states = await_states(relay, identity, wanted)
    assert "5.1.1" in str(states[f"nobody@{domain}"])


def test_recipients_of_a_site_share_a_transaction(world: World, relay: Relay) -> None:
    """
    Fifty recipients at one MX are one transaction with one content.
    """
    mx = world.receiver()
    domain = world.domain(mx)
    recipients = [f"r{number}@{domain}" for number in range(50)]
    send(relay, recipients)
    taken = mx.wait()
    assert [sorted(one.recipients) for one in taken] == [sorted(recipients)]


def test_tls_where_it_is_offered(world: World, relay: Relay) -> None:
    """
    STARTTLS is used with whatever certificate there is.
    """
    mx = world.receiver(tls=world.server_tls())
    send(relay, f"someone@{world.domain(mx)}")
    assert mx.wait()[0].tls == "TLSv1.3"


def test_broken_tls_means_plaintext_in_the_same_attempt(world: World, relay: Relay) -> None:
    """
    A handshake that fails is followed by a fresh connection in clear; it is one attempt, not two.
    """
    mx = world.receiver(broken_tls=True)
    to = f"someone@{world.domain(mx)}"
    identity = send(relay, to)
    assert mx.wait()[0].tls is None
    assert mx.connections == 2
    assert await_states(relay, identity, {to: "delivered"})[to]["attempts"] == 1


def test_ipv6_receivers(world: World, relay: Relay) -> None:
    """
    An MX with only an IPv6 address is reached.
    """
    mx = world.receiver(ipv6=True)
    send(relay, f"someone@{world.domain(mx)}")
    assert len(mx.wait()) == 1


def test_networks_that_are_not_allowed_are_not_connected_to(world: World) -> None:
    """
    Without allow_networks, an MX at a loopback address is no way out: 5.4.4, and no connection was made.
    """
    mx = world.receiver()
    to = f"someone@{world.domain(mx)}"
    relay = world.relay(delivery={"allow_networks": []}).start()
    identity = send(relay, to)
    assert "5.4.4" in str(await_states(relay, identity, {to: "failed"})[to])
    assert mx.connections == 0
    relay.stop()


def test_content_cannot_become_commands(world: World, relay: Relay) -> None:
    """
    Lines that look like the end and like commands arrive as lines, wherever the blocks were cut.
    """
    mx = world.receiver()
    domain = world.domain(mx)
    evil = ".\r\nMAIL FROM:<evil@example>\r\n..\r\n" + ("x" * 997 + "\r\n") * 40
    text = "".join(evil + "y" * cut + "\r\n" for cut in range(60))
    content = message(f"someone@{domain}", text)
    with smtplib.SMTP("127.0.0.1", relay.port("plain"), timeout=30) as client:
        client.login("lettermint", relay.token)
        client.sendmail("app@acme.example", [f"someone@{domain}"], content)
    taken = mx.wait()
    assert [one.body for one in taken] == [text.encode()]
    assert len(mx.heard("MAIL")) == 1


def test_the_way_of_a_message_is_told_by_its_id(world: World, relay: Relay) -> None:
    """
    The id in the 250 finds the message in the log from acceptance to delivery.
    """
    mx = world.receiver()
    to = f"someone@{world.domain(mx)}"
    identity = send(relay, to)
    mx.wait()
    await_states(relay, identity, {to: "delivered"})
    accepted = [fact for fact in relay.facts("message accepted") if fact["message"] == identity]
    assert [fact["project"] for fact in accepted] == ["acme"]
    assert state_of(relay, identity, to)["state"] == "delivered"


def test_source_address_and_name_of_a_route(world: World) -> None:
    """
    The receiver sees the route's own address and name, of the server's otherwise; and the story says so.
    """
    mx = world.receiver()
    domain = world.domain(mx)
    relay = world.relay(delivery={"source_address": ["127.0.0.7"]})
    relay.change_project(routes={"news": {"source_address": ["127.0.0.8"], "ehlo_name": "news.example"}})
    relay.start()
    try:
        plain = send(relay, f"plain@{domain}")
        mx.wait(1)
        news = send(relay, f"news@{domain}", b"X-Lettermint-Route: news\r\n" + message(f"news@{domain}"))
        mx.wait(2)
        assert ["127.0.0.7", "127.0.0.8"] == mx.peers
        assert ["news.example"] == [name for name in mx.heard("EHLO") if name == "news.example"]
        told = []
        for identity, to in ((plain, f"plain@{domain}"), (news, f"news@{domain}")):
            told.append(await_states(relay, identity, {to: "delivered"})[to]["last"]["source"])
        assert ["127.0.0.7", "127.0.0.8"] == told
    finally:
        relay.stop()
