"""
The TLS handshake with an MX host: it always goes through, and what the server showed is recorded.

Whether that is enough is for the caller to say, before anything else is sent.
"""

from __future__ import annotations

from attrs import define, field
from OpenSSL import SSL, crypto
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from lmrelay.outbound.tls import Shown
from lmrelay.trust import is_address, names_other, tell_mistrust


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
        if not is_address(name):
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
            return tell_mistrust(self._errors[0])
        certificate = connection.get_peer_certificate()
        if certificate is None:
            return "the server showed no certificate"
        return names_other(certificate, self.host)


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
