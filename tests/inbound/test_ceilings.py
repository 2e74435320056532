"""
What ends a session from outside, and what projects and the process have a limit of.
"""

from __future__ import annotations

import base64
from collections.abc import Callable

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from lmrelay.config.project import Project
from lmrelay.config.values import Limits, Timeouts
from lmrelay.config.words import Security
from lmrelay.errors import Refused, StoreFull
from lmrelay.inbound.limits import MAX_REFUSED, ConnectionLimits
from lmrelay.smtp import replies
from tests.inbound.doubles import TOKEN, Relay, Submitter
from tests.inbound.peers import MemoryPeer

AUTH = "AUTH PLAIN " + base64.b64encode(b"\0lettermint\0" + TOKEN.encode()).decode()
GUESS = "AUTH PLAIN " + base64.b64encode(b"\0lettermint\0wrong").decode()
ENVELOPE = ("MAIL FROM:<a@acme.example>", "RCPT TO:<b@b.example>")
CONTENT = ("From: a@acme.example", "", "hello", ".")
BLOCK = "From: a@acme.example\r\n\r\nhello\r\n"
LOGGED_IN = "235 2.7.0 Authentication successful"
OK = "250 2.0.0 OK"
GONE = str(replies.TOKEN_GONE)
FULL = "421 4.7.0 Too many connections for project acme, try again later"


class Sessions(SynchronousTestCase):
    """
    On a plain port, for there TLS hides nothing.
    """

    def setUp(self) -> None:
        self.relay = Relay(Security.PLAIN)
        self.queue, self.realm = self.relay.acceptance, self.relay.realm
        self.submitter: Submitter = self.realm.submitter

    def log_in(self, host: str = "192.0.2.7") -> MemoryPeer:
        peer = MemoryPeer(self.relay, host)
        self.assertEqual(LOGGED_IN, peer.say("EHLO client.example", AUTH)[-1])
        return peer

    def leave(self, peer: MemoryPeer) -> None:
        peer.client.transport.abortConnection()
        peer.wire.flush()

    def configure(self, limits: Limits | None = None, **project: int) -> None:
        """
        A reload.
        """
        acme = Project("acme", **project)  # type: ignore[arg-type]
        self.submitter.configured = acme
        limits = limits or self.relay.config.limits
        self.relay.settings.config = evolve(self.relay.config, limits=limits, projects={"acme": acme})


