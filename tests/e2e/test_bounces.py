"""
Mail with a return path, and what comes back for it, by a live daemon.
"""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from typing import Any

import pytest

from lmrelay.mail.address import parse_address
from lmrelay.mail.return_path import Origin, read_return_path
from tests.e2e.daemon import Relay
from tests.e2e.mail import SENDER, connect, message, send, submit, unverified
from tests.e2e.receiver import Taken
from tests.e2e.story import await_states, events, query
from tests.e2e.world import World

RETURN_DOMAIN = "bounce.acme.example"

BOUNCE = f"""From: Mail Delivery Subsystem <MAILER-DAEMON@b.example>
To: someone
Subject: Undelivered Mail
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary=bound

--bound
Content-Type: text/plain

Your message could not be delivered.

--bound
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.b.example

Final-Recipient: rfc822; %s
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 No such user

--bound
Content-Type: text/rfc822-headers

From: {SENDER}

--bound--
"""

COMPLAINT = """From: feedback@b.example
Subject: FW: news
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary=bound

--bound
Content-Type: text/plain

Somebody complained.

--bound
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: Loop/1.0
Version: 1

--bound--
"""


@pytest.fixture(scope="module")
def own(world: World) -> Iterator[Relay]:
    """
    A relay whose project has a return path. It has no port 25, so a listener says that it takes what comes back. It
    makes its key itself.
    """
    listeners: list[dict[str, Any]] = [
        {"port": 0, "interface": "127.0.0.1", "security": "starttls", "bounces": True},
        {"port": 0, "interface": "127.0.0.1", "security": "plain"},
    ]
    relay = world.relay(listeners=listeners, bounces={"message_size": "64KiB"})
    relay.change_project(routes={"outgoing": {"return_path": RETURN_DOMAIN}})
    for key in relay.folder.rglob("token.key"):
        key.unlink()
    relay.start()
    yield relay
    print(relay.log())  # captured, and shown only on failure
    assert 0 == relay.stop()


def bring(relay: Relay, content: str, to: str, sender: str = "") -> None:
    """
    As another mail server brings it: in clear and without login.
    """
    with smtplib.SMTP("127.0.0.1", relay.port("starttls"), timeout=30) as client:
        client.sendmail(sender, [to], content.replace("\n", "\r\n"))


def refusal(relay: Relay, to: str) -> str:
    """
    What is said to that RCPT.
    """
    with smtplib.SMTP("127.0.0.1", relay.port("starttls"), timeout=30) as client:
        client.ehlo("mx.b.example")
        assert 250 == client.mail("")[0]
        code, words = client.rcpt(to)
    return f"{code} {words.decode()}"


def deliver(world: World, relay: Relay, number: int = 1) -> tuple[str, list[Taken]]:
    """
    A message that was delivered to so many recipients at one site: its id, and what arrived.
    """
    mx = world.receiver()
    domain = world.domain(mx)
    wanted = {f"r{number}@{domain}": "delivered" for number in range(number)}
    identity = send(relay, list(wanted))
    taken = mx.wait(number, timeout=60)
    await_states(relay, identity, wanted)
    return identity, sorted(taken, key=lambda one: one.recipients)


def returned(relay: Relay, identity: str) -> list[list[dict[str, Any]]]:
    return [one["returned"] for one in relay.ask("explain", identity)["recipients"]]


