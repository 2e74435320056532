"""
What DKIM hashes and signs of any message, held against dkimpy.
"""

from __future__ import annotations

import re
from hashlib import sha256

from dkim.canonicalization import Relaxed

from lmrelay.mail.dkim import BodyHash, hash_body, sign
from lmrelay.mail.head import Head, HeadReader
from lmrelay.smtp.newlines import to_crlf
from tests.fuzz.shared import cuts, sentences
from tests.mail.test_dkim import AT, signer, verifies

WORDS = (
    b"From: a@b.example\r\n",
    b"From : a@b.example\r\n",
    b"Subject: x  y\r\n",
    b"Subject:\r\n \r\n z\r\n",
    b"\r\n",
    b" ",
    b"\t",
    b"\r\n\r\n",
    b"To: c@d.example\r\n",
    b"a \t b\r\n",
    b"\t\r\n",
    b"\xff",
    b"\0",
    b"DKIM-Signature: v=1\r\n",
    b"x",
    b" \r\n \r\n",
    b"\x0b",
    b"\x0c\r\n",
    b"\x1c",
)

examples = sentences(WORDS, 16, sentences(WORDS[:2], 1))

_SIGNERS = (signer(),)


def target(data: bytes) -> None:
    """
    The body's hash in any cut, and a signature that verifies.
    """
    content = to_crlf(data)
    # What is stored always ends so.
    content += b"" if content.endswith(b"\r\n") else b"\r\n"
    expected = sha256(Relaxed.canonicalize_body(content)).digest()
    assert expected == hash_body(content)
    for pieces in cuts(content):
        running = BodyHash()
        for piece in pieces:
            running.update(piece)
        assert expected == running.digest()
    reader = HeadReader()
    body = reader.feed(content)
    body = body if reader.head is not None else reader.finish()
    head = Head.parse(reader.head or b"")
    # Without one From field it is refused before. And dkimpy knows no space before a colon, and more kinds of white
    # space than RFC 6376 §2.8 does.
    if len(head.values.get("from", ())) != 1 or re.search(rb"(?m)^[!-9;-~]+[ \t]+:|[\x0b\x0c]", head.octets):
        return
    body = body.removeprefix(b"\r\n")
    [signature] = sign(head, _SIGNERS, hash_body(body), AT)
    assert all(len(line) <= 78 for line in signature.octets.split(b"\r\n"))
    assert verifies(head.prepend(signature).to_bytes() + b"\r\n" + body, _SIGNERS)
