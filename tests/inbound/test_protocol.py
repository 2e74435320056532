"""
A port's sessions over a wire: order, time, limits, and what is handed to the queue.
"""

from __future__ import annotations

import base64
import gc
import hmac
from weakref import ref

from attrs import evolve
from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from lmrelay.config.values import Auth, Limits, SubmissionRules, Timeouts
from lmrelay.config.words import Security
from lmrelay.errors import StoreError, StoreFull
from lmrelay.inbound import limits
from lmrelay.inbound.content import Content
from lmrelay.inbound.protocol import SubmissionProtocol
from lmrelay.inbound.transaction import Transaction
from lmrelay.mail.envelope import Notify
from lmrelay.smtp import replies
from lmrelay.testing.wire import connect
from tests.inbound.doubles import OFF_TOKEN, TOKEN, Relay
from tests.inbound.peers import Listening, MemoryPeer

AUTH = "AUTH PLAIN " + base64.b64encode(b"\0lettermint\0" + TOKEN.encode()).decode()
ENVELOPE = ("MAIL FROM:<a@acme.example>", "RCPT TO:<b@b.example>", "DATA")
CONTENT = ("From: a@acme.example", "Subject: hi", "", "hello", ".")
GO_AHEAD = "354 End data with <CR><LF>.<CR><LF>"
OK = "250 2.0.0 OK"


