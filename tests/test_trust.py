"""
What a server can make a TLS client do: its handshakes are anybody's to begin, and all mail waits while one is reckoned.
"""

from __future__ import annotations

import contextlib
import datetime
from itertools import pairwise
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto

from lmrelay.outbound.handshake import Handshake
from lmrelay.testing.certificates import Authority
from lmrelay.trust import MAX_DEPTH, StrictHandshake, make_context, names_other

FROM, UNTIL = datetime.datetime(2020, 1, 1), datetime.datetime(2119, 1, 1)


def make_chain(length: int) -> tuple[ec.EllipticCurvePrivateKey, list[x509.Certificate]]:
    """
    So many certificates, each issued by the next, all with one key.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{number}.example")]) for number in range(length + 1)]
    chain = []
    for number, (name, issuer) in enumerate(pairwise(names)):
        builder = x509.CertificateBuilder(issuer, name, key.public_key(), number + 1, FROM, UNTIL)
        builder = builder.add_extension(x509.BasicConstraints(ca=number > 0, path_length=None), critical=True)
        chain.append(builder.sign(key, hashes.SHA256()))
    return key, chain


def shake_hands(client: SSL.Connection, server: SSL.Connection) -> None:
    """
    @raise SSL.Error: one of them would not
    """
    client.set_connect_state()
    server.set_accept_state()
    for _ in range(5):
        for one, other in ((client, server), (server, client)):
            with contextlib.suppress(SSL.WantReadError):
                one.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                other.bio_write(one.bio_read(1 << 20))


def serve(length: int) -> SSL.Connection:
    """
    A server that shows so many certificates.
    """
    key, chain = make_chain(length)
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_privatekey(key)
    context.use_certificate(chain[0])
    for certificate in chain[1:]:
        context.add_extra_chain_cert(certificate)
    return SSL.Connection(context, None)


@pytest.mark.parametrize("strict", [True, False])
def test_key_exchange(strict: bool) -> None:
    """
    No key exchange is offered whose cost the server can choose; those of today, and RSA's of old, are.
    """
    ciphers = SSL.Connection(make_context(None, strict=strict), None).get_cipher_list()
    kinds = {name.partition("-")[0] for name in ciphers}
    assert {"ECDHE", "TLS_AES_256_GCM_SHA384", "AES256"} <= kinds
    assert "DHE" not in kinds


@pytest.mark.parametrize(
    ("length", "reason"),
    [(MAX_DEPTH, "the certificate's issuer is not known"), (60, "the chain of certificates is too long")],
)
def test_long_chain(length: int, reason: str) -> None:
    """
    No more of a chain is checked than any good one has: TLS without proof goes on, and what asks for proof does not.
    """
    unused: Any = None
    opportunistic = Handshake("0.example", make_context(None, strict=False))
    shake_hands(opportunistic.clientConnectionForTLS(unused), serve(length))
    shown = opportunistic.finish()
    assert (reason, length) == (shown.distrust, len(shown.chain))
    strict = StrictHandshake("0.example", make_context(None, strict=True))
    with pytest.raises(SSL.Error):
        shake_hands(strict.clientConnectionForTLS(unused), serve(length))
    assert reason == strict.reason


@pytest.mark.parametrize(("names", "reason"), [(250, ""), (7000, "the certificate is for no host (it is too large)")])
def test_many_names(names: int, reason: str) -> None:
    """
    A certificate may have as many names as the largest have; not so many that to compare them holds up all mail.
    """
    issued = Authority.make().issue("mx.example", *(f"host-{number}.customer.example" for number in range(names)))
    assert reason == names_other(crypto.X509.from_cryptography(issued.certificate), "mx.example")
