"""
TLS reports with the whole relay: sessions of one day, and on the next what arrives where the domain wants it.
"""

from __future__ import annotations

import base64
import email
import gzip
import json
from email.message import Message
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dkim
from attrs import evolve
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from twisted.trial.unittest import SynchronousTestCase

from lmrelay.config.values import DkimKey
from lmrelay.outbound.tls_reports import ROUND, TXT
from lmrelay.testing.name_server import Said
from tests.simulation.fairness import await_arrival, hand_over
from tests.simulation.receivers import Arrival, Receiver
from tests.simulation.world import World

DAY = 86_400.0
YESTERDAY = "2026-11-18"
"""
The day on which the world begins.
"""

KEY = Ed25519PrivateKey.generate()


def records(*texts: str) -> Said:
    return Said(tuple(bytes([len(text)]) + text.encode() for text in texts))


def read_report(arrival: Arrival) -> tuple[Message, dict[str, Any]]:
    """
    The mail, and the report that it carries.
    """
    message = email.message_from_bytes(arrival.message.content)
    _, part = message.get_payload()
    assert "application/tlsrpt+gzip" == part.get_content_type()
    report: dict[str, Any] = json.loads(gzip.decompress(part.get_payload(decode=True)))
    return message, report


class ReportTests(SynchronousTestCase):
    """
    C{b.example} wants its reports at C{r.example}; C{c.example} wants none. Neither offers STARTTLS.
    """

    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.world = World(Path(folder.name) / "relay", fate=self.judge)
        self.addCleanup(self.world.end)
        self.site: Receiver = self.world.receiver("b.example", "c.example")
        self.office: Receiver = self.world.receiver("r.example")
        self.world.zone.say("_smtp._tls.b.example", TXT, records("v=TLSRPTv1; rua=mailto:tls@r.example"))
        self.doomed: bool | None = None

    def judge(self, names: frozenset[str]) -> bool | None:
        doomed, self.doomed = (self.doomed, None) if "close_days" in names else (None, self.doomed)
        return doomed

    def send(self, *domains: str) -> None:
        for domain in domains:
            await_arrival(self.world, self.site, hand_over(self.world, "acme", domain, f"a@{domain}"))
        # Until it is counted, of the day on which it was.
        self.go_on(1)

    def go_on(self, seconds: float = 1.5 * ROUND) -> None:
        self.world.network.run(seconds)

    def test_reported(self) -> None:
        """
        The sessions of yesterday, by the domain that asks and no other's, once, in mail that is signed and says that it
        may go without TLS; sessions from before a restart count too.
        """
        private = KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        key = DkimKey("relay.example", "s1", "ed25519", private)
        self.world.config = evolve(self.world.config, dkim={"relay.example": (key,)})
        self.world.start()
        self.send("b.example", "c.example")
        self.world.halt()
        self.world.start()
        self.send("b.example")
        self.go_on()
        self.assertEqual([], self.office.arrivals)
        self.world.skew += DAY
        self.go_on()
        (arrival,) = self.office.arrivals
        self.assertEqual(("", ("tls@r.example",)), (arrival.message.sender, arrival.message.addresses))
        message, report = read_report(arrival)
        self.assertEqual(("No", "b.example"), (message["TLS-Required"], message["TLS-Report-Domain"]))
        public = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        record = b"v=DKIM1; k=ed25519; p=" + base64.b64encode(public)
        self.assertTrue(dkim.verify(arrival.message.content, dnsfunc=lambda name, timeout=5: record))
        days = {"start-datetime": f"{YESTERDAY}T00:00:00Z", "end-datetime": f"{YESTERDAY}T23:59:59Z"}
        self.assertEqual(days, report["date-range"])
        (told,) = report["policies"]
        self.assertEqual({"policy-type": "no-policy-found", "policy-domain": "b.example"}, told["policy"])
        self.assertEqual(2, told["summary"]["total-failure-session-count"])
        (failure,) = told["failure-details"]
        self.assertEqual(("starttls-not-supported", 2), (failure["result-type"], failure["failed-session-count"]))
        self.assertEqual(("mx0.example", "8.8.0.1"), (failure["receiving-mx-hostname"], failure["receiving-ip"]))
        self.world.halt()
        self.world.start()
        self.go_on()
        self.assertEqual(1, len(self.office.arrivals))

    def test_killed(self) -> None:
        """
        Killed before the commit that ends the day, or after it: the report comes once.
        """
        for doomed in (False, True):
            self.office.arrivals.clear()
            self.world.start()
            self.send("b.example")
            self.world.skew += DAY
            self.go_on(60)
            self.doomed = doomed
            self.go_on()
            self.assertIsNone(self.world.relay)
            self.assertEqual([], self.office.arrivals)
            self.world.start()
            self.go_on()
            self.assertEqual(1, len(self.office.arrivals))
            self.world.halt()

    def test_switched_off(self) -> None:
        """
        Without C{tls_reports} nothing is counted and nothing sent.
        """
        delivery = evolve(self.world.config.delivery, tls_reports=False)
        self.world.config = evolve(self.world.config, delivery=delivery)
        self.world.start()
        self.send("b.example")
        self.world.skew += DAY
        self.go_on()
        relay = self.world.relay
        assert relay is not None
        relay.settings.config = evolve(self.world.config, delivery=evolve(delivery, tls_reports=True))
        self.go_on()
        self.assertEqual([], self.office.arrivals)
