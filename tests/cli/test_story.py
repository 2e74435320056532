"""
The story of a message, as people read it.
"""

from __future__ import annotations

from typing import Any

import pytest

from lmrelay.cli.story import tell, why_it_waits

NOON = 1795262400.0

GREYLISTED: dict[str, Any] = {
    "started": "2026-11-21T11:58:00.000Z",
    "ended": "2026-11-21T11:58:00.350Z",
    "seconds": 0.35,
    "host": "mx1.b.example",
    "address": "192.0.2.1",
    "tls": {"version": "TLSv1.3", "cipher": "TLS_AES_256_GCM_SHA384", "verified": False, "reason": "self-signed",
            "policy": "opportunistic"},
    "tls_failure": "",
    "outcome": "delayed",
    "status": "4.2.0",
    "text": "greylisted, come back",
    "reply": "450 4.2.0 greylisted, come back",
}  # fmt: skip
SUSPENDED = {
    "site": "mx1.b.example",
    "hosts": "mx1.b.example,mx2.b.example",
    "since": "2026-11-21T11:00:00.000Z",
    "reason": "a talk with them",
}
UNREACHED: dict[str, Any] = {
    "started": "2026-11-21T11:59:00.000Z",
    "ended": "2026-11-21T11:59:30.000Z",
    "seconds": 30.0,
    "host": None,
    "address": None,
    "tls": None,
    "tls_failure": "",
    "outcome": "delayed",
    "status": "4.4.3",
    "text": "no name server answered",
    "reply": None,
}
STORY: dict[str, Any] = {
    "message": "01jd3k8t5v0000000000000000",
    "subject": "Hello",
    "received": "2026-11-21T11:57:00.000Z",
    "project": "demo",
    "route": "outgoing",
    "kind": "transactional",
    "token": "abcDEF012345",
    "client": {"address": "192.0.2.9", "tls": "TLSv1.3", "mechanism": "PLAIN"},
    "reverse_path": "a@demo.example",
    "sender": "Ann <a@demo.example>",
    "to": "b@b.example",
    "size": 4200,
    "message_id": "<1@demo.example>",
    "tags": ["x"],
    "metadata": {"order": "7"},
    "recipients": [
        {
            "number": 0,
            "address": "b@b.example",
            "state": "deferred",
            "next_attempt": "2026-11-21T12:04:00.000Z",
            "attempts": [GREYLISTED, UNREACHED],
        },
        {"number": 1, "address": "c@b.example", "state": "delivered", "next_attempt": None, "attempts": []},
    ],
}

TOLD = """\
Message 01jd3k8t5v0000000000000000  "Hello"
  accepted   2026-11-21T11:57:00.000Z (3m ago)
  project    demo, route outgoing (transactional)
  token      abcDEF012345
  client     address 192.0.2.9, tls TLSv1.3, mechanism PLAIN
  from       <a@demo.example> (From: Ann <a@demo.example>)
  to         b@b.example
  size       4.1 KiB
  message-id <1@demo.example>
  tags       x
  metadata   order=7

Recipient b@b.example: deferred, 2 attempts
  2026-11-21T11:58:00.000Z  attempt 1: mx1.b.example [192.0.2.1], TLSv1.3 TLS_AES_256_GCM_SHA384, \
certificate not verified (self-signed), policy opportunistic, took 350ms
                              delayed: 450 4.2.0 greylisted, come back
  2026-11-21T11:59:00.000Z  attempt 2: no host reached, took 30s
                              delayed: 4.4.3 no name server answered
  now: goes on at 2026-11-21T12:04:00.000Z (in 4m), because the last attempt was delayed: 4.4.3 no name server answered

Recipient c@b.example: delivered, 0 attempts"""


def test_the_whole_story() -> None:
    """
    Who submitted what, every attempt with host, TLS, words and duration, and what is waited for.
    """
    assert "\n".join(tell(STORY, NOON)) == TOLD


def test_ended() -> None:
    """
    When it was over is told, and that it was the operator who deleted it.
    """
    ended = "2026-11-21T11:58:00.000Z"
    recipients = [
        {"address": "b@b.example", "state": state, "ended": ended, "attempts": []} for state in ("deleted", "failed")
    ]
    lines = list(tell({**STORY, "recipients": recipients}, NOON))
    assert f"Recipient b@b.example: deleted by the operator at {ended}, 0 attempts" in lines
    assert f"Recipient b@b.example: failed at {ended}, 0 attempts" in lines


