"""
Control headers through a session: what reaches the queue, what reaches recipients, what clients hear.
"""

from __future__ import annotations

import base64

from twisted.internet.defer import succeed
from twisted.trial.unittest import SynchronousTestCase

from lmrelay.config.project import Project, Route
from lmrelay.config.words import Dialect, Kind, Security
from lmrelay.interfaces import Submission
from tests.inbound.doubles import TOKEN, Relay
from tests.inbound.peers import MemoryPeer

AUTH = "AUTH PLAIN " + base64.b64encode(b"\0lettermint\0" + TOKEN.encode()).decode()
LINK = "https://acme.example/u/{token}"


class ControlsTests(SynchronousTestCase):
    """
    A project with a route of each kind.
    """

    def setUp(self) -> None:
        self.relay = Relay(Security.PLAIN)
        self.queue = self.relay.acceptance
        routes = {
            "outgoing": Route("outgoing"),
            "news": Route("news", Kind.BROADCAST, unsubscribe_url=LINK, redact=True),
            "shop": Route("shop", return_path="bounce.acme.example"),
        }
        self.relay.realm.submitter.configured = Project("acme", routes=routes)
        self.peer = MemoryPeer(self.relay)
        self.peer.say("EHLO client.example", AUTH)

    def send(self, *lines: str, sender: str = "a@acme.example", to: tuple[str, ...] = ("b@b.example",)) -> str:
        """
        The answer to a message of these header lines.
        """
        recipients = [f"RCPT TO:<{one}>" for one in to]
        self.peer.say(f"MAIL FROM:<{sender}>", *recipients, "DATA")
        return self.peer.say("From: a@acme.example", *lines, "", "X-LM-Tag: body", ".")[-1]

    def send_octets(self, *content: bytes) -> None:
        """
        The same with content of these segments, which is to be accepted.
        """
        self.peer.say("MAIL FROM:<a@acme.example>", "RCPT TO:<b@b.example>", "DATA")
        for block in (*content, b".\r\n"):
            self.peer.send(block)
        self.assertEqual(f"250 2.0.0 OK id={self.last().id}", self.peer.heard()[-1])

    def last(self) -> Submission:
        return self.queue.accepted[-1][0]

    def test_reaches_the_queue(self) -> None:
        """
        Route, kind, tags, metadata and key are the submission's; no recipient sees them, and the body stays.
        """
        answer = self.send(
            "X-Lettermint-Route: news",
            "X-LM-Tag: test-email",
            "X-LM-Metadata-source: swaks-test",
            "X-MailPace-Tags: more",
            "Idempotency-Key: k",
            "X-Other: kept",
        )
        submission, body = self.queue.accepted[0]
        self.assertEqual(f"250 2.0.0 OK id={submission.id}", answer)
        self.assertEqual(("news", Kind.BROADCAST), (submission.route, submission.kind))
        self.assertEqual(("test-email", "more"), submission.tags)
        self.assertEqual({"source": "swaks-test"}, submission.metadata)
        self.assertEqual(("k", True, LINK), (submission.key, submission.redact, submission.unsubscribe))
        names = [line.partition(b":")[0] for line in submission.head.splitlines() if not line.startswith((b" ", b"\t"))]
        self.assertEqual([b"Received", b"From", b"X-Other", b"Date", b"Message-ID"], names)
        self.assertEqual(b"\r\nX-LM-Tag: body\r\n", body)

    def test_default_route(self) -> None:
        """
        Without a header the default route is taken, and nothing of another's settings.
        """
        self.send()
        submission = self.last()
        self.assertEqual(("outgoing", Kind.TRANSACTIONAL), (submission.route, submission.kind))
        self.assertEqual(("", False, "", ""), (
            submission.unsubscribe, submission.redact, submission.key, submission.fingerprint
        ))  # fmt: skip

    def test_return_path(self) -> None:
        """
        Mail of a route with a return path goes out under it, unless it is an answer itself.
        """
        self.send("X-Lettermint-Route: shop")
        self.assertEqual("bounce.acme.example", self.last().return_path)
        self.assertEqual("a@acme.example", str(self.last().envelope.reverse_path))
        self.send("X-Lettermint-Route: shop", sender="")
        self.assertEqual(("", None), (self.last().return_path, self.last().envelope.reverse_path))
        self.send()
        self.assertEqual("", self.last().return_path)

    def test_unknown_route(self) -> None:
        """
        A route that is not there is named, in characters that any client may hear, and nothing is kept.
        """
        self.assertEqual(
            '554 5.6.0 Route "nowhere" does not exist in project acme', self.send("X-Lettermint-Route: nowhere")
        )
        self.assertEqual('554 5.6.0 Route "" does not exist in project acme', self.send("X-Lettermint-Route:"))
        self.assertEqual('554 5.6.0 Route "NEWS" does not exist in project acme', self.send("X-Lettermint-Route: NEWS"))
        self.assertEqual(
            f'554 5.6.0 Route "{"?" * 60}" does not exist in project acme', self.send(f"X-Lettermint-Route: {'ü' * 99}")
        )
        self.assertEqual([], self.queue.accepted)
        self.assertTrue(self.send().startswith("250 "))

    def test_dialects_of_the_project(self) -> None:
        """
        The project's list counts instead of the server's.
        """
        project = self.relay.realm.submitter.configured
        self.relay.realm.submitter.configured = Project("acme", routes=project.routes, dialects=(Dialect.POSTMARK,))
        self.send("X-LM-Tag: not! a tag", "X-PM-Tag: tag")
        self.assertEqual(("tag",), self.last().tags)
        self.assertIn(b"X-LM-Tag: not! a tag\r\n", self.last().head)
        self.assertNotIn(b"X-PM-Tag", self.last().head)

    def test_own_list_unsubscribe(self) -> None:
        """
        No link is put over one that the message brings, by whichever header.
        """
        for line in ("List-Unsubscribe: <mailto:a@acme.example>", "X-List-Unsubscribe: <mailto:a@acme.example>"):
            self.send("X-Lettermint-Route: news", line)
            self.assertEqual("", self.last().unsubscribe)
            self.assertIn(b"\r\nList-Unsubscribe: <mailto:a@acme.example>\r\n", self.last().head)

    def test_one_click_is_said_once(self) -> None:
        """
        Where a link is added, what the message says of a link that it does not bring goes: RFC 8058 §3.1 wants one
        List-Unsubscribe-Post. Everywhere else it stays.
        """
        post = "List-Unsubscribe-Post: List-Unsubscribe=One-Click"
        self.send("X-Lettermint-Route: news", post)
        self.assertEqual(LINK, self.last().unsubscribe)
        self.assertNotIn(post.encode(), self.last().head)
        for lines in ((post,), ("X-Lettermint-Route: news", post, "List-Unsubscribe: <https://acme.example/off>")):
            self.send(*lines)
            self.assertEqual("", self.last().unsubscribe)
            self.assertIn(post.encode(), self.last().head)

    def test_fingerprint(self) -> None:
        """
        What a client writes anew when it sends a message again changes nothing; what makes it another message does.
        """
        key, same = "Idempotency-Key: k", ("To: b@b.example", "Subject: hi")
        self.send(key, *same, to=("b@b.example", "c@b.example"))
        first = self.last().fingerprint
        self.assertEqual(64, len(first))
        self.send(key, *same, "Date: now", "Message-ID: <x@y>", "X-LM-Tag: t", to=("c@B.example", "b@b.example"))
        self.assertEqual(first, self.last().fingerprint)
        self.send(key, "To:\tb@b.example ", "Subject:  hi", to=("b@b.example", "c@b.example"))
        self.assertEqual(first, self.last().fingerprint)
        both = ("b@b.example", "c@b.example")
        for lines, sender, to in (
            ((*same,), "a@acme.example", ("b@b.example",)),
            ((*same,), "", both),
            ((*same,), "other@acme.example", both),
            (("To: b@b.example", "Subject: ho"), "a@acme.example", both),
            (("To: c@b.example", "Subject: hi"), "a@acme.example", both),
            (("To: b@b.example", "To: b@b.example", "Subject: hi"), "a@acme.example", both),
            (("To: b@b.example",), "a@acme.example", both),
            ((*same, "X-Lettermint-Route: news"), "a@acme.example", both),
        ):
            self.send(key, *lines, sender=sender, to=to)
            self.assertNotEqual(first, self.last().fingerprint)

    def test_fingerprint_of_octets_that_are_no_utf8(self) -> None:
        """
        Subjects in another charset, written as they are, differ by their octets, though all read the same.
        """
        fingerprints = set()
        for subject in (
            b"Gr\xfc\xdfe",
            b"Gr\xe4\xdfe",
            "Gr\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}e".encode(),
        ):
            self.send_octets(b"From: a@acme.example\r\nIdempotency-Key: k\r\nSubject: " + subject + b"\r\n\r\n")
            fingerprints.add(self.last().fingerprint)
        self.assertEqual(3, len(fingerprints))

    def test_eight_bit_is_what_goes_on(self) -> None:
        """
        Only octets that recipients get count as 8-bit content: what was only said to the relay asks nothing of
        receivers.
        """
        for removed, body, expected in (
            ("X-LM-Metadata-name: Zoë", "plain", (False, False)),
            ("Bcc: Zoë <zoe@b.example>", "plain", (False, False)),
            ("X-LM-Metadata-name: Zoë", "Zoë", (True, False)),
            ("Subject: Zoë", "plain", (False, True)),
        ):
            octets = f"From: a@acme.example\r\n{removed}\r\n\r\n{body}\r\n".encode()
            for pieces in ([octets], [octets[at : at + 1] for at in range(len(octets))]):
                self.send_octets(*pieces)
                submission = self.last()
                self.assertEqual(expected, (submission.eight_bit, submission.utf8_head))

    def test_duplicate(self) -> None:
        """
        The id of the first message is told for one that was sent before.
        """
        self.queue.answers = [succeed("first")]
        self.assertEqual("250 2.0.0 OK id=first (duplicate)", self.send("Idempotency-Key: k"))

    def test_head_of_any_size(self) -> None:
        """
        A head of 256 KiB is taken however it is cut, a longer one refused.
        """
        first = "From: a@acme.example\r\n"
        for more, expected in ((0, "250 2.0.0 OK id="), (1, "552 5.3.4 Header too large")):
            self.peer.say("MAIL FROM:<a@acme.example>", "RCPT TO:<b@b.example>", "DATA")
            left = 256 * 1024 - len(first) + more
            fields = ""
            while left:
                size = min(left, 70_000) if left - 70_000 > 10 or left <= 70_000 else left // 2
                fields += f"X-Fill: {'x' * (size - 10)}\r\n"
                left -= size
            octets = f"{first}{fields}\r\nbody\r\n.\r\n".encode()
            for at in range(0, len(octets), 1001):
                self.peer.send(octets[at : at + 1001])
            self.assertTrue(self.peer.heard()[-1].startswith(expected))

    def test_head_cut_anywhere(self) -> None:
        """
        Control headers are read the same whatever segments they come in.
        """
        octets = (
            b"From: a@acme.example\r\nX-LM-Tag: two\r\n words\r\nX-LM-Metadata-a: =?utf-8?q?=C3=BC?=\r\n"
            b"X-Lettermint-Route: news\r\n\r\nbody\r\n.\r\n"
        )
        for at in range(1, len(octets)):
            self.peer.say("MAIL FROM:<a@acme.example>", "RCPT TO:<b@b.example>", "DATA")
            self.peer.send(octets[:at])
            self.peer.send(octets[at:])
            self.assertTrue(self.peer.heard()[-1].startswith("250 "))
            submission, body = self.queue.accepted[-1]
            self.assertEqual((("two words",), {"a": "ü"}, "news"), (
                submission.tags, submission.metadata, submission.route
            ))  # fmt: skip
            self.assertEqual(b"\r\nbody\r\n", body)
