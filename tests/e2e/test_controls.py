"""
Control headers from the wire to the receiver: what they say is known everywhere, and they are seen nowhere.
"""

from __future__ import annotations

import re
import smtplib
import socket
from collections.abc import Iterator

import pytest
from attrs import field, frozen

from tests.e2e.daemon import Relay
from tests.e2e.mail import SENDER, login, message, submit
from tests.e2e.receiver import Taken
from tests.e2e.story import await_states, events
from tests.e2e.test_clients import need, run
from tests.e2e.world import World

DIALECTS = ["lettermint", "mailpace", "postmark", "mailgun", "ses", "postal"]


@pytest.fixture(scope="module")
def fluent(world: World) -> Iterator[Relay]:
    """
    A relay whose project speaks every dialect and has routes of its own.
    """
    relay = world.relay()
    routes = {"news": {"kind": "broadcast"}, "your-route-slug": {"kind": "transactional"}}
    relay.change_project(dialects=DIALECTS, routes=routes)
    relay.start()
    yield relay
    assert relay.stop() == 0


@pytest.fixture
def relay(fluent: Relay) -> Iterator[Relay]:
    """
    That relay; pytest shows what it logged during a test that fails.
    """
    start = len(fluent.log())
    yield fluent
    print(fluent.log()[start:])  # captured, and shown only on failure


def without_trace(taken: Taken) -> bytes:
    """
    The content less the relay's Received field, which must be the first.
    """
    trace, content = re.match(rb"(Received:.*?\r\n)(?=[^ \t])(.*)", taken.content, re.DOTALL).groups()  # type: ignore[union-attr]
    assert b"relay.test" in trace
    return content


def told(relay: Relay, identity: str, to: str) -> dict[str, object]:
    """
    Route, tags and metadata as C{explain} has them once the message is delivered, if all else says the same.
    """
    await_states(relay, identity, {to: "delivered"})
    story = relay.ask("explain", identity)
    known = {name: story[name] for name in ("route", "tags", "metadata")}
    written = events(relay, identity)
    assert [type_ for type_, _, _ in written] == ["message.created", "message.sent", "message.delivered"]
    for _, route, document in written:
        assert {"route": route, "tags": document["tags"], "metadata": document["metadata"]} == known
        assert document["tag"] == (known["tags"][0] if known["tags"] else None)
    facts = [*relay.facts("message accepted", since=0), *relay.facts("attempt ended", since=0)]
    lines = [fact for fact in facts if fact["message"] == identity]
    assert len(lines) == 2
    for fact in lines:
        assert fact["route"] == known["route"]
        assert fact["tags"] == ",".join(known["tags"])
        assert fact["metadata"] == ",".join(f"{key}:{value}" for key, value in known["metadata"].items())
    return known


