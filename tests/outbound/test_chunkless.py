"""
Servers that offer CHUNKING and had better not be taken at their word: they get their mail by DATA.
"""

from __future__ import annotations

from attrs import evolve

from lmrelay.mail.outcome import Delayed, Delivered, Failed
from lmrelay.outbound.chunk import MAX_CHUNKLESS, Chunkless
from lmrelay.outbound.verdicts import Reach
from lmrelay.testing.answers import SILENCE, say
from tests.outbound.bench import CONTENT, Blocks, leased
from tests.outbound.test_chunk import CHUNKING, LARGE
from tests.outbound.test_client import TWO, ClientTests


class ChunklessTests(ClientTests):
    def test_large_and_not_known(self) -> None:
        """
        A server that does not know what it offered gets a large message by DATA, too.
        """
        mx, relay, connection = self.start(extensions=CHUNKING, answers={"BDAT": say("502 5.5.1 No")})
        large = leased(*TWO, size=len(LARGE))
        self.assertEqual([Delayed, Delayed], self.kinds(relay.deliver(connection, large, LARGE)))
        self.assertEqual([Delivered, Delivered], self.kinds(relay.deliver(relay.connect(), large, LARGE)))
        self.assertEqual([LARGE], [message.content for message in mx.messages])

    def test_what_was_tried_before(self) -> None:
        """
        A message that was tried before goes by DATA: a server that offers BDAT, takes its octets for commands and
        loses step gets its mail all the same.
        """
        broken = {"BDAT": say("500 5.5.1 What?", "500 5.5.1 What?", close=True)}
        _, relay, connection = self.start(extensions=CHUNKING, answers=dict(broken))
        self.assertEqual([Delayed], self.kinds(relay.deliver(connection)))
        mx, relay, connection = self.start(extensions=CHUNKING, answers=dict(broken))
        (first,) = leased().recipients
        again = evolve(leased(), recipients=[evolve(first, attempts=1)])
        self.assertEqual([Delivered], self.kinds(relay.deliver(connection, again)))
        self.assertEqual([CONTENT], [message.content for message in mx.messages])

    def test_offered_and_not_known(self) -> None:
        """
        A server that does not know what it offered may have taken the content for commands: that connection carries
        nothing more, another host is asked, and from then on its mail goes by DATA.
        """
        for refusal in ("500 5.5.1 What?", "502 5.5.1 No", "503 5.5.1 Bad sequence", "504 5.5.4 No"):
            mx, relay, connection = self.start(
                extensions=CHUNKING, answers={"BDAT": say(refusal)}, recipients={"b@b.example": say("550 5.1.1 No")}
            )
            verdicts = relay.deliver(connection, leased(*TWO))
            self.assertEqual([Failed, Delayed], self.kinds(verdicts))
            self.assertEqual((Reach.HOST, False), (verdicts[1].reach, connection.is_usable))
            self.assertEqual([Delivered], self.kinds(relay.deliver(relay.connect(), leased("d@b.example"))))
            self.assertEqual([("d@b.example",)], [message.addresses for message in mx.messages])
            self.assertEqual(1, sum(line.startswith("BDAT") for line in mx.commands))

    def test_other_connections(self) -> None:
        """
        What one connection learnt of its host, those that were open before know, too.
        """
        mx, relay, connection = self.start(extensions=CHUNKING, answers={"BDAT": say("502 5.5.1 No")})
        before = relay.connect()
        self.assertEqual([Delayed], self.kinds(relay.deliver(connection)))
        self.assertEqual([Delivered], self.kinds(relay.deliver(before)))
        self.assertEqual("DATA", mx.commands[-1])

    def test_answers_that_nobody_can_rely_on(self) -> None:
        """
        Where replies to BDAT go out of step, or none comes, each message would be sent twice, or be late by ten
        minutes: once is enough to know.
        """
        for answer in (say("250 2.1.5 Taken"), say("250 OK", "250 OK"), say("250 OK", "what?"), SILENCE):
            mx, relay, connection = self.start(extensions=CHUNKING, answers={"CONTENT": answer})
            deferred = relay.begin(connection.deliver(leased(*TWO), Blocks([CONTENT])))
            relay.network.pass_time(601, 50)
            self.assertEqual([Delayed, Delayed], self.kinds(self.successResultOf(deferred)))
            mx.answers.clear()
            self.assertEqual([Delivered], self.kinds(relay.deliver(relay.connect())))
            self.assertEqual("DATA", mx.commands[-1])

    def test_silence_that_says_nothing_of_chunks(self) -> None:
        """
        A host that falls silent before it had to answer the content is in trouble, not with BDAT.
        """
        mx, relay, connection = self.start(extensions=CHUNKING, answers={"RCPT": SILENCE})
        relay.begin(connection.deliver(leased(), Blocks([CONTENT])))
        relay.network.pass_time(601, 50)
        mx.answers.clear()
        relay.deliver(relay.connect())
        self.assertEqual("BDAT", mx.commands[-1].split()[0])

    def test_offers_codes_and_has_none(self) -> None:
        """
        What a server says without a code could be the answer to something else. It counts, but the next message goes by
        DATA, where 354 shows what is answered.
        """
        for said, kind in (("250 OK", Delivered), ("554 Spam", Failed)):
            mx, relay, connection = self.start(extensions=CHUNKING, answers={"CONTENT": say(said)})
            for last in ("BDAT", "DATA"):
                self.assertEqual([kind], self.kinds(relay.deliver(connection)))
                self.assertEqual(last, mx.commands[-1].split()[0])

    def test_remembered_in_bounds(self) -> None:
        """
        So many hosts that offered it in vain are remembered, and no more.
        """
        chunkless = Chunkless()
        for number in range(MAX_CHUNKLESS + 1):
            chunkless.add(f"mx{number}.example")
        self.assertNotIn("mx0.example", chunkless)
        self.assertIn("mx1.example", chunkless)
        self.assertIn(f"mx{MAX_CHUNKLESS}.example", chunkless)

    def test_needs_enhanced_codes(self) -> None:
        """
        A server that does not say by them what it answers gets its mail by DATA, where 354 shows that it is in step.
        """
        extensions = tuple(name for name in CHUNKING if name != "ENHANCEDSTATUSCODES")
        mx, relay, connection = self.start(extensions=extensions, answers={"MAIL": say("250 OK", "250 OK")})
        self.assertEqual([Delayed], self.kinds(relay.deliver(connection)))
        self.assertEqual(("DATA", []), (mx.commands[-1], mx.messages))
