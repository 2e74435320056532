"""
The tests' own peers are judged by clients that are not lmrelay's.
"""

from __future__ import annotations

import smtplib

from tests.e2e.daemon import facts_in
from tests.e2e.mail import unverified
from tests.e2e.names import MX, NameServer, packed_name, unpacked_name
from tests.e2e.receiver import in_turn
from tests.e2e.world import World


def query(name: str, kind: int) -> bytes:
    header = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
    return header + packed_name(name) + kind.to_bytes(2, "big") + b"\x00\x01"


def test_the_name_server_answers_by_its_table() -> None:
    """
    What is known is answered, what is failing is SERVFAIL, what is unknown NXDOMAIN.
    """
    with NameServer() as names:
        names.mx("known.example", 10, "mx.known.example")
        names.failing.add("bad.example")
        codes = {
            name: (names.answer(query(name, MX)) or b"")[3] & 15
            for name in ("known.example", "bad.example", "no.example")
        }
        assert codes == {"known.example": 0, "bad.example": 2, "no.example": 3}
        answer = names.answer(query("KNOWN.example", MX)) or b""
        assert answer.endswith(b"\x00\x0a" + packed_name("mx.known.example"))
        assert unpacked_name(answer, 12)[0] == "known.example"


def test_the_receiver_takes_mail_over_tls(world: World) -> None:
    """
    smtplib hands a dotted message to it over STARTTLS, and finds what it sent; a script answers in turn.
    """
    mx = world.receiver(tls=world.server_tls(), script=in_turn("RCPT", "450 4.2.0 later"))
    with smtplib.SMTP(mx.address, mx.port, timeout=10) as client:
        client.starttls(context=unverified())
        client.ehlo()
        client.mail("a@b.example")
        assert client.rcpt("c@d.example")[0] == 450
        assert client.rcpt("c@d.example")[0] == 250
        assert client.data(b"From: a@b.example\r\n\r\n.\r\n..x\r\n")[0] == 250
    taken = mx.wait()[0]
    assert taken.body == b".\r\n..x\r\n"
    assert taken.tls == "TLSv1.3"


def test_facts_are_read_off_log_lines() -> None:
    """
    Only the whole text of a fact counts, and quoted values are whole.
    """
    log = "2026-11-20T20:00:00Z info listening port=25 security=auto\nx not listening port=1 words here\n"
    assert facts_in(log, "listening") == [{"port": "25", "security": "auto"}]
    assert facts_in('t info refused reason="a \\"b\\" c" n=1\n', "refused") == [{"reason": 'a "b" c', "n": "1"}]
