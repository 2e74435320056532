"""
Signing at acceptance: which messages, with which keys, and that what reaches the queue can be verified.
"""

from __future__ import annotations

import base64

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from lmrelay.config.project import Project, Route
from lmrelay.config.values import DkimKey, Listener
from lmrelay.config.words import Kind, Security
from lmrelay.inbound.factory import SubmissionFactory
from lmrelay.interfaces import Submission
from lmrelay.mail.dkim import hash_body
from lmrelay.mail.head import Head
from lmrelay.mail.signing import Signers
from tests.inbound.doubles import TOKEN, Relay
from tests.inbound.peers import MemoryPeer
from tests.mail.test_dkim import AT, private_key, verifies

AUTH = "AUTH PLAIN " + base64.b64encode(b"\0lettermint\0" + TOKEN.encode()).decode()
LINK = "https://acme.example/u/{token}"


def key(domain: str, algorithm: str = "ed25519", *, active: bool = True) -> DkimKey:
    return DkimKey(domain, algorithm, algorithm, private_key(algorithm), active)


class SigningTests(SynchronousTestCase):
    """
    C{acme.example} has a key of each algorithm and one that is retired; C{b.example} has none.
    """

    def setUp(self) -> None:
        self.relay = Relay(Security.PLAIN)
        # dkimpy takes no signature of the future, and the doubles live there.
        self.relay.services = evolve(self.relay.services, wall=lambda: AT)
        self.relay.factory = SubmissionFactory(self.relay.services, Listener(587, Security.PLAIN), 587)
        retired = evolve(key("acme.example", active=False), selector="old")
        self.configure(key("acme.example", "rsa"), key("acme.example"), retired)
        routes = {
            "outgoing": Route("outgoing"),
            "news": Route("news", Kind.BROADCAST, unsubscribe_url=LINK),
            "plain": Route("plain", Kind.BROADCAST),
        }
        submitter = self.relay.realm.submitter
        submitter.domains = ("acme.example", "www.acme.example", "b.example")
        submitter.configured = Project("acme", routes=routes)
        self.peer = MemoryPeer(self.relay)
        self.peer.say("EHLO client.example", AUTH)

    def configure(self, *keys: DkimKey) -> None:
        of = {one.domain: tuple(other for other in keys if other.domain == one.domain) for one in keys}
        self.relay.settings.config = evolve(self.relay.settings.config, dkim=of)

    def send(self, *content: str, domain: str = "acme.example") -> tuple[Submission, bytes]:
        self.peer.say(f"MAIL FROM:<a@{domain}>", "RCPT TO:<b@b.example>", "DATA")
        answer = self.peer.say(f"From: A <a@{domain}>", *content, ".")[-1]
        self.assertTrue(answer.startswith("250 "), answer)
        return self.relay.acceptance.accepted[-1]

    def verified(self, submission: Submission, body: bytes, domain: str = "acme.example") -> list[bool]:
        signers = Signers(lambda: self.relay.settings.config.dkim).find(domain)
        return [verifies(submission.head + body, signers, index) for index in range(len(signers))]

    def names(self, submission: Submission) -> list[str]:
        return [field.name for field in Head.parse(submission.head).fields]

    def test_signed(self) -> None:
        """
        Every active key signs what goes out, the fields that the relay added included, and stands on top.
        """
        submission, body = self.send("Subject: Hi", "Bcc: c@c.example", "X-LM-Tag: t", "", "Hi  there ", "", "", "..")
        self.assertEqual([True, True], self.verified(submission, body))
        names = ["DKIM-Signature", "DKIM-Signature", "Received", "From", "Subject", "Date", "Message-ID"]
        self.assertEqual(names, self.names(submission))
        self.assertEqual(b"", submission.body_hash)
        covered = Head.parse(submission.head).fields[0].octets
        for name in (b"date", b"message-id", b"subject:subject", b"from:from"):
            self.assertIn(name, covered.replace(b"\r\n ", b""))

    def test_signed_bodies(self) -> None:
        """
        Bodies of any shape are hashed as verifiers do: none, empty, bare line endings, in chunks, and large.
        """
        for content in ([], [""], ["", ""], ["", "x", "", "", ""], ["", "a\rb\nc \t d"], ["no field here", "x"]):
            self.assertEqual([True, True], self.verified(*self.send(*content)), content)
        large = ["", *[f"{number} {'x ' * 30}" for number in range(5000)]]
        self.assertEqual([True, True], self.verified(*self.send(*large)))

    def test_signed_chunks(self) -> None:
        """
        BDAT's content is signed as DATA's is, wherever its chunks are cut, its last line ending being ours.
        """
        content = b"From: a@acme.example\r\nSubject: Hi\r\n\r\nHi there\r\n \r\nx"
        for cut in range(len(content)):
            self.peer.say("MAIL FROM:<a@acme.example>", "RCPT TO:<b@b.example>")
            for chunk, last in ((content[:cut], ""), (content[cut:], " LAST")):
                self.peer.send(f"BDAT {len(chunk)}{last}\r\n".encode() + chunk)
            self.peer.heard()
            self.assertEqual([True, True], self.verified(*self.relay.acceptance.accepted[-1]))
        self.assertEqual(len(content), len(self.relay.acceptance.accepted))

    def test_parent(self) -> None:
        """
        A subdomain without keys is signed for by its parent.
        """
        submission, body = self.send("", "x", domain="www.acme.example")
        self.assertEqual([True, True], self.verified(submission, body, "www.acme.example"))
        self.assertIn(b" d=acme.example;", submission.head)

    def test_without_key(self) -> None:
        """
        A domain without keys is not signed for, whoever else is; nor is its body hashed.
        """
        submission, _ = self.send("", "x", domain="b.example")
        self.assertEqual(["Received", "From", "Date", "Message-ID"], self.names(submission))
        self.assertEqual(b"", submission.body_hash)

    def test_foreign_signature_stays(self) -> None:
        """
        A signature that the application made stays, octet for octet, below ours, and is no part of them.
        """
        theirs = "DKIM-Signature: v=1; d=acme.example;  s=app; h=from; bh=x=;\r\n b=y="
        submission, body = self.send(theirs, "", "x")
        self.assertIn(theirs.encode() + b"\r\n", submission.head)
        self.assertEqual(["DKIM-Signature", "DKIM-Signature", "Received"], self.names(submission)[:3])
        self.assertEqual([True, True], self.verified(submission, body))

    def test_author_counts(self) -> None:
        """
        It is the From field that says whose mail it is, not the envelope.
        """
        self.peer.say("MAIL FROM:<a@acme.example>", "RCPT TO:<b@b.example>", "DATA")
        self.peer.say("From: b@b.example", "", "x", ".")
        self.assertNotIn(b"DKIM", self.relay.acceptance.accepted[-1][0].head)
        self.peer.say("MAIL FROM:<>", "RCPT TO:<b@b.example>", "DATA")
        self.peer.say("From: a@ACME.example, b@b.example", "Sender: b@b.example", "", "x", ".")
        self.assertEqual([True, True], self.verified(*self.relay.acceptance.accepted[-1]))

    def test_personal(self) -> None:
        """
        Where each recipient gets fields of its own the signature waits for them, and the body's hash is kept for it.
        """
        submission, body = self.send("X-Lettermint-Route: news", "", "Hi ", "")
        self.assertNotIn(b"DKIM", submission.head)
        self.assertEqual(hash_body(body[2:]), submission.body_hash)
        submission, body = self.send("X-Lettermint-Route: plain", "", "Hi ")
        self.assertEqual([True, True], self.verified(submission, body))
        self.assertEqual(b"", submission.body_hash)
        submission, _ = self.send("X-Lettermint-Route: news", "", "Hi", domain="b.example")
        self.assertEqual(b"", submission.body_hash)

    def test_reload_on_the_way(self) -> None:
        """
        Keys that come while a message does leave it unsigned; those that go sign no more; and new ones sign the next.
        """
        self.configure()
        self.peer.say("MAIL FROM:<a@acme.example>", "RCPT TO:<b@b.example>", "DATA", "From: a@acme.example", "", "x")
        self.configure(key("acme.example"))
        self.peer.say(".")
        self.assertNotIn(b"DKIM", self.relay.acceptance.accepted[-1][0].head)
        self.assertEqual([True], self.verified(*self.send("", "x")))
        self.peer.say("MAIL FROM:<a@acme.example>", "RCPT TO:<b@b.example>", "DATA", "From: a@acme.example", "", "x")
        self.configure()
        self.peer.say(".")
        self.assertNotIn(b"DKIM", self.relay.acceptance.accepted[-1][0].head)