class TestRevocation(Sessions):
    def test_next_command(self) -> None:
        """
        Any command but QUIT, known or not, hears that the token is gone, and is the session's last.
        """
        for command in (
            "NOOP",
            "EHLO x",
            "RSET",
            "STARTTLS",
            "AUTH LOGIN",
            ENVELOPE[0],
            "VRFY a",
            "NONSENSE",
            "BDAT 0",
        ):
            self.submitter.token_gone = False
            peer = self.log_in()
            self.submitter.token_gone = True
            self.assertEqual([GONE], peer.say(command, "NOOP"))
            self.assertTrue(peer.client.is_lost)

    def test_quit(self) -> None:
        """
        Who leaves is let go in peace.
        """
        peer = self.log_in()
        self.submitter.token_gone = True
        self.assertEqual(["221 2.0.0 Bye"], peer.say("QUIT"))

    def test_transaction_is_dropped(self) -> None:
        """
        At RCPT and at DATA nothing of the transaction goes on.
        """
        for said, command in ((1, ENVELOPE[1]), (2, "DATA")):
            self.submitter.token_gone = False
            peer = self.log_in()
            peer.say(*ENVELOPE[:said])
            self.submitter.token_gone = True
            self.assertEqual([GONE], peer.say(command, *CONTENT))
        self.assertEqual(([], []), (self.queue.bodies, self.queue.accepted))

    def test_within_data(self) -> None:
        """
        Content that had its 354 is taken, by what held then; what is pipelined behind it is not.
        """
        peer = self.log_in()
        peer.say(*ENVELOPE, "DATA")
        peer.say(*CONTENT[:2])
        self.submitter.token_gone = True
        answers = peer.say(*CONTENT[2:], "NOOP")
        self.assertEqual(["250 2.0.0", GONE[:9]], [answer[:9] for answer in answers])
        self.assertEqual(1, len(self.queue.accepted))

    def test_while_committing(self) -> None:
        """
        A commit under way is answered, and only then the session ends.
        """
        peer = self.log_in()
        commit: Deferred[None] = Deferred()
        self.queue.answers = [commit]
        peer.say(*ENVELOPE, "DATA")
        self.submitter.token_gone = True
        self.assertEqual([], peer.say(*CONTENT, "NOOP"))
        commit.callback(None)
        peer.wire.flush()
        self.assertEqual(["250", "421"], [answer[:3] for answer in peer.heard()])

    def test_between_chunks(self) -> None:
        """
        The next BDAT is refused once its chunk is read, so that the reply reaches the client, and nothing is stored.
        """
        peer = self.log_in()
        peer.say(*ENVELOPE, f"BDAT {len(BLOCK)}")
        peer.send(BLOCK.encode())
        peer.heard()
        self.submitter.token_gone = True
        peer.send(b"BDAT 1000 LAST\r\n")
        peer.send(b"x" * 999)
        self.assertEqual(([], False), (peer.heard(), peer.client.is_lost))
        peer.send(b"x")
        self.assertEqual(([GONE], True), (peer.heard(), peer.client.is_lost))
        self.assertEqual(([], 1), (self.queue.accepted, self.queue.bodies[0].discarded))

    def test_within_a_chunk(self) -> None:
        """
        The last chunk that was begun before is taken.
        """
        peer = self.log_in()
        peer.say(*ENVELOPE)
        peer.send(f"BDAT {len(BLOCK)} LAST\r\n".encode() + BLOCK[:5].encode())
        self.submitter.token_gone = True
        peer.send(BLOCK[5:].encode())
        self.assertEqual("250 2.0.0", peer.heard()[0][:9])

    def test_far_too_large_a_chunk(self) -> None:
        """
        A chunk that is not worth reading is not read, but the reply is waited for.
        """
        peer = self.log_in()
        peer.say(*ENVELOPE)
        self.submitter.token_gone = True
        peer.send(b"BDAT 999999999\r\n" + b"x" * 5000)
        self.assertEqual(([GONE], False), (peer.heard(), peer.client.is_lost))
        peer.wait(10)
        self.assertTrue(peer.client.is_lost)

    def test_smtp_off_is_heard_at_mail(self) -> None:
        """
        SMTP that is switched off ends the session at its next MAIL, not before.
        """
        peer = self.log_in()
        self.submitter.refusal = replies.smtp_disabled("acme")
        self.assertEqual([OK, str(self.submitter.refusal)], peer.say("NOOP", ENVELOPE[0]))


class TestPlaces(Sessions):
    def ends(self) -> dict[str, Callable[[MemoryPeer], object]]:
        """
        Every way in which a session ends, done to one that has logged in.
        """

        def content(peer: MemoryPeer) -> None:
            peer.say(*ENVELOPE, "DATA")
            peer.say(*CONTENT[:2])

        def commit(peer: MemoryPeer) -> None:
            self.queue.answers = [Deferred()]
            peer.say(*ENVELOPE, "DATA")
            peer.say(*CONTENT)

        def revoke(peer: MemoryPeer) -> None:
            self.submitter.token_gone = True
            peer.say("NOOP")

        def reset(peer: MemoryPeer) -> None:
            peer.say("RSET", "EHLO y", "STARTTLS")
            self.leave(peer)

        return {
            "quit": lambda peer: peer.say("QUIT"),
            "quit and leave": lambda peer: (peer.say("QUIT"), self.leave(peer)),
            "leave": self.leave,
            "leave within content": lambda peer: (content(peer), self.leave(peer)),
            "leave within a commit": lambda peer: (commit(peer), self.leave(peer)),
            "errors": lambda peer: peer.say(*["NONSENSE"] * 30),
            "HTTP": lambda peer: peer.say("GET / HTTP/1.1"),
            "bad chunk": lambda peer: peer.say("BDAT nonsense"),
            "excess": lambda peer: peer.say(*ENVELOPE, "BDAT 999999999"),
            "idle": lambda peer: peer.wait(301),
            "idle within content": lambda peer: (content(peer), peer.wait(700)),
            "revoked": revoke,
            "EHLO, RSET and STARTTLS": reset,
            "drain": lambda peer: (self.relay.factory.drain(), peer.wire.flush()),
            "abort": lambda peer: (content(peer), self.relay.factory.abort(), peer.wire.flush()),
        }

    def test_given_back_once(self) -> None:
        """
        However a session ends, its place is free, once, and all that it held with it.
        """
        for name in self.ends():
            self.setUp()
            self.relay.settings.config = evolve(self.relay.config, timeouts=Timeouts(data=600.0))
            peer = self.log_in()
            self.assertEqual(1, self.realm.inside, name)
            self.ends()[name](peer)
            self.assertEqual((0, 1), (self.realm.inside, self.realm.logouts), name)
            self.leave(peer)
            peer.wait(20)
            self.assertEqual((0, 1), (self.realm.inside, self.realm.logouts), name)

    def test_lost_during_a_login(self) -> None:
        """
        A client that leaves while its token is looked for takes no place, however that ends.
        """
        for outcome in (lambda answer: answer.callback("acme"), lambda answer: answer.errback(Refused(replies.OK))):
            for end in (self.leave, lambda peer: peer.wait(400)):
                self.setUp()
                self.relay.checker.answer = answer = Deferred()
                peer = MemoryPeer(self.relay)
                peer.say("EHLO x", AUTH)
                end(peer)
                outcome(answer)
                self.leave(peer)
                self.assertEqual(0, self.realm.inside)

    def test_full(self) -> None:
        """
        A right token for which there is no place ends the session, owes nothing for it, and gets in once there is one.
        """
        self.realm.most = 1
        first = self.log_in()
        for _ in range(3):
            peer = MemoryPeer(self.relay)
            self.assertEqual(FULL, peer.say("EHLO x", AUTH)[-1])
            self.assertTrue(peer.client.is_lost)
        self.assertEqual(0.0, self.relay.services.failures.enter("192.0.2.7"))
        first.say("QUIT")
        self.log_in()

    def test_guesses_take_none(self) -> None:
        """
        A session that only guesses has no place.
        """
        self.realm.most = 1
        guessing = MemoryPeer(self.relay, "192.0.2.9")
        self.assertEqual("535", guessing.say("EHLO x", GUESS)[-1][:3])
        self.log_in()

    def test_a_client_that_does_not_close(self) -> None:
        """
        After QUIT the place is free, though the client keeps its end open.
        """
        self.realm.most = 1
        peer = self.log_in()
        peer.send(b"QUIT\r\n")
        self.assertEqual(0, self.realm.inside)
        self.log_in()


