"""
The cut that Idempotency-Keys are for, made exactly: the message is on disk, and the process dies before its 250.
"""

from __future__ import annotations

import base64
import tempfile
from pathlib import Path
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from lmrelay.config.words import Security
from lmrelay.queue.writer import IWriter
from tests.inbound.doubles import TOKEN, Relay
from tests.inbound.peers import MemoryPeer
from tests.queue.conftest import make_config
from tests.queue.world import World, result_of

AHEAD = 100_000_000.0
"""
By how much the wall clock of a session's double is ahead of that of the queue's.
"""

LOGIN = "AUTH PLAIN " + base64.b64encode(f"\0lettermint\0{TOKEN}".encode()).decode()


@define(eq=False)
class DyingWriter:
    """
    Commits, and nobody hears of it.
    """

    living: IWriter

    def submit(self, write: Any, item: Any, *, urgent: bool = False) -> Deferred[Any]:
        result_of(self.living.submit(write, item, urgent=urgent))
        return Deferred()


def speak(world: World, date: str, subject: str = "Order 12") -> list[str]:
    """
    A client logs in and sends a message under a key; the answer is what it hears after the content.
    """
    world.clock.advance(1)
    peer = MemoryPeer(Relay(Security.PLAIN, clock=world.clock, acceptance=world.queue))  # type: ignore[arg-type]
    peer.say("EHLO client.example", LOGIN, "MAIL FROM:<app@acme.example>", "RCPT TO:<a@b.example>")
    assert peer.say("DATA") == ["354 End data with <CR><LF>.<CR><LF>"]
    fields = ("From: app@acme.example", f"Subject: {subject}", f"Date: {date}", "Idempotency-Key: order-12")
    return peer.say(*fields, "", "hello", ".")


class CutTests(SynchronousTestCase):
    """
    Real sessions over a real store; between them the process dies.
    """

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.world = World(make_config(Path(folder.name)))
        self.world.skew = AHEAD
        self.world.start()

    def test_the_retry_hears_of_the_first(self) -> None:
        """
        The client heard nothing, and nothing was delivered yet; the retry gets the id of the message that is stored,
        which is the only one, and it is delivered once.
        """
        acceptance = self.world.queue._acceptance
        acceptance._writer = DyingWriter(acceptance._writer)  # type: ignore[assignment]
        self.assertEqual([], speak(self.world, "Fri, 20 Nov 2026 20:00:00 +0000"))
        self.assertEqual([], self.world.dispatch.taken)
        self.world.crash()
        self.world.start()
        [answer] = speak(self.world, "Fri, 20 Nov 2026 20:05:00 +0000")
        self.assertRegex(answer, r"250 2\.0\.0 OK id=\w{26} \(duplicate\)")
        self.world.run(5)
        self.assertEqual([answer.split("id=")[1].split()[0]], [one.message_id for one in self.world.dispatch.taken])
        self.assertEqual((1, 1), (self.world.count()["message"], self.world.count()["recipient"]))
        self.assertEqual(["message.created"], [type_ for type_, _ in self.world.events()])
        self.world.stop()

    def test_another_message_is_not_taken_for_it(self) -> None:
        """
        After such a cut too, the key is that of the first message only.
        """
        acceptance = self.world.queue._acceptance
        acceptance._writer = DyingWriter(acceptance._writer)  # type: ignore[assignment]
        self.assertEqual([], speak(self.world, "Fri, 20 Nov 2026 20:00:00 +0000"))
        self.world.crash()
        self.world.start()
        [answer] = speak(self.world, "Fri, 20 Nov 2026 20:00:00 +0000", "Order 13")
        self.assertRegex(answer, r"554 5\.5\.0 Idempotency-Key was used before for another message, id=\w{26}$")
        self.world.stop()