def test_plaintext_says_why() -> None:
    """
    TLS that was offered and failed is told, and so is plain plaintext; but only where something was sent.
    """
    plain = {**GREYLISTED, "tls": None, "offered": True}
    failed = {**plain, "tls_failure": "handshake failure"}
    refused = {**plain, "tls_failure": "the certificate has expired", "offered": False}
    recipient = {**STORY["recipients"][0], "attempts": [plain, failed, refused]}
    text = "\n".join(tell({**STORY, "recipients": [recipient]}, NOON))
    assert "[192.0.2.1], in plaintext, took" in text
    assert "in plaintext, because TLS failed: handshake failure, took" in text
    assert "[192.0.2.1], TLS failed: the certificate has expired, took" in text


@pytest.mark.parametrize(
    ("recipient", "words"),
    [
        ({"state": "delivered"}, ""),
        ({"state": "failed"}, ""),
        ({"state": "held"}, "lmrelay queue release 01"),
        ({"state": "queued", "in_flight": True}, "a worker has it"),
        ({"state": "queued", "next_attempt": None}, "waits for a worker"),
        ({"state": "queued", "next_attempt": "2026-11-21T11:59:00.000Z"}, "(1m ago)"),
        ({"state": "deferred", "next_attempt": "2026-11-21T13:00:00.000Z"}, "(in 1h)"),
        (
            {"state": "deferred", "suspended": SUSPENDED},
            "its site, mx1.b.example, is suspended since 2026-11-21T11:00:00",
        ),
        (
            {"state": "queued", "suspended": SUSPENDED},
            ".000Z: a talk with them; goes on with: lmrelay sites resume b.example",
        ),
        (
            {"state": "queued", "suspended": {**SUSPENDED, "reason": ""}},
            ".000Z; goes on with: lmrelay sites resume b.example",
        ),
        ({"state": "queued", "in_flight": True, "suspended": SUSPENDED}, "a worker has it"),
    ],
)
def test_what_is_waited_for(recipient: dict[str, Any], words: str) -> None:
    """
    Each state says what it waits for and when it goes on; a final one waits for nothing.
    """
    told = why_it_waits({"attempts": [], "address": "b@b.example", **recipient}, NOON, "01")
    assert (words in told, bool(told)) == (True, bool(words))


def test_what_came_back() -> None:
    """
    Reports stand behind the attempts, with their words and who said so.
    """
    bounce = {"received": "2026-11-21T11:59:30.000Z", "kind": "bounce", "status": "5.1.1", "text": "no such user"}
    other = {"received": "2026-11-21T11:59:40.000Z", "kind": "none", "status": "", "text": "an auto-reply: Away"}
    returned = [{**bounce, "by": "mx.b.example"}, {**other, "by": ""}]
    recipient = {"address": "b@b.example", "state": "delivered", "attempts": [], "returned": returned}
    lines = list(tell({**STORY, "recipients": [recipient]}, NOON))
    assert lines[-2:] == [
        "  2026-11-21T11:59:30.000Z  came back: a bounce: 5.1.1 no such user (by mx.b.example)",
        "  2026-11-21T11:59:40.000Z  came back: nothing to go by: an auto-reply: Away",
    ]


STEPS = [
    {"step": "mx", "seconds": 0.0123, "text": "mx1.b.example,mx2.b.example;mx3.b.example"},
    {"step": "addresses", "seconds": 0.003, "text": "mx1.b.example: 192.0.2.1, 2001:db8::1"},
    {"step": "connect", "seconds": 30.0, "text": "mx1.b.example [192.0.2.1]: no answer in time"},
    {"step": "passed", "seconds": None, "text": "cannot connect to mx1.b.example [2001:db8::1]: there is no route"},
    {"step": "connect", "seconds": 0.0231, "text": "mx3.b.example [192.0.2.3] from 192.0.2.9"},
    {"step": "greeting", "seconds": 0.011, "text": "220 mx3.b.example ESMTP"},
    {"step": "ehlo", "seconds": 0.0105, "text": "250 mx3.b.example PIPELINING STARTTLS"},
    {"step": "starttls", "seconds": 0.0107, "text": "220 2.0.0 ready"},
    {"step": "handshake", "seconds": 0.0254, "text": "TLSv1.3 TLS_AES_256_GCM_SHA384"},
    {"step": "ehlo", "seconds": 0.0105, "text": "250 mx3.b.example PIPELINING"},
    {"step": "mail", "seconds": 0.0111, "text": "250 2.1.0 ok"},
    {"step": "rcpt", "seconds": 0.0002, "text": "450 4.2.0 greylisted, come back"},
    {"step": "left out", "seconds": None, "text": "12"},
]