class SessionTests(SynchronousTestCase):
    """
    On a plain port, for there TLS hides nothing.
    """

    def setUp(self) -> None:
        self.relay = Relay(Security.PLAIN)
        self.queue = self.relay.acceptance

    def log_in(self, host: str = "192.0.2.7") -> MemoryPeer:
        peer = MemoryPeer(self.relay, host)
        self.assertEqual("235 2.7.0 Authentication successful", peer.say("EHLO client.example", AUTH)[-1])
        return peer

    def test_submission(self) -> None:
        """
        The queue gets envelope, head, body and facts as they were said.
        """
        peer = self.log_in()
        peer.say("MAIL FROM:<a@acme.example> RET=HDRS ENVID=x+2By SIZE=50", "RCPT TO:<b@b.example> NOTIFY=NEVER")
        peer.say("RCPT TO:<c@b.example>", "RCPT TO:<b@B.example>", "DATA")
        peer.say("From: A <a@acme.example>", "To: b@b.example", "Bcc: d@b.example", "", "..caf\u00e9", ".")
        [(submission, body)] = self.queue.accepted
        self.assertEqual("\r\n.caf\u00e9\r\n".encode(), body)
        self.assertEqual(["b@b.example", "c@b.example"], [str(r.address) for r in submission.envelope.recipients])
        self.assertEqual(frozenset({Notify.NEVER}), submission.envelope.recipients[0].notify)
        self.assertEqual(("x+y", 50), (submission.envelope.envid, submission.envelope.size))
        self.assertEqual(
            ("acme", "outgoing", "demodemodemo"), (submission.project, submission.route, submission.token_id)
        )
        self.assertTrue(submission.eight_bit)
        self.assertFalse(submission.utf8_head)
        self.assertTrue(submission.head.startswith(b"Received: "))
        self.assertNotIn(b"Bcc", submission.head)
        self.assertEqual("192.0.2.7", submission.client["address"])
        self.assertEqual(26, len(submission.id))

    def test_nothing_is_left_to_the_collector(self) -> None:
        """
        What a message took in memory is free as soon as it is stored, refused or given up by the client.
        """
        held: list[ref[Content]] = []
        gc.disable()
        self.addCleanup(gc.enable)
        for end in ([*CONTENT], ["Subject: hi", "", "."], ["Subject: hi"]):
            peer = self.log_in()
            peer.say(*ENVELOPE)
            peer.say("X-Head: begun")
            [session] = self.relay.factory.sessions
            transaction = session.session.transaction
            assert isinstance(transaction, Transaction)
            assert transaction.content is not None
            held.append(ref(transaction.content))
            del transaction, session
            peer.say(*end)
            peer.client.transport.abortConnection()
            peer.wire.flush()
        self.assertEqual([None, None, None], [one() for one in held])

    def test_a_session_is_not_left_to_the_collector(self) -> None:
        """
        A crowd that leaves gives its memory back at once: the next one needs no more than it.
        """
        gc.disable()
        self.addCleanup(gc.enable)
        held: list[ref[SubmissionProtocol]] = []
        for begin in (MemoryPeer, lambda _: self.log_in()):
            peer = begin(self.relay)
            [session] = self.relay.factory.sessions
            held.append(ref(session))
            peer.client.transport.abortConnection()
            peer.wire.flush()
            self.relay.clock.advance(60)
            # The fake wire holds both its ends.
            peer.wire.server.unregister_raw()
            peer.wire.server.protocol = Listening()
            del session
        self.assertEqual([None, None], [one() for one in held])

    def test_client_is_hidden(self) -> None:
        """
        Neither address nor name of the client is in the trace field, unless they are to be.
        """
        peer = self.log_in()
        peer.say(*ENVELOPE)
        peer.say(*CONTENT)
        rules = SubmissionRules(hide_client=False)
        self.relay.settings.config = evolve(self.relay.config, submission=rules)
        peer.say(*ENVELOPE)
        peer.say(*CONTENT)
        hidden, shown = (submission.head for submission, _ in self.queue.accepted)
        self.assertEqual((0, 0), (hidden.count(b"192.0.2.7"), hidden.count(b"client.example")))
        self.assertEqual((1, 1), (shown.count(b"192.0.2.7"), shown.count(b"client.example")))

    def test_slow_commit_keeps_the_order(self) -> None:
        """
        What is pipelined behind content is answered after it, in one write.
        """
        peer = self.log_in()
        commit: Deferred[None] = Deferred()
        self.queue.answers = [commit]
        peer.say(*ENVELOPE)
        self.assertEqual([], peer.say(*CONTENT, "NOOP", *ENVELOPE))
        commit.callback(None)
        peer.wire.pump()
        answers = peer.heard()
        self.assertEqual(5, len(answers))
        self.assertTrue(answers[0].startswith("250 2.0.0 OK id="))
        self.assertEqual([OK, GO_AHEAD], [answers[1], answers[-1]])

    def test_slow_login_keeps_the_order(self) -> None:
        """
        Commands behind AUTH wait for its answer.
        """
        peer = MemoryPeer(self.relay)
        peer.say("EHLO x")
        self.relay.checker.answer = answer = Deferred()
        self.assertEqual([], peer.say(AUTH, ENVELOPE[0]))
        answer.callback("acme")
        peer.wire.flush()
        self.assertEqual(["235 2.7.0 Authentication successful", "250 2.1.0 Sender OK"], peer.heard())

    def test_commit_failures(self) -> None:
        """
        A full store is 452, a broken one 451, a fault of ours 451 and logged; nothing stays, and the session goes on.
        """
        peer = self.log_in()
        self.queue.answers = [fail(StoreFull()), fail(StoreError("down")), fail(ValueError("bug"))]
        answers = []
        for _ in range(4):
            peer.say(*ENVELOPE)
            answers.append(peer.say(*CONTENT)[0][:9])
        self.assertEqual(["452 4.3.1", "451 4.3.0", "451 4.3.0", "250 2.0.0"], answers)
        self.assertEqual([1, 1, 1, 0], [body.discarded for body in self.queue.bodies])
        self.assertEqual(1, len(self.flushLoggedErrors(ValueError)))

    def test_portal_failure_is_temporary(self) -> None:
        """
        A fault of ours never says that a token is wrong.
        """
        peer = MemoryPeer(self.relay)
        self.relay.checker.answer = fail(ValueError("bug"))
        self.assertEqual("454 4.7.0", peer.say("EHLO x", AUTH)[-1][:9])
        self.assertEqual(1, len(self.flushLoggedErrors(ValueError)))

    def test_switched_off(self) -> None:
        """
        A project that was switched off hears it at MAIL, and the session ends.
        """
        peer = self.log_in()
        self.relay.realm.submitter.refusal = replies.smtp_disabled("acme")
        self.assertEqual(["421 4.7.0 SMTP was disabled for project acme"], peer.say(ENVELOPE[0]))
        self.assertTrue(peer.client.is_lost)
        self.assertEqual(1, self.relay.realm.logouts)

    def test_switched_off_within_a_transaction(self) -> None:
        """
        A transaction that has begun is finished.
        """
        peer = self.log_in()
        peer.say(*ENVELOPE)
        self.relay.realm.submitter.refusal = replies.smtp_disabled("acme")
        self.assertEqual("250 2.0.0", peer.say(*CONTENT)[0][:9])

    def guess(self, peer: MemoryPeer) -> None:
        guess = base64.b64encode(b"\0lettermint\0wrong").decode()
        peer.send(f"EHLO x\r\nAUTH PLAIN {guess}\r\n".encode())

    def test_failures_cost_the_next_login(self) -> None:
        """
        A failure is told at once, and whoever comes next from there waits, however he was told.
        """
        for _ in range(5):
            peer = MemoryPeer(self.relay)
            self.guess(peer)
            peer.wait(4)
            self.assertEqual("535", peer.heard()[-1][:3])
            peer.client.transport.abortConnection()
            peer.wire.flush()
        peer = MemoryPeer(self.relay)
        self.guess(peer)
        peer.wait(1)
        peer.client.transport.abortConnection()
        peer.wire.flush()
        other = MemoryPeer(self.relay)
        self.assertNotIn("235", other.say("EHLO x", AUTH)[-1])
        other.wait(limits.LONGEST_DELAY)
        self.assertEqual(["235 2.7.0 Authentication successful"], other.heard())

    def test_right_token_owes_nothing(self) -> None:
        """
        Where SMTP is off for a project its application may try on: nothing is guessed, so nobody there waits for it.
        """
        off = base64.b64encode(b"\0lettermint\0" + OFF_TOKEN.encode()).decode()
        for _ in range(6):
            answer = MemoryPeer(self.relay).say("EHLO x", f"AUTH PLAIN {off}")[-1]
            self.assertEqual("535 5.7.8 SMTP is not enabled for project acme", answer)
        self.assertEqual(["235 2.7.0 Authentication successful"], MemoryPeer(self.relay).say("EHLO x", AUTH)[-1:])

    def test_gone_while_a_login_waits(self) -> None:
        """
        Nothing of a session stays that left while it waited, and its guess is not even looked at.
        """
        for _ in range(6):
            self.relay.services.failures.note("192.0.2.7")
        peer = MemoryPeer(self.relay)
        self.guess(peer)
        peer.send(b"N" * 10_000)
        [protocol] = self.relay.factory.sessions
        self.assertEqual(10_000, protocol.session.buffer.pending)
        peer.client.transport.abortConnection()
        peer.wire.flush()
        self.assertEqual(0, protocol.session.buffer.pending)
        self.assertEqual((0, set()), (self.relay.services.connections.total, self.relay.factory.sessions))
        self.assertEqual([], self.relay.checker.seen)
        self.assertEqual([], self.relay.clock.getDelayedCalls())

    def test_too_many_logins_wait(self) -> None:
        """
        One too many from an address is for later, and says nothing of its token.
        """
        for _ in range(limits.MAX_WAITING):
            self.relay.services.failures.enter("192.0.2.7")
        peer = MemoryPeer(self.relay)
        self.assertEqual("454 4.7.0", peer.say("EHLO x", AUTH)[-1][:9])
        self.assertEqual([], self.relay.checker.seen)

    def test_too_much_before_login(self) -> None:
        """
        What is sent while a login waits is bounded, in one block or many.
        """
        for blocks in (1, 40):
            for _ in range(6):
                self.relay.services.failures.note("192.0.2.7")
            peer = MemoryPeer(self.relay)
            self.guess(peer)
            peer.heard()
            for _ in range(blocks):
                peer.send(b"N" * (40_000 // blocks))
            self.assertEqual(["421 4.7.0 Too much sent before authentication, closing connection"], peer.heard())
            self.assertTrue(peer.client.is_lost)
            self.assertEqual(set(), self.relay.factory.sessions)

    def test_a_slot_counts_while_the_relay_works(self) -> None:
        """
        Leaving while a token is looked for does not make room for the next connection.
        """
        self.relay.checker.answer = answer = Deferred()
        peer = MemoryPeer(self.relay)
        self.guess(peer)
        peer.client.transport.abortConnection()
        peer.wire.flush()
        self.assertEqual(1, self.relay.services.connections.total)
        answer.callback("acme")
        self.assertEqual((0, 1), (self.relay.services.connections.total, self.relay.realm.logouts))

    def test_recipient_limit(self) -> None:
        """
        One recipient too many is for now; those before it stay.
        """
        self.relay.settings.config = evolve(self.relay.config, limits=Limits(recipients=2))
        peer = self.log_in()
        answers = peer.say(ENVELOPE[0], *(f"RCPT TO:<b{n}@b.example>" for n in (1, 2, 3, 1)))
        self.assertEqual(["250", "250", "250", "452", "250"], [answer[:3] for answer in answers])

    def test_gone_before_the_end(self) -> None:
        """
        A client that leaves within content leaves nothing stored.
        """
        peer = self.log_in()
        peer.say(*ENVELOPE)
        peer.say(*CONTENT[:-1])
        peer.client.transport.abortConnection()
        peer.wire.flush()
        self.assertEqual(([], 1), (self.queue.accepted, self.queue.bodies[0].discarded))
        self.assertEqual((0, set()), (self.relay.services.connections.total, self.relay.factory.sessions))

    def test_gone_while_committing(self) -> None:
        """
        A commit under way is not undone by a client that leaves, and its end harms nobody.
        """
        peer = self.log_in()
        commit: Deferred[None] = Deferred()
        self.queue.answers = [commit]
        peer.say(*ENVELOPE)
        peer.say(*CONTENT)
        peer.client.transport.abortConnection()
        peer.wire.flush()
        commit.callback(None)
        self.assertEqual(0, self.queue.bodies[0].discarded)

    def test_slow_store_pauses_input(self) -> None:
        """
        While the store takes a block no more is read than fits a buffer.
        """
        peer = self.log_in()
        peer.say(*ENVELOPE)
        wait: Deferred[None] = Deferred()
        self.queue.waits.append(None)
        self.queue.waits.append(wait)
        peer.say("From: a@acme.example", "", "x")
        for _ in range(10):
            peer.say("y" * 50_000)
        self.assertTrue(peer.wire.server.paused)
        self.assertGreater(len(peer.wire.client.outgoing), 250_000)
        wait.callback(None)
        peer.wire.flush()
        self.assertEqual("250 2.0.0", peer.say(".")[0][:9])
        self.assertEqual(500_000, self.queue.accepted[0][1].count(b"y"))

    def test_store_that_breaks_within_content(self) -> None:
        """
        It is told at the end only, else the rest would be commands.
        """
        peer = self.log_in()
        peer.say(*ENVELOPE)
        self.queue.waits.append(Deferred())
        wait = self.queue.waits[0]
        peer.say("From: a@acme.example", "", "x")
        assert wait is not None
        wait.errback(Failure(StoreFull()))
        self.assertEqual(["452 4.3.1 Insufficient system storage", OK], peer.say("QUIT", ".", "NOOP"))

    def test_idle(self) -> None:
        """
        An idle client hears why it is closed, and one that does not close is cut off.
        """
        peer = self.log_in()
        peer.wait(299)
        self.assertEqual([], peer.heard())
        peer.wait(2)
        self.assertEqual([str(replies.TIMEOUT)], peer.heard())
        self.assertTrue(peer.client.is_lost)

    def test_commit_has_no_timeout(self) -> None:
        """
        A slow commit is no idleness: a 421 after the message was taken would send it twice.
        """
        peer = self.log_in()
        commit: Deferred[None] = Deferred()
        self.queue.answers = [commit]
        peer.say(*ENVELOPE)
        peer.say(*CONTENT)
        peer.wait(5000)
        commit.callback(None)
        peer.wire.flush()
        self.assertEqual("250 2.0.0", peer.heard()[0][:9])

    def test_trickle(self) -> None:
        """
        Content that trickles is ended and nothing of it kept.
        """
        peer = self.log_in()
        peer.say(*ENVELOPE)
        peer.say("From: a@acme.example", "")
        while not peer.client.is_lost and self.relay.clock.seconds() < 1000:
            peer.client.transport.write(b"x")
            peer.wait(10)
        self.assertEqual([str(replies.TOO_SLOW)], peer.heard())
        self.assertEqual([], self.queue.accepted)

    def test_tiny_chunks(self) -> None:
        """
        Content in chunks of one octet is no faster than it is.
        """
        peer = self.log_in()
        peer.say(*ENVELOPE[:2])
        while not peer.client.is_lost and self.relay.clock.seconds() < 1000:
            peer.send(b"BDAT 1\r\nx")
            peer.wait(5)
        self.assertEqual([str(replies.TOO_SLOW)], peer.heard()[-1:])
        self.assertEqual([], self.queue.accepted)

    def test_trickled_command(self) -> None:
        """
        A line that never ends is no sign of life, after login nor before it.
        """
        for peer, patience in ((MemoryPeer(self.relay), 121), (self.log_in(), 301)):
            peer.heard()
            began = self.relay.clock.seconds()
            while not peer.client.is_lost and self.relay.clock.seconds() < began + 1000:
                peer.client.transport.write(b"x")
                peer.wait(1)
            self.assertEqual([str(replies.TIMEOUT)], peer.heard())
            self.assertLessEqual(self.relay.clock.seconds() - began, patience)

    def test_no_login(self) -> None:
        """
        Talking on without a login ends, by time and by number.
        """
        peer = MemoryPeer(self.relay)
        for _ in range(13):
            peer.say("NOOP")
            peer.wait(10)
        self.assertTrue(peer.client.is_lost)
        answers = MemoryPeer(self.relay).say(*["NOOP"] * 200)
        self.assertEqual([OK] * 100, answers[1:-1])
        self.assertEqual("421 4.7.0 Too many commands before authentication, closing connection", answers[-1])

    def test_far_too_large(self) -> None:
        """
        Who is still sending gets to read why it is no use; what he sends is thrown away, for a while.
        """
        self.relay.settings.config = evolve(self.relay.config, limits=Limits(message_size=1000))
        bodies = (("DATA", "From: a@acme.example", "", "x" * 3000), ("BDAT 3000 LAST",))
        for said in bodies:
            peer = self.log_in()
            peer.say(*ENVELOPE[:2])
            self.assertEqual(str(replies.TOO_LARGE), peer.say(*said)[-1])
            self.assertEqual([], peer.say("y" * 200_000, "NOOP"))
            self.assertFalse(peer.client.is_lost)
            self.assertEqual(0, next(iter(self.relay.factory.sessions)).session.buffer.pending)
            peer.wait(11)
            self.assertTrue(peer.client.is_lost)
        self.assertEqual([], self.queue.accepted)

    def test_client_that_does_not_read(self) -> None:
        """
        Replies that nobody reads stay bounded, and the client is cut off in the end.
        """
        peer = self.log_in()
        peer.wire.client.paused = True
        for _ in range(100):
            peer.send(b"HELP\r\n" * 1000)
        self.assertLess(len(peer.wire.server.outgoing), 500_000)
        peer.wait(301)
        self.assertTrue(peer.wire.server.disconnected)

    def test_endless_line(self) -> None:
        """
        A line without end takes no memory before login and is refused once, when it ends (S3).
        """
        peer = MemoryPeer(self.relay)
        peer.heard()
        session = next(iter(self.relay.factory.sessions)).session
        for _ in range(200):
            peer.send(b"x" * 16_384)
            self.assertLess(session.buffer.pending, 40_000)
        self.assertEqual([], peer.heard())
        self.assertEqual(["500 5.5.6 Line too long", OK], peer.say("", "NOOP"))

    def test_connection_limit(self) -> None:
        """
        One connection too many is told so; the others go on.
        """
        self.relay.settings.config = evolve(self.relay.config, limits=Limits(connections_per_address=1))
        first = self.log_in()
        second = MemoryPeer(self.relay)
        self.assertEqual(["421 4.7.0 Too many connections, try again later"], second.heard())
        self.assertTrue(second.client.is_lost)
        self.log_in("192.0.2.8")
        self.assertEqual([OK], first.say("NOOP"))

    def test_drain(self) -> None:
        """
        Idle sessions end at once, busy ones when their message is through.
        """
        idle, busy = self.log_in(), self.log_in("192.0.2.8")
        busy.say(*ENVELOPE)
        drained = self.relay.factory.drain()
        idle.wire.flush()
        self.assertEqual([str(replies.SHUTTING_DOWN)], idle.heard())
        self.assertNoResult(drained)
        answers = busy.say(*CONTENT)
        self.assertEqual(["250 2.0.0", "421 4.3.2"], [answer[:9] for answer in answers])
        self.assertIsNone(self.successResultOf(drained))
        self.assertIsNone(self.relay.factory.buildProtocol(None))

    def test_drain_waits_for_content_only(self) -> None:
        """
        A client in the middle of AUTH, of a wait for it, or of a transaction without content is told to come again.
        """
        for _ in range(6):
            self.relay.services.failures.note("192.0.2.9")
        asked, slow, began = MemoryPeer(self.relay), MemoryPeer(self.relay, "192.0.2.9"), self.log_in()
        self.assertEqual("334", asked.say("EHLO x", "AUTH LOGIN")[-1][:3])
        slow.say("EHLO x", AUTH)
        began.say(*ENVELOPE[:2])
        drained = self.relay.factory.drain()
        for peer in (asked, slow, began):
            peer.wire.flush()
            self.assertEqual(str(replies.SHUTTING_DOWN), peer.heard()[-1])
            self.assertTrue(peer.client.is_lost)
        self.assertIsNone(self.successResultOf(drained))

    def test_abort(self) -> None:
        """
        Content that does not end is cut with a word; a commit is left to say what became of it.
        """
        busy, stored = self.log_in(), self.log_in("192.0.2.8")
        for peer in (busy, stored):
            peer.say(*ENVELOPE)
        commit: Deferred[None] = Deferred()
        self.queue.answers = [commit]
        stored.say(*CONTENT)
        busy.say(*CONTENT[:4])
        drained = self.relay.factory.drain()
        self.relay.factory.abort()
        busy.wire.flush()
        self.assertEqual([str(replies.SHUTTING_DOWN)], busy.heard())
        self.assertTrue(busy.client.is_lost)
        self.assertEqual([0, 1], [body.discarded for body in self.queue.bodies])
        self.assertNoResult(drained)
        commit.callback(None)
        stored.wire.flush()
        self.assertEqual(["250", "421"], [answer[:3] for answer in stored.heard()])
        self.assertIsNone(self.successResultOf(drained))

    def test_many_failed_logins(self) -> None:
        """
        Their limit is the configured one, however high.
        """
        self.relay.settings.config = evolve(self.relay.config, auth=Auth(max_failures=25))
        peer = MemoryPeer(self.relay)
        peer.heard()
        answers: list[str] = []
        for number in range(25):
            self.guess(peer)
            while len(answers) == number:
                peer.wait(0.25)
                answers += [line[:9] for line in peer.heard() if not line.startswith("250")]
        self.assertEqual(["535 5.7.8"] * 24 + ["421 4.7.0"], answers)

    def test_drain_of_nobody(self) -> None:
        """
        Without a session it is done at once.
        """
        self.assertIsNone(self.successResultOf(self.relay.factory.drain()))

    def test_logs_name_no_user(self) -> None:
        """
        A user name may be a token: it is in no event.
        """
        events: list[object] = []
        peer = MemoryPeer(self.relay)
        protocol = next(iter(self.relay.factory.sessions))
        protocol.session.login.log = type(protocol.log)(observer=events.append)  # type: ignore[arg-type]
        guess = base64.b64encode(b"\0secret-user\0secret-token").decode()
        peer.say("EHLO x", f"AUTH PLAIN {guess}")
        self.assertEqual(1, len(events))
        self.assertNotIn("secret", repr(events))

    def test_offer_follows_a_reload(self) -> None:
        """
        What EHLO offers is what the configuration in force allows, also where it was offered before.
        """
        peer = MemoryPeer(self.relay)
        for size in (52428800, 1048576):
            with self.subTest(size=size):
                limits = evolve(self.relay.settings.config.limits, message_size=size)
                self.relay.settings.config = evolve(self.relay.settings.config, limits=limits)
                self.assertIn(f"250-SIZE {size}", peer.say("EHLO client.example"))


class TlsTests(SynchronousTestCase):
    """
    What TLS changes.
    """

    def test_starttls_forgets(self) -> None:
        """
        The name that was said in clear is forgotten, and the new one counts (RFC 3207 §4.2).
        """
        relay = Relay()
        peer = MemoryPeer(relay)
        peer.say("EHLO before.example", "STARTTLS")
        peer.start_tls()
        self.assertEqual(["503 5.5.1 Send HELO or EHLO first"], peer.say(AUTH))
        session = next(iter(relay.factory.sessions)).session
        self.assertEqual(("", "TLSv1.3"), (session.client.helo, session.client.tls_version))

    def test_auto_waits(self) -> None:
        """
        The banner of an auto port comes after a second, not before.
        """
        peer = MemoryPeer(Relay(Security.AUTO))
        peer.wait(0.9)
        self.assertEqual([], peer.heard())
        peer.wait(0.2)
        self.assertEqual(["220 mx.example.org ESMTP lmrelay"], peer.heard())

    def test_auto_with_an_eager_client(self) -> None:
        """
        A client that speaks in clear at once gets banner and answer in order.
        """
        peer = MemoryPeer(Relay(Security.AUTO))
        self.assertEqual(["220", "250"], [line[:3] for line in peer.say("NOOP")])

    def test_cram_is_offered_as_told(self) -> None:
        """
        Where it is not offered it is not taken either.
        """
        relay = Relay(Security.IMPLICIT, cram=False)
        peer = MemoryPeer(relay)
        self.assertIn("250-AUTH PLAIN LOGIN", peer.say("EHLO x"))
        self.assertEqual("504", peer.say("AUTH CRAM-MD5")[0][:3])

    def test_cram(self) -> None:
        """
        CRAM-MD5 over TLS, from challenge to login.
        """
        peer = MemoryPeer(Relay(Security.IMPLICIT))
        challenge = base64.b64decode(peer.say("EHLO x", "AUTH CRAM-MD5")[-1][4:])
        digest = hmac.new(TOKEN.encode(), challenge, "md5").hexdigest()
        answer = base64.b64encode(f"acme {digest}".encode()).decode()
        self.assertEqual(["235 2.7.0 Authentication successful"], peer.say(answer))

    def test_drain_does_not_wait_for_goodbyes(self) -> None:
        """
        A client that heard the last reply and does not end TLS is not what a stop waits for.
        """
        relay = Relay(Security.IMPLICIT)
        peer = MemoryPeer(relay)
        peer.say("EHLO x")
        gone = MemoryPeer(relay)
        for one in (peer, gone):
            one.wire.client.paused = True
        gone.send(b"QUIT\r\n")
        drained = relay.factory.drain()
        peer.wire.flush()
        self.assertNoResult(drained)
        peer.wait(1.1)
        gone.wire.flush()
        self.assertIsNone(self.successResultOf(drained))

    def test_goodbye_of_the_client(self) -> None:
        """
        A client that ends TLS without QUIT is closed on at once, and its goodbye answered.
        """
        relay = Relay(Security.IMPLICIT)
        peer = MemoryPeer(relay)
        peer.say("EHLO x")
        peer.client.transport.loseConnection()
        peer.wire.flush()
        self.assertEqual((True, True), (peer.wire.server.disconnected, peer.client.is_lost))
        self.assertEqual(0, relay.services.connections.total)

    def test_nonsense_behind_a_command(self) -> None:
        """
        Nonsense in one segment with a command ends the connection without a fault of ours.
        """
        relay = Relay(Security.IMPLICIT)
        peer = MemoryPeer(relay)
        peer.say("EHLO x")
        peer.client.transport.write(b"NOOP\r\n")
        peer.client.transport.write_raw(b"\x17\x03\x03\x00\x20" + bytes(32))
        peer.wire.flush()
        self.assertTrue(peer.client.is_lost)
        self.assertEqual(0, relay.services.connections.total)

    def test_clear_text_for_a_handshake(self) -> None:
        """
        Who begins in clear where TLS is due is closed on at once, and told nothing in clear.
        """
        relay = Relay(Security.IMPLICIT)
        client = Listening()
        wire = connect(relay.clock, relay.factory, client)
        client.transport.write(b"EHLO x\r\n")
        wire.flush()
        self.assertEqual((b"", True), (bytes(client.received), client.is_lost))
        self.assertTrue(wire.server.disconnected)
        self.assertEqual(0, relay.services.connections.total)

    def test_silent_handshake(self) -> None:
        """
        A client that never begins TLS is cut off.
        """
        relay = Relay(Security.IMPLICIT)
        wire = connect(relay.clock, relay.factory, Listening())
        relay.clock.advance(301)
        wire.flush()
        self.assertTrue(wire.server.disconnected)
        self.assertEqual(0, relay.services.connections.total)

    def test_session_timeout(self) -> None:
        """
        A session limit ends a busy client too.
        """
        relay = Relay(Security.PLAIN)
        relay.settings.config = evolve(relay.config, timeouts=Timeouts(session=100.0))
        peer = MemoryPeer(relay)
        for _ in range(11):
            peer.wait(10)
            if not peer.client.is_lost:
                peer.send(b"NOOP\r\n")
        self.assertTrue(peer.client.is_lost)
