"""
Python's own client on every kind of listener, with every mechanism and form of user name.
"""

from __future__ import annotations

import base64
import smtplib
import socket
import time

import pytest

from tests.e2e.daemon import PROJECT, Relay
from tests.e2e.mail import SENDER, authenticate, connect, message, submit, unverified
from tests.e2e.world import World

LISTENERS = ["starttls", "implicit", "auto", "plain"]
MECHANISMS = ["PLAIN", "LOGIN", "CRAM-MD5"]


def user_names(relay: Relay) -> dict[str, str]:
    return {"shared": "lettermint", "token": relay.token, "token-id": relay.token_id, "project": PROJECT}


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("security", LISTENERS)
def test_each_listener_takes_each_mechanism(world: World, relay: Relay, security: str, mechanism: str) -> None:
    """
    The message that was handed over on that listener arrives as it was sent.
    """
    mx = world.receiver()
    to = f"someone@{world.domain(mx)}"
    content = message(to)
    with connect(relay, security) as client:
        assert authenticate(client, mechanism, "lettermint", relay.token)[0] == 235
        submit(client, [to], content)
    taken = mx.wait()[0]
    assert taken.reverse_path == SENDER
    assert taken.recipients == (to,)
    assert taken.body == content.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("form", ["shared", "token", "token-id", "project"])
def test_each_form_of_user_name(relay: Relay, form: str, mechanism: str) -> None:
    """
    The token is the password whatever form the user name has.
    """
    with connect(relay) as client:
        assert authenticate(client, mechanism, user_names(relay)[form], relay.token)[0] == 235


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_wrong_token_is_refused(relay: Relay, mechanism: str) -> None:
    """
    535 with the words that customers of the services know.
    """
    with connect(relay) as client, pytest.raises(smtplib.SMTPAuthenticationError) as refused:
        authenticate(client, mechanism, "lettermint", relay.token[:-1] + ("a" if relay.token[-1] != "a" else "b"))
    assert refused.value.args == (535, b"5.7.8 Authentication credentials invalid")


def test_tls_at_once_on_the_auto_listener(world: World, relay: Relay) -> None:
    """
    A client that speaks TLS first gets implicit TLS where another gets the banner.
    """
    mx = world.receiver()
    to = f"someone@{world.domain(mx)}"
    with smtplib.SMTP_SSL("127.0.0.1", relay.port("auto"), timeout=30, context=unverified()) as client:
        client.login("lettermint", relay.token)
        submit(client, [to])
    assert len(mx.wait()) == 1


def test_the_auto_listener_greets_who_waits(relay: Relay) -> None:
    """
    A client that says nothing reads the banner in clear.
    """
    with socket.create_connection(("127.0.0.1", relay.port("auto")), timeout=10) as client:
        assert client.recv(200).startswith(b"220 relay.test ESMTP lmrelay")


def test_no_login_before_tls(relay: Relay) -> None:
    """
    On a STARTTLS listener AUTH is neither offered nor taken in clear.
    """
    with smtplib.SMTP("127.0.0.1", relay.port("starttls"), timeout=10) as client:
        client.ehlo()
        assert client.has_extn("starttls")
        assert not client.has_extn("auth")
        secret = base64.b64encode(b"\0lettermint\0" + relay.token.encode()).decode()
        assert client.docmd("AUTH", f"PLAIN {secret}") == (530, b"5.7.0 Must issue a STARTTLS command first")


def test_the_log_has_no_token(relay: Relay) -> None:
    """
    Whatever form the user name took, token and password stay out of the log.
    """
    with connect(relay) as client:
        authenticate(client, "LOGIN", relay.token, relay.token)
    with connect(relay) as client, pytest.raises(smtplib.SMTPAuthenticationError):
        authenticate(client, "LOGIN", relay.token, "x" + relay.token)
    log = relay.log()
    secret = relay.token.rpartition("_")[2]
    assert "login" in log.lower() or "auth" in log.lower()
    for form in (relay.token, secret, base64.b64encode(relay.token.encode()).decode()):
        assert form not in log


def test_the_second_listener_on_ipv6(world: World) -> None:
    """
    A listener on ::1 serves beside one on 127.0.0.1.
    """
    listeners = [{"port": 0, "interface": interface, "security": "starttls"} for interface in ("127.0.0.1", "::1")]
    relay = world.relay(listeners=listeners).start()
    mx = world.receiver()
    domain = world.domain(mx)
    for number, interface in enumerate(("127.0.0.1", "::1")):
        with connect(relay, "starttls", interface) as client:
            client.login("lettermint", relay.token)
            submit(client, [f"r{number}@{domain}"])
    assert {taken.recipients for taken in mx.wait(2)} == {(f"r0@{domain}",), (f"r1@{domain}",)}
    assert relay.stop() == 0


def test_a_session_carries_many_messages(world: World, relay: Relay) -> None:
    """
    A hundred messages over one session all arrive, each once.
    """
    mx = world.receiver()
    domain = world.domain(mx)
    started = time.monotonic()
    with connect(relay) as client:
        client.login("lettermint", relay.token)
        ids = [submit(client, [f"r{number}@{domain}"]) for number in range(100)]
    taken = mx.wait(100, timeout=60)
    assert len(set(ids)) == 100
    assert sorted(one.recipients[0] for one in taken) == sorted(f"r{number}@{domain}" for number in range(100))
    assert all(one.at > started for one in taken)
