"""
How a port that takes both begins: a client that speaks TLS first gets TLS, any other the banner.

A client of implicit TLS always speaks first; one of SMTP waits for the banner, and so gets it after C{PATIENCE}.
"""

from __future__ import annotations

from lmrelay.config.words import Security

PATIENCE = 1.0
"""
Seconds.
"""

_HANDSHAKE_RECORD = b"\x16"


def is_tls(first: bytes) -> bool:
    """
    Do these first octets of a client begin a TLS handshake (RFC 8446 §5.1)? No SMTP command begins so.
    """
    return first[:1] == _HANDSHAKE_RECORD


def waits_for_client(security: Security) -> bool:
    """
    Is the banner held back until the client spoke, or did not?
    """
    return security is Security.AUTO
