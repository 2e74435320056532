"""
The stand-in for the internet.
"""

from __future__ import annotations

import pytest
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from lmrelay.cli.stand_in import HOST, Arrival, Receiving, StandIn, StandInResolver
from lmrelay.cli.trial import self_signed
from lmrelay.interfaces import MxRecord

CERTIFICATE, KEY = self_signed(HOST)
DIALOGUE = (
    b"EHLO relay.example\r\nMAIL FROM:<a@demo.example> SIZE=99\r\nRCPT TO:<b@any.example>\r\n"
    b"RCPT TO:<c@any.example>\r\nDATA\r\n"
    b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\n..dot\r\n.\r\r\n"
    b".\r\nMAIL FROM:<>\r\nRCPT TO:<d@any.example>\r\nDATA\r\n.\r\nQUIT\r\n"
)
ARRIVALS = [
    Arrival("a@demo.example", ("b@any.example", "c@any.example"), None, 51, "Grüße"),
    Arrival("", ("d@any.example",), None, 0, ""),
]


class StandInTests(SynchronousTestCase):
    """
    The receiver and the resolver.
    """

    def setUp(self) -> None:
        self.arrivals: list[Arrival] = []
        options = PrivateCertificate.loadPEM(CERTIFICATE + KEY).options()
        self.factory = StandIn(options, self.arrivals.append)

    def connect(self) -> tuple[Receiving, StringTransport]:
        """
        A session and what it writes to.
        """
        session, transport = self.factory.buildProtocol(None), StringTransport()
        session.makeConnection(transport)
        return session, transport

    def test_messages_are_told_however_they_are_cut(self) -> None:
        """
        At whatever place the octets are cut, the same arrivals come out, and the same replies.
        """
        whole, whole_wire = self.connect()
        whole.dataReceived(DIALOGUE)
        assert self.arrivals == ARRIVALS
        for cut in range(1, len(DIALOGUE)):
            self.arrivals.clear()
            session, wire = self.connect()
            session.dataReceived(DIALOGUE[:cut])
            session.dataReceived(DIALOGUE[cut:])
            assert (self.arrivals, wire.value()) == (ARRIVALS, whole_wire.value())
        assert whole_wire.disconnecting

    def test_octet_by_octet(self) -> None:
        """
        Neither does it matter if each octet comes alone.
        """
        session, _ = self.connect()
        for octet in DIALOGUE:
            session.dataReceived(bytes([octet]))
        assert self.arrivals == ARRIVALS

    def test_out_of_order(self) -> None:
        """
        DATA without a recipient, and words it does not know, are refused.
        """
        session, wire = self.connect()
        session.dataReceived(b"DATA\r\nTURN\r\n")
        assert [line[:3] for line in wire.value().splitlines()] == [b"220", b"503", b"503"]

    def test_endless_command(self) -> None:
        """
        A line without an end ends the session.
        """
        session, wire = self.connect()
        session.dataReceived(b"x" * 5000)
        assert wire.disconnecting

    def test_every_domain_leads_here(self) -> None:
        """
        MX and A of any name are the stand-in; nothing else exists.
        """
        resolver = StandInResolver()
        answers = [self.successResultOf(resolver.query("any.example", type)).records for type in (15, 1, 28, 52)]
        assert answers == [(MxRecord(10, HOST),), ("127.0.0.1",), (), ()]


@pytest.mark.parametrize("size", [0, 1, 70_000])
def test_long_content_is_counted_not_kept(size: int) -> None:
    """
    The size is that of the content, however much of it there is.
    """
    arrivals: list[Arrival] = []
    session = StandIn(PrivateCertificate.loadPEM(CERTIFICATE + KEY).options(), arrivals.append).buildProtocol(None)
    session.makeConnection(StringTransport())
    session.dataReceived(b"MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n")
    for _ in range(size):
        session.dataReceived(b"x")
    session.dataReceived(b"\r\n.\r\n")
    assert [arrival.size for arrival in arrivals] == [size + 2]
