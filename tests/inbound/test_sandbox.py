"""
Mail of a project in the sandbox is taken as all other, and marked.
"""

from __future__ import annotations

import base64

from twisted.trial.unittest import SynchronousTestCase

from lmrelay.config.project import Project
from lmrelay.config.words import Mode, Security
from tests.inbound.doubles import TOKEN, Relay
from tests.inbound.peers import MemoryPeer

AUTH = "AUTH PLAIN " + base64.b64encode(b"\0lettermint\0" + TOKEN.encode()).decode()


class SandboxTests(SynchronousTestCase):
    """
    By a session.
    """

    def setUp(self) -> None:
        self.relay = Relay(Security.PLAIN)
        self.peer = MemoryPeer(self.relay)
        self.peer.say("EHLO client.example", AUTH)

    def send(self, mode: Mode, sender: str = "a@acme.example") -> None:
        self.relay.realm.submitter.configured = Project("acme", mode=mode)
        content = f"From: {sender}\r\n\r\nhello\r\n."
        for command in (f"MAIL FROM:<{sender}>", "RCPT TO:<b@b.example>", "DATA", content):
            self.peer.say(command)

    def test_marked(self) -> None:
        """
        What the project's mode was when a message was accepted stays with it.
        """
        for mode in (Mode.LIVE, Mode.SANDBOX, Mode.LIVE):
            self.send(mode)
        self.assertEqual([False, True, False], [one.sandbox for one, _ in self.relay.acceptance.accepted])

    def test_senders_are_checked(self) -> None:
        """
        Who may not be the sender may not in the sandbox either.
        """
        self.send(Mode.SANDBOX, "a@other.example")
        self.assertEqual([], self.relay.acceptance.accepted)
