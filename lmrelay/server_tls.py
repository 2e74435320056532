"""
The TLS context that clients meet, made from the configured certificate and key.
"""

from __future__ import annotations

import ssl

from lmrelay.config.values import ServerTls

_MINIMUM = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}

CIPHERS = (
    "@SECLEVEL=2:ECDH+AESGCM:ECDH+CHACHA20:DH+AESGCM:DH+CHACHA20:ECDH+AES256:DH+AES256:ECDH+AES128:DH+AES:"
    "RSA+AESGCM:RSA+AES:!aNULL:!MD5:!DSS"
)
"""
For TLS 1.2, the best first: Twisted's own list.
"""


def make_context(tls: ServerTls) -> ssl.SSLContext | None:
    """
    The context, or None where no certificate is configured. L{check_certificate} has found nothing wrong with the
    files.

    @raise OSError: one cannot be read any more, or is no longer what it was
    """
    if tls.certificate is None or tls.private_key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _MINIMUM[tls.minimum]
    context.set_ciphers(CIPHERS)
    # What a ticket is sealed with would open old recordings for as long as the process lives. And a ticket costs, in
    # TLS 1.3 where it comes unasked, a fourth of a handshake. In TLS 1.2 OpenSSL itself remembers the last 20,480
    # sessions, of 1 KiB each and for two hours; each would open its own recording alone.
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    # Without a password OpenSSL would ask the terminal for one.
    context.load_cert_chain(tls.certificate, tls.private_key, password=b"")
    return context
