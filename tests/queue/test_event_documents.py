"""
Events of every kind, as they are told, against the schema that is shipped.
"""

from __future__ import annotations

import json

import pytest
from jsonschema import Draft202012Validator

from lmrelay.mail.outcome import Attempt, Delayed, Delivered, Failed, Fault, Outcome, Tls
from lmrelay.mail.reports import Kind, Report
from lmrelay.queue.outbox import write_untold
from lmrelay.queue.rows import event_row
from lmrelay.smtp.reply import reply
from tests.events.schema import SCHEMA, complaints
from tests.queue.filling import NOW, writing
from tests.queue.world import LATER, NEVER, OK, World, name, result_of

TLS = Tls("TLSv1.3", "TLS_AES_256_GCM_SHA384", True, "", "opportunistic")


def test_schema_is_one() -> None:
    """
    What is shipped is a JSON Schema.
    """
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("redact", [False, True])
@pytest.mark.parametrize(
    ("outcome", "type_"),
    [
        (OK, "message.delivered"),
        (LATER, "message.deferred"),
        (NEVER, "message.hard_bounced"),
        (Delayed("4.4.1", "no answer", Fault.NETWORK), "message.deferred"),
        (Failed("5.3.5", "wrong", Fault.OURS), "message.failed"),
        (Failed("5.1.10", "takes no mail", Fault.RECIPIENT), "message.hard_bounced"),
        (Delivered(reply(250, "", "ok")), "message.delivered"),
    ],
)
def test_attempts(world: World, outcome: Outcome, type_: str, redact: bool) -> None:
    """
    What an attempt leads to, with TLS and without, is as the schema says.
    """
    world.accept(subject="Grüße", tags=("x", "y z"), metadata={"order_id": "12345"}, redact=redact)
    made = Attempt(world.wall(), world.wall() + 1, outcome, "mx1.b.example", "192.0.2.1", TLS)
    result_of(world.queue.settle(name(1), {0: made}))
    told = world.told()
    more = ["suppression.added"] if outcome is NEVER else []
    assert ["message.created", "message.sent", type_, *more] == [one["event"] for one in told]
    assert [] == [complaint for one in told for complaint in complaints(one)]


def test_expiry(world: World) -> None:
    """
    So is what is given up at its time.
    """
    world.accept()
    world.clock.advance(world.config.delivery.expire + 1)
    world.settle(1, LATER)
    told = world.told()[-1]
    assert ("message.soft_bounced", []) == (told["event"], complaints(told))


@pytest.mark.parametrize(
    ("report", "type_"),
    [
        (Report(Kind.BOUNCE, "5.1.1", "no such user", "mx.b.example"), "message.hard_bounced"),
        (Report(Kind.BOUNCE, "4.4.7", "given up"), "message.soft_bounced"),
        (Report(Kind.COMPLAINT, "", "abuse"), "message.spam_complaint"),
    ],
)
@pytest.mark.parametrize("redact", [False, True])
def test_reports(world: World, report: Report, type_: str, redact: bool) -> None:
    """
    So is what came back by mail.
    """
    world.accept(return_path="bounce.acme.example", redact=redact)
    world.settle(1, OK)
    awaited = result_of(world.queue.returns.find(name(1), 0))
    assert awaited is not None
    assert result_of(world.queue.returns.record(awaited, report))
    told = world.told()
    assert [] == [complaint for one in told for complaint in complaints(one)]
    assert [type_, *(["suppression.added"] if type_ != "message.soft_bounced" else [])] == [
        one["event"] for one in told if one["event"] not in ("message.created", "message.sent", "message.delivered")
    ]


SUPPRESSION = '"reason":"bounce","scope":"project","expires_at":null'


@pytest.mark.parametrize(
    ("type_", "route", "document"),
    [
        ("suppression.added", "", f'{{"recipient":"a@b.example",{SUPPRESSION}}}'),
        ("suppression.removed", "news", f'{{"recipient":null,{SUPPRESSION},"cause":"expired"}}'),
        ("webhook.test", "", '{"endpoint":"shop"}'),
    ],
)
def test_of_no_message(world: World, type_: str, route: str, document: str) -> None:
    """
    So are events that are not of a message, which may be of no route.
    """
    with writing(world.config) as connection:
        row = event_row(world.random.randbytes, type_, NOW, ("acme", route), (None, None), document)
        write_untold(connection, [row])
    (told,) = world.told()
    assert [] == complaints(told)
    assert {"project": "acme", "route": route or None} == told["context"]


def test_as_documented(world: World) -> None:
    """
    An event has the keys of the contract, in its order.
    """
    world.accept(tags=("x",), metadata={"order_id": "12345"})
    made = Attempt(NOW, NOW + 0.123, OK, "mx1.b.example", "192.0.2.1", TLS)
    result_of(world.queue.settle(name(1), {0: made}))
    told = world.told()[-1]
    assert ["id", "event", "timestamp", "sequence", "context", "data"] == list(told)
    expected = ["message_id", "recipient", "subject", "tag", "tags", "metadata", "response", "mx", "tls", "attempt"]
    assert expected == list(told["data"])
    assert "2023-11-14T22:13:20.123Z" == told["timestamp"]
    assert {"status_code": 250, "enhanced_status_code": "2.0.0", "content": "ok"} == told["data"]["response"]
    assert json.loads(json.dumps(told)) == told


@pytest.mark.parametrize(
    "wrong",
    [
        {"event": "message.other"},
        {"id": "1"},
        {"sequence": 0},
        {"timestamp": "2026-11-20"},
        {"data": {}},
        {"context": {"project": "acme", "route": "outgoing", "more": 1}},
    ],
)
def test_schema_refuses(world: World, wrong: dict[str, object]) -> None:
    """
    What is not an event is none for the schema either.
    """
    world.accept()
    (told,) = world.told()
    assert [] == complaints(told)
    assert [] != complaints(told | wrong)
