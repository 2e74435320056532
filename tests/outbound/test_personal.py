from __future__ import annotations

import re

from attrs import evolve
from twisted.logger import globalLogPublisher

from lmrelay.config.words import Kind
from lmrelay.mail.address import Address
from lmrelay.mail.envelope import Notify, Ret
from lmrelay.mail.outcome import Delayed, Delivered, Failed, Fault
from lmrelay.mail.return_path import Origin, read_return_path
from lmrelay.mail.unsubscribe import derive_key, read_token
from lmrelay.outbound.verdicts import Verdict
from lmrelay.smtp.reply import reply
from tests.outbound.doubles import BUSY, OK, MemoryQueue, config, leased
from tests.outbound.test_courier import Deliveries

KEY = b"k" * 32
LINK = re.compile(rb"List-Unsubscribe: <https://acme\.example/u/([^>]+)>\r\nList-Unsubscribe-Post: [^\r]+\r\n")


class ContentQueue(MemoryQueue):
    """
    Remembers which fields it was to add for which message.
    """

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[tuple[str, bytes]] = []

    def open_content(self, message_id: str, fields: bytes = b"", above: bytes = b""):
        self.opened.append((message_id, fields))
        return message_id


def personal(message_id: str, *numbers: int):
    """
    A broadcast of which each recipient gets a link.
    """
    return evolve(
        leased(message_id, *numbers, kind=Kind.BROADCAST), unsubscribe="https://acme.example/u/{token}", size=1000
    )


class TestPersonal(Deliveries):
    def setUp(self) -> None:
        super().setUp()
        self.settings.config = config(token_key=KEY)
        self.queue = self.courier.queue = ContentQueue()

    def carried(self):
        return [one for connection in self.connector.opened for one in connection.carried]

    def addresses(self) -> list[str]:
        key = derive_key(KEY, "acme", "outgoing")
        links = [LINK.fullmatch(fields) for _, fields in self.queue.opened if fields]
        return [read_token(key, link[1].decode()).address for link in links if link]

    def test_one_a_transaction(self) -> None:
        """
        Each recipient is alone in its transaction, gets its own link, and the size that is announced has it in it.
        """
        self.take(personal("m1", 0, 1, 2))
        self.assertEqual([[0], [1], [2]], sorted([r.number for r in one.recipients] for one in self.carried()))
        self.assertEqual({"u0@b.example", "u1@b.example", "u2@b.example"}, set(self.addresses()))
        sizes = {1000 + len(fields) for _, fields in self.queue.opened}
        self.assertEqual(sizes, {one.size for one in self.carried()})
        self.assertEqual(3, len(self.queue.settled))

    def test_same_at_every_attempt(self) -> None:
        """
        The next host, and the next attempt hours later, get the same link.
        """
        self.connector.script = dict.fromkeys(("mx1.b.example", "mx2.b.example"), lambda leased: BUSY)
        self.take(personal("m1"))
        self.queue.settled.clear()
        self.clock.advance(7200)
        self.connector.script = {}
        self.take(personal("m1"))
        self.assertEqual(3, len(self.queue.opened))
        self.assertEqual(1, len(set(self.queue.opened)))
        self.assertIsInstance(self.outcome("m1"), Delivered)

    def test_beside_other_mail(self) -> None:
        """
        What is not personal shares its transaction as ever, and gets no field.
        """
        self.take(personal("m1", 0, 1), leased("m2", 0, 1, kind=Kind.BROADCAST))
        numbers = sorted((one.message_id, [r.number for r in one.recipients]) for one in self.carried())
        self.assertEqual([("m1", [0]), ("m1", [1]), ("m2", [0, 1])], numbers)
        self.assertEqual([b""], [fields for id_, fields in self.queue.opened if id_ == "m2"])

    def test_withdrawn(self) -> None:
        """
        One that waits can be withdrawn, and the others of its message go.
        """
        self.courier.pause()
        self.take(personal("m1", 0, 1, 2))
        self.assertEqual({("m1", 1)}, self.courier.withdraw([("m1", 1)]))
        self.courier.resume()
        self.assertEqual({("m1", 0), ("m1", 2)}, set(self.queue.settled))
        self.assertEqual(0, self.courier.dispatch.windows.used)

    def test_never_without(self) -> None:
        """
        Without a key nothing is sent: it waits, the fault is ours, and the words are for the operator.
        """
        self.settings.config = config()
        self.take(personal("m1"))
        self.assertEqual([], self.queue.opened)
        outcome = self.outcome("m1")
        self.assertIsInstance(outcome, Delayed)
        self.assertEqual((Fault.OURS, True), (outcome.fault, "key" in outcome.text))

    def test_link_too_long(self) -> None:
        """
        A link that no line may have delays the message, too, for it was accepted with the promise of one.
        """
        self.take(evolve(personal("m1"), unsubscribe="https://acme.example/" + "x" * 990))
        self.assertEqual([], self.queue.opened)
        self.assertEqual(Fault.OURS, self.outcome("m1").fault)
        self.assertEqual(1, len(self.flushLoggedErrors()))


