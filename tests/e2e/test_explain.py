"""
What the operator's command tells of messages, live: step by step, and over all that are kept.
"""

from __future__ import annotations

import re

from tests.e2e.daemon import Relay, lmrelay
from tests.e2e.mail import message, send
from tests.e2e.receiver import always, in_turn
from tests.e2e.story import await_states, until
from tests.e2e.world import World

ATTEMPTS = """\
TIME  attempt 1: mx2.DOMAIN [ADDRESS], TLSv1.3 TLS_AES_256_GCM_SHA384, certificate not verified \
(the certificate is self-signed), policy opportunistic, took SPAN
delayed: 450 4.2.0 greylisted for a moment (in reply to RCPT TO)
SPAN  MX             mx1.DOMAIN, then mx2.DOMAIN
SPAN  addresses      mx1.DOMAIN: ADDRESS
SPAN  connecting     mx1.DOMAIN [ADDRESS]: the connection was refused
SPAN  addresses      mx2.DOMAIN: ADDRESS
SPAN  connecting     mx2.DOMAIN [ADDRESS]
SPAN  greeting       220 mx.test ESMTP
SPAN  EHLO           250 mx.test PIPELINING 8BITMIME SMTPUTF8 SIZE 104857600 DSN STARTTLS
SPAN  STARTTLS       220 2.0.0 go on
SPAN  TLS handshake  TLSv1.3 TLS_AES_256_GCM_SHA384
SPAN  EHLO           250 mx.test PIPELINING 8BITMIME SMTPUTF8 SIZE 104857600 DSN
SPAN  MAIL FROM      250 2.1.0 ok
SPAN  RCPT TO        450 4.2.0 greylisted for a moment
SPAN  DATA           554 5.5.1 no valid recipients
TIME  attempt 2: mx2.DOMAIN [ADDRESS], TLSv1.3 TLS_AES_256_GCM_SHA384, certificate not verified \
(the certificate is self-signed), policy opportunistic, took SPAN
delivered: 250 2.0.0 taken
"""


def told(relay: Relay, *arguments: str) -> str:
    """
    What the command prints for people.
    """
    done = lmrelay(relay.config, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def plain(text: str, domain: str) -> str:
    """
    Without what differs from run to run.
    """
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text.replace(domain, "DOMAIN"))
    text = re.sub(r"127\.\d+\.\d+\.\d+", "ADDRESS", text)
    return "\n".join(line.strip() for line in re.sub(r"[\d.]+m?s\b", "SPAN", text).splitlines())


def test_step_by_step(world: World) -> None:
    """
    Every step of every attempt, in its order: names, addresses, hosts that did not answer, TLS, each reply.
    """
    relay = world.relay(delivery={"retry": ["1s"]}).start()
    mx = world.receiver(tls=world.server_tls(), script=in_turn("RCPT", "450 4.2.0 greylisted for a moment"))
    domain = world.domain()
    for number, address in ((1, world.closed_address()), (2, mx.address)):
        world.names.mx(domain, 10 * number, f"mx{number}.{domain}")
        world.names.host(f"mx{number}.{domain}", address)
    to = f"someone@{domain}"
    identity = send(relay, to, message(to, "Hello.\r\n", "X-Mailer: shop 1.2", subject="Step by step"))
    await_states(relay, identity, {to: "delivered"})
    text = told(relay, "explain", identity)
    assert plain(text, domain) == plain(told(relay, "messages", "show", identity), domain)
    assert '  token      "e2e" (' in text
    assert "  software   shop 1.2" in text
    steps = plain(text.partition("attempts\n")[2], domain)
    assert steps.startswith(ATTEMPTS), steps
    assert relay.stop() == 0


def lowered(relay: Relay, identity: str) -> str:
    """
    For which words its site gets less, as far as the store knows.
    """
    site = relay.ask("explain", identity)["recipients"][0]["site"] or {"lowered_for": ""}
    return str(site["lowered_for"])


def test_why_it_waits(world: World) -> None:
    """
    A receiver that asks for less: how many connections it gets, since when and in which words, when the message goes
    on and when it is given up; and that no daemon runs, if none does.
    """
    relay = world.relay(delivery={"retry": ["1h"], "expire": "2h"}).start()
    mx = world.receiver(script=always("RCPT", "421 4.7.0 too many connections, slow down"))
    domain = world.domain(mx)
    to = f"someone@{domain}"
    identity = send(relay, to)
    await_states(relay, identity, {to: "deferred"})
    until(lambda: lowered(relay, identity), "back-off in the store")
    found = relay.ask("explain", identity)
    [recipient] = found["recipients"]
    assert found["workers"] == 1
    assert recipient["site"]["lowered_for"] == "421 4.7.0 too many connections, slow down"
    assert recipient["expires"] > recipient["next_attempt"] > found["received"]
    text = told(relay, "explain", identity)
    assert f"its site, mx1.{domain}, asked for less at a time, and gets " in text
    assert "no daemon is running" not in text
    assert relay.stop() == 0
    assert "       no daemon is running\n" in told(relay, "explain", identity)


def test_list(world: World) -> None:
    """
    Messages that are over are found by what is known of them.
    """
    relay = world.relay().start()
    domain = world.domain(world.receiver(), world.receiver())
    one, other = f"one@{domain}", f"other@{domain}"
    first = send(relay, one, message(one, subject="Order 1"))
    second = send(relay, other, message(other, subject="Order 2"))
    for identity, to in ((first, one), (second, other)):
        await_states(relay, identity, {to: "delivered"})
    for selectors, expected in (
        ((), [second, first]),
        (("--recipient", one), [first]),
        (("--recipient", f"@{domain}", "--state", "delivered"), [second, first]),
        (("--state", "queued"), []),
        (("--subject", "order 2", "--project", "acme", "--since", "1h"), [second]),
        (("--until", "1h"), []),
        (("--limit", "1"), [second]),
    ):
        found = relay.ask("messages", "list", *selectors)["messages"]
        assert expected == [each["message"] for each in found], selectors
    assert first in told(relay, "messages", "list")
    assert relay.stop() == 0