STEPS_TOLD = """\
                              12ms  MX             mx1.b.example or mx2.b.example, then mx3.b.example
                             3.0ms  addresses      mx1.b.example: 192.0.2.1, 2001:db8::1
                               30s  connecting     mx1.b.example [192.0.2.1]: no answer in time
                                    passed over    cannot connect to mx1.b.example [2001:db8::1]: there is no route
                              23ms  connecting     mx3.b.example [192.0.2.3] from 192.0.2.9
                              11ms  greeting       220 mx3.b.example ESMTP
                              10ms  EHLO           250 mx3.b.example PIPELINING STARTTLS
                              11ms  STARTTLS       220 2.0.0 ready
                              25ms  TLS handshake  TLSv1.3 TLS_AES_256_GCM_SHA384
                              10ms  EHLO           250 mx3.b.example PIPELINING
                              11ms  MAIL FROM      250 2.1.0 ok
                             0.2ms  RCPT TO        450 4.2.0 greylisted, come back
                                    (left out)     12 steps"""

KEPT = [
    {"step": "mx", "seconds": None, "text": "mx1.b.example"},
    {"step": "kept", "seconds": None, "text": "7"},
    {"step": "rset", "seconds": 0.01, "text": "250"},
    {"step": "chunk", "seconds": 0.04, "text": "250"},
    {"step": "content", "seconds": 0.00004, "text": ""},
    {"step": "something new", "seconds": 1.0, "text": "said"},
]

KEPT_TOLD = """\
                                    MX             mx1.b.example, known from before
                                    connection     kept open from mail before, this is message 7 on it
                              10ms  RSET           250
                              40ms  BDAT           250
                             0.0ms  content        sent
                              1.0s  something new  said"""


@pytest.mark.parametrize(("steps", "lines"), [(STEPS, STEPS_TOLD), (KEPT, KEPT_TOLD)])
def test_steps(steps: list[dict[str, Any]], lines: str) -> None:
    """
    Behind an attempt's outcome stands what was done and said, step by step, each with the time it took.
    """
    attempt = {**GREYLISTED, "steps": steps}
    recipient = {**STORY["recipients"][0], "attempts": [attempt]}
    told = "\n".join(tell({**STORY, "recipients": [recipient]}, NOON))
    assert f"delayed: 450 4.2.0 greylisted, come back\n{lines}\n  now: goes on" in told


def test_the_servers_words_once() -> None:
    """
    What is said of a reply does not repeat it.
    """
    text = "the server said 450 4.2.0 greylisted, come back in reply to RCPT TO"
    recipient = {**STORY["recipients"][0], "attempts": [{**GREYLISTED, "text": text}]}
    lines = list(tell({**STORY, "recipients": [recipient]}, NOON))
    assert f"  {'':24}    delayed: 450 4.2.0 greylisted, come back (in reply to RCPT TO)" in lines


def test_who_submitted() -> None:
    """
    The token by its name, the client's software, and what the message asks for.
    """
    more = {"token_name": "shop", "software": "shop 1.2", "sandbox": True, "redact": True, "require_tls": True}
    lines = list(tell({**STORY, **more, "client": {"helo": "app.example", "address": "192.0.2.9"}}, NOON))
    for line in (
        '  token      "shop" (abcDEF012345)',
        "  client     EHLO app.example, address 192.0.2.9",
        "  software   shop 1.2",
        "  note       sandbox: nothing of it leaves, its route keeps subject and addresses out of logs and events, "
        "its sender requires TLS (REQUIRETLS)",
    ):
        assert line in lines


SITE = {
    "site": "mx1.b.example",
    "connections": 2,
    "lowered_at": "2026-11-21T11:50:00.000Z",
    "lowered_for": "421 slow down",
    "rate": 5.0,
}
DUE = {"state": "deferred", "next_attempt": "2026-11-21T11:59:00.000Z"}
LATER = {"state": "deferred", "next_attempt": "2026-11-21T12:04:00.000Z"}
PUT_OFF = (
    "goes on at 2026-11-21T12:04:00.000Z (in 4m), put off without an attempt, as its receiver does not answer or asked "
    "for less"
)
LOWERED = (
    "its site, mx1.b.example, asked for less at a time, and gets 2 connections since 2026-11-21T11:50:00.000Z "
    "(10m ago): 421 slow down"
)
RATED = "its site, mx1.b.example, gets at most 5 messages a second, as configured"


