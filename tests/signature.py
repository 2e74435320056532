"""
A verifier of webhooks written from the documentation alone, that all tests use.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping


def signed_at(headers: Mapping[str, str], body: bytes, secret: str, prefix: str = "x-lettermint") -> str | None:
    """
    The time that the signature names, if any of its values is that of this secret.
    """
    parts = [part.partition("=") for part in headers[f"{prefix}-signature"].split(",")]
    at = next(value for key, _, value in parts if key == "t")
    expected = hmac.new(secret.encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest()
    good = any(key == "v1" and hmac.compare_digest(expected, value) for key, _, value in parts)
    return at if good else None
