"""
An Idempotency-Key makes sending again safe, whatever happened in between.
"""

from __future__ import annotations

import itertools
import smtplib
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.daemon import DOMAIN, PATIENCE, Relay
from tests.e2e.mail import SENDER, login, submit
from tests.e2e.receiver import Receiver
from tests.e2e.story import query, stored, until
from tests.e2e.world import World

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def own(world: World) -> Iterator[Relay]:
    """
    A relay that may be killed.
    """
    relay = world.relay()
    relay.change_project(max_messages_per_hour=100_000)
    relay.start()
    yield relay
    assert relay.stop() == 0


@pytest.fixture
def relay(own: Relay) -> Iterator[Relay]:
    """
    That relay; pytest shows what it logged during a test that fails.
    """
    start = len(own.log())
    yield own
    print(own.log()[start:])  # captured, and shown only on failure


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


def keyed(key: str, to: str, subject: str, boundary: str = "b1", sender: str = SENDER) -> bytes:
    """
    A message under a key; like that of a client that tries again, each has a Date, Message-ID and boundary of its own.
    """
    number = next(_numbers)
    lines = [
        f"From: {sender}",
        f"To: {to}",
        f"Subject: {subject}",
        f"Date: Fri, 20 Nov 2026 20:00:{number % 60:02d} +0000",
        f"Message-ID: <{number}.keyed@{DOMAIN}>",
        f"Idempotency-Key: {key}",
        f'Content-Type: multipart/alternative; boundary="{boundary}"',
        "",
        f"--{boundary}",
        "",
        "hello",
        f"--{boundary}--",
        "",
    ]
    return "\r\n".join(lines).encode()


def said(client: smtplib.SMTP, recipients: Sequence[str], content: bytes, sender: str = SENDER) -> str:
    """
    The reply to the content, or to what was refused before it.
    """
    code, text = client.mail(sender)
    for recipient in recipients:
        if code == 250:
            code, text = client.rcpt(recipient)
    if code == 250:
        code, text = client.data(content)
    client.rset()
    return f"{code} {text.decode()}"


def accepted(identity: str) -> str:
    """
    The reply to the first.
    """
    return f"250 2.0.0 OK id={identity}"


def duplicate(identity: str) -> str:
    """
    The reply to a message that is stored already.
    """
    return f"250 2.0.0 OK id={identity} (duplicate)"


def reused(identity: str) -> str:
    """
    The reply to another message under its key.
    """
    return f"554 5.5.0 Idempotency-Key was used before for another message, id={identity}"


def is_in_store_once(relay: Relay, mx: Receiver, subject: str, identity: str) -> bool:
    """
    Is there one message of that subject, and was it taken once? To be asked when a later message has arrived.
    """
    taken = [one for one in mx.taken if one.head("Subject") == [subject]]
    return stored(relay, subject) == [identity] and len(taken) == 1


def pass_through(relay: Relay, mx: Receiver, to: str) -> None:
    """
    Send one without a key, and wait for it: what went before would have arrived.
    """
    before = len(mx.taken)
    with login(relay) as client:
        submit(client, [to])
    mx.wait(before + 1)


def test_the_same_again_is_not_sent_again(relay: Relay, mx: Receiver, to: str) -> None:
    """
    A retry with new Date, Message-ID and boundary hears the first one's id; the recipient gets one, without the key.
    """
    with login(relay) as client:
        first = submit(client, [to], keyed("same", to, "Same"))
        mx.wait()
        again = [said(client, [to], keyed("same", to, "Same", boundary)) for boundary in ("b1", "b2")]
    with login(relay, "starttls") as client:
        again.append(said(client, [to], keyed("same", to, "Same", "b3")))
    assert again == [duplicate(first)] * 3
    pass_through(relay, mx, to)
    assert is_in_store_once(relay, mx, "Same", first)
    assert mx.taken[0].head("Idempotency-Key") == []
    duplicates = relay.facts("message is a duplicate")
    assert [fact["first"] for fact in duplicates] == [first] * 3