class TestSizes(Sessions):
    TOO_LARGE = "552 5.3.4 Message size exceeds the maximum of 100 octets for project acme"

    def test_declared(self) -> None:
        """
        The smaller of the limits counts, and the reply names it.
        """
        self.configure(max_size=100)
        peer = self.log_in()
        self.assertEqual([self.TOO_LARGE], peer.say(ENVELOPE[0] + " SIZE=101"))
        self.assertEqual(["250 2.1.0 Sender OK"], peer.say(ENVELOPE[0] + " SIZE=100"))
        self.configure(Limits(message_size=50), max_size=100)
        self.assertEqual([OK, str(replies.TOO_LARGE)], peer.say("RSET", ENVELOPE[0] + " SIZE=51"))

    def test_content(self) -> None:
        """
        Content over it is read to its end and refused, and the session goes on, however far over it was.
        """
        self.configure(max_size=100)
        peer = self.log_in()
        for length in (100, 5000):
            peer.say(*ENVELOPE, "DATA")
            self.assertEqual([self.TOO_LARGE, OK], peer.say(*CONTENT[:-1], "x" * length, ".", "NOOP"))
        self.assertEqual([], self.queue.accepted)
        peer.say(*ENVELOPE, "DATA")
        self.assertEqual("250", peer.say(*CONTENT)[0][:3])

    def test_chunks(self) -> None:
        """
        By BDAT too: in one chunk, or in the one that is too much.
        """
        self.configure(max_size=100)
        peer = self.log_in()
        for first, second in ((101, 0), (60, 41), (5000, 0)):
            peer.say(*ENVELOPE)
            peer.send(b"BDAT %d\r\n" % first + BLOCK.encode().ljust(first, b"x"))
            if second:
                peer.heard()
                peer.send(b"BDAT %d LAST\r\n" % second + b"x" * second)
            self.assertEqual([self.TOO_LARGE], peer.heard())
        self.assertEqual([], self.queue.accepted)
        self.assertEqual([OK], peer.say("NOOP"))

    def test_as_configured_at_mail(self) -> None:
        """
        A reload within a transaction does not concern it.
        """
        peer = self.log_in()
        peer.say(*ENVELOPE)
        self.configure(max_size=10, max_recipients=1)
        self.assertEqual("250 2.1.5", peer.say("RCPT TO:<c@b.example>")[0][:9])
        peer.say("DATA")
        self.assertEqual("250 2.0.0", peer.say(*CONTENT)[0][:9])

    def test_announced(self) -> None:
        """
        EHLO says what holds: the server's limit before login, the project's after it where that is smaller.
        """
        for limits, expected in ((Limits(), "100"), (Limits(message_size=50), "50")):
            self.configure(limits, max_size=100)
            peer = MemoryPeer(self.relay)
            peer.heard()
            before = peer.say("EHLO x")
            peer.say(AUTH)
            after = peer.say("EHLO x")
            self.assertIn(f"250-SIZE {limits.message_size}", before)
            self.assertIn(f"250-SIZE {expected}", after)

    def test_recipients(self) -> None:
        """
        The smaller of the limits counts, and those before one too many stay.
        """
        for limits, most, expected in ((Limits(), 2, 2), (Limits(recipients=1), 2, 1), (Limits(recipients=2), None, 2)):
            self.configure(limits, **({"max_recipients": most} if most is not None else {}))
            peer = self.log_in()
            answers = peer.say(ENVELOPE[0], *(f"RCPT TO:<b{number}@b.example>" for number in range(4)))
            self.assertEqual(["250"] * expected + ["452"] * (4 - expected), [answer[:3] for answer in answers[1:]])
            self.assertEqual("452 4.5.3 Too many recipients", answers[-1])