@pytest.mark.parametrize(
    ("recipient", "workers", "lines"),
    [
        ({"state": "delivered", "site": SITE}, 1, []),
        (
            {**DUE, "lane": {"ahead": 12, "in_flight": 3}},
            1,
            [
                "due since 2026-11-21T11:59:00.000Z (1m ago); waits for room: of the project's mail to b.example, "
                "3 are with the daemon now and 12 are before it"
            ],
        ),
        (
            {**DUE, "lane": {"ahead": 0, "in_flight": 0}},
            1,
            ["due since 2026-11-21T11:59:00.000Z (1m ago); goes on as soon as a daemon runs and has room"],
        ),
        (
            DUE,
            0,
            ["due since 2026-11-21T11:59:00.000Z (1m ago); no daemon is running, it goes on when one does"],
        ),
        (LATER, 0, [PUT_OFF, "no daemon is running"]),
        (
            {**LATER, "lane": {"ahead": 0, "in_flight": 0, "last": "4.4.1 cannot connect"}},
            1,
            [f"{PUT_OFF}: to other mail of the project 4.4.1 cannot connect"],
        ),
        (
            {"state": "held", "held": "2026-11-21T11:50:00.000Z", "site": SITE},
            1,
            ["held by the operator since 2026-11-21T11:50:00.000Z (10m ago); goes on with: lmrelay queue release 01"],
        ),
        (
            {**LATER, "site": SITE},
            1,
            [PUT_OFF, LOWERED, RATED],
        ),
        (
            {**LATER, "site": {**SITE, "connections": None, "rate": None}, "expires": "2026-11-22T12:00:00.000Z"},
            1,
            [
                PUT_OFF,
                "given up at 2026-11-22T12:00:00.000Z (in 1d) if nobody takes it until then",
            ],
        ),
        (
            {**LATER, "expires": "2026-11-21T11:00:00.000Z"},
            1,
            [
                PUT_OFF,
                "given up at 2026-11-21T11:00:00.000Z (with its next attempt) if nobody takes it until then",
            ],
        ),
    ],
)
def test_what_else_counts(recipient: dict[str, Any], workers: int, lines: list[str]) -> None:
    """
    Besides the time: those before it, the daemon that does not run, what its receiver asked for, its limit, its end.
    """
    one = {"attempts": [], "address": "b@b.example", **recipient}
    story = {**STORY, "message": "01", "workers": workers, "recipients": [one]}
    told = list(tell(story, NOON))
    expected = [f"  {'now: ' if number == 0 else '     '}{line}" for number, line in enumerate(lines)]
    assert expected == told[-len(expected) :] if lines else told[-1].startswith("Recipient b@b.example: delivered")


def delivery(**fields: Any) -> dict[str, Any]:
    return {
        "endpoint": "shop",
        "state": "waiting",
        "next_attempt": None,
        "in_flight": False,
        "ended": None,
        "attempts": 1,
        "last": "",
        "disabled": None,
        "tries": [],
        **fields,
    }


ONE = "2026-11-21T11:58:00.000Z"
OFF = {"since": "2026-11-21T11:59:00.000Z", "reason": "it answered 410"}


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (delivery(state="delivered", ended=ONE), f"delivered at {ONE}, 1 attempt"),
        (delivery(state="dead", ended=ONE, attempts=10, last="500"), f"given up at {ONE}, 10 attempts: 500"),
        (delivery(in_flight=True, attempts=0), "being told now, 0 attempts"),
        (delivery(next_attempt="2026-11-21T12:04:00.000Z"), "goes on at 2026-11-21T12:04:00.000Z (in 4m), 1 attempt"),
        (delivery(next_attempt=ONE), f"due since {ONE} (2m ago), 1 attempt"),
        (
            delivery(disabled=OFF),
            "waits, 1 attempt; the endpoint is told nothing since 2026-11-21T11:59:00.000Z: it answered 410",
        ),
        (delivery(state="delivered", disabled=OFF), "delivered, 1 attempt"),
        (
            delivery(next_attempt=ONE, attempts=0, trouble="503"),
            f"due since {ONE} (2m ago), 0 attempts; behind what the endpoint does not take: 503",
        ),
    ],
)
def test_webhooks(told: dict[str, Any], words: str) -> None:
    """
    Of each event that an endpoint is told of: how that stands.
    """
    event = {"sequence": 7, "event": "message.delivered", "at": ONE, "recipient": 1, "deliveries": [told]}
    silent = {**event, "deliveries": []}
    lines = list(tell({**STORY, "events": [silent, event]}, NOON))
    assert ["", "Webhooks", f"  {ONE}  message.delivered (event 7, c@b.example) to shop: {words}"] == lines[-3:]


