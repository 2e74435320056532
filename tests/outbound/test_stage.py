"""
What is played instead of being sent: test addresses, and mail in the sandbox.
"""

from __future__ import annotations

import pytest
from attrs import evolve

from lmrelay.config.words import Kind
from lmrelay.interfaces import Lane, Leased, LeasedRecipient
from lmrelay.mail.address import Address
from lmrelay.mail.envelope import Recipient
from lmrelay.mail.outcome import Delayed, Delivered, Failed
from lmrelay.mail.parts import Part
from lmrelay.outbound.sites import Held
from lmrelay.outbound.stage import LEAST_PLAYING, MAX_PLAYING, OUTCOMES, Stage
from tests.outbound.doubles import Settings, leased
from tests.outbound.test_courier import Deliveries

TESTING = "testing.relay.example"


def to_test(message_id: str, *locals_: str, project: str = "acme", kind: Kind = Kind.TRANSACTIONAL) -> Leased:
    """
    A message to these test addresses.
    """
    recipients = [LeasedRecipient(number, Recipient(Address(local, TESTING))) for number, local in enumerate(locals_)]
    return Leased(message_id, Lane(project, kind, TESTING), "outgoing", None, recipients, received_at=1e9)


def in_sandbox(message_id: str, *numbers: int, **more: str) -> Leased:
    """
    A message to anybody, of a project in the sandbox.
    """
    return evolve(leased(message_id, *numbers, **more), sandbox=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("part", list(Part))
def test_outcomes(part: Part) -> None:
    """
    Each part has its own outcome; a bounce has the code that a receiver would give to RCPT.
    """
    kinds = {Part.SOFT_BOUNCE: Delayed, Part.HARD_BOUNCE: Failed}
    outcome = OUTCOMES[part]
    assert kinds.get(part, Delivered) is type(outcome)
    assert {Delivered: "2.0.0", Delayed: "4.2.2", Failed: "5.1.1"}[type(outcome)] == outcome.reply.enhanced  # type: ignore[union-attr]


def test_who_plays_what() -> None:
    """
    In the sandbox everybody is as if delivered, but for test addresses; who is none there is unknown.
    """
    stage = Stage(Settings())
    message = to_test("m", "ok+x", "SoftBounce", "hardbounce", "spamcomplaint", "nobody")
    for one in (message, evolve(message, sandbox=True)):
        held = [Held(one, member) for member in one.recipients]
        assert [] == stage.admit(held)
        played = stage.play(held, 1e9)
        expected = [Part.OK, Part.SOFT_BOUNCE, Part.HARD_BOUNCE, Part.SPAM_COMPLAINT, Part.HARD_BOUNCE]
        assert expected == [played[number].part for number in range(5)]
    other = in_sandbox("n")
    held = [Held(other, member) for member in other.recipients]
    assert Part.OK is stage.play(held, 1e9)[0].part
    assert TESTING == stage.play(held, 1e9)[0].host


def test_others_are_let_through() -> None:
    """
    Mail for anywhere else is sent: for other servers' test addresses, and for what only looks alike.
    """
    stage = Stage(Settings())
    for domain in ("b.example", "testing.b.example", "relay.example", "x.testing.relay.example"):
        held = [Held(one, one.recipients[0]) for one in (leased("m", domain=domain),)]
        assert held == stage.admit(held)
    assert None is stage.begin()


class TestPlaying(Deliveries):
    """
    By the delivery service.
    """

    window, budget = 1000, 20_000

    def test_nothing_leaves(self) -> None:
        """
        No name is asked for and no connection made; all is settled at once, and the room is free again.
        """
        self.take(to_test("a", "ok", "hardbounce"), in_sandbox("b", 0, 1), in_sandbox("c", domain="nowhere.example"))
        self.assertEqual(5, len(self.queue.settled))
        self.assertEqual(
            {("a", 0): Part.OK, ("a", 1): Part.HARD_BOUNCE}.items()
            | {("b", 0): Part.OK, ("b", 1): Part.OK, ("c", 0): Part.OK}.items(),
            {key: attempt.part for key, attempt in self.queue.settled.items()}.items(),
        )
        self.assertEqual([], self.resolver.asked)
        self.assertEqual([], self.connector.hosts())
        self.assertEqual(0, self.courier.dispatch.windows.used)

    def test_one_message_to_both(self) -> None:
        """
        Of a message to a test address and to somebody real each goes its way.
        """
        self.take(to_test("a", "ok"), leased("a", 1, domain="nowhere.example"))
        parts = {number: attempt.part for (_, number), attempt in self.queue.settled.items()}
        self.assertEqual({0: Part.OK, 1: None}, parts)
        self.assertTrue(self.resolver.asked)

    def test_pause(self) -> None:
        """
        While outcomes cannot be recorded nothing is played, and what waits can be taken back.
        """
        self.courier.pause()
        self.take(to_test("a", "ok"), to_test("b", "ok"))
        self.assertEqual({("a", 0)}, self.courier.withdraw([("a", 0)]))
        self.assertEqual({}, self.queue.settled)
        self.courier.resume()
        self.assertEqual([("b", 0)], list(self.queue.settled))
        self.assertEqual(set(), self.courier.withdraw([("b", 0)]))

    def test_drain(self) -> None:
        """
        When the relay stops nothing more is begun; what is being recorded ends first.
        """
        self.queue.slow = True
        self.take(to_test("a", "ok"))
        self.courier.pause()
        self.take(to_test("b", "ok"))
        drained = self.courier.drain()
        self.assertEqual([("b", 0)], self.queue.released)
        self.assertNoResult(drained)
        for _ in range(3):
            self.queue.commit()
        self.successResultOf(drained)
        self.assertEqual([("a", 0)], list(self.queue.settled))

    def test_projects_in_turn(self) -> None:
        """
        A project that plays without end has so many at a time; another's first part waits for none of them.
        """
        self.queue.slow = True
        for number in range(MAX_PLAYING):
            self.take(to_test(f"a{number}", "ok"))
        self.assertEqual(MAX_PLAYING // 2, len(self.queue.settled))
        self.take(to_test("b", "ok", project="other"))
        self.assertIn(("b", 0), self.queue.settled)
        while self.queue.pending:
            self.queue.commit()
        self.assertEqual(MAX_PLAYING + 1, len(self.queue.settled))
        self.assertEqual(0, self.courier.dispatch.windows.used)
        self.assertLess(LEAST_PLAYING, MAX_PLAYING)

    def test_queue_that_breaks(self) -> None:
        """
        A fault of ours loses no lease, and keeps nobody's turn.
        """
        self.queue.broken = True
        for number in range(2 * MAX_PLAYING):
            self.take(to_test(f"a{number}", "ok"))
        self.assertEqual(2 * MAX_PLAYING, len(self.queue.released))
        self.assertEqual(2 * MAX_PLAYING, len(self.flushLoggedErrors(ValueError)))