def test_another_message_under_the_key_is_refused(world: World, relay: Relay, mx: Receiver, to: str) -> None:
    """
    With another Subject, To, From, sender or recipient it is 554 5.5.0, and the first is what was sent.
    """
    other = f"other@{to.partition('@')[2]}"
    with login(relay) as client:
        first = submit(client, [to], keyed("mine", to, "Mine"))
        replies = [
            said(client, [to], keyed("mine", to, "Not mine")),
            said(client, [to], keyed("mine", other, "Mine")),
            said(client, [to], keyed("mine", to, "Mine", sender=f"else@{DOMAIN}")),
            said(client, [to], keyed("mine", to, "Mine"), sender=f"else@{DOMAIN}"),
            said(client, [other], keyed("mine", to, "Mine")),
            said(client, [to, other], keyed("mine", to, "Mine")),
        ]
        assert replies == [reused(first)] * len(replies)
        assert said(client, [to], keyed("mine", to, "Mine")) == duplicate(first)
        assert said(client, [to], keyed("MINE", to, "Other key")).startswith("250 2.0.0 OK id=")
    mx.wait(2)
    assert is_in_store_once(relay, mx, "Mine", first)
    assert stored(relay, "Not mine") == []


def test_a_key_is_its_projects_own(relay: Relay, mx: Receiver, to: str) -> None:
    """
    Another project may use the same key for what it likes.
    """
    token = relay.add_project("neighbour")
    assert relay.reload()
    with login(relay) as client:
        first = submit(client, [to], keyed("shared", to, "Ours"))
    with login(relay, token=token) as client:
        theirs = submit(client, [to], keyed("shared", to, "Theirs"))
    assert theirs != first
    mx.wait(2)


def test_two_sessions_at_once_store_one(relay: Relay, mx: Receiver, to: str) -> None:
    """
    However many send it at the same moment, small or large: one id, one message, one delivery; who is asked to try
    again (451 4.5.0) hears of the duplicate then.
    """
    sessions, keys = 6, 5
    start = threading.Barrier(sessions)

    def race(number: int) -> list[str]:
        replies = []
        with login(relay) as client:
            for key in range(keys):
                content = keyed(f"race{key}", to, f"Race {key}", f"b{number}") + b"x" * 70 * 5000 * (key % 2) + b"\r\n"
                start.wait(PATIENCE)
                while (reply := said(client, [to], content)).startswith("451 4.5.0 "):
                    pass
                replies.append(reply)
        return replies

    with ThreadPoolExecutor(sessions) as pool:
        replies = list(pool.map(race, range(sessions)))
    pass_through(relay, mx, to)
    for key, answers in enumerate(zip(*replies, strict=True)):
        [identity] = stored(relay, f"Race {key}")
        assert sorted(answers) == sorted([accepted(identity), *[duplicate(identity)] * (sessions - 1)])
        until(lambda key=key: any(one.head("Subject") == [f"Race {key}"] for one in mx.taken), f"race {key}")
        assert is_in_store_once(relay, mx, f"Race {key}", identity)


def test_it_is_remembered_over_a_restart_and_a_kill(relay: Relay, mx: Receiver, to: str) -> None:
    """
    A daemon that was stopped, and one that was killed, know the key when they are back.
    """
    with login(relay) as client:
        first = submit(client, [to], keyed("lasting", to, "Lasting"))
    mx.wait()
    assert relay.stop() == 0
    relay.start()
    with login(relay) as client:
        assert said(client, [to], keyed("lasting", to, "Lasting", "b2")) == duplicate(first)
    relay.kill()
    relay.start()
    with login(relay) as client:
        assert said(client, [to], keyed("lasting", to, "Lasting", "b3")) == duplicate(first)
        assert said(client, [to], keyed("lasting", to, "Different")) == reused(first)
    pass_through(relay, mx, to)
    assert is_in_store_once(relay, mx, "Lasting", first)


def test_a_kill_before_the_client_heard(world: World, relay: Relay, mx: Receiver, to: str) -> None:
    """
    The message is on disk, its 250 never arrives, and the daemon is killed: the retry hears of the first.
    """
    domain = to.partition("@")[2]
    world.names.silent.add(domain)  # so that delivery does not settle it before
    client = login(relay)
    assert client.mail(SENDER)[0] == 250
    assert client.rcpt(to)[0] == 250
    assert client.docmd("DATA")[0] == 354
    client.sock.sendall(keyed("unheard", to, "Unheard") + b".\r\n")
    [(first,)] = until(lambda: query(relay, "SELECT message FROM idempotency WHERE key = 'unheard'"), "row of the key")
    relay.kill()
    client.close()
    world.names.silent.discard(domain)
    relay.start()
    with login(relay) as client:
        assert said(client, [to], keyed("unheard", to, "Unheard", "b2")) == duplicate(first)
    mx.wait()
    pass_through(relay, mx, to)
    assert is_in_store_once(relay, mx, "Unheard", first)
