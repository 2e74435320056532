"""
What becomes of a message that cannot be delivered.
"""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator

import pytest

from tests.e2e.daemon import DOMAIN, Relay, pause
from tests.e2e.mail import SENDER, message, send
from tests.e2e.receiver import Receiver, Taken, always
from tests.e2e.story import await_states
from tests.e2e.world import World


@pytest.fixture(scope="module")
def senders(world: World) -> Receiver:
    """
    Where the sender's mail arrives.
    """
    mx = world.receiver()
    world.names.mx(DOMAIN, 10, f"mx.{DOMAIN}")
    world.names.host(f"mx.{DOMAIN}", mx.address)
    return mx


@pytest.fixture(scope="module")
def impatient(world: World, senders: Receiver) -> Iterator[Relay]:
    """
    A relay that gives up after three seconds.
    """
    relay = world.relay(delivery={"retry": ["1s"], "expire": "3s"}).start()
    yield relay
    assert relay.stop() == 0


def notifications(senders: Receiver, recipient: str) -> list[Taken]:
    return [taken for taken in senders.taken if recipient.encode() in taken.content]


def await_notification(senders: Receiver, recipient: str) -> Taken:
    for _ in range(1500):
        if found := notifications(senders, recipient):
            return found[0]
        pause()
    raise AssertionError(f"no notification about {recipient}")


def fields_of(taken: Taken) -> tuple[email.message.Message, list[email.message.Message]]:
    """
    The notification, and the groups of fields in its machine-readable part (RFC 3464 §2.1).
    """
    report = email.message_from_bytes(taken.content, policy=email.policy.default)
    status = next(part for part in report.walk() if part.get_content_type() == "message/delivery-status")
    return report, list(status.get_payload())


def test_expiry_tells_the_sender_once(world: World, impatient: Relay, senders: Receiver) -> None:
    """
    A receiver that always says "later" ends in one report to the sender, from the null reverse path, with its words.
    """
    mx = world.receiver(script=always("RCPT", "450 4.2.0 not today"))
    to = f"someone@{world.domain(mx)}"
    identity = send(impatient, to, message(to, subject="Expiring"))
    taken = await_notification(senders, to)
    await_states(impatient, identity, {to: "failed"})
    assert taken.reverse_path == ""
    assert taken.recipients == (SENDER,)
    report, groups = fields_of(taken)
    assert report.get_content_type() == "multipart/report"
    assert report.get_param("report-type") == "delivery-status"
    about = next(group for group in groups if "final-recipient" in group)
    assert about["Action"] == "failed"
    assert about["Status"].startswith("4.")
    assert to in about["Final-Recipient"]
    assert "not today" in about["Diagnostic-Code"]
    assert b"Subject: Expiring" in taken.content
    assert len(mx.heard("RCPT")) >= 3
    assert len(notifications(senders, to)) == 1


def test_refusal_tells_the_sender_at_once(world: World, impatient: Relay, senders: Receiver) -> None:
    """
    Recipients that are refused together share one report; it says 5.1.1 of each.
    """
    mx = world.receiver(script=always("RCPT", "550 5.1.1 no such user"))
    domain = world.domain(mx)
    send(impatient, [f"one@{domain}", f"two@{domain}"])
    _, groups = fields_of(await_notification(senders, f"two@{domain}"))
    statuses = {group["Final-Recipient"].partition(";")[2].strip(): group["Status"] for group in groups[1:]}
    assert statuses == {f"one@{domain}": "5.1.1", f"two@{domain}": "5.1.1"}
    assert len(notifications(senders, f"one@{domain}")) == 1


def test_a_refused_content_is_final(world: World, impatient: Relay, senders: Receiver) -> None:
    """
    554 at the end of the data fails the recipient with the receiver's words.
    """
    mx = world.receiver(script=always("CONTENT", "554 5.7.1 looks like spam"))
    to = f"someone@{world.domain(mx)}"
    send(impatient, to)
    _, groups = fields_of(await_notification(senders, to))
    assert groups[1]["Status"] == "5.7.1"
    assert "looks like spam" in groups[1]["Diagnostic-Code"]


def test_notify_never_is_honoured(world: World, impatient: Relay, senders: Receiver) -> None:
    """
    NOTIFY=NEVER fails without a word (RFC 3461 §4.1); ENVID and ORCPT come back for those who want to know.
    """
    mx = world.receiver(script=always("RCPT", "550 5.1.1 no such user"))
    domain = world.domain(mx)
    silent = f"silent@{domain}"
    identity = send(impatient, silent, rcpt_options=["NOTIFY=NEVER"])
    await_states(impatient, identity, {silent: "failed"})
    loud = f"loud@{domain}"
    send(impatient, loud, mail_options=["ENVID=Q42"], rcpt_options=["NOTIFY=FAILURE", "ORCPT=rfc822;first@b.example"])
    _, groups = fields_of(await_notification(senders, loud))
    assert groups[0]["Original-Envelope-Id"] == "Q42"
    assert groups[1]["Original-Recipient"].replace(" ", "") == "rfc822;first@b.example"
    assert notifications(senders, silent) == []


def test_a_failing_notification_ends_there(world: World, impatient: Relay) -> None:
    """
    A message from the null reverse path that fails tells nobody: no loop of reports.
    """
    mx = world.receiver(script=always("RCPT", "550 5.1.1 no such user"))
    to = f"someone@{world.domain(mx)}"
    identity = send(impatient, to, sender="")
    await_states(impatient, identity, {to: "failed"})
    assert impatient.ask("queue", "list") == []