def test_out_and_back(world: World, own: Relay) -> None:
    """
    Each recipient's copy has a sender of its own and the From of the application. A bounce that comes back to it in
    clear, without login, is an event of that recipient, and explain shows it; the same again is nothing new.
    """
    identity, taken = deliver(world, own, 2)
    (path,) = own.folder.rglob("token.key")
    for number, one in enumerate(taken):
        assert (f"r{number}",) == tuple(to.partition("@")[0] for to in one.recipients)
        assert Origin(identity, number) == read_return_path(path.read_bytes(), parse_address(one.reverse_path))
        assert [f"App <{SENDER}>"] == one.head("From")
    assert 2 == len({one.reverse_path for one in taken})
    kept = query(own, "SELECT count(*) FROM message")
    for _ in range(2):
        bring(own, BOUNCE % taken[1].recipients[0], taken[1].reverse_path)
    first, (second,) = returned(own, identity)
    assert [] == first
    assert ("bounce", "5.1.1", "550 5.1.1 No such user", "mx.b.example") == (
        second["kind"],
        second["status"],
        second["text"],
        second["by"],
    )
    (told,) = [document for type_, _, document in events(own, identity) if type_ == "message.hard_bounced"]
    assert (taken[1].recipients[0], "5.1.1") == (told["recipient"], told["response"]["enhanced_status_code"])
    assert "delivered" == own.ask("explain", identity)["recipients"][1]["state"]
    assert kept == query(own, "SELECT count(*) FROM message"), "something was sent in answer"


def test_complaint(world: World, own: Relay) -> None:
    """
    A complaint, which has a sender, is an event too, and suppresses.
    """
    identity, (taken,) = deliver(world, own)
    bring(own, COMPLAINT, taken.reverse_path.upper(), "feedback@b.example")
    assert ["message.spam_complaint", "suppression.added"] == [type_ for type_, _, _ in events(own, identity)[-2:]]


def test_refused(world: World, own: Relay) -> None:
    """
    Forged, unsigned and foreign addresses, mail of people, and what is too large.
    """
    _, (taken,) = deliver(world, own)
    signed = taken.reverse_path
    local = signed.partition("@")[0]
    forged = f"{local[:-1]}{'b' if local[-1] == 'a' else 'a'}@{RETURN_DOMAIN}"
    nobody = "550 5.1.1 Nothing is awaited at this address"
    assert [nobody] * 3 == [
        refusal(own, to) for to in (forged, f"bounces@{RETURN_DOMAIN}", signed.replace("bounces+", "bounces+0"))
    ]
    assert "530 5.7.0 Authentication required" == refusal(own, SENDER)
    with pytest.raises(smtplib.SMTPDataError) as caught:
        bring(own, "Subject: hello\n\nDo you have it in blue?\n", signed, "joe@b.example")
    assert 554 == caught.value.smtp_code
    with pytest.raises(smtplib.SMTPSenderRefused) as refused:
        bring(own, "x\n" * 40_000, signed)
    assert 552 == refused.value.smtp_code


def test_login_as_ever(world: World, own: Relay) -> None:
    """
    Applications use the same port as before: not in clear, and with their token.
    """
    mx = world.receiver()
    to = f"someone@{world.domain(mx)}"
    with smtplib.SMTP("127.0.0.1", own.port("starttls"), timeout=30) as client:
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            client.sendmail(SENDER, [to], message(to))
        with pytest.raises(smtplib.SMTPNotSupportedError):
            client.login("lettermint", own.token)
        client.starttls(context=unverified())
        client.login("lettermint", own.token)
        submit(client, [to])
    (taken,) = mx.wait()
    assert (to,) == taken.recipients


def test_other_ports(own: Relay) -> None:
    """
    A port that does not say so takes nothing without login.
    """
    with connect(own, "plain") as client:
        client.ehlo("mx.b.example")
        assert (530, b"5.7.0 Authentication required") == client.mail("")


def test_our_failure_is_told_as_before(world: World, own: Relay) -> None:
    """
    A refusal at delivery is the sender's to hear, by the reverse path that it gave.
    """
    mx = world.receiver(script=lambda verb, argument: "550 5.1.1 no" if verb == "RCPT" and "gone" in argument else None)
    domain = world.domain(mx)
    identity = send(own, f"gone@{domain}", sender=SENDER)
    await_states(own, identity, {f"gone@{domain}": "failed"})
    notices = query(own, 'SELECT "to", subject FROM message WHERE notification')
    assert [(SENDER, "failed")] == notices
    assert ["message.hard_bounced", "suppression.added"] == [type_ for type_, _, _ in events(own, identity)[-2:]]
