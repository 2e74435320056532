"""
Starting and stopping the queue: clear words where it cannot, and nothing forgotten.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from pathlib import Path
from random import Random

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lmrelay.config.values import Config, Queue, Server
from lmrelay.config.words import Kind
from lmrelay.errors import StoreError
from lmrelay.interfaces import Submission
from lmrelay.mail.address import parse_address
from lmrelay.mail.envelope import Envelope, Recipient
from lmrelay.mail.outcome import Attempt, Delivered
from lmrelay.queue.ballast import FILE as BALLAST
from lmrelay.queue.operations import open_desk
from lmrelay.queue.service import QueueService
from lmrelay.queue.store import FILE
from lmrelay.smtp.reply import reply
from tests.queue.doubles import Dispatch, Settings

NOW = 1_700_000_000.0
ONE = "m" * 26
OK = Delivered(reply(250, "2.0.0", "ok"))


class LifecycleTests(SynchronousTestCase):
    """
    A queue that starts has all it needs; one that stops has recorded what it knows.
    """

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.clock = Clock()
        self.config = Config(self.folder / "lmrelay.toml", Server("relay.example", self.folder / "state"))
        self.file = self.folder / "state" / FILE
        self.dispatch = Dispatch()

    def make(self) -> QueueService:
        settings = Settings(self.config)
        return QueueService(
            settings, self.clock, self.wall, Random().randbytes, Random(2), self.dispatch, True, lambda: 1 << 40
        )

    def wall(self) -> float:
        return NOW + self.clock.seconds()

    def start(self) -> QueueService:
        queue = self.make()
        self.successResultOf(queue.start())
        return queue

    def refuse(self) -> str:
        return str(self.failureResultOf(self.make().start(), StoreError).value)

    def accept(self, queue: QueueService) -> None:
        body = queue.open_body()
        body.write(b"\r\nhello\r\n")
        envelope = Envelope(parse_address("s@acme.example"), (Recipient(parse_address("a@b.example")),))
        submission = Submission("acme", "outgoing", Kind.TRANSACTIONAL, envelope, b"Subject: x\r\n", self.wall(), ONE)
        self.successResultOf(Deferred.fromCoroutine(queue.accept(submission, body)))

    def settle(self, queue: QueueService) -> Deferred[None]:
        return queue.settle(ONE, {0: Attempt(self.wall(), self.wall(), OK, "mx.b.example")})

    def state(self) -> list[tuple[str, bool]]:
        with open_desk(self.config, self.wall) as desk:
            return [(one["state"], one["in_flight"]) for one in desk.story(ONE)["recipients"]]

    def test_not_a_database(self) -> None:
        """
        A file that is no database is named, and left as it is.
        """
        self.file.parent.mkdir()
        self.file.write_bytes(b"not a database" * 1000)
        self.assertEqual(f"{self.file}: file is not a database", self.refuse())
        self.assertEqual(b"not a database" * 1000, self.file.read_bytes())

    def test_newer(self) -> None:
        """
        A database of a newer version is refused by name, not mistaken for an old one.
        """
        self.successResultOf(self.start().stop())
        with sqlite3.connect(self.file) as connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.close()
        expected = f"{self.file}: the queue's database is of a newer version of lmrelay (its schema is '9999')"
        self.assertEqual(expected, self.refuse())

    def test_state_dir_is_a_file(self) -> None:
        """
        A state folder that cannot be one is named.
        """
        self.file.parent.write_bytes(b"")
        self.assertEqual(f"{self.file.parent}: File exists", self.refuse())

    def test_unwritable(self) -> None:
        """
        A database that cannot be opened for writing is named.
        """
        self.file.mkdir(parents=True)
        self.assertEqual(f"{self.file}: unable to open database file", self.refuse())

    def test_no_lock(self) -> None:
        """
        A lock that cannot be taken is named, and the database closed again.
        """
        self.file.parent.mkdir()
        (self.file.parent / "workers").write_bytes(b"")
        self.assertEqual(f"{self.file.parent / 'workers'}: File exists", self.refuse())
        self.assertEqual([], [path for path in self.file.parent.iterdir() if path.name.endswith("-wal")])

    def modes(self) -> dict[str, int]:
        state = self.file.parent
        return {str(path.relative_to(state)): path.stat().st_mode & 0o777 for path in (state, *state.rglob("*"))}

    def test_private(self) -> None:
        """
        Whatever the umask, nobody else can read what the queue makes, people's mail.
        """
        self.addCleanup(os.umask, os.umask(0))
        queue = self.start()
        self.accept(queue)
        lock = f"workers/{queue.worker}.lock"
        files = dict.fromkeys((BALLAST, FILE, f"{FILE}-wal", f"{FILE}-shm", lock), 0o600)
        self.assertEqual({".": 0o700, "workers": 0o700, **files}, self.modes())
        self.successResultOf(queue.stop())

    def test_made_private(self) -> None:
        """
        A folder that a daemon made readable for all is closed to others at the next start; a group that somebody
        let in stays.
        """
        self.successResultOf(self.start().stop())
        self.file.parent.chmod(0o755)
        self.file.chmod(0o644)
        self.file.with_name(f"{FILE}-wal").touch(0o644)
        self.successResultOf(self.start().stop())
        self.assertEqual({".": 0o700, "workers": 0o700, FILE: 0o600, BALLAST: 0o600}, self.modes())
        self.file.parent.chmod(0o750)
        self.file.chmod(0o640)
        self.successResultOf(self.start().stop())
        self.assertEqual({".": 0o750, "workers": 0o700, FILE: 0o640, BALLAST: 0o600}, self.modes())

    def test_bad_url(self) -> None:
        """
        A URL of no database is refused in one line, without a password that it may have.
        """
        self.config = evolve(self.config, queue=Queue("nonsense"))
        self.assertIn("queue.url", self.refuse())
        self.config = evolve(self.config, queue=Queue("postgresql://me:secret@127.0.0.1:1/none"))
        said = self.refuse()
        self.assertIn("127.0.0.1:1/none", said)
        self.assertNotIn("secret", said)
        self.assertEqual(1, len(said.splitlines()))

    def test_failed_start_leaves_nothing(self) -> None:
        """
        A queue whose start failed leaves no lock behind; the next start finds nothing in its way.
        """
        self.successResultOf(self.start().stop())
        with sqlite3.connect(self.file) as connection:
            connection.execute("ALTER TABLE worker RENAME TO gone")
        self.assertIn(f"{self.file}: no such table: worker", self.refuse())
        self.assertEqual([], list((self.file.parent / "workers").iterdir()))
        with connection:
            connection.execute("ALTER TABLE gone RENAME TO worker")
        connection.close()
        self.successResultOf(self.start().stop())

    def test_stop_ends_leases(self) -> None:
        """
        What was not tried is free when the queue has stopped.
        """
        queue = self.start()
        self.accept(queue)
        self.assertEqual([("queued", True)], self.state())
        self.successResultOf(queue.stop())
        self.assertEqual([("queued", False)], self.state())
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_stop_records(self) -> None:
        """
        An outcome that waits for the store is recorded before the queue stops.
        """
        queue = self.start()
        self.accept(queue)
        self.break_store()
        settled = self.settle(queue)
        self.assertNoResult(settled)
        self.assertTrue(self.dispatch.paused)
        self.mend_store()
        self.successResultOf(queue.stop())
        self.successResultOf(settled)
        self.assertEqual([("delivered", False)], self.state())

    def test_stop_gives_up(self) -> None:
        """
        A queue stops even if its store is out of order; what could not be recorded is tried again.
        """
        queue = self.start()
        self.accept(queue)
        self.break_store()
        settled = self.settle(queue)
        self.successResultOf(queue.stop())
        self.successResultOf(settled)
        self.mend_store()
        self.dispatch = Dispatch()
        again = self.start()
        self.clock.advance(0)
        self.assertEqual([(ONE, 0)], self.dispatch.handed())
        self.successResultOf(again.stop())

    def test_backoff(self) -> None:
        """
        Delivery is paused while an outcome cannot be recorded, and goes on when it is.
        """
        queue = self.start()
        self.accept(queue)
        self.break_store()
        settled = self.settle(queue)
        self.clock.pump([0.5] * 20)
        self.assertTrue(self.dispatch.paused)
        self.mend_store()
        self.clock.pump([1.0] * 31)
        self.successResultOf(settled)
        self.assertEqual((False, 1), (self.dispatch.paused, self.dispatch.pauses))
        self.assertEqual([("delivered", False)], self.state())
        self.successResultOf(queue.stop())

    def break_store(self) -> None:
        self.alter("ALTER TABLE attempt RENAME TO broken")

    def mend_store(self) -> None:
        self.alter("ALTER TABLE broken RENAME TO attempt")

    def alter(self, statement: str) -> None:
        connection = sqlite3.connect(self.file, isolation_level=None)
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute(statement)
        connection.close()
