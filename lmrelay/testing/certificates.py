"""
A certificate authority of the tests' own: certificates for any names, in memory or as files.

Keys are P-256, made anew each time; dates are fixed, so that no test ages.
"""

from __future__ import annotations

import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet import ssl

NOT_BEFORE = datetime.datetime(2020, 1, 1)
NOT_AFTER = datetime.datetime(2119, 1, 1)


@frozen(eq=False)
class Certificate:
    """
    A certificate with its private key, and the authority that signed it.
    """

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def certificate_pem(self) -> bytes:
        """
        The certificate alone.
        """
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """
        The private key, PKCS #8, in clear.
        """
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def write(self, folder: Path, name: str = "server") -> tuple[Path, Path]:
        """
        Write C{NAME.pem} and C{NAME.key} into a folder, the key for its owner alone; the paths.
        """
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        certificate.write_bytes(self.certificate_pem)
        key.touch(mode=0o600)
        key.write_bytes(self.key_pem)
        return certificate, key

    def server_context(self, *issuers: Certificate) -> ssl.CertificateOptions:
        """
        A context factory for the server's side of TLS 1.2 and newer, which shows C{issuers} too.
        """
        # Twisted's annotations know only the pyOpenSSL objects that pyOpenSSL itself has deprecated.
        own: dict[str, Any] = {"privateKey": self.key, "certificate": self.certificate}
        own["extraCertChain"] = [one.certificate for one in issuers]
        return ssl.CertificateOptions(**own, raiseMinimumTo=ssl.TLSVersion.TLSv1_2)


@frozen(eq=False)
class Authority:
    """
    A certificate authority. C{root} is what a client has to trust.
    """

    root: Certificate

    @classmethod
    def make(cls, name: str = "lmrelay test CA") -> Authority:
        """
        A new one.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(name)
        builder = _builder(subject, subject, key, NOT_BEFORE, NOT_AFTER).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        return cls(Certificate(builder.sign(key, hashes.SHA256()), key))

    def issue(
        self,
        *names: str,
        not_before: datetime.datetime = NOT_BEFORE,
        not_after: datetime.datetime = NOT_AFTER,
    ) -> Certificate:
        """
        A certificate for these DNS names and IP addresses.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(names[0]), self.root.certificate.subject, key, not_before, not_after)
        builder = builder.add_extension(x509.SubjectAlternativeName(list(map(_general_name, names))), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        return Certificate(builder.sign(self.root.key, hashes.SHA256()), key)

    @property
    def pem(self) -> bytes:
        """
        The root certificate, as a C{ca_file} wants it.
        """
        return self.root.certificate_pem


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    not_before: datetime.datetime,
    not_after: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )
