"""
The server's certificate and key: can they be used, and for how long and which name?

In come the paths of C{[tls]}; out go L{Problem}s. Nothing of the key is in their words.
"""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from lmrelay.config.values import ServerTls
from lmrelay.errors import Problem

SOON = datetime.timedelta(days=14)
_KEYS = (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey)


def check_certificate(tls: ServerTls, file: str) -> list[Problem]:
    """
    Why the certificate and its key cannot be used together; nothing where they can, or none is configured.

    @param file: where C{tls} stands
    """
    problems: list[Problem] = []
    chain = key = None
    if tls.certificate is not None:
        try:
            chain = _read_chain(tls.certificate)
        except ValueError as error:
            problems.append(Problem(file, "tls.certificate", str(error)))
    if tls.private_key is not None:
        try:
            key = _read_key(tls.private_key)
        except ValueError as error:
            problems.append(Problem(file, "tls.private_key", str(error)))
    if chain and key and _public(chain[0].public_key()) != _public(key.public_key()):
        reason = f"{tls.private_key} does not match the first certificate in {tls.certificate}"
        problems.append(Problem(file, "tls.private_key", reason))
    return problems


def find_expired(tls: ServerTls, file: str, now: datetime.datetime) -> list[Problem]:
    """
    Why clients would refuse a certificate that can be used: it is not valid yet, or no more.
    """
    problems = []
    for one in _chain(tls):
        name = one.subject.rfc4514_string() or "the certificate"
        if one.not_valid_after_utc <= now:
            reason = f"{tls.certificate}: {name} expired on {one.not_valid_after_utc:%Y-%m-%d}"
            problems.append(Problem(file, "tls.certificate", reason))
        elif one.not_valid_before_utc > now:
            reason = f"{tls.certificate}: {name} is not valid before {one.not_valid_before_utc:%Y-%m-%d}"
            problems.append(Problem(file, "tls.certificate", reason))
    return problems


def find_doubtful(tls: ServerTls, file: str, hostname: str, now: datetime.datetime) -> list[Problem]:
    """
    What deserves a look: it ends soon, it is for another name, or others can read the key.
    """
    found = []
    chain = _chain(tls)
    if chain and now < chain[0].not_valid_after_utc <= now + SOON:
        reason = f"{tls.certificate} expires on {chain[0].not_valid_after_utc:%Y-%m-%d}"
        found.append(Problem(file, "tls.certificate", reason))
    if chain and not _is_for(chain[0], hostname):
        found.append(Problem(file, "tls.certificate", f"{tls.certificate} is not for the name {hostname}"))
    if tls.private_key is not None and tls.private_key.exists() and tls.private_key.stat().st_mode & 0o007:
        found.append(Problem(file, "tls.private_key", f"{tls.private_key} is open to every user of this machine"))
    return found


def _chain(tls: ServerTls) -> list[x509.Certificate]:
    try:
        return _read_chain(tls.certificate) if tls.certificate is not None else []
    except ValueError:
        return []


def _read_chain(path: Path) -> list[x509.Certificate]:
    octets = _read(path)
    try:
        return x509.load_pem_x509_certificates(octets)
    except ValueError as error:
        raise ValueError(f"{path} is not a PEM file of certificates") from error


def _read_key(path: Path) -> PrivateKeyTypes:
    octets = _read(path)
    try:
        key = serialization.load_pem_private_key(octets, None)
    except TypeError as error:
        raise ValueError(f"{path} is protected by a passphrase, which nobody would be there to give") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(f"{path} is not a PEM file of a private key") from error
    if not isinstance(key, _KEYS):
        raise ValueError(f"{path} is no RSA, elliptic curve or Ed25519 key")
    return key


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error


def _public(key: object) -> bytes:
    octets: bytes = key.public_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return octets


def _is_for(certificate: x509.Certificate, hostname: str) -> bool:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    listed = [name.lower() for name in names.get_values_for_type(x509.DNSName)]
    return hostname in listed or f"*.{hostname.partition('.')[2]}" in listed
