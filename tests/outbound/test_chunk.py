"""
Small contents in one stroke with their envelope, for servers that offer CHUNKING (RFC 3030).
"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from lmrelay.mail.outcome import Delayed, Delivered, Failed, Fault
from lmrelay.outbound.chunk import MAX_CHUNK, MAX_STROKE
from lmrelay.outbound.verdicts import Reach
from lmrelay.testing.answers import DROP, SILENCE, say
from lmrelay.testing.scripted_mx import EXTENSIONS
from tests.outbound.bench import CONTENT, Blocks, broken_store, leased
from tests.outbound.test_client import TWO, ClientTests

CHUNKING = (*EXTENSIONS, "CHUNKING")
DOTS = b"Subject: x\r\n\r\n.\r\n..\r\n.x\r\nno line ending"
LARGE = b"Subject: x\r\n\r\n" + b".\r\n" * (MAX_STROKE // 3)


class ChunkTests(ClientTests):
    def test_one_stroke(self) -> None:
        """
        Envelope and content go out together, dots as they are, and the connection serves again without RSET.
        """
        mx, relay, connection = self.start(extensions=CHUNKING)
        for content in (CONTENT, DOTS):
            verdicts = relay.deliver(connection, leased(*TWO, size=len(content)), content[:5], content[5:])
            self.assertEqual([Delivered, Delivered], self.kinds(verdicts))
        self.assertEqual([CONTENT, DOTS], [message.content for message in mx.messages])
        verbs = [line.split()[0] for line in mx.commands]
        self.assertEqual(["EHLO", *["MAIL", "RCPT", "RCPT", "BDAT"] * 2], verbs)
        self.assertEqual(f"BDAT {len(DOTS)} LAST", mx.commands[-1])

    def test_waits_for_nothing(self) -> None:
        """
        All is on the wire before the server answers anything.
        """
        mx, relay, connection = self.start(extensions=CHUNKING, answers={"MAIL": say("250 OK", delay=9)})
        deferred = relay.begin(connection.deliver(leased(), Blocks([CONTENT])))
        self.assertNoResult(deferred)
        self.assertIn(CONTENT, mx.sessions[0]._buffer)
        relay.network.pass_time(10)
        self.assertEqual([Delivered], self.kinds(self.successResultOf(deferred)))

    def test_only_where_it_spares_a_wait(self) -> None:
        """
        What is large, and what a server without PIPELINING gets, goes by DATA.
        """
        without = tuple(name for name in CHUNKING if name != "PIPELINING")
        for extensions, size in ((CHUNKING, MAX_CHUNK + 1), (without, 40), (EXTENSIONS, 40)):
            mx, relay, connection = self.start(extensions=extensions)
            self.assertEqual([Delivered], self.kinds(relay.deliver(connection, leased(size=size))))
            self.assertIn("DATA", mx.commands)

    def test_large_waits_for_recipients(self) -> None:
        """
        A large content leaves when a recipient was taken, and not before; then as it is, in one piece.
        """
        mx, relay, connection = self.start(
            extensions=CHUNKING, answers={"RCPT": say("250 OK", delay=5)}, recipients={"b@b.example": say("550 No")}
        )
        for _ in range(2):
            deferred = relay.begin(connection.deliver(leased(*TWO, size=len(LARGE)), Blocks([LARGE[:99], LARGE[99:]])))
            self.assertEqual("RCPT", mx.commands[-1].split()[0])
            self.assertNotIn("BDAT", bytes(mx.sessions[0]._buffer).decode())
            relay.network.pass_time(11)
            self.assertEqual([Failed, Delivered], self.kinds(self.successResultOf(deferred)))
        self.assertEqual([LARGE, LARGE], [message.content for message in mx.messages])
        self.assertEqual(f"BDAT {len(LARGE)} LAST", mx.commands[-1])
        self.assertNotIn("RSET", mx.commands)

    def test_large_and_nobody_takes_it(self) -> None:
        """
        No octet of a large content leaves where nobody gets it, and the connection serves again.
        """
        for verb in ("MAIL", "RCPT"):
            mx, relay, connection = self.start(extensions=CHUNKING, answers={verb: say("550 5.1.1 No")})
            verdicts = relay.deliver(connection, leased(*TWO, size=len(LARGE)), LARGE)
            self.assertEqual([Failed, Failed], self.kinds(verdicts))
            self.assertNotIn("BDAT", [line.split()[0] for line in mx.commands])
            mx.answers.clear()
            self.assertEqual([Delivered], self.kinds(relay.deliver(connection, leased(size=len(LARGE)), LARGE)))
            self.assertEqual([LARGE], [message.content for message in mx.messages])

    def test_large_lost_before_it_left(self) -> None:
        """
        Until the content is on its way nobody can have it: another host may be asked at once.
        """
        for verb, doubtful in (("MAIL", False), ("RCPT", False), ("BDAT", True), ("CONTENT", True)):
            _, relay, connection = self.start(extensions=CHUNKING, answers={verb: DROP})
            (verdict,) = relay.deliver(connection, leased(size=len(LARGE)), LARGE).values()
            self.assertEqual(Delayed, type(verdict.outcome))
            self.assertEqual(doubtful, "may be sent more than once" in verdict.outcome.text, verb)
            self.assertEqual(Reach.RECIPIENT if doubtful else Reach.HOST, verdict.reach, verb)

    def test_some_refused(self) -> None:
        """
        Each recipient has its own outcome, and the content counts for those who were taken.
        """
        mx, relay, connection = self.start(
            extensions=CHUNKING, recipients={"b@b.example": say("550 5.1.1 No"), "c@b.example": say("450 4.2.0 Later")}
        )
        verdicts = relay.deliver(connection, leased(*TWO, "d@b.example"))
        self.assertEqual([Failed, Delayed, Delivered], self.kinds(verdicts))
        self.assertEqual([("d@b.example",)], [message.addresses for message in mx.messages])

    def test_all_refused(self) -> None:
        """
        The content went in vain; each keeps the answer it got, and the connection serves again.
        """
        mx, relay, connection = self.start(extensions=CHUNKING, answers={"RCPT": say("550 5.1.1 No")})
        verdicts = relay.deliver(connection, leased(*TWO))
        self.assertEqual(["5.1.1", "5.1.1"], [verdict.outcome.status for verdict in verdicts.values()])
        mx.answers.clear()
        self.assertEqual([Delivered], self.kinds(relay.deliver(connection)))
        self.assertIn("RSET", mx.commands)

    def test_sender_refused(self) -> None:
        """
        A refused MAIL is the answer for all.
        """
        _, relay, connection = self.start(extensions=CHUNKING, answers={"MAIL": say("550 5.7.1 Not you")})
        (verdict,) = relay.deliver(connection).values()
        self.assertEqual((Failed, "5.7.1"), (type(verdict.outcome), verdict.outcome.status))

    def test_content_refused(self) -> None:
        """
        A refusal of the content is that of the message, for now or for good.
        """
        for reply, kind in (("554 5.7.1 Spam", Failed), ("451 4.3.0 Later", Delayed)):
            _, relay, connection = self.start(extensions=CHUNKING, answers={"CONTENT": say(reply)})
            self.assertEqual([kind, kind], self.kinds(relay.deliver(connection, leased(*TWO))))
            self.assertTrue(connection.is_usable)

    def test_rested_while_the_content_was_read(self) -> None:
        """
        A connection rests as long as the store takes to give the content, too.
        """
        mx, relay, connection = self.start(extensions=CHUNKING)
        relay.deliver(connection)
        reading: Deferred[bytes] = Deferred()
        relay.begin(connection.deliver(leased(), Blocks([reading])))
        relay.network.pass_time(1)
        mx.answers = {"MAIL": say("250 2.1.0 OK", delay=5)}
        reading.callback(CONTENT)
        relay.network.settle()
        self.assertEqual("MAIL", mx.commands[-1].split()[0])
        self.assertNotIn(b"BDAT", bytes(mx.sessions[0]._buffer))

    def test_reset_refused(self) -> None:
        """
        A server that refuses RSET may take what came behind it all the same: no other host is asked at once.
        """
        mx, relay, connection = self.start(extensions=CHUNKING, answers={"CONTENT": say("451 4.3.0 Later")})
        relay.deliver(connection)
        mx.answers = {"RSET": say("502 5.5.1 No")}
        (verdict,) = relay.deliver(connection).values()
        self.assertEqual((Delayed, Reach.RECIPIENT), (type(verdict.outcome), verdict.reach))
        self.assertIn("may be sent more than once", verdict.outcome.text)
        self.assertFalse(connection.is_usable)

    def test_large_out_of_step_before_it_left(self) -> None:
        """
        A reply too many before a large content went shows nothing of that: nobody can have it, another host is asked.
        """
        for answers in ({"RCPT": say("250 OK", "250 OK")}, {"RCPT": say("550 5.1.1 No", "550 5.1.1 No")}):
            mx, relay, connection = self.start(extensions=CHUNKING, answers=dict(answers))
            (verdict,) = relay.deliver(connection, leased(size=len(LARGE)), LARGE).values()
            self.assertEqual((Delayed, Reach.HOST), (type(verdict.outcome), verdict.reach))
            self.assertNotIn("more than once", verdict.outcome.text)
            self.assertNotIn("BDAT", [line.split()[0] for line in mx.commands])
            self.assertIn("BDAT", relay.deliver(relay.connect()) and mx.commands[-1])

    def test_rested_and_by_data(self) -> None:
        """
        By DATA nobody gets the content before the answers: on a connection that rested the envelope goes in one write.
        """
        mx, relay, connection = self.start()
        relay.deliver(connection)
        relay.network.pass_time(2)
        mx.answers = {"MAIL": say("250 OK", delay=5)}
        relay.begin(connection.deliver(leased(), Blocks([CONTENT])))
        self.assertIn(b"DATA", bytes(mx.sessions[0]._buffer))

    def test_lost_in_between(self) -> None:
        """
        From the first octet of the stroke on the message may have been taken: no other host is asked, whichever answer
        it is that does not come.
        """
        for verb in ("MAIL", "RCPT", "BDAT", "CONTENT"):
            for answer in (DROP, SILENCE):
                _, relay, connection = self.start(extensions=CHUNKING, answers={verb: answer})
                deferred = relay.begin(connection.deliver(leased(), Blocks([CONTENT])))
                relay.network.pass_time(601, 50)
                (verdict,) = self.successResultOf(deferred).values()
                self.assertEqual((Delayed, Reach.RECIPIENT), (type(verdict.outcome), verdict.reach))
                self.assertIn("may be sent more than once", verdict.outcome.text)
                self.assertFalse(connection.is_usable)

    def test_replies_out_of_step(self) -> None:
        """
        One reply too many makes another answer that of the content. What speaks of an address is not it, and none of
        the answers is then known to be for whom it was taken: everybody is tried again, nobody is given up.
        """
        for first in ("250 OK", "250 2.1.0 OK"):
            for content in (say("554 5.7.1 Spam"), say("250 2.0.0 OK", delay=9), SILENCE, DROP):
                _, relay, connection = self.start(
                    extensions=CHUNKING,
                    answers={"MAIL": say(first, "250 2.1.0 OK"), "CONTENT": content},
                    recipients={"b@b.example": say("550 5.1.1 No")},
                )
                verdicts = relay.deliver(connection, leased(*TWO))
                self.assertEqual([Delayed, Delayed], self.kinds(verdicts))
                self.assertFalse(connection.is_usable)
                self.assertEqual({Reach.RECIPIENT}, {verdict.reach for verdict in verdicts.values()})

    def test_refusal_out_of_step(self) -> None:
        """
        So with a refusal: that of the last recipient must not be everybody's, nor that of the first the second's.
        """
        no = "550 5.1.1 No"
        _, relay, connection = self.start(extensions=CHUNKING, recipients={"b@b.example": say(no, no)})
        self.assertEqual([Delayed, Delayed], self.kinds(relay.deliver(connection, leased(*TWO))))
        self.assertFalse(connection.is_usable)
        _, relay, connection = self.start(
            extensions=CHUNKING,
            answers={"MAIL": say("250 OK", "250 OK")},
            recipients={"c@b.example": say("550 5.1.1 No")},
        )
        self.assertEqual([Delayed, Delayed], self.kinds(relay.deliver(connection, leased(*TWO))))
        self.assertFalse(connection.is_usable)

    def test_one_reply_too_many(self) -> None:
        """
        A reply to the content that is its own stands, whatever follows it but a refusal; one without an enhanced code
        could be another's. To be told to leave is no answer to anything.
        """
        for said, kind in (
            (("250 2.0.0 OK", "250 2.0.0 OK"), Delivered),
            (("250 2.0.0 OK", "421 4.3.2 Bye"), Delivered),
            (("250 OK", "421 4.3.2 Bye"), Delivered),
            (("250 2.0.0 OK", "554 5.7.1 Spam"), Delayed),
            (("250 OK", "250 2.0.0 OK"), Delayed),
        ):
            _, relay, connection = self.start(extensions=CHUNKING, answers={"CONTENT": say(*said)})
            self.assertEqual([kind], self.kinds(relay.deliver(connection)), said)
            self.assertFalse(connection.is_usable)

    def test_told_to_leave(self) -> None:
        """
        421 in place of an answer says that it was not taken: the next host is asked.
        """
        _, relay, connection = self.start(extensions=CHUNKING, answers={"RCPT": say("421 4.3.2 Bye", close=True)})
        (verdict,) = relay.deliver(connection).values()
        self.assertEqual((Delayed, Reach.HOST), (type(verdict.outcome), verdict.reach))

    def test_kept_connection_that_ends(self) -> None:
        """
        A kept connection that ends before any answer may have been closed before, or when the message was taken: it is
        not sent again at once, as if nothing had been said, and the words tell that it may come twice.
        """
        mx, relay, connection = self.start(extensions=CHUNKING)
        relay.deliver(connection)
        deferred = Deferred.fromCoroutine(connection.deliver(leased(), Blocks([CONTENT])))
        mx.sessions[0].transport.loseConnection()
        relay.network.settle()
        (verdict,) = self.successResultOf(deferred).values()
        self.assertEqual((Delayed, Reach.RECIPIENT, False), (type(verdict.outcome), verdict.reach, verdict.stale))
        self.assertIn("may be sent more than once", verdict.outcome.text)

    def test_kept_connection_that_rested(self) -> None:
        """
        On a connection that rested for a while the content follows when a recipient was taken: if it ends at the first
        command, as servers end what idles, nobody can have the message, and it is tried anew at once.
        """
        for answers, stale in (([say("250 OK"), DROP], True), ([say("250 OK")] * 2, False)):
            mx, relay, connection = self.start(extensions=CHUNKING, answers={"MAIL": answers})
            relay.deliver(connection)
            relay.network.pass_time(1)
            deferred = relay.begin(connection.deliver(leased(), Blocks([CONTENT])))
            relay.network.settle()
            (verdict,) = self.successResultOf(deferred).values()
            self.assertEqual(stale, verdict.stale)
            self.assertEqual([CONTENT] * (2 - stale), [message.content for message in mx.messages])
            self.assertEqual("MAIL" if stale else "BDAT", mx.commands[-1].split()[0].split(":")[0])

    def test_content_that_cannot_be_read(self) -> None:
        """
        Nothing is said to the server, and the connection is as good as before.
        """
        mx, relay, connection = self.start(extensions=CHUNKING)
        verdicts = relay.deliver(connection, leased(*TWO), b"Subject: x\r\n", broken_store())
        self.assertEqual([Fault.OURS, Fault.OURS], [verdict.outcome.fault for verdict in verdicts.values()])
        self.assertEqual(1, len(mx.commands))
        self.assertTrue(connection.is_usable)
        self.assertEqual(1, len(self.flushLoggedErrors()))
