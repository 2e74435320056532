"""
What a client says of TLS on the way on: REQUIRETLS in MAIL, and C{TLS-Required: No} in the head (RFC 8689).
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from lmrelay.config.words import Security
from lmrelay.interfaces import Submission
from tests.inbound.doubles import Relay
from tests.inbound.peers import MemoryPeer
from tests.inbound.test_protocol import AUTH

REFUSED = "501 5.5.4 Bad or repeated REQUIRETLS parameter"


class RequireTlsTests(SynchronousTestCase):
    def login(self, security: Security = Security.IMPLICIT) -> list[str]:
        self.relay = Relay(security)
        self.peer = MemoryPeer(self.relay)
        offered = self.peer.say("EHLO client.example")
        self.peer.say(AUTH)
        return [line[4:] for line in offered]

    def send(self, *fields: str, mail: str = "") -> Submission:
        self.peer.say(f"MAIL FROM:<a@acme.example>{mail}", "RCPT TO:<b@b.example>", "DATA")
        answer = self.peer.say("From: a@acme.example", *fields, "", "Hi", ".")[-1]
        self.assertEqual("250", answer[:3])
        return self.relay.acceptance.accepted[-1][0]

    def test_in_clear(self) -> None:
        """
        In clear it is neither offered nor taken: the message would not have been secret to begin with.
        """
        self.assertNotIn("REQUIRETLS", self.login(Security.PLAIN))
        self.assertEqual([REFUSED], self.peer.say("MAIL FROM:<a@acme.example> REQUIRETLS"))

    def test_under_tls(self) -> None:
        """
        Under TLS it is offered, and what MAIL says goes with the message; another message has none of it.
        """
        self.assertIn("REQUIRETLS", self.login())
        self.assertTrue(self.send(mail=" REQUIRETLS").envelope.require_tls)
        self.assertFalse(self.send().envelope.require_tls)

    def test_header(self) -> None:
        """
        C{TLS-Required: No} makes TLS optional, however it is written; anything else in it means nothing.
        """
        self.login()
        cases = {
            ("TLS-Required: No",): True,
            ("tls-required:NO",): True,
            ("TLS-Required: \tno ",): True,
            ("TLS-Required: No", "TLS-Required: no"): True,
            ("TLS-Required: No", "TLS-Required: Yes"): False,
            ("TLS-Required: None",): False,
            ("TLS-Required:",): False,
            ("X-TLS-Required: No",): False,
        }
        self.assertEqual(cases, {fields: self.send(*fields).tls_optional for fields in cases})
        self.assertIn(b"TLS-Required: No\r\n", self.send("TLS-Required: No").head)

    def test_both(self) -> None:
        """
        Who says both means REQUIRETLS (RFC 8689 §4.1).
        """
        self.login()
        submission = self.send("TLS-Required: No", mail=" REQUIRETLS")
        self.assertEqual((True, False), (submission.envelope.require_tls, submission.tls_optional))