def test_the_line_of_lettermints_documentation(world: World, relay: Relay) -> None:
    """
    With host, port and token changed it is accepted, routed, tagged and stripped; all else arrives octet for octet.
    """
    swaks = need("swaks")
    mx = world.receiver()
    to = f"someone@{world.domain(mx)}"
    said = run(
        swaks, "--to", to, "--from", SENDER, "--server", f"127.0.0.1:{relay.port('starttls')}", "--auth", "LOGIN",
        "--auth-user", "lettermint", "--auth-password", relay.token, "--tls",
        "--header", "Subject: SMTP Test", "--header", "X-Lettermint-Route: your-route-slug",
        "--header", "X-LM-Tag: test-email", "--header", "X-LM-Metadata-source: swaks-test",
        "--body", "This is a test email via SMTP.",
    )  # fmt: skip
    identity = re.search(r"250 2\.0\.0 OK id=(\w+)", said)[1]  # type: ignore[index]
    content = re.search(r" ~> DATA\n<~  354 .*?\n(.*?)^ ~> \.$", said, re.DOTALL | re.MULTILINE)[1]  # type: ignore[index]
    spoken = [line[4:] for line in content.splitlines()]
    controls = ("X-Lettermint-Route: your-route-slug", "X-LM-Tag: test-email", "X-LM-Metadata-source: swaks-test")
    assert set(controls) <= set(spoken)
    listed = relay.ask("queue", "list", "--tag", "test-email", "--state", "any")
    assert [(row["message"], row["route"], row["tags"], row["metadata"]) for row in listed] == [
        (identity, "your-route-slug", ["test-email"], {"source": "swaks-test"})
    ]
    assert relay.ask("queue", "list", "--tag", "test", "--state", "any") == []
    kept = [line for line in spoken if line not in controls]
    assert without_trace(mx.wait()[0]).decode() == "".join(f"{line}\r\n" for line in kept)
    await_states(relay, identity, {to: "delivered"})
    delivered = relay.ask("queue", "list", "--tag", "test-email", "--state", "delivered")
    assert [row["message"] for row in delivered] == [identity]
    assert [row["subject"] for row in delivered] == ["SMTP Test"]
    story = relay.ask("explain", identity)
    expected = {"route": "your-route-slug", "tags": ["test-email"], "metadata": {"source": "swaks-test"}}
    assert {name: story[name] for name in expected} == expected
    for _, route, document in events(relay, identity):
        assert {"route": route, "tags": document["tags"], "metadata": document["metadata"]} == expected


@frozen
class Speech:
    """
    The fields of a dialect as a client writes them, and what they mean. C{passed} goes on to the receiver.
    """

    dialect: str
    fields: tuple[str, ...]
    route: str = "outgoing"
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] = field(factory=dict)
    passed: tuple[str, ...] = ()


SPEECHES = [
    Speech(
        "lettermint",
        (
            "X-Lettermint-Route: news",
            "x-tag: loses",
            "X-LM-TAG:\tnewsletter\r\n issue-7 ",
            "X-LM-Metadata-Order_Id: =?utf-8?q?Gr=C3=BC=C3=9Fe?=",
            "X-Metadata-Order_Id: loses",
            "X-Metadata-source:   shop",
            "X-LM-Future: 1",
            "X-Lettermint-Future: 1",
        ),
        "news",
        ("newsletter issue-7",),
        {"Order_Id": "Grüße", "source": "shop"},
    ),
    Speech(
        "mailpace",
        ("X-MailPace-Tags: a, b c", "X-List-Unsubscribe: <mailto:off@acme.example>, <https://acme.example/off>"),
        tags=("a", "b c"),
        passed=("List-Unsubscribe: <mailto:off@acme.example>, <https://acme.example/off>",),
    ),
    Speech(
        "postmark",
        ("X-PM-Tag: receipt", "X-PM-Metadata-color: blue", "X-PM-Message-Stream: news"),
        "news",
        ("receipt",),
        {"color": "blue"},
    ),
    Speech(
        "mailgun",
        ("X-Mailgun-Tag: first", "X-Mailgun-Tag: second", 'X-Mailgun-Variables: {"order": "12",\r\n "colour": "red"}'),
        tags=("first", "second"),
        metadata={"order": "12", "colour": "red"},
    ),
    Speech(
        "ses",
        ("X-SES-MESSAGE-TAGS: campaign=spring, part=2", "X-SES-CONFIGURATION-SET: news"),
        "news",
        metadata={"campaign": "spring", "part": "2"},
    ),
    Speech("postal", ("X-Postal-Tag: receipt",), tags=("receipt",)),
]


def scatter(to: str, fields: tuple[str, ...], text: str = "X-LM-Tag: this is text\r\n") -> tuple[bytes, bytes]:
    """
    A message with C{fields} before, and behind, its own; and the same without them.
    """
    plain = message(to, text)
    head, end, body = plain.partition(b"\r\n\r\n")
    half = len(fields) // 2
    early, late = ("".join(f"{line}\r\n" for line in lines).encode() for lines in (fields[:half], fields[half:]))
    return early + head + b"\r\n" + late.removesuffix(b"\r\n") + end + body, plain


