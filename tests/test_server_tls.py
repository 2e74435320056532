"""
The context that clients meet is as strict as configured, and asks nobody for anything.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from lmrelay.config.certificates import check_certificate
from lmrelay.config.values import ServerTls
from lmrelay.server_tls import make_context
from lmrelay.testing.certificates import NOT_AFTER, NOT_BEFORE, Authority, Certificate

AUTHORITY = Authority.make()
CERTIFICATE = AUTHORITY.issue("mx.example.org")


def test_without_certificate() -> None:
    """
    Without a certificate there is no TLS.
    """
    assert make_context(ServerTls()) is None


@pytest.mark.parametrize(
    ("minimum", "least"), [("TLSv1.2", ssl.TLSVersion.TLSv1_2), ("TLSv1.3", ssl.TLSVersion.TLSv1_3)]
)
def test_minimum(tmp_path: Path, minimum: str, least: ssl.TLSVersion) -> None:
    """
    Nothing older than configured is spoken, no tickets are given, and a handshake is made once.
    """
    context = make_context(ServerTls(*CERTIFICATE.write(tmp_path), minimum))
    assert context is not None
    assert (least, 0) == (context.minimum_version, context.num_tickets)
    assert context.options & ssl.OP_NO_TICKET
    assert context.options & ssl.OP_NO_RENEGOTIATION


def test_no_weak_ciphers(tmp_path: Path) -> None:
    """
    No suite is offered without authentication or encryption, nor one that is broken.
    """
    context = make_context(ServerTls(*CERTIFICATE.write(tmp_path)))
    assert context is not None
    suites = context.get_ciphers()
    assert suites
    for suite in suites:
        assert suite["strength_bits"] >= 128, suite
        assert not {"NULL", "RC4", "DES", "MD5"} & set(suite["name"].replace("_", "-").split("-")), suite


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_kinds_of_keys(tmp_path: Path, kind: str) -> None:
    """
    What the check of the configuration lets through can be used: not elliptic curves alone.
    """
    key: Any = rsa.generate_private_key(65537, 2048) if kind == "rsa" else ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mx.example.org")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, NOT_BEFORE, NOT_AFTER)
    certificate = builder.sign(key, hashes.SHA256() if kind == "rsa" else None)
    files = ServerTls(*Certificate(certificate, key).write(tmp_path))
    assert [] == check_certificate(files, "lmrelay.toml")
    context = make_context(files)
    assert context is not None
    asking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    asking.check_hostname, asking.verify_mode = False, ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = asking.wrap_bio(to_client, to_server)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server):
        with pytest.raises(ssl.SSLWantReadError):
            side.do_handshake()
    client.do_handshake()
    server.do_handshake()
    assert "TLSv1.3" == server.version()


def test_key_of_another(tmp_path: Path) -> None:
    """
    A key that does not belong to the certificate is found now, not by the first client.
    """
    certificate, _ = CERTIFICATE.write(tmp_path)
    _, key = AUTHORITY.issue("other.example.org").write(tmp_path, "other")
    with pytest.raises(OSError, match="MISMATCH"):
        make_context(ServerTls(certificate, key))


def test_key_under_a_passphrase(tmp_path: Path) -> None:
    """
    A key that needs a passphrase is refused, and the terminal is not asked for it.
    """
    certificate, key = CERTIFICATE.write(tmp_path)
    secret = serialization.BestAvailableEncryption(b"secret")
    key.write_bytes(
        CERTIFICATE.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret)
    )
    with pytest.raises(ssl.SSLError):
        make_context(ServerTls(certificate, key))
