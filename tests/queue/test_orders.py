"""
The operator's orders to a queue that runs, from the command to delivery.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from random import Random

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lmrelay.config.values import Config, Server
from lmrelay.config.words import Kind
from lmrelay.interfaces import Submission
from lmrelay.mail.address import parse_address
from lmrelay.mail.envelope import Envelope, Recipient
from lmrelay.mail.outcome import Attempt, Delayed, Fault
from lmrelay.queue.operations import open_desk
from lmrelay.queue.orders import Change, Selector, Verb
from lmrelay.queue.service import QueueService
from tests.queue.doubles import Dispatch, Settings

NOW = 1_700_000_000.0
ONE = "m" * 26
LATER = Delayed("4.2.0", "greylisted", Fault.RECEIVER)


class OrderTests(SynchronousTestCase):
    """
    An order is carried out within a second, and delivery follows it.
    """

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.clock = Clock()
        self.config = Config(self.folder / "lmrelay.toml", Server("relay.example", self.folder))
        self.dispatch = Dispatch()
        self.queue = QueueService(
            Settings(self.config), self.clock, self.wall, Random(1).randbytes, Random(2), self.dispatch, True
        )
        self.successResultOf(self.queue.start())
        self.addCleanup(lambda: self.successResultOf(self.queue.stop()))
        body = self.queue.open_body()
        body.write(b"\r\nhello\r\n")
        envelope = Envelope(parse_address("s@acme.example"), (Recipient(parse_address("a@b.example")),))
        submission = Submission("acme", "outgoing", Kind.TRANSACTIONAL, envelope, b"Subject: x\r\n", NOW, ONE)
        self.successResultOf(Deferred.fromCoroutine(self.queue.accept(submission, body)))

    def wall(self) -> float:
        return NOW + self.clock.seconds()

    def order(self, verb: Verb) -> Change:
        with open_desk(self.config, self.wall, self.clock.advance) as desk:
            change = desk.change(verb, Selector(messages=(ONE,)), False)
        self.clock.pump([0.1] * 10)
        return change

    def delay(self) -> None:
        made = Attempt(self.wall(), self.wall(), LATER, "mx.b.example")
        self.successResultOf(self.queue.settle(ONE, {0: made}))

    def test_retry(self) -> None:
        """
        What waits for its next attempt is with delivery at once.
        """
        self.delay()
        self.assertEqual(Change(1, 0, True), self.order(Verb.RETRY))
        self.assertEqual([(ONE, 0), (ONE, 0)], self.dispatch.handed())

    def test_hold_and_release(self) -> None:
        """
        What delivery had not begun is taken from it, stays away however long, and comes back when released.
        """
        self.assertEqual(Change(1, 0, True), self.order(Verb.HOLD))
        self.clock.pump([60.0] * 60)
        self.assertEqual([(ONE, 0)], self.dispatch.handed())
        self.assertEqual(Change(1, 0, True), self.order(Verb.RELEASE))
        self.assertEqual([(ONE, 0), (ONE, 0)], self.dispatch.handed())

    def test_delete(self) -> None:
        """
        What is deleted is never tried, and nobody is told.
        """
        self.assertEqual(Change(1, 0, True), self.order(Verb.DELETE))
        self.clock.pump([60.0] * 60)
        self.assertEqual([(ONE, 0)], self.dispatch.handed())
        with open_desk(self.config, self.wall) as desk:
            (only,) = desk.recipients(Selector(states=("queued", "deferred", "held", "failed", "deleted")), None)
        self.assertEqual((ONE, "deleted"), (only["message"], only["state"]))

    def test_twice(self) -> None:
        """
        What is done already is not done again.
        """
        self.order(Verb.HOLD)
        self.assertEqual(Change(0, 0, True), self.order(Verb.HOLD))
        self.assertEqual(Change(0, 0, True), self.order(Verb.RETRY))
