"""
Tokens: of other services, of other prefixes, from other networks; and their end, felt by open sessions.
"""

from __future__ import annotations

import datetime
import smtplib
from collections.abc import Iterator

import pytest

from tests.e2e.daemon import PROJECT, Relay
from tests.e2e.mail import authenticate, connect, login, submit
from tests.e2e.story import until
from tests.e2e.world import World

FOREIGN = "9f86d081884c7d659a2feaa0c55ad015"
GONE = (421, b"4.7.0 The API token was revoked or has expired, closing connection")
INVALID = (535, b"5.7.8 Authentication credentials invalid")


@pytest.fixture(scope="module")
def moved(world: World) -> Iterator[Relay]:
    """
    A relay for somebody who comes from Lettr.
    """
    relay = world.relay(auth={"usernames": ["lettr", "lettermint"], "token_prefix": "lttr_"}).start()
    yield relay
    assert relay.stop() == 0


@pytest.fixture
def relay(moved: Relay) -> Iterator[Relay]:
    """
    That relay; pytest shows what it logged during a test that fails.
    """
    start = len(moved.log())
    yield moved
    print(moved.log()[start:])  # captured, and shown only on failure


@pytest.fixture(scope="module", autouse=True)
def used(moved: Relay) -> tuple[str, datetime.datetime]:
    """
    The id of a token, and a time just before its only login: at once, so that there is less to wait for at the end.
    """
    made = create(moved, "used")
    assert record(moved, made["id"])["last_used"] is None
    start = datetime.datetime.now(datetime.UTC)
    with login(moved, token=made["token"]):
        return made["id"], start


def create(relay: Relay, name: str, *options: str) -> dict[str, str]:
    """
    A new token of the project, in force.
    """
    made: dict[str, str] = relay.ask("token", "create", PROJECT, "--name", name, *options)
    assert relay.reload()
    return made


def from_address(
    relay: Relay, address: str, token: str, user: str = "lettermint", mechanism: str = "PLAIN"
) -> tuple[int, bytes]:
    """
    The answer to a login from that address; a failed one costs its address time, so each has one of its own.
    """
    with smtplib.SMTP("127.0.0.1", relay.port("plain"), timeout=30, source_address=(address, 0)) as client:
        try:
            return authenticate(client, mechanism, user, token)
        except smtplib.SMTPAuthenticationError as refused:
            return refused.smtp_code, bytes(refused.smtp_error)


def record(relay: Relay, identity: str) -> dict[str, object]:
    """
    What C{token list} says of it.
    """
    [found] = [one for one in relay.ask("token", "list", PROJECT) if one["id"] == identity]
    return dict(found)


def test_revoked_under_an_open_session(relay: Relay) -> None:
    """
    From the reload on, its next command is 421 and the connection closes; a session of another token goes on.
    """
    made = create(relay, "short-lived")
    with login(relay, token=made["token"]) as session, login(relay) as other:
        assert session.noop()[0] == 250
        relay.ask("token", "revoke", PROJECT, made["id"])
        assert session.noop()[0] == 250  # the file alone changes nothing
        assert relay.reload()
        assert session.noop() == GONE
        with pytest.raises(smtplib.SMTPServerDisconnected):
            session.noop()
        assert other.noop()[0] == 250
    assert from_address(relay, "127.0.4.1", made["token"]) == INVALID


def test_expired_under_an_open_session(relay: Relay) -> None:
    """
    The same at the moment that it was given to, without a reload.
    """
    ends = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=2)
    made = create(relay, "expiring", "--expires", ends.isoformat(timespec="milliseconds"))
    with login(relay, token=made["token"]) as session:
        assert session.noop()[0] == 250
        assert until(lambda: (reply := session.noop())[0] != 250 and reply, "end of the token") == GONE
        assert datetime.datetime.now(datetime.UTC) >= ends


@pytest.fixture(scope="module")
def foreign(moved: Relay) -> str:
    """
    A token of another service, taken over.
    """
    moved.ask("token", "import", PROJECT, "--name", "from before", stdin=f"{FOREIGN}\n")
    assert moved.reload()
    return FOREIGN


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_a_foreign_token(world: World, relay: Relay, foreign: str, mechanism: str) -> None:
    """
    The password that the application has now goes on working, as does the habit of giving it as the user name.
    """
    mx = world.receiver()
    to = f"someone@{world.domain(mx)}"
    for user in ("lettermint", foreign):
        with connect(relay, "starttls") as client:
            assert authenticate(client, mechanism, user, foreign)[0] == 235
            submit(client, [to])
    assert len(mx.wait(2)) == 2
    assert foreign not in relay.log()


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_a_prefix_and_name_of_lettr(relay: Relay, mechanism: str) -> None:
    """
    Tokens are made with the prefix that is configured, and the user name is C{lettr}, in these letters only.
    """
    made = create(relay, f"lettr {mechanism}")
    assert made["token"].startswith(f"lttr_{made['id']}_")
    with connect(relay, "starttls") as client:
        assert authenticate(client, mechanism, "lettr", made["token"])[0] == 235
    address = f"127.0.5.{len(mechanism)}"
    assert from_address(relay, address, made["token"], "Lettr", mechanism) == INVALID


def test_a_token_of_some_networks(relay: Relay) -> None:
    """
    It is good from there, and from elsewhere as if it were wrong; open sessions feel the change of the list.
    """
    made = create(relay, "at home", "--network", "127.0.1.0/24")
    assert from_address(relay, "127.0.1.7", made["token"])[0] == 235
    assert from_address(relay, "127.0.2.7", made["token"]) == INVALID
    with smtplib.SMTP("127.0.0.1", relay.port("plain"), timeout=30, source_address=("127.0.1.8", 0)) as session:
        authenticate(session, "PLAIN", "lettermint", made["token"])
        file = relay.project_file()
        file.write_text(file.read_text().replace("127.0.1.0/24", "127.0.3.0/24"))
        assert relay.reload()
        assert session.noop()[0] == 421


def test_the_last_use_is_listed(relay: Relay, used: tuple[str, datetime.datetime]) -> None:
    """
    Within ten seconds C{token list} has the time of the last login, and still after a restart; the project's file is
    not rewritten for it.
    """
    identity, start = used
    before = relay.project_file().read_bytes()
    told = until(lambda: record(relay, identity)["last_used"], "last use", timeout=10)
    second = datetime.timedelta(seconds=1)
    assert start - second <= datetime.datetime.fromisoformat(told) <= start + second
    assert relay.stop() == 0
    relay.start()
    assert record(relay, identity)["last_used"] == told
    assert relay.project_file().read_bytes() == before
