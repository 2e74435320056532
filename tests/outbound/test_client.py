"""
Transactions with a scripted MX, on a network in memory.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from lmrelay.interfaces import LeasedRecipient
from lmrelay.mail.address import parse_address
from lmrelay.mail.envelope import Notify, Recipient, Ret
from lmrelay.mail.outcome import Delayed, Delivered, Failed, Fault
from lmrelay.outbound.client import Connection
from lmrelay.outbound.verdicts import Reach, Verdict
from lmrelay.testing.answers import DROP, SILENCE, say
from lmrelay.testing.scripted_mx import EXTENSIONS, ScriptedMx
from tests.outbound.bench import CONTENT, Blocks, Network, Relay, broken_store, leased

PLAIN_EXTENSIONS = tuple(name for name in EXTENSIONS if name != "PIPELINING")
BOTH = (EXTENSIONS, PLAIN_EXTENSIONS)
TWO = ("b@b.example", "c@b.example")


class ClientTests(SynchronousTestCase):
    """
    The base: a network with one MX.
    """

    def start(self, segment: int = 65536, buffer: int = 65536, **script: Any) -> tuple[ScriptedMx, Relay, Connection]:
        network = Network(segment, buffer)
        mx = ScriptedMx(network, **script)
        network.servers["192.0.2.1"] = mx
        relay = Relay(network)
        return mx, relay, relay.connect()

    def kinds(self, verdicts: dict[int, Verdict]) -> list[type]:
        return [type(verdicts[number].outcome) for number in sorted(verdicts)]


class DeliverTests(ClientTests):
    def test_pipelined(self) -> None:
        """
        The envelope goes in one write, the content with its end in another; the connection serves again.
        """
        mx, relay, connection = self.start()
        for _ in range(3):
            verdicts = relay.deliver(connection, leased(*TWO))
            self.assertEqual([Delivered, Delivered], self.kinds(verdicts))
        self.assertEqual([CONTENT] * 3, [message.content for message in mx.messages])
        self.assertEqual(TWO, mx.messages[0].addresses)
        self.assertEqual("relay.example", mx.messages[0].helo)
        self.assertEqual((1, 3, True), (mx.connections, connection.transactions, connection.is_usable))

    def test_one_at_a_time(self) -> None:
        """
        Without PIPELINING a command waits for the reply to the one before.
        """
        mx, relay, connection = self.start(extensions=PLAIN_EXTENSIONS, answers={"RCPT": say("250 OK", delay=5)})
        relay.begin(connection.deliver(leased(*TWO), Blocks([CONTENT])))
        self.assertEqual(["MAIL", "RCPT"], [line.split()[0] for line in mx.commands[1:]])
        relay.network.pass_time(11)
        self.assertEqual([CONTENT], [message.content for message in mx.messages])

    def test_refused_recipients(self) -> None:
        """
        Each has its own outcome; the others are delivered.
        """
        for extensions in BOTH:
            mx, relay, connection = self.start(
                extensions=extensions,
                recipients={
                    "b@b.example": say("550 5.1.1 No such user"),
                    "c@b.example": say("452 4.2.2 Full"),
                    "e@b.example": say("552 5.5.3 Too many"),
                },
            )
            verdicts = relay.deliver(connection, leased(*TWO, "d@b.example", "e@b.example"))
            self.assertEqual([Failed, Delayed, Delivered, Delayed], self.kinds(verdicts))
            self.assertEqual([("d@b.example",)], [message.addresses for message in mx.messages])
            self.assertTrue(connection.is_usable)

    def test_all_refused(self) -> None:
        """
        Nobody gets content: it is not even read, and a 354 that came all the same gets a lone dot (RFC 2920 §3.1).
        """
        for extensions in BOTH:
            for answers in ({}, {"DATA": say("354 Go on")}):
                mx, relay, connection = self.start(
                    extensions=extensions, answers={"RCPT": say("550 5.1.1 No"), **answers}
                )
                content = Blocks([CONTENT])
                verdicts = relay.run(connection.deliver(leased(*TWO), content))
                self.assertEqual([Failed, Failed], self.kinds(verdicts))
                self.assertEqual((0, []), (content.reads, mx.messages))
                self.assertTrue(connection.is_usable)
                mx.answers.clear()
                self.assertEqual([Delivered], self.kinds(relay.deliver(connection)))
                self.assertEqual(CONTENT, mx.messages[0].content)

    def test_refused_steps(self) -> None:
        """
        4xx and 5xx at each step decide for all, and the connection serves the next message.
        """
        for extensions in BOTH:
            for verb in ("MAIL", "RCPT", "DATA", "CONTENT"):
                for code, kind in ((451, Delayed), (554, Failed)):
                    mx, relay, connection = self.start(extensions=extensions, answers={verb: say(f"{code} No")})
                    verdicts = relay.deliver(connection, leased(*TWO))
                    self.assertEqual(([kind, kind], []), (self.kinds(verdicts), mx.messages), (verb, code))
                    self.assertEqual({Reach.RECIPIENT}, {verdict.reach for verdict in verdicts.values()})
                    mx.answers.clear()
                    self.assertEqual([Delivered], self.kinds(relay.deliver(connection)), (verb, code))
                    self.assertEqual(1, mx.connections)

    def test_ends(self) -> None:
        """
        421, a lost connection and nonsense at each step: temporary for all without an answer, and the end of it.
        """
        ends = (say("421 4.3.2 Bye", close=True), DROP, say("hello?"), say("250-a", "550 b"), say("999 what"))
        for extensions in BOTH:
            for verb in ("MAIL", "RCPT", "DATA", "CONTENT"):
                for answer in ends:
                    mx, relay, connection = self.start(extensions=extensions, answers={verb: answer})
                    verdicts = relay.deliver(connection, leased(*TWO))
                    self.assertEqual([Delayed, Delayed], self.kinds(verdicts), (verb, answer))
                    self.assertFalse(connection.is_usable)
                    self.assertFalse(any(verdict.stale for verdict in verdicts.values()))
                    relay.network.pass_time(11, 11)
                    self.assertTrue(mx.sessions[0].is_lost)

    def test_out_of_step(self) -> None:
        """
        An answer too many makes each that follows another's: nobody is given up by what somebody else got.
        """
        for extensions in BOTH:
            mx, relay, connection = self.start(
                extensions=extensions,
                answers={"MAIL": say("250 OK", "250 OK")},
                recipients={"b@b.example": say("550 5.1.1 No")},
            )
            verdicts = relay.deliver(connection, leased(*TWO))
            self.assertEqual(([Delayed, Delayed], []), (self.kinds(verdicts), mx.messages))
            self.assertFalse(connection.is_usable)

    def test_left_over(self) -> None:
        """
        What is left over behind a refusal of DATA shows it too: the refusal was somebody's, and nobody knows whose.
        """
        mx, relay, connection = self.start(
            answers={"MAIL": say("250 OK", "250 OK")}, recipients={"c@b.example": say("550 5.1.1 No")}
        )
        verdicts = relay.deliver(connection, leased(*TWO))
        self.assertEqual(([Delayed, Delayed], []), (self.kinds(verdicts), mx.messages))
        self.assertFalse(connection.is_usable)

    def test_codes_of_the_connection(self) -> None:
        """
        220 and 221 answer nothing that was asked, though their first digit is that of success.
        """
        for extensions in (*BOTH, (*EXTENSIONS, "CHUNKING")):
            for verb in ("MAIL", "RCPT", "CONTENT"):
                for code in ("220", "221"):
                    _, relay, connection = self.start(
                        extensions=extensions, answers={verb: say(f"{code} 2.0.0 mx.example")}
                    )
                    self.assertEqual([Delayed], self.kinds(relay.deliver(connection)), (verb, code))
                    self.assertFalse(connection.is_usable)

    def test_silence(self) -> None:
        """
        Commands are waited for 300 s, the end of data 600 s.
        """
        for verb, seconds in (("MAIL", 300), ("RCPT", 300), ("DATA", 300), ("CONTENT", 600)):
            _mx, relay, connection = self.start(answers={verb: SILENCE})
            deferred = relay.begin(connection.deliver(leased(), Blocks([CONTENT])))
            relay.network.pass_time(seconds - 1, 50)
            self.assertNoResult(deferred)
            relay.network.pass_time(2)
            verdicts = self.successResultOf(deferred)
            self.assertEqual([Delayed], self.kinds(verdicts))
            self.assertIn("silent", verdicts[0].outcome.text)
            self.assertEqual([], relay.network.getDelayedCalls())

    def test_lost_after_the_end_of_data(self) -> None:
        """
        It may have arrived: nobody else is asked now, and the words say so.
        """
        _, relay, connection = self.start(answers={"CONTENT": DROP})
        verdict = relay.deliver(connection)[0]
        self.assertEqual(Reach.RECIPIENT, verdict.reach)
        self.assertIn("may be sent more than once", verdict.outcome.text)

    def test_421_keeps_earlier_answers(self) -> None:
        """
        What was refused before the 421 stays refused.
        """
        _, relay, connection = self.start(
            recipients={"b@b.example": say("550 5.1.1 No"), "c@b.example": say("421 Bye", close=True)}
        )
        verdicts = relay.deliver(connection, leased(*TWO))
        self.assertEqual([Failed, Delayed], self.kinds(verdicts))
        self.assertTrue(verdicts[1].slow_down)

    def test_reset(self) -> None:
        """
        What an unfinished transaction left behind is cleared before the next.
        """
        mx, relay, connection = self.start(answers={"DATA": [say("451 No"), say("354 Go on")]})
        relay.deliver(connection, leased("b@b.example"))
        relay.deliver(connection, leased("c@b.example"))
        self.assertEqual(1, mx.commands.count("RSET"))
        self.assertEqual([("c@b.example",)], [message.addresses for message in mx.messages])

    def test_early_reply(self) -> None:
        """
        A reply during the content ends the connection: no command is put into the content, no cut message is ended.
        """
        blocks = [b"Subject: x\r\n\r\n", *[b"x" * 70 + b"\r\n" * 100 for _ in range(200)]]
        cases = ((say("552 5.3.4 Too big"), Failed), (say("421 Bye"), Delayed), (say("250 OK"), Delayed))
        for answer, kind in cases:
            mx, relay, connection = self.start(4096, 1000, answers={"EARLY": answer}, early_after=20000)
            verdicts = relay.deliver(connection, leased(), *blocks)
            self.assertEqual(([kind], []), (self.kinds(verdicts), mx.messages))
            self.assertEqual("DATA", mx.commands[-1])
            self.assertFalse(connection.is_usable)

    def test_backpressure(self) -> None:
        """
        A receiver that does not read is not sent to, and is given up when it stays so.
        """
        mx, relay, connection = self.start(4096, 8192)
        content = Blocks([b"x" * 65534 + b"\r\n"] * 100)
        deferred = Deferred.fromCoroutine(connection.deliver(leased(), content))
        relay.network.settle()
        self.assertEqual([Delivered], self.kinds(self.successResultOf(deferred)))
        stuck = Blocks([b"x" * 65534 + b"\r\n"] * 100)
        deferred = Deferred.fromCoroutine(connection.deliver(leased(), stuck))
        wire = relay.network.wires[0]
        while not mx.sessions[0].data_octets > 65536 * 101:
            wire.pump(4096)
        wire.server.paused = True
        relay.network.settle()
        reads = stuck.reads
        relay.network.pass_time(299, 299)
        self.assertEqual((reads, True), (stuck.reads, reads < 10))
        relay.network.pass_time(2)
        self.assertEqual([Delayed], self.kinds(self.successResultOf(deferred)))

    def test_store_fails(self) -> None:
        """
        A content that cannot be read to its end is never ended; it is our fault.
        """
        for blocks in ([broken_store()], [CONTENT, broken_store()], [CONTENT, CONTENT, CONTENT, broken_store()]):
            mx, relay, connection = self.start()
            verdicts = relay.deliver(connection, leased(), *blocks)
            self.assertEqual(([Delayed], []), (self.kinds(verdicts), mx.messages))
            self.assertEqual(Fault.OURS, verdicts[0].outcome.fault)
            self.assertTrue(mx.sessions[0].is_lost)
            self.assertEqual(1, len(self.flushLoggedErrors()))

    def test_lost_while_reading(self) -> None:
        """
        A connection that ends while the store is asked: the answer of the store comes too late.
        """
        mx, relay, connection = self.start()
        late: Deferred[bytes] = Deferred()
        deferred = relay.begin(connection.deliver(leased(), Blocks([late])))
        mx.sessions[0].transport.loseConnection()
        relay.network.settle()
        late.callback(CONTENT)
        self.assertEqual([Delayed], self.kinds(self.successResultOf(deferred)))

    def test_abort(self) -> None:
        """
        A delivery under way ends at once, temporary for all.
        """
        mx, relay, connection = self.start(answers={"MAIL": SILENCE})
        deferred = relay.begin(connection.deliver(leased(*TWO), Blocks([CONTENT])))
        connection.abort()
        relay.network.settle()
        self.assertEqual([Delayed, Delayed], self.kinds(self.successResultOf(deferred)))
        self.assertTrue(mx.sessions[0].is_lost)


class ContentTests(ClientTests):
    def send(self, *blocks: bytes) -> tuple[bytes, list[str]]:
        mx, relay, connection = self.start()
        self.assertEqual([Delivered], self.kinds(relay.deliver(connection, leased(), *blocks)))
        self.assertEqual(1, len(mx.messages))
        return mx.messages[0].content, mx.commands

    def test_dots_at_every_cut(self) -> None:
        """
        Wherever the blocks are cut, no dot of the content ends it, and nothing in it becomes a command.
        """
        evil = b".\r\nMAIL FROM:<evil@x>\r\n..\r\n.\r\nRCPT TO:<x@y>\r\n.x\r\n"
        for cut in range(len(evil) + 1):
            for cut_too in (cut, cut + 1, cut + 2):
                content, commands = self.send(*filter(None, (evil[:cut], evil[cut:cut_too], evil[cut_too:])))
                self.assertEqual(evil, content)
                self.assertEqual("DATA", commands[-1])

    def test_bare_line_endings(self) -> None:
        """
        A lone CR or LF never reaches a receiver, where it could end the data.
        """
        content, commands = self.send(b"a\n.\nMAIL FROM:<evil@x>\r", b".\r", b"\nb\r.\rc")
        self.assertEqual(b"a\r\n.\r\nMAIL FROM:<evil@x>\r\n.\r\nb\r\n.\r\nc\r\n", content)
        self.assertEqual("DATA", commands[-1])

    def test_large(self) -> None:
        """
        Eight-bit octets and long lines arrive as they are, at any size.
        """
        block = bytes(byte for byte in range(256) if byte not in (0, 10, 13)) * 1000 + b"\r\n"
        content, _ = self.send(*[block] * 20)
        self.assertEqual(block * 20, content)


class ExtensionTests(ClientTests):
    def lacking(self, keyword: str) -> tuple[str, ...]:
        return tuple(name for name in EXTENSIONS if not name.startswith(keyword))

    def refuse(self, message: Any, extensions: tuple[str, ...]) -> list[str]:
        mx, relay, connection = self.start(extensions=extensions)
        verdicts = relay.deliver(connection, message)
        self.assertEqual({Failed}, {type(verdict.outcome) for verdict in verdicts.values()})
        self.assertEqual({Reach.MESSAGE}, {verdict.reach for verdict in verdicts.values()})
        self.assertEqual((1, True), (len(mx.commands), connection.is_usable))
        return [verdict.outcome.status for verdict in verdicts.values()]

    def test_lacking(self) -> None:
        """
        What a receiver cannot take is not tried on it.
        """
        no_utf8 = self.lacking("SMTPUTF8")
        utf8 = leased("ü@b.example", smtputf8=True)
        self.assertEqual(["5.6.3"], self.refuse(leased(eight_bit=True), self.lacking("8BITMIME")))
        self.assertEqual(["5.3.4"], self.refuse(leased(size=2001), ("SIZE 2000",)))
        self.assertEqual(["5.6.7"], self.refuse(utf8, no_utf8))
        self.assertEqual(["5.6.7"], self.refuse(leased(smtputf8=True, utf8_head=True), no_utf8))
        sender = leased(smtputf8=True, reverse_path=parse_address("ü@a.example"))
        self.assertEqual(["5.6.7"], self.refuse(sender, no_utf8))

    def test_only_one_needs_it(self) -> None:
        """
        A recipient whose address cannot be sent harms no other; a domain goes in A-labels.
        """
        mx, relay, connection = self.start(extensions=self.lacking("SMTPUTF8"))
        verdicts = relay.deliver(connection, leased("ü@b.example", "b@bücher.example", smtputf8=True))
        self.assertEqual([Failed, Delivered], self.kinds(verdicts))
        self.assertEqual(("b@xn--bcher-kva.example",), mx.messages[0].addresses)
        self.assertNotIn("SMTPUTF8", mx.messages[0].parameters)

    def test_parameters(self) -> None:
        """
        They are passed on where offered, and only there.
        """
        recipient = Recipient(parse_address("ü@b.example"), frozenset({Notify.NEVER}), ("rfc822", "b+x@b.example"))
        message = leased(
            smtputf8=True, eight_bit=True, ret=Ret.HDRS, envid="a+b", recipients=(LeasedRecipient(0, recipient),)
        )
        mx, relay, connection = self.start()
        verdicts = relay.deliver(connection, message)
        self.assertFalse(verdicts[0].outcome.relayed)
        self.assertEqual(
            {"SIZE": "40", "BODY": "8BITMIME", "SMTPUTF8": "", "RET": "HDRS", "ENVID": "a+2Bb"},
            dict(mx.messages[0].parameters),
        )
        address, parameters = mx.messages[0].recipients[0]
        self.assertEqual("ü@b.example", address)
        self.assertEqual({"NOTIFY": "NEVER", "ORCPT": "rfc822;b+2Bx@b.example"}, dict(parameters))
        mx, relay, connection = self.start(extensions=())
        message = leased(ret=Ret.HDRS, envid="x", reverse_path=None)
        self.assertTrue(relay.deliver(connection, message)[0].outcome.relayed)
        self.assertEqual(("", {}), (mx.messages[0].sender, dict(mx.messages[0].parameters)))

    def test_signed_sender(self) -> None:
        """
        What a server with DSN would tell of success comes to the relay, so that is where the client's way ends.
        """
        _, relay, connection = self.start()
        self.assertTrue(relay.deliver(connection, leased(return_path="bounce.acme.example"))[0].outcome.relayed)


class IdleTests(ClientTests):
    def test_closed_by_the_receiver(self) -> None:
        """
        The owner is told, once; what is delivered on it all the same is to be tried again at once.
        """
        mx, relay, connection = self.start()
        told: list[Connection] = []
        relay.deliver(connection)
        connection.notify_lost(told.append)
        mx.sessions[0].transport.write(b"421 4.4.2 Idle for too long\r\n")
        mx.sessions[0].transport.loseConnection()
        relay.network.settle()
        self.assertEqual(([connection], False), (told, connection.is_usable))
        verdict = relay.deliver(connection)[0]
        self.assertEqual((Delayed, True, Reach.HOST), (type(verdict.outcome), verdict.stale, verdict.reach))
        connection.notify_lost(told.append)
        self.assertEqual([connection] * 2, told)

    def test_closed_as_we_speak(self) -> None:
        """
        A kept connection that ends at its first command says nothing of the message or the site.
        """
        for answer in (DROP, say("421 4.4.2 Idle for too long", close=True)):
            _, relay, connection = self.start(answers={"MAIL": [say("250 OK"), answer]})
            relay.deliver(connection)
            verdict = relay.deliver(connection)[0]
            self.assertEqual((True, False), (verdict.stale, verdict.slow_down))

    def test_unasked(self) -> None:
        """
        A connection on which something arrives while it idles is never used again.
        """
        mx, relay, connection = self.start()
        mx.sessions[0].transport.write(b"2")
        relay.network.settle()
        self.assertFalse(connection.is_usable)
        self.assertTrue(mx.sessions[0].is_lost)

    def test_more_than_was_asked(self) -> None:
        """
        The message was accepted, and stays so; the connection is not used again.
        """
        for extra in ("250 and more", "garbage"):
            _mx, relay, connection = self.start(answers={"CONTENT": say("250 OK", extra)})
            self.assertEqual([Delivered], self.kinds(relay.deliver(connection)))
            self.assertFalse(connection.is_usable)

    def test_close(self) -> None:
        """
        QUIT, and no wait for ever: a receiver that keeps the line open is left.
        """
        mx, relay, connection = self.start()
        connection.close()
        relay.network.settle()
        self.assertEqual(("QUIT", True), (mx.commands[-1], mx.sessions[0].is_lost))
        self.assertEqual([], relay.network.getDelayedCalls())
        connection.close()

    def test_any_cut(self) -> None:
        """
        How the server's octets are cut changes nothing.
        """
        for piece in (1, 2, 3, 7):
            mx, relay, connection = self.start(
                segment=piece,
                recipients={"b@b.example": say("550-5.1.1 No", "550 5.1.1 such user"), "c@b.example": say("450 Later")},
            )
            verdicts = relay.deliver(connection, leased(*TWO, "d@b.example"))
            self.assertEqual([Failed, Delayed, Delivered], self.kinds(verdicts))
            self.assertEqual(("No", "such user"), verdicts[0].outcome.reply.lines)
            self.assertEqual(CONTENT, mx.messages[0].content)
