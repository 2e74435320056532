"""
What comes back by mail: whatever it is, it is understood as something that can be told in one line.
"""

from __future__ import annotations

import re

from lmrelay.mail.address import Address
from lmrelay.mail.classify import Reason
from lmrelay.mail.mime import DEPTH_LIMIT, PARTS_LIMIT, SIZE_LIMIT, Part, read_message
from lmrelay.mail.reports import TEXT_LIMIT, Kind, understand
from tests.fuzz.shared import sentences

_TOP = b"From: MAILER-DAEMON@b.example\r\nSubject: failure notice\r\n"
_REPORT = b'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
_STATUS = b"--b\r\nContent-Type: message/delivery-status\r\n\r\n"
WORDS = (
    _TOP,
    _REPORT,
    _STATUS,
    b"--b\r\n",
    b"--b--\r\n",
    b"\r\n",
    b"Final-Recipient: rfc822; b@b.example\r\n",
    b"Action: failed\r\n",
    b"Status: 5.1.1\r\n",
    b"Diagnostic-Code: smtp; 550 5.1.1 no\r\n",
    b"Reporting-MTA: dns; mx\r\n",
    b"Action: delayed\r\n",
    b"Content-Type: message/feedback-report\r\n\r\n",
    b"Feedback-Type: abuse\r\n",
    b"Content-Type: text/html\r\n\r\n",
    b"<b",
    b"Content-Transfer-Encoding: base64\r\n",
    b"Content-Transfer-Encoding: quoted-printable\r\n",
    b"=3D=\r\n",
    b"====",
    b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n',
    b"--b\r\nContent-Type: text/plain; charset=",
    b"iso-2022-jp\r\n\r\n",
    b"Hi. This is the qmail-send program at x.\r\n",
    b"<b@b.example>:\r\n",
    b"Auto-Submitted: auto-replied\r\n",
    b"&#0;",
    b"\0",
    b"This is the mail system at host x.\r\n",
    b"X-Failed-Recipients: b@b.example\r\n",
    b"(",
    b"Status: 5.0.0 (",
    b"\x1b$B",
)

examples = sentences(WORDS, 16, sentences((_TOP + _REPORT + _STATUS, _TOP), 1))

RECIPIENT = Address("b", "b.example")


def target(data: bytes) -> None:
    """
    Understood as a report about a recipient and about anybody; taken apart as a tree.
    """
    for recipient in (RECIPIENT, None):
        for has_null_path in (True, False):
            report = understand(data, recipient, has_null_path=has_null_path)
            assert report == understand(data, recipient, has_null_path=has_null_path)
            for text in (report.text, report.by):
                assert text.isprintable()
                assert len(text) <= TEXT_LIMIT
            if report.kind in (Kind.BOUNCE, Kind.DELAY):
                assert re.fullmatch(r"[45]\.[0-9]{1,3}\.[0-9]{1,3}", report.status)
            else:
                assert report.status == ""
            assert isinstance(report.reason, Reason)
    message = read_message(data)
    parts = list(message.walk())
    assert len(parts) <= PARTS_LIMIT + 1
    assert _depth(message) <= DEPTH_LIMIT + 1
    for part in parts:
        # No transfer encoding makes more of less.
        assert len(part.content()) <= len(part.octets) <= 2 * SIZE_LIMIT
        assert len(part.text(200)) <= 200 * 4


def _depth(part: Part) -> int:
    return 1 + max(map(_depth, part.parts), default=0)
