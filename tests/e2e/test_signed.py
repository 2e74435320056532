"""
A DKIM signature that was made before submission is good at the receiver.
"""

from __future__ import annotations

import base64

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.e2e.daemon import DOMAIN, Relay
from tests.e2e.mail import SENDER, login, submit
from tests.e2e.world import World

CONTROLS = (
    b"X-LM-Tag: signed\r\nx-lm-metadata-Order:\r\n\t12\r\n",
    b"X-Lettermint-Route: outgoing\r\nIdempotency-Key: signed-%s\r\nX-MailPace-Tags: a,\r\n b\r\n",
)


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    """
    The customer's.
    """
    return rsa.generate_private_key(65537, 2048)


def written(to: str) -> bytes:
    """
    A message as no relay would write it: odd folding and spacing, octets beyond ASCII, no text at the end of a line.
    """
    return (
        b"FROM:App\r\n <%b>\r\n" % SENDER.encode()
        + b"tO:\t%b \r\n" % to.encode()
        + "Subject:  Grüße,\r\n\t\tgefaltet \r\n   und nochmal\r\n".encode()
        + b"Date: Fri, 20 Nov 2026\r\n 20:00:00 +0000\r\n"
        + b"Message-ID: <signed@%b>\r\n" % DOMAIN.encode()
        + b"X-Odd:\r\n \r\n\tvalue\r\n"
        + "\r\n.dot\r\n..\r\nzürück \t \r\n \r\n".encode()
        + b"\xff\xfe\x80 " * 30
        + b"\r\n"
        + b"y" * 3000
        + b"\r\n\r\n\r\n"
    )


@pytest.mark.parametrize("canonical", [b"simple/simple", b"relaxed/relaxed"])
def test_it_verifies(world: World, relay: Relay, key: rsa.RSAPrivateKey, canonical: bytes) -> None:
    """
    With control headers before and behind what is signed, an 8-bit body, and odd folding; not an octet is lost.
    """
    mx = world.receiver()
    to = f"someone@{world.domain(mx)}"
    content = written(to)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    signature = dkim.sign(
        content, b"s1", DOMAIN.encode(), pem, canonicalize=tuple(canonical.split(b"/")), include_headers=FIELDS
    )
    early, late = CONTROLS
    with login(relay) as client:
        submit(client, [to], early + signature + late % canonical[:6] + content)
    arrived = mx.wait()[0].content
    assert arrived.endswith(signature + content)
    assert b"X-LM" not in arrived.upper().partition(b"\r\n\r\n")[0]
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    record = b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)
    assert dkim.verify(arrived, dnsfunc=lambda name, timeout=5: record)
    assert not dkim.verify(arrived.replace(b"20:00:00", b"20:00:01"), dnsfunc=lambda name, timeout=5: record)


FIELDS = [b"from", b"to", b"subject", b"date", b"message-id", b"x-odd", b"from"]
"""
What is signed; From once more than there is, so that none can be added.
"""
