"""
Signing when sending: what each recipient gets of its own is signed with the rest.
"""

from __future__ import annotations

import re

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, fail, succeed

from lmrelay.config.values import DkimKey
from lmrelay.config.words import Kind
from lmrelay.errors import StoreError
from lmrelay.interfaces import Leased
from lmrelay.mail.dkim import hash_body
from lmrelay.mail.outcome import Delayed, Delivered, Fault
from lmrelay.mail.signing import Signers
from lmrelay.outbound.personal import read_accepted
from tests.mail.test_dkim import private_key, verifies
from tests.outbound.doubles import BUSY, MemoryQueue, config, leased
from tests.outbound.test_courier import Deliveries

HEAD = b"Received: from a by b; Sat, 21 Nov 2026 12:00:00 +0000\r\nFrom: News <news@acme.example>\r\nSubject: News\r\n"
BODY = b"\r\nHello  all\r\n\r\n"
KEYS = {
    "acme.example": tuple(
        DkimKey("acme.example", algorithm, algorithm, private_key(algorithm)) for algorithm in ("rsa", "ed25519")
    )
}


@define(eq=False)
class Content:
    """
    Remembers what it was opened with; C{head} None: it cannot be read.
    """

    head: bytes | None
    fields: bytes = b""
    above: bytes = b""

    def read_head(self) -> Deferred[bytes]:
        return fail(StoreError("gone")) if self.head is None else succeed(self.head)

    def whole(self) -> bytes:
        return self.above + (self.head or b"") + self.fields + BODY


@define(eq=False)
class Queue(MemoryQueue):
    head: bytes | None = HEAD
    sent: list[Content] = field(factory=list)

    def open_content(self, message_id: str, fields: bytes = b"", above: bytes = b"") -> Content:  # type: ignore[override]
        content = Content(self.head, fields, above)
        if fields:
            self.sent.append(content)
        return content


def personal(*numbers: int, body: bytes = BODY) -> Leased:
    """
    A broadcast of which each recipient gets a link, accepted while its domain had keys.
    """
    return evolve(
        leased("m1", *numbers, kind=Kind.BROADCAST),
        unsubscribe="https://acme.example/u/{token}",
        body_hash=hash_body(body[2:]),
        size=1000,
    )


class TestSigning(Deliveries):
    def setUp(self) -> None:
        super().setUp()
        self.settings.config = config(token_key=b"k" * 32, dkim=KEYS)
        self.queue = self.courier.queue = Queue()

    def verified(self) -> list[bool]:
        signers = Signers(lambda: KEYS).find("acme.example")
        return [verifies(one.whole(), signers, index) for one in self.queue.sent for index in range(2)]

    def test_signed(self) -> None:
        """
        Each recipient's copy is signed by every key, the link and its one click covered (RFC 8058 §4), and the
        size that is announced has it all in it.
        """
        self.take(personal(0, 1, 2))
        self.assertEqual([True] * 6, self.verified())
        for one in self.queue.sent:
            covered = re.sub(rb"\s", b"", one.above)
            self.assertEqual(2, covered.count(b":list-unsubscribe:list-unsubscribe-post"))
            self.assertEqual(2, one.above.count(b" d=acme.example;"))
        carried = [one for connection in self.connector.opened for one in connection.carried]
        sizes = {1000 + len(one.above) + len(one.fields) for one in self.queue.sent}
        self.assertEqual(sizes, {one.size for one in carried})
        self.assertEqual(3, len({one.above for one in self.queue.sent}))

    def test_read_once(self) -> None:
        """
        What is the same for all recipients is read once: a head can have thousands of fields.
        """
        read_accepted.cache_clear()
        self.queue.head = HEAD + b"X: y\r\n" * 1000
        self.take(personal(0, 1, 2))
        self.assertEqual([True] * 6, self.verified())
        told = read_accepted.cache_info()
        self.assertEqual((2, 1), (told.hits, told.misses))

    def test_same_at_every_attempt(self) -> None:
        """
        The next host and the next attempt get the same octets.
        """
        self.connector.script = dict.fromkeys(("mx1.b.example", "mx2.b.example"), lambda leased: BUSY)
        self.take(personal())
        self.queue.settled.clear()
        self.clock.advance(7200)
        self.connector.script = {}
        self.take(personal())
        self.assertEqual((3, 1), (len(self.queue.sent), len({one.whole() for one in self.queue.sent})))
        self.assertIsInstance(self.outcome("m1"), Delivered)

    def test_without_keys(self) -> None:
        """
        Where the keys are gone by then, or were never there, the mail goes without a signature.
        """
        self.settings.config = config(token_key=b"k" * 32, dkim={"other.example": KEYS["acme.example"]})
        self.take(personal())
        self.settings.config = config(token_key=b"k" * 32)
        self.take(evolve(personal(), message_id="m2"))
        self.settings.config = config(token_key=b"k" * 32, dkim=KEYS)
        self.take(evolve(personal(), message_id="m3", body_hash=b""))
        self.assertEqual([b""] * 3, [one.above for one in self.queue.sent])
        self.assertEqual(3, len(self.queue.settled))

    def test_not_personal(self) -> None:
        """
        What was signed when it was accepted is not signed again.
        """
        self.take(leased("m1"))
        self.assertEqual([], self.queue.sent)
        self.assertIsInstance(self.outcome("m1"), Delivered)

    def test_unreadable_head(self) -> None:
        """
        A store that cannot be read delays the mail: nothing goes unsigned that was to be signed.
        """
        self.queue.head = None
        self.take(personal())
        self.assertEqual([], self.connector.opened)
        outcome = self.outcome("m1")
        self.assertIsInstance(outcome, Delayed)
        self.assertEqual(Fault.OURS, outcome.fault)
