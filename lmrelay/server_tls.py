"""
The TLS context that clients meet, made from the configured certificate and key.
"""

from __future__ import annotations

from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from twisted.internet.ssl import CertificateOptions, TLSVersion

from lmrelay.config.values import ServerTls

_MINIMUM = {"TLSv1.2": TLSVersion.TLSv1_2, "TLSv1.3": TLSVersion.TLSv1_3}


def make_context(tls: ServerTls) -> CertificateOptions | None:
    """
    The context factory, or None where no certificate is configured. L{check_certificate} has
    found nothing wrong with the files.

    @raise OSError: one cannot be read any more
    @raise ValueError: one is no longer what it was
    """
    if tls.certificate is None or tls.private_key is None:
        return None
    # Twisted's annotations know only the pyOpenSSL objects that pyOpenSSL itself has deprecated.
    key: Any = load_pem_private_key(tls.private_key.read_bytes(), None)
    chain: list[Any] = x509.load_pem_x509_certificates(tls.certificate.read_bytes())
    options = CertificateOptions(
        privateKey=key,
        certificate=chain[0],
        extraCertChain=chain[1:],
        insecurelyLowerMinimumTo=_MINIMUM[tls.minimum],
    )
    # Made now, so that a key that does not match is found at start and not by the first client.
    options.getContext()
    return options
