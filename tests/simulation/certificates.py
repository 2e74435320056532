"""
Certificates that are the same in every run, to the octet: a story must play again.

Keys are Ed25519, for its signatures are always as long, and are made of a name; nobody is to trust them.
"""

from __future__ import annotations

import datetime
import hashlib
from functools import cache
from typing import Any

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.internet import ssl

from lmrelay.testing.certificates import NOT_AFTER, NOT_BEFORE

LONG_AGO = datetime.datetime(2020, 2, 1)


def _key(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@frozen
class Authority:
    """
    A certificate authority of that name.
    """

    name: str

    @property
    def pem(self) -> bytes:
        """
        Its own certificate, as a C{ca_file} wants it.
        """
        return _sign(self.name, self.name, is_ca=True).public_bytes(Encoding.PEM)

    def context(self, host: str, *, expired: bool = False) -> Any:
        """
        A context factory for the server of that host.
        """
        certificate = _sign(self.name, host, not_after=LONG_AGO if expired else NOT_AFTER)
        own: dict[str, Any] = {"privateKey": _key(host), "certificate": certificate}
        factory = ssl.CertificateOptions(**own, raiseMinimumTo=ssl.TLSVersion.TLSv1_2)
        # A ticket is not always as long, and what goes over the wire in another piece plays otherwise.
        factory.getContext().set_options(SSL.OP_NO_TICKET)
        return factory


@cache
def _sign(issuer: str, host: str, *, is_ca: bool = False, not_after: datetime.datetime = NOT_AFTER) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(host))
        .issuer_name(_name(issuer))
        .public_key(_key(host).public_key())
        .serial_number(int.from_bytes(hashlib.sha256(host.encode()).digest()[:8], "big") | 1 << 62)
        .not_valid_before(NOT_BEFORE)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    )
    if not is_ca:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    return builder.sign(_key(issuer), None)