ID = "0" * 26
CLIENT = Address("shop", "acme.example")


def returning(*numbers: int):
    """
    Mail of a route with a return path, whose client wants to hear of success and get everything back.
    """
    sent = leased(ID, *numbers)
    asking = [
        evolve(one, recipient=evolve(one.recipient, notify=frozenset({Notify.SUCCESS}))) for one in sent.recipients
    ]
    return evolve(
        sent, recipients=asking, return_path="bounce.acme.example", reverse_path=CLIENT, ret=Ret.FULL, envid="x"
    )


class TestReturnPath(Deliveries):
    def setUp(self) -> None:
        super().setUp()
        self.settings.config = config(token_key=KEY)

    def carried(self):
        return [one for connection in self.connector.opened for one in connection.carried]

    def test_one_for_each(self) -> None:
        """
        Each recipient has a transaction and a signed sender of its own, which says whom it is about.
        """
        self.take(returning(0, 1, 2))
        carried = self.carried()
        self.assertEqual([[0], [1], [2]], sorted([r.number for r in one.recipients] for one in carried))
        for one in carried:
            self.assertEqual(Origin(ID, one.recipients[0].number), read_return_path(KEY, one.reverse_path))
            self.assertEqual("bounce.acme.example", one.reverse_path.domain)

    def test_notifications_are_for_the_relay(self) -> None:
        """
        What the client wanted to hear, and how much of it, is not asked of later servers.
        """
        self.take(returning())
        (one,) = self.carried()
        self.assertEqual((Ret.HDRS, None, None), (one.ret, one.envid, one.recipients[0].recipient.notify))

    def test_same_at_every_attempt(self) -> None:
        """
        The next host, and the next attempt hours later, see the same sender: greylisting goes by it.
        """
        self.connector.script = dict.fromkeys(("mx1.b.example", "mx2.b.example"), lambda leased: BUSY)
        self.take(returning())
        self.queue.settled.clear()
        self.clock.advance(7200)
        self.connector.script = {}
        self.take(returning())
        self.assertEqual(3, len(self.carried()))
        self.assertEqual(1, len({one.reverse_path for one in self.carried()}))
        self.assertIsInstance(self.outcome(ID), Delivered)

    def test_null_stays_null(self) -> None:
        """
        An answer is never given a sender that could be answered.
        """
        self.take(evolve(returning(), reverse_path=None))
        self.assertEqual([None], [one.reverse_path for one in self.carried()])

    def test_with_a_link(self) -> None:
        """
        A route may have both.
        """
        self.queue = self.courier.queue = ContentQueue()
        self.take(evolve(returning(3), unsubscribe="https://acme.example/u/{token}"))
        ((_, fields),) = self.queue.opened
        self.assertTrue(LINK.fullmatch(fields))
        self.assertEqual([Origin(ID, 3)], [read_return_path(KEY, one.reverse_path) for one in self.carried()])

    def test_never_without(self) -> None:
        """
        Without a key nothing is sent, not even under the client's own sender: that was not promised.
        """
        self.settings.config = config()
        self.take(returning())
        self.assertEqual([], self.carried())
        self.assertEqual(Fault.OURS, self.outcome(ID).fault)


class TestReport(Deliveries):
    def lines(self, sent, verdict=OK):
        seen = []
        globalLogPublisher.addObserver(seen.append)
        self.addCleanup(globalLogPublisher.removeObserver, seen.append)
        self.connector.script = dict.fromkeys(("mx1.b.example", "mx2.b.example"), lambda leased: verdict)
        self.take(sent)
        return [one for one in seen if one.get("log_format") == "attempt ended"]

    def test_redacted(self) -> None:
        """
        The line of a redacted message has a number for the recipient, and of what the receiver said the code alone.
        """
        words = "<U7@b.example> unknown, u7 never was"
        said = Verdict(Failed("5.1.1", words, Fault.RECIPIENT, reply(550, "5.1.1", words)))
        (line,) = self.lines(evolve(leased("m1", 7), redact=True), said)
        self.assertEqual(("", 7), (line["recipient"], line["number"]))
        self.assertEqual(("550 5.1.1", ""), (line["reply"], line["reason"]))

    def test_tells_tags_and_metadata(self) -> None:
        """
        The line has route, tags and metadata, and by default the recipient.
        """
        (line,) = self.lines(evolve(leased("m1"), tags=("a", "b"), metadata={"order": "7"}))
        self.assertEqual(
            ("outgoing", ("a", "b"), {"order": "7"}, "u0@b.example"),
            (line["route"], line["tags"], line["metadata"], line["recipient"]),
        )
