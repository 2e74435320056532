"""
Whose certificates are believed, and for which host.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from pathlib import Path

import service_identity
from attrs import define, field
from OpenSSL import SSL, crypto
from service_identity.hazmat import DNS_ID, DNSPattern, IPAddress_ID, verify_service_identity
from service_identity.pyopenssl import extract_patterns
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from lmrelay.config.values import Config
from lmrelay.interfaces import ISettings

CIPHERS = b"DEFAULT:!kDHE:!PSK"
"""
No finite-field Diffie-Hellman in TLS 1.2: the server chooses its numbers, and with the largest a handshake holds up
everybody's mail for most of a second. Every server that is known to have it can do without.
"""

MAX_DEPTH = 8
"""
Certificates between a server's and the one that is believed. A server can show so many, and with such keys, that to
check them all takes as long.
"""

MAX_CERTIFICATE = 32 * 1024
"""
Octets of a server's certificate, ten times those of one with a hundred names: to compare thousands takes long, too.
"""

MAX_NAMES = 200
"""
Characters of what a certificate says: a server writes it, and it is kept with each delivery.
"""

_WORDS = {
    9: "the certificate is not valid yet",
    10: "the certificate has expired",
    18: "the certificate is self-signed",
    19: "a self-signed certificate is in the chain",
    20: "the certificate's issuer is not known",
    21: "the certificate's issuer is not known",
    22: "the chain of certificates is too long",
    23: "the certificate was revoked",
    26: "the certificate is not meant for a server",
    62: "the certificate is for another host",
    66: "the certificate's key is too small",
    68: "the certificate's signature is too weak",
}
"""
OpenSSL's X509_V_ERR_* that matter.
"""


def make_context(ca_file: Path | None, *, strict: bool) -> SSL.Context:
    """
    A context that trusts the CAs in C{ca_file}, or the system's.

    @param strict: TLS 1.2 at least; else what OpenSSL allows
    @raise SSL.Error: the file cannot be used
    """
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_cipher_list(CIPHERS)
    context.set_verify_depth(MAX_DEPTH)
    if strict:
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
    if ca_file is None:
        context.set_default_verify_paths()
    else:
        context.load_verify_locations(str(ca_file))
    return context


@define(eq=False)
class Contexts:
    """
    Contexts with the CAs of the configuration in force: those that C{ca_file} names, by default delivery's.
    """

    settings: ISettings
    ca_file: Callable[[Config], Path | None] = lambda config: config.delivery.ca_file
    _known: dict[tuple[Path | None, int, bool], SSL.Context] = field(factory=dict, init=False)

    def get(self, strict: bool) -> SSL.Context:
        """
        As L{make_context}. Reading the CAs takes milliseconds, so it is done again only for a changed file.

        @raise OSError: the file cannot be read
        """
        ca_file = self.ca_file(self.settings.config)
        changed = ca_file.stat().st_mtime_ns if ca_file is not None else 0
        key = (ca_file, changed, strict)
        if key not in self._known:
            if len(self._known) >= 4:
                self._known.clear()
            self._known[key] = make_context(ca_file, strict=strict)
        return self._known[key]


@implementer(IOpenSSLClientConnectionCreator)
@define(eq=False)
class StrictHandshake:
    """
    One handshake with C{host} that breaks off unless a known CA vouches for its certificate. C{reason}: why it did.
    """

    host: str
    context: SSL.Context
    reason: str = field(default="", init=False)

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """
        With SNI, where the host has a name (RFC 6066 §3).
        """
        connection = SSL.Connection(self.context, None)
        connection.set_verify(SSL.VERIFY_PEER, self._check)
        if not is_address(self.host):
            connection.set_tlsext_host_name(self.host.encode("ascii"))
        return connection

    def _check(self, connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: int) -> bool:
        if error:
            self.reason = tell_mistrust(error)
        elif depth == 0:
            self.reason = names_other(certificate, self.host)
        return not self.reason


def tell_mistrust(error: int) -> str:
    """
    What one of OpenSSL's X509_V_ERR_* means.
    """
    return _WORDS.get(error, f"the certificate did not verify (OpenSSL error {error})")


def names_other(certificate: crypto.X509, host: str) -> str:
    """
    For whom the certificate is, if it is not for C{host} (RFC 6125 §6); empty: it is.
    """
    if len(crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)) > MAX_CERTIFICATE:
        return "the certificate is for no host (it is too large)"
    try:
        patterns = extract_patterns(certificate)
        verify_service_identity(patterns, [IPAddress_ID(host) if is_address(host) else DNS_ID(host)], [])
    except service_identity.VerificationError:
        names = ", ".join(sorted(str(pattern.pattern, "ascii") for pattern in _names(certificate))[:5])
        return f"the certificate is for {names[:MAX_NAMES] or 'no host'}, not for {host}"
    except Exception as error:  # noqa: BLE001 - a server can show what is malformed in any way
        return f"the certificate is for no host ({str(error)[:MAX_NAMES]})"
    return ""


def _names(certificate: crypto.X509) -> list[DNSPattern]:
    return [pattern for pattern in extract_patterns(certificate) if isinstance(pattern, DNSPattern)]


def is_address(host: str) -> bool:
    """
    Is it an IP address, not a name?
    """
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
