"""
What events say of messages whose route keeps subject and addresses out of them, on both databases.
"""

from __future__ import annotations

import json

import pytest
from sqlalchemy import select

from lmrelay.mail.outcome import Failed, Fault
from lmrelay.queue.schema import message
from lmrelay.smtp.reply import reply
from tests.queue.filling import writing
from tests.queue.world import World, name, result_of

WORDS = "no such user <Jane.Doe@b.example>, says s@acme.example of jane.doe and Your result"
REFUSED = Failed("5.1.1", WORDS, Fault.RECIPIENT, reply(550, "5.1.1", WORDS))


@pytest.mark.parametrize("redact", [True, False])
def test_events(world: World, redact: bool) -> None:
    """
    Every event has the same members with redaction and without; with it none tells subject or address.
    """
    more = {"redact": redact, "tags": ("t",), "metadata": {"k": "v"}}
    result_of(world.accept(1, ["jane.doe@b.example"], subject="Your result", **more))
    world.settle(1, REFUSED)
    told = world.events()
    assert ["message.created", "message.sent", "message.hard_bounced"] == [type_ for type_, _ in told]
    text = json.dumps(told).lower()
    for secret in ("jane.doe", "s@acme.example", "your result"):
        assert redact is (secret not in text)
    for _, document in told:
        assert (None if redact else "Your result") == document["subject"]
        assert (["t"], {"k": "v"}, name(1)) == (document["tags"], document["metadata"], document["message_id"])
    assert "recipient" in told[1][1]
    assert 550 == told[2][1]["response"]["status_code"]
    assert (None if redact else WORDS) == told[2][1]["response"]["content"]


def test_notification_is_redacted_too(world: World) -> None:
    """
    The notification of a failure goes to the sender, whose address stays out of the log as well.
    """
    result_of(world.accept(1, ["jane.doe@b.example"], redact=True))
    world.settle(1, REFUSED)
    with writing(world.config) as connection:
        rows = connection.execute(select(message.c.redact).where(message.c.notification.is_(True))).scalars().all()
    assert [True] == list(rows)
