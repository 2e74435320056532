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


def test_suppressed() -> None:
    """
    Why a recipient was not sent to, and where to look.
    """
    told = "suppressed: hard_bounce of 2026-11-21T11:00:00.000Z, for project demo"
    recipient = {"number": 0, "address": "b@b.example", "state": "suppressed", "attempts": [], "last": told}
    lines = list(tell({**STORY, "recipients": [recipient]}, NOON))
    assert [
        "Recipient b@b.example: suppressed, 0 attempts",
        f"  not sent, {told}; see: lmrelay suppressions list --address b@b.example",
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
    assert "  sandbox    nothing of this message leaves" in lines
    assert "  2026-11-21T11:58:00.000Z  attempt 1: played here, nothing was sent, took 0ms" in lines