def test_tries_to_tell() -> None:
    """
    Every try with its status, or why there was none, and what the endpoint said where it did not take the event.
    """
    made = {"started": ONE, "seconds": 0.03, "text": "", "body": ""}
    tries = [
        {**made, "number": 1, "status": None, "text": "the connection was refused"},
        {**made, "number": 2, "status": 500, "body": "oh\n no" + "x" * 200},
        {**made, "number": 3, "status": 200, "body": "thanks"},
    ]
    told = delivery(state="delivered", ended=ONE, attempts=3, tries=tries)
    event = {"sequence": 7, "event": "message.created", "at": ONE, "recipient": None, "deliveries": [told]}
    lines = list(tell({**STORY, "events": [event]}, NOON))[-4:]
    assert lines[0] == f"  {ONE}  message.created (event 7) to shop: delivered at {ONE}, 3 attempts"
    assert [line.strip() for line in lines[1:]] == [
        f"{ONE}  attempt 1: the connection was refused, took 30ms",
        f"{ONE}  attempt 2: 500: oh no{'x' * 115}…, took 30ms",
        f"{ONE}  attempt 3: 200, took 30ms",
    ]


def test_a_webhook_that_waits_for_its_turn() -> None:
    """
    What is due and not told has a reason: its endpoint fails, or nobody is there to tell it.
    """
    tried = {"number": 1, "started": ONE, "seconds": 0.2, "status": 503, "text": "", "body": ""}
    told = delivery(next_attempt=ONE, tries=[tried])
    event = {"sequence": 7, "event": "message.created", "at": ONE, "recipient": None, "deliveries": [told]}
    for workers, words in (
        (1, "; waits for its turn, for the endpoint takes nothing now"),
        (0, "; no daemon is running"),
    ):
        *_, line, _ = tell({**STORY, "events": [event], "workers": workers}, NOON)
        assert line.endswith(f"due since {ONE} (2m ago), 1 attempt{words}")


def test_given_up() -> None:
    """
    What was given up is told to be, for its last attempt says "delayed".
    """
    recipient = {
        "number": 0,
        "address": "b@b.example",
        "state": "failed",
        "attempts": [GREYLISTED],
        "ended": "2026-11-23T11:57:00.000Z",
    }
    lines = list(tell({**STORY, "recipients": [recipient]}, NOON))
    assert "  given up 2d after it was accepted, for nobody took it until then ([delivery] expire)" == lines[-1]
    refused = {**recipient, "attempts": [{**GREYLISTED, "outcome": "failed"}]}
    assert not any("given up" in line for line in tell({**STORY, "recipients": [refused]}, NOON))


@pytest.mark.parametrize(
    ("address", "quoted"),
    [
        ("b@b.example", "b@b.example"),
        ("`reboot`@b.example", "'`reboot`@b.example'"),
        ('"a b"@b.example', """'"a b"@b.example'"""),
    ],
)
def test_suppressed(address: str, quoted: str) -> None:
    """
    Why a recipient was not sent to, and where to look.
    """
    told = "suppressed: hard_bounce of 2026-11-21T11:00:00.000Z, for project demo"
    recipient = {"number": 0, "address": address, "state": "suppressed", "attempts": [], "last": told}
    lines = list(tell({**STORY, "recipients": [recipient]}, NOON))
    assert [
        f"Recipient {address}: suppressed, 0 attempts",
        f"  not sent, {told}; see: lmrelay suppressions list --address {quoted}",
    ] == lines[-2:]


def test_played() -> None:
    """
    Of what was played the story says that nothing left.
    """
    attempt = {
        **GREYLISTED,
        "host": "testing.relay.example",
        "address": None,
        "tls": None,
        "played": True,
        "seconds": 0.0,
    }
    recipient = {"number": 0, "address": "b@b.example", "state": "delivered", "attempts": [attempt]}
    lines = list(tell({**STORY, "sandbox": True, "recipients": [recipient]}, NOON))
    assert "  note       sandbox: nothing of it leaves" in lines
    assert "  2026-11-21T11:58:00.000Z  attempt 1: played here, nothing was sent, took 0ms" in lines