@pytest.mark.parametrize("speech", SPEECHES, ids=lambda speech: speech.dialect)
def test_each_dialect(world: World, relay: Relay, speech: Speech) -> None:
    """
    What a service's customers write means here what it meant there, and nothing of it reaches a recipient.
    """
    mx = world.receiver()
    to = f"someone@{world.domain(mx)}"
    content, plain = scatter(to, speech.fields)
    with login(relay) as client:
        identity = submit(client, [to], content)
    arrived = without_trace(mx.wait()[0])
    for line in speech.passed:
        assert line.encode() + b"\r\n" in arrived
        arrived = arrived.replace(line.encode() + b"\r\n", b"", 1)
    assert arrived == plain
    assert told(relay, identity, to) == {
        "route": speech.route,
        "tags": list(speech.tags),
        "metadata": dict(speech.metadata),
    }


def test_a_head_that_arrives_octet_by_octet(world: World, relay: Relay) -> None:
    """
    Over TLS, each octet of head and fields in a record and segment of its own, it is the same message.
    """
    mx = world.receiver()
    to = f"someone@{world.domain(mx)}"
    speech = SPEECHES[0]
    content, plain = scatter(to, speech.fields)
    head, end, body = content.partition(b"\r\n\r\n")
    with login(relay, "starttls") as client:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert client.mail(SENDER)[0] == 250
        assert client.rcpt(to)[0] == 250
        assert client.docmd("DATA")[0] == 354
        for octet in head + end:
            client.sock.sendall(bytes([octet]))
        client.sock.sendall(body + b".\r\n")
        code, text = client.getreply()
        assert code == 250
    assert without_trace(mx.wait()[0]) == plain
    assert told(relay, text.decode().rpartition("id=")[2], to)["tags"] == list(speech.tags)


REFUSALS = {
    "X-LM-Tag: no, commas": "X-LM-Tag",
    "X-LM-Tag: two  spaces": "X-LM-Tag",
    "X-LM-Tag: one\r\nX-LM-Tag: two": "X-LM-Tag",
    f"X-LM-Tag: {'x' * 256}": "X-LM-Tag",
    f"X-LM-Metadata-{'k' * 129}: v": "X-LM-Metadata",
    f"X-LM-Metadata-k: {'v' * 1025}": "X-LM-Metadata-k",
    "\r\n".join(f"X-LM-Metadata-k{number}: v" for number in range(51)): "X-LM-Metadata",
    "X-Lettermint-Route: nowhere": 'Route "nowhere" does not exist in project acme',
    "X-List-Unsubscribe: ftp://acme.example/off": "X-List-Unsubscribe",
    "X-Mailgun-Variables: {": "X-Mailgun-Variables",
    "Idempotency-Key: two words\r\nIdempotency-Key: twice": "Idempotency-Key",
    f"Idempotency-Key: {'k' * 256}": "Idempotency-Key",
}


def test_what_is_wrong_is_named(world: World, relay: Relay) -> None:
    """
    Each refusal says which header and why, to the client and in the log; the session goes on, and nothing was stored.
    """
    mx = world.receiver()
    to = f"someone@{world.domain(mx)}"
    since = len(relay.log())
    replies = []
    with login(relay) as client:
        for fields, words in REFUSALS.items():
            with pytest.raises(smtplib.SMTPResponseException) as refused:
                submit(client, [to], message(to, "Hello.\r\n", fields))
            replies.append(f"{refused.value.smtp_code} {refused.value.smtp_error.decode()}")
            assert replies[-1].startswith("554 5.6.0 "), fields
            assert words.lower() in replies[-1].lower(), fields
        last = submit(client, [to])
    assert replies == [fact["reply"] for fact in relay.facts("content refused", since)]
    await_states(relay, last, {to: "delivered"})
    assert len(mx.taken) == 1
