"""
Reports that are made to cost time or memory: whoever got mail from here may send one.
"""

from __future__ import annotations

import pytest

from lmrelay.mail.address import parse_address
from lmrelay.mail.mime import SIZE_LIMIT
from lmrelay.mail.reports import TEXT_LIMIT, understand

U0 = parse_address("u0@b.example")
HEAD = b"From: MAILER-DAEMON@b.example\r\nSubject: Undelivered Mail\r\n"
MIXED = b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'
STATUS = b'Content-Type: multipart/report; boundary="b"\r\n\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n'
COMPLAINT = b'Content-Type: multipart/report; boundary="b"\r\n\r\n--b\r\nContent-Type: message/feedback-report\r\n\r\n'

BOMBS = {
    "parts within parts": (b"", b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n'),
    "parts": (MIXED, b"--b\r\n\r\nx\r\n"),
    "marks": (MIXED, b"--b \t\r\n"),
    "marks that are none": (MIXED, b"--b" + b" " * 1000 + b"x\r\n"),
    "fields": (HEAD, b"X: y\r\n"),
    "one field": (HEAD + b"X: ", b"a"),
    "one folded field": (HEAD + b"X: a", b"\r\n a"),
    "encoded words": (b"Subject: ", b"=?utf-8?q?a?= "),
    "encoded words in a charset that costs": (b"From: ", b"=?punycode?q?a-99999?= "),
    "comments": (b"From: ", b"("),
    "parameters": (b"Content-Type: multipart/mixed", b"; a=b"),
    "a quoted parameter": (b'Content-Type: multipart/mixed; boundary="', b'\\"'),
    "open tags": (b"Content-Type: text/html\r\n\r\n", b"<"),
    "open styles": (b"Content-Type: text/html\r\n\r\n", b"<style>"),
    "blanks": (HEAD + b"\r\n", b" "),
    "lines of blanks": (HEAD + b"\r\n", b"\n \t"),
    "codes": (HEAD + b"\r\n", b"5.1.1."),
    "replies": (HEAD + b"\r\n", b"550 "),
    "addresses": (HEAD + b"\r\n", b"\n<a@a"),
    "recipients": (STATUS, b"Final-Recipient: rfc822; a@b.example\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n"),
    "a status": (STATUS + b"Status: 5.1.1 ", b"("),
    "a folded status": (STATUS + b"Status: 5.1.1", b"\r\n  c"),
    "complaints": (COMPLAINT, b"Feedback-Type: abuse\r\n"),
    "padding": (b"Content-Transfer-Encoding: base64\r\n\r\n", b"="),
    "soft breaks": (b"Content-Transfer-Encoding: quoted-printable\r\n\r\n", b"=\r\n"),
    "a charset that costs": (b"Content-Type: text/plain; charset=punycode\r\n\r\na-", b"9"),
}
"""
How each begins, and what it goes on with for as long as it is read.
"""


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("has_null_path", [True, False])
def test_bomb(name: str, has_null_path: bool) -> None:
    """
    Each is understood to be something or nothing, at once and in few words.
    """
    begins, goes_on = BOMBS[name]
    report = understand(begins + goes_on * (SIZE_LIMIT // len(goes_on)), U0, has_null_path=has_null_path)
    assert len(report.text) <= TEXT_LIMIT
    assert len(report.by) <= TEXT_LIMIT
    assert (report.text + report.by).isprintable()
