"""
The example of C{explain} in the guide is what it prints.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from lmrelay.cli.story import tell

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
NOW = datetime.fromisoformat("2026-11-21T12:55:09.000Z").timestamp()
AT = "2026-11-21T12:54:31.307Z"
SLOWER = "421 4.7.0 too many connections, slow down"


def step(name: str, seconds: float, text: str) -> dict[str, Any]:
    return {"step": name, "seconds": seconds, "text": text}


ATTEMPT: dict[str, Any] = {
    "started": "2026-11-21T12:54:31.311Z",
    "seconds": 30.22,
    "host": "mx2.b.example",
    "address": "203.0.113.9",
    "tls": {"version": "TLSv1.3", "cipher": "TLS_AES_256_GCM_SHA384", "verified": True, "reason": "",
            "policy": "opportunistic"},
    "outcome": "delayed",
    "reply": SLOWER,
    "text": f"the server said {SLOWER} in reply to RCPT TO",
    "steps": [
        step("mx", 0.0152, "mx1.b.example;mx2.b.example"),
        step("addresses", 0.0121, "mx1.b.example: 203.0.113.7"),
        step("connect", 30.0, "mx1.b.example [203.0.113.7]: no answer in time"),
        step("addresses", 0.0131, "mx2.b.example: 203.0.113.9"),
        step("connect", 0.0211, "mx2.b.example [203.0.113.9]"),
        step("greeting", 0.0241, "220 mx2.b.example ESMTP"),
        step("ehlo", 0.0212, "250 mx2.b.example PIPELINING 8BITMIME SIZE 104857600 STARTTLS"),
        step("starttls", 0.0217, "220 2.0.0 go on"),
        step("handshake", 0.0461, "TLSv1.3 TLS_AES_256_GCM_SHA384"),
        step("ehlo", 0.0223, "250 mx2.b.example PIPELINING 8BITMIME SIZE 104857600"),
        step("mail", 0.0232, "250 2.1.0 ok"),
        step("rcpt", 0.0001, SLOWER),
    ],
}  # fmt: skip

STORY: dict[str, Any] = {
    "message": "01m7z2rc4brhs4bwf649sbckcq",
    "subject": "Receipt for order 77",
    "received": AT,
    "project": "acme",
    "route": "outgoing",
    "kind": "transactional",
    "token": "G2s6508RRw2a",
    "token_name": "website",
    "client": {"helo": "app.acme.example", "address": "192.0.2.9", "listener": "192.0.2.1:587 (starttls)",
               "tls": "TLSv1.3 TLS_AES_256_GCM_SHA384"},
    "software": "shop 1.2",
    "reverse_path": "app@acme.example",
    "sender": "App <app@acme.example>",
    "to": "x@b.example",
    "size": 278,
    "message_id": "<4.shop@acme.example>",
    "workers": 1,
    "recipients": [
        {
            "number": 0,
            "address": "x@b.example",
            "state": "deferred",
            "next_attempt": "2026-11-21T12:56:02.111Z",
            "expires": "2026-11-23T12:54:31.307Z",
            "site": {"site": "mx1.b.example", "connections": 10, "lowered_at": "2026-11-21T12:55:01.531Z",
                     "lowered_for": SLOWER},
            "attempts": [ATTEMPT],
        }
    ],
    "events": [
        {
            "sequence": 4711,
            "event": "message.created",
            "at": AT,
            "recipient": None,
            "deliveries": [
                {"endpoint": "shop", "state": "delivered", "ended": "2026-11-21T12:54:31.402Z", "attempts": 1,
                 "last": "",
                 "tries": [{"number": 1, "started": "2026-11-21T12:54:31.350Z", "seconds": 0.052, "status": 200}]}
            ],
        }
    ],
}  # fmt: skip


def test_the_guides_example() -> None:
    """
    Line by line.
    """
    [example] = [block for block in GUIDE.read_text().split("```\n") if block.startswith(f"Message {STORY['message']}")]
    assert example.splitlines() == list(tell(STORY, NOW))
