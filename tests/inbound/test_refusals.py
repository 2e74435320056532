"""
What the log says when somebody who logged in is refused: the operator is asked why, and has nothing else.
"""

from __future__ import annotations

import base64

from twisted.logger import LogEvent, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from lmrelay.config.words import Security
from lmrelay.errors import Refused
from lmrelay.smtp import replies
from tests.inbound.doubles import TOKEN, Relay
from tests.inbound.peers import MemoryPeer

AUTH = "AUTH PLAIN " + base64.b64encode(b"\0lettermint\0" + TOKEN.encode()).decode()


class RefusalTests(SynchronousTestCase):
    """
    Of commands and content.
    """

    def setUp(self) -> None:
        self.relay = Relay(Security.PLAIN)
        self.peer = MemoryPeer(self.relay)
        self.peer.say("EHLO client.example")

    def refused(self, *commands: str) -> list[LogEvent]:
        with capturedLogs() as events:
            self.peer.say(*commands)
        return [event for event in events if event["log_format"] == "command refused"]

    def test_each_is_told_with_whose_it_is(self) -> None:
        """
        Project, token, client, and the reply as the client has it; what is not refused is not told.
        """
        self.peer.say(AUTH)
        told = self.refused("MAIL FROM:<a@other.example>", "MAIL FROM:<a@acme.example>", "RCPT TO:<b>", "NOOP")
        self.assertEqual(
            [str(replies.sender_not_allowed("other.example", "acme")), str(replies.UNQUALIFIED_RECIPIENT)],
            [event["reply"] for event in told],
        )
        for event in told:
            self.assertEqual(("acme", "demodemodemo", "192.0.2.7"), (event["project"], event["token"], event["peer"]))

    def test_the_end_of_a_token(self) -> None:
        """
        That a session ended because its token did, the log says too.
        """
        self.peer.say(AUTH)
        self.relay.realm.submitter.token_gone = True
        self.assertEqual([str(replies.TOKEN_GONE)], [event["reply"] for event in self.refused("NOOP")])

    def test_a_limit_that_is_reached(self) -> None:
        """
        A project that is over its limit at MAIL.
        """
        self.peer.say(AUTH)
        limit = replies.over_quota(3, "hour", "project acme", "2026-11-21T08:00:00Z")
        self.relay.acceptance.quota = Refused(limit)
        self.assertEqual([str(limit)], [event["reply"] for event in self.refused("MAIL FROM:<a@acme.example>")])

    def test_content(self) -> None:
        """
        Content is told of once, and not as a command.
        """
        self.peer.say(AUTH, "MAIL FROM:<a@acme.example>", "RCPT TO:<b@b.example>", "DATA")
        lines = ("From: a@acme.example", "X-LM-Tag: no, commas", "", ".")
        with capturedLogs() as events:
            [answer] = self.peer.say(*lines)
        [told] = [event for event in events if "refused" in event["log_format"]]
        self.assertEqual(("content refused", answer), (told["log_format"], told["reply"]))
        self.assertEqual(("acme", "demodemodemo"), (told["project"], told["token"]))

    def test_strangers_do_not_fill_the_log(self) -> None:
        """
        Who did not log in costs no line a command.
        """
        self.assertEqual([], self.refused("MAIL FROM:<a@acme.example>", "RCPT TO:<b>", "NONSENSE"))