class TestQuota(Sessions):
    def test_at_mail(self) -> None:
        """
        A project over its quota hears so before it sends the content, and may try again in the same session.
        """
        over = replies.over_quota(10, "hour", "project acme", "2026-11-21T08:00:00Z")
        self.queue.quota = Refused(over)
        peer = self.log_in()
        answers = peer.say(*ENVELOPE)
        self.assertEqual([str(over), "503"], [answers[0], answers[1][:3]])
        self.queue.quota = None
        self.assertEqual("250 2.1.0", peer.say(ENVELOPE[0])[0][:9])

    def test_order(self) -> None:
        """
        What will never do is told first, then the project's own limit, then that the disk is full.
        """
        self.queue.quota, self.queue.room = Refused(replies.over_quota(1, "day", "project acme", "x")), StoreFull()
        peer = self.log_in()
        answers = peer.say("MAIL FROM:<a@other.example>", ENVELOPE[0])
        self.queue.quota = None
        answers += peer.say(ENVELOPE[0])
        self.assertEqual(["550 5.7.1", "452 4.7.0", "452 4.3.1"], [answer[:9] for answer in answers])


class TestConnections(Sessions):
    def test_what_the_process_can_bear(self) -> None:
        """
        However many are configured, those that the process has no descriptors for are told so; those inside go on.
        """
        self.relay.services.connections.most = 2
        inside = [self.log_in(), self.log_in()]
        surplus = MemoryPeer(self.relay)
        self.assertEqual([str(replies.TOO_MANY_CONNECTIONS)], surplus.heard())
        self.assertEqual([[OK], [OK]], [peer.say("NOOP") for peer in inside])
        inside[0].say("QUIT")
        self.log_in()

    def test_no_word_under_implicit_tls(self) -> None:
        """
        Before the handshake nothing can be said: the connection is closed, and is no longer counted.
        """
        self.relay.services.connections.most = 0
        self.relay.factory.listener = evolve(self.relay.factory.listener, security=Security.IMPLICIT)
        peer = MemoryPeer(self.relay)
        self.assertEqual(([], True), (peer.heard(), peer.client.is_lost))
        self.assertEqual((0, 0), (self.relay.services.connections.total, self.relay.services.connections.refused))

    def test_refused_ones_are_bounded(self) -> None:
        """
        So many that they cannot all be told are closed at once, and each that closes makes room for a word again.
        """
        counts = self.relay.services.connections
        counts.most = 0
        for _ in range(MAX_REFUSED):
            self.assertFalse(counts.enter("192.0.2.1"))
        self.assertIsNone(self.relay.factory.buildProtocol(None))
        counts.close_refused()
        peer = MemoryPeer(self.relay)
        self.assertEqual([str(replies.TOO_MANY_CONNECTIONS)], peer.heard())
        self.assertEqual(MAX_REFUSED - 1, counts.refused)


def test_most_and_configured() -> None:
    """
    The smaller of what is configured and what the process can bear.
    """
    for configured, most in ((3, 5), (5, 3), (3, 3)):
        counts = ConnectionLimits(lambda configured=configured: Limits(connections=configured), most)  # type: ignore[misc]
        assert [True] * 3 + [False] == [counts.enter(f"192.0.2.{number}") for number in range(4)]
