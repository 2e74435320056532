"""
The verifiers of docs/webhooks.md, taken from the document and run, and its events.
"""

from __future__ import annotations

import json
import re

import pytest

from lmrelay.config.checks import EVENTS
from lmrelay.events.request import sign
from tests.events.schema import SCHEMA, complaints
from tests.examples import Document

DOCUMENT = Document("webhooks.md")
SECRET, OLD = "whsec_0123456789", "whsec_of_yesterday"
AT = 1_700_000_000
BODY = '{"subject":"Grüße"}'
GOOD = (
    (SECRET, sign([SECRET], AT, BODY.encode()), BODY),
    (SECRET, sign([SECRET, OLD], AT, BODY.encode()), BODY),
    (OLD, sign([SECRET, OLD], AT, BODY.encode()), BODY),
    (SECRET, sign([SECRET], AT - 290, BODY.encode()), BODY),
)
BAD = (
    (OLD, sign([SECRET], AT, BODY.encode()), BODY),
    (SECRET, sign([SECRET], AT, BODY.encode()), BODY + " "),
    (SECRET, sign([SECRET], AT, BODY.encode()).replace(f"t={AT}", f"t={AT + 1}"), BODY),
    (SECRET, sign([SECRET], AT - 310, BODY.encode()), BODY),
    (SECRET, sign([SECRET], AT, BODY.encode())[:-1], BODY),
    (SECRET, f"t={AT}", BODY),
    (SECRET, f"t={AT},v1=", BODY),
    (SECRET, "", BODY),
    (SECRET, sign([SECRET], AT, BODY.encode()).partition(",")[2], BODY),
)
EXPECTED = [True] * len(GOOD) + [False] * len(BAD)


def test_python() -> None:
    """
    The verifier in Python takes what is signed, and nothing that was tampered with or is old.
    """
    check = DOCUMENT.python()["check"]
    found = [check(secret, said, body.encode(), AT) for secret, said, body in (*GOOD, *BAD)]
    assert EXPECTED == found


@pytest.mark.parametrize(
    ("language", "call"),
    [
        ("javascript", "console.log(JSON.stringify(%s.map(([s, h, b]) => check(s, h, b, %d))))"),
        ("php", "echo json_encode(array_map(fn($c) => check($c[0], $c[1], $c[2], %2$d), %1$s));"),
    ],
)
def test_others(language: str, call: str) -> None:
    """
    So do those in Node and PHP.
    """
    cases = json.dumps([*GOOD, *BAD], ensure_ascii=False)
    call = call.replace("%1$s", cases).replace("%2$d", str(AT)) if language == "php" else call % (cases, AT)
    assert EXPECTED == DOCUMENT.run(language, call)


def test_event() -> None:
    """
    The event that is shown is one, and all kinds are told of.
    """
    assert [] == complaints(json.loads(DOCUMENT.example("json")))
    text = DOCUMENT.text
    assert [] == [kind for kind in SCHEMA["properties"]["event"]["enum"] if f"`{kind}`" not in text]


def test_commands() -> None:
    """
    The commands that are shown are there, with their options.
    """
    from lmrelay.cli.webhooks import webhooks

    shown = re.findall(r"lmrelay webhooks (\w+)([^#`\n]*)", DOCUMENT.text)
    for verb, rest in shown:
        options = {name for one in webhooks.commands[verb].params for name in one.opts}
        assert set(re.findall(r"--[\w-]+", rest)) <= options, (verb, rest)
    assert set(webhooks.commands) - {verb for verb, _ in shown} <= {"disable", "remove"}


def test_every_event_is_named() -> None:
    """
    The configuration takes the events that the schema has, and the document's table names each of them.
    """
    assert SCHEMA["properties"]["event"]["enum"] == list(EVENTS)
    table = DOCUMENT.text.partition("## What an endpoint gets")[2].partition("```")[0]
    assert set(EVENTS) == set(re.findall(r"`((?:message|suppression|webhook)\.[a-z_]+)`", table))
