"""
The queue through its seams, on SQLite, with the writer inline.
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
from lmrelay.errors import StoreError, StoreFull
from lmrelay.interfaces import Submission
from lmrelay.mail.address import parse_address
from lmrelay.mail.envelope import Envelope, Recipient
from lmrelay.mail.outcome import Attempt, Delayed, Delivered, Failed, Fault
from lmrelay.queue.acceptance import RESERVE
from lmrelay.queue.operations import open_desk
from lmrelay.queue.orders import Selector, Verb
from lmrelay.queue.service import QueueService
from lmrelay.smtp.reply import reply
from tests.queue.doubles import Dispatch, Settings

NOW = 1_700_000_000.0
OK = Delivered(reply(250, "2.0.0", "ok"))
LATER = Delayed("4.2.0", "greylisted", Fault.RECEIVER, reply(451, "4.2.0", "greylisted"))
NEVER = Failed("5.1.1", "no such user", Fault.RECIPIENT, reply(550, "5.1.1", "no such user"))


class QueueTests(SynchronousTestCase):
    """
    What is accepted is there, is leased once, and ends as its outcomes say.
    """

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.clock = Clock()
        self.config = Config(self.folder / "lmrelay.toml", Server("relay.example", self.folder))
        self.dispatch = Dispatch()
        self.random = Random(1)
        self.free = 1 << 40
        self.queue = self.start(self.dispatch)
        self.addCleanup(self.stop)

    def wall(self) -> float:
        return NOW + self.clock.seconds()

    def start(self, dispatch: Dispatch) -> QueueService:
        queue = QueueService(
            Settings(self.config),
            self.clock,
            self.wall,
            self.random.randbytes,
            Random(2),
            dispatch,
            True,
            lambda: self.free,
        )
        self.successResultOf(queue.start())
        return queue

    def stop(self) -> None:
        self.successResultOf(self.queue.stop())

    def accept(
        self,
        id_: str = "m" * 26,
        body: bytes = b"\r\nhello\r\n",
        to: str = "a@b.example",
        head: bytes = b"Subject: x\r\n",
    ) -> None:
        into = self.queue.open_body()
        for start in range(0, len(body), 65536):
            pause = into.write(body[start : start + 65536])
            if pause is not None:
                self.successResultOf(pause)
        envelope = Envelope(parse_address("s@acme.example"), (Recipient(parse_address(to)),))
        submission = Submission("acme", "outgoing", Kind.TRANSACTIONAL, envelope, head, self.wall(), id_)
        self.successResultOf(Deferred.fromCoroutine(self.queue.accept(submission, into)))

    def read(self, id_: str = "m" * 26) -> bytes:
        content, blocks = self.queue.open_content(id_), []
        while block := self.successResultOf(content.read()):
            blocks.append(block)
        return b"".join(blocks)

    def settle(self, outcome: Delivered | Delayed | Failed, id_: str = "m" * 26) -> None:
        self.successResultOf(self.queue.settle(id_, {0: Attempt(self.wall(), self.wall(), outcome, "mx.b.example")}))

    def states(self, *states: str) -> list[str]:
        with open_desk(self.config, self.wall) as desk:
            return [one["state"] for one in desk.recipients(Selector(states=states), None)]

    def test_short_way(self) -> None:
        """
        A fresh message goes straight to delivery, with its content.
        """
        self.accept()
        self.assertEqual(["m" * 26], [one.message_id for one in self.dispatch.taken])
        self.assertEqual(b"Subject: x\r\n\r\nhello\r\n", self.read())

    def test_large_body(self) -> None:
        """
        A large body comes back octet for octet, in blocks of at most 256 KiB.
        """
        body = b"\r\n" + self.random.randbytes(3_000_001)
        self.accept(body=body)
        self.assertEqual(b"Subject: x\r\n" + body, self.read())

    def test_delivered(self) -> None:
        """
        A delivered recipient is final, and its body is gone.
        """
        self.accept()
        self.settle(OK)
        self.assertEqual(["delivered"], self.states("delivered"))
        content = self.queue.open_content("m" * 26)
        self.assertEqual(b"Subject: x\r\n", self.successResultOf(content.read()))
        self.failureResultOf(content.read(), StoreError)

    def test_delayed(self) -> None:
        """
        A delayed recipient is taken again when its time has come, not before.
        """
        self.accept()
        self.settle(LATER)
        self.clock.pump([1.0] * 50)
        self.assertEqual(1, len(self.dispatch.taken))
        self.clock.pump([1.0] * 30)
        self.assertEqual(2, len(self.dispatch.taken))
        self.assertEqual(1, self.dispatch.taken[1].recipients[0].attempts)

    def test_failed(self) -> None:
        """
        A permanent failure queues one notification to the sender, with a null reverse path.
        """
        self.accept()
        self.settle(NEVER)
        self.clock.pump([1.0] * 6)
        notice = self.dispatch.taken[1]
        self.assertEqual(
            (None, True, "s@acme.example"),
            (notice.reverse_path, notice.notification, str(notice.recipients[0].recipient.address)),
        )
        self.settle(NEVER, notice.message_id)
        self.clock.pump([1.0] * 6)
        self.assertEqual(2, len(self.dispatch.taken))

    def test_expiry(self) -> None:
        """
        An attempt that fails after the age limit is the last.
        """
        self.accept()
        self.clock.advance(48 * 3600.0)
        self.settle(LATER)
        self.assertEqual(["failed"], self.states("failed"))

    def test_crash(self) -> None:
        """
        What a dead worker owned is leased again, once.
        """
        self.accept()
        self.queue._lease.drop()
        self.clock = Clock()  # that of the dead process stands still
        dispatch = Dispatch()
        second = self.start(dispatch)
        self.clock.pump([1.0] * 6)
        self.assertEqual(["m" * 26], [one.message_id for one in dispatch.taken])
        self.successResultOf(second.stop())

    def test_no_room_in_delivery(self) -> None:
        """
        What delivery has no room for is accepted, and taken when it has.
        """
        self.dispatch.room = 0
        self.accept()
        self.assertEqual([], self.dispatch.taken)
        self.dispatch.room = 10
        self.clock.pump([1.0] * 6)
        self.assertEqual(1, len(self.dispatch.taken))
        self.assertEqual(9, self.dispatch.room)

    def test_disk_full(self) -> None:
        """
        Mail is refused while less than the reserve is free.
        """
        self.free = 1000
        self.assertRaises(StoreFull, self.queue.check_room, None)

    def test_disk_fills_up(self) -> None:
        """
        The reserve holds for what came since MAIL too: received by others, spilled, or to be committed.
        """
        self.free = RESERVE + 1000
        self.queue.check_room(1000)
        held = self.queue.open_body()
        self.assertIsNone(held.write(b"x" * 600))
        self.assertRaises(StoreFull, self.queue.check_room, 500)
        large = self.queue.open_body()
        waiting = [large.write(b"x" * 65536) for _ in range(5)][-1]
        assert waiting is not None
        self.failureResultOf(waiting, StoreFull)
        large.discard()
        held.write(b"x" * 401)
        submission = Submission("acme", "outgoing", Kind.TRANSACTIONAL, Envelope(None, ()), b"", self.wall(), "m" * 26)
        self.failureResultOf(Deferred.fromCoroutine(self.queue.accept(submission, held)), StoreFull)
        self.queue.check_room(1000)

    def test_duplicate(self) -> None:
        """
        A commit that fails stores nothing, gives the room back, and says so.
        """
        self.accept()
        room = self.dispatch.room
        self.assertRaises(self.failureException, self.accept, head=b"Subject: y\r\n")
        self.assertEqual(1, len(self.flushLoggedErrors()))
        self.assertEqual(room, self.dispatch.room)
        self.assertEqual(1, len(self.dispatch.taken))

    def test_orders(self) -> None:
        """
        The operator's order reaches the rows when no daemon runs.
        """
        self.accept()
        self.queue._lease.drop()
        with open_desk(self.config, self.wall) as desk:
            self.assertEqual(1, desk.change(Verb.HOLD, Selector(), False).changed)
        self.assertEqual(["held"], self.states())
        with open_desk(self.config, self.wall) as desk:
            self.assertEqual(1, desk.change(Verb.DELETE, Selector(), False).changed)
        self.assertEqual([], self.states())

    def test_no_database(self) -> None:
        """
        Looking never makes a database.
        """
        config = Config(self.folder / "x.toml", Server("relay.example", self.folder / "none"))
        with self.assertRaises(StoreError), open_desk(config, self.wall):
            pass
        self.assertFalse((self.folder / "none").exists())
