"""
The TLS handshake with an MX host: it always goes through, and what the server showed is recorded.

Whether that is enough is for the caller to say, before anything else is sent.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path

import service_identity
from attrs import define, field
from OpenSSL import SSL, crypto
from service_identity.hazmat import DNS_ID, DNSPattern, verify_service_identity
from service_identity.pyopenssl import extract_patterns
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from lmrelay.interfaces import ISettings
from lmrelay.outbound.tls import Shown

_WORDS = {
    9: "the certificate is not valid yet",
    10: "the certificate has expired",
    18: "the certificate is self-signed",
    19: "a self-signed certificate is in the chain",
    20: "the certificate's issuer is not known",
    21: "the certificate's issuer is not known",
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
    Contexts with the CAs of the configuration in force.
    """

    settings: ISettings
    _known: dict[tuple[Path | None, int, bool], SSL.Context] = field(factory=dict, init=False)

    def get(self, strict: bool) -> SSL.Context:
        """
        As L{make_context}. Reading the CAs takes milliseconds, so it is done again only for a changed file.

        @raise OSError: the file cannot be read
        """
        ca_file = self.settings.config.delivery.ca_file
        changed = ca_file.stat().st_mtime_ns if ca_file is not None else 0
        key = (ca_file, changed, strict)
        if key not in self._known:
            if len(self._known) >= 4:
                self._known.clear()
            self._known[key] = make_context(ca_file, strict=strict)
        return self._known[key]


@implementer(IOpenSSLClientConnectionCreator)
@define(eq=False)
class Handshake:
    """
    One handshake with C{host}; a bad certificate is noted, not refused. C{server_name} is asked for instead of the
    host's name, if it is not empty.
    """

    host: str
    context: SSL.Context
    server_name: str = ""
    _connection: SSL.Connection | None = None
    _errors: list[int] = field(factory=list)

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """
        With SNI, for hosts that choose their certificate by it.
        """
        connection = SSL.Connection(self.context, None)
        connection.set_verify(SSL.VERIFY_PEER, self._note)
        name = self.server_name or self.host
        if not _is_address(name):
            connection.set_tlsext_host_name(name.encode("ascii"))
        self._connection = connection
        return connection

    def _note(self, connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: int) -> bool:
        if error:
            self._errors.append(error)
        return True

    def finish(self) -> Shown:
        """
        What the server showed in the finished handshake.
        """
        connection = self._connection
        if connection is None:
            return Shown("", "", "there was no handshake")
        chain = connection.get_peer_cert_chain() or ()
        return Shown(
            connection.get_protocol_version_name(),
            connection.get_cipher_name() or "",
            self._mistrust(connection),
            tuple(crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate) for certificate in chain),
        )

    def _mistrust(self, connection: SSL.Connection) -> str:
        """
        Why the certificate is not that of the host, as far as any known CA says; empty: it is.
        """
        if self._errors:
            return _tell(self._errors[0])
        certificate = connection.get_peer_certificate()
        if certificate is None:
            return "the server showed no certificate"
        return names_other(certificate, self.host)


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
        With SNI.
        """
        connection = SSL.Connection(self.context, None)
        connection.set_verify(SSL.VERIFY_PEER, self._check)
        connection.set_tlsext_host_name(self.host.encode("ascii"))
        return connection

    def _check(self, connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: int) -> bool:
        if error:
            self.reason = _tell(error)
        elif depth == 0:
            self.reason = names_other(certificate, self.host)
        return not self.reason


def _tell(error: int) -> str:
    return _WORDS.get(error, f"the certificate did not verify (OpenSSL error {error})")


def names_other(certificate: crypto.X509, host: str) -> str:
    """
    For whom the certificate is, if it is not for C{host} (RFC 6125 §6); empty: it is.
    """
    try:
        patterns = extract_patterns(certificate)
        verify_service_identity(patterns, [DNS_ID(host)], [])
    except service_identity.VerificationError:
        names = ", ".join(sorted(str(pattern.pattern, "ascii") for pattern in _names(certificate))[:5])
        return f"the certificate is for {names or 'no host'}, not for {host}"
    except Exception as error:  # noqa: BLE001 - a server can show what is malformed in any way
        return f"the certificate is for no host ({error})"
    return ""


def _names(certificate: crypto.X509) -> list[DNSPattern]:
    return [pattern for pattern in extract_patterns(certificate) if isinstance(pattern, DNSPattern)]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def tell_loss(error: BaseException | None) -> str:
    """
    How a connection ended, in words.
    """
    if isinstance(error, SSL.Error):
        entries = error.args[0] if error.args and isinstance(error.args[0], list) else []
        return f"the connection was lost (TLS: {', '.join(str(entry[-1]) for entry in entries) or 'broken off'})"
    if error is None or isinstance(error, ConnectionDone):
        return "the connection was lost"
    return f"the connection was lost ({error})"
