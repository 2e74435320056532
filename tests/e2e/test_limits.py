"""
Limits of a project: exact, over restarts and kills, and nobody else's business.
"""

from __future__ import annotations

import datetime
import re
import smtplib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.daemon import DOMAIN, Relay
from tests.e2e.mail import SENDER, authenticate, connect, login, message, submit
from tests.e2e.receiver import Receiver
from tests.e2e.story import until
from tests.e2e.test_clients import need
from tests.e2e.world import World

LIFTS = re.compile(r"452 4\.7\.0 Limit of 3 messages per hour for project hourly is reached until (\S+)")


@pytest.fixture(scope="module")
def tokens(world: World) -> dict[str, str]:
    """
    By project; filled where the relay is made.
    """
    return {}


@pytest.fixture(scope="module")
def limited(world: World, tokens: dict[str, str]) -> Iterator[Relay]:
    """
    A relay with a project for each limit.
    """
    relay = world.relay()
    tokens["hourly"] = relay.add_project("hourly", max_messages_per_hour=3)
    tokens["routed"] = relay.add_project(
        "routed", routes={"news": {"kind": "broadcast", "max_messages_per_day": 1}}, dialects=["lettermint"]
    )
    tokens["narrow"] = relay.add_project("narrow", max_connections=2)
    tokens["small"] = relay.add_project("small", max_size="4KiB", max_recipients=2)
    relay.start()
    yield relay
    assert relay.stop() == 0


@pytest.fixture
def relay(limited: Relay) -> Iterator[Relay]:
    """
    That relay; pytest shows what it logged during a test that fails.
    """
    start = len(limited.log())
    yield limited
    print(limited.log()[start:])  # captured, and shown only on failure


@pytest.fixture
def mx(world: World) -> Receiver:
    """
    Where the mail of a test goes.
    """
    return world.receiver()


@pytest.fixture
def to(world: World, mx: Receiver) -> str:
    """
    Somebody there.
    """
    return f"someone@{world.domain(mx)}"


def reply_to(relay: Relay, token: str, to: str | list[str], content: bytes | None = None) -> str:
    """
    What the project hears when it sends one message: C{250}, or the refusal.
    """
    with login(relay, token=token) as client:
        try:
            submit(client, [to] if isinstance(to, str) else to, content)
        except smtplib.SMTPResponseException as refused:
            return f"{refused.smtp_code} {refused.smtp_error.decode()}"
        return "250"


def lifts_within_the_hour(reply: str) -> bool:
    """
    Is it the refusal of an hourly limit, with a time that is right?
    """
    found = LIFTS.fullmatch(reply)
    if found is None:
        raise AssertionError(reply)
    left = datetime.datetime.fromisoformat(found[1]) - datetime.datetime.now(datetime.UTC)
    # What is counted goes by the minute, so it may be one more.
    return datetime.timedelta(0) < left <= datetime.timedelta(minutes=61)


def test_messages_an_hour(relay: Relay, tokens: dict[str, str], mx: Receiver, to: str) -> None:
    """
    Three are accepted and delivered, the fourth is refused with the time when it lifts: now, after a restart, and
    after kill -9. Others go on, and a higher limit lets the next in from the reload on.
    """
    token = tokens["hourly"]
    assert [reply_to(relay, token, to) for _ in range(3)] == ["250"] * 3
    assert lifts_within_the_hour(reply_to(relay, token, to))
    assert reply_to(relay, relay.token, to) == "250"
    assert relay.stop() == 0
    relay.start()
    assert lifts_within_the_hour(reply_to(relay, token, to))
    relay.kill()
    relay.start()
    assert lifts_within_the_hour(reply_to(relay, token, to))
    assert reply_to(relay, relay.token, to) == "250"
    relay.change_project("hourly", max_messages_per_hour=4)
    assert relay.reload()
    assert reply_to(relay, token, to) == "250"
    assert reply_to(relay, token, to).startswith("452 4.7.0 Limit of 4 messages per hour")
    assert len(mx.wait(6)) == 6


def test_messages_of_a_route(relay: Relay, tokens: dict[str, str], mx: Receiver, to: str) -> None:
    """
    The newsletter's limit stops the newsletter; the project's other mail goes on.
    """
    token, news = tokens["routed"], "X-Lettermint-Route: news"
    assert reply_to(relay, token, to, message(to, "1\r\n", news)) == "250"
    refusal = reply_to(relay, token, to, message(to, "2\r\n", news))
    assert refusal.startswith("452 4.7.0 Limit of 1 messages per day for ")
    assert "news" in refusal
    assert reply_to(relay, token, to) == "250"
    assert len(mx.wait(2)) == 2


def test_sessions_of_a_project(relay: Relay, tokens: dict[str, str]) -> None:
    """
    One login too many gets 421; when a session has ended the next one may come. Others are not counted.
    """
    token = tokens["narrow"]
    with ExitStack() as sessions:
        first = sessions.enter_context(login(relay, token=token))
        sessions.enter_context(login(relay, token=token))
        client = sessions.enter_context(connect(relay))
        with pytest.raises(smtplib.SMTPResponseException) as refused:
            authenticate(client, "PLAIN", "lettermint", token)
        assert refused.value.args == (421, b"4.7.0 Too many connections for project narrow, try again later")
        client.close()
        sessions.enter_context(login(relay))
        first.quit()

        def comes_in() -> bool:
            try:
                sessions.enter_context(login(relay, token=token))
            except smtplib.SMTPResponseException:
                return False
            return True

        assert until(comes_in, "session for the one that ended")


def test_size_of_a_message(relay: Relay, tokens: dict[str, str], mx: Receiver, to: str) -> None:
    """
    552 for a declared size over the project's, and for a body that was not declared; a smaller one is taken.
    """
    token = tokens["small"]
    with login(relay, token=token) as client:
        assert client.mail(SENDER, ["SIZE=5000"])[0] == 552
        assert client.mail(SENDER, ["SIZE=4000"])[0] == 250
        client.rset()
    large = message(to, "x" * 70 + "\r\n" + "y" * 5000 + "\r\n")
    assert reply_to(relay, token, to, large).startswith("552 5.3.4 ")
    assert reply_to(relay, relay.token, to, large) == "250"
    assert reply_to(relay, token, to) == "250"
    assert len(mx.wait(2)) == 2


def test_recipients_of_a_message(relay: Relay, tokens: dict[str, str], mx: Receiver, to: str, tmp_path: Path) -> None:
    """
    The third RCPT is 452 4.5.3; smtplib and swaks go on with the two that were taken.
    """
    import subprocess

    domain, token = to.partition("@")[2], tokens["small"]
    people = [f"{name}@{domain}" for name in ("a", "b", "c")]
    with login(relay, token=token) as client:
        refused = client.sendmail(SENDER, people, message(people[0]))
    assert refused == {people[2]: (452, b"4.5.3 Too many recipients")}
    assert mx.wait()[0].recipients == tuple(people[:2])
    done = subprocess.run(
        [need("swaks"), "--server", "127.0.0.1", "--port", str(relay.port()), "--tls", "--auth", "PLAIN",
         "--auth-user", "lettermint", "--auth-password", token, "--from", f"app@{DOMAIN}", "--to", ",".join(people)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "452 4.5.3 Too many recipients" in done.stdout
    assert mx.wait(2)[1].recipients == tuple(people[:2])
