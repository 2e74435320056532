"""
What EHLO offers (RFC 5321 §4.1.1.1): the same for all clients of a kind, so the answer is made once for them.
"""

from __future__ import annotations

from functools import lru_cache

from lmrelay.inbound.login import Login
from lmrelay.inbound.services import Client, Services
from lmrelay.inbound.transaction import size_limit
from lmrelay.smtp import replies
from lmrelay.smtp.reply import Reply

ALWAYS = ("8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "CHUNKING", "DSN")


def answer_ehlo(services: Services, client: Client, login: Login, *, starttls: bool) -> Reply:
    """
    What is offered now, STARTTLS where it may be said.
    """
    config, submitter = services.config, login.submitter
    project = config.projects.get(submitter.slug) if submitter is not None else None
    size = size_limit(config.limits, project).octets
    mechanisms = tuple(login.mechanisms()) if client.is_secure else ()
    return _make(config.server.hostname, size, mechanisms, bool(client.tls_version), starttls)


@lru_cache(maxsize=256)
def _make(hostname: str, size: int, mechanisms: tuple[str, ...], in_tls: bool, starttls: bool) -> Reply:
    offered = ["PIPELINING", f"SIZE {size}", *ALWAYS]
    if mechanisms:
        offered.append(" ".join(("AUTH", *mechanisms)))
    if in_tls:
        offered.append("REQUIRETLS")
    if starttls:
        offered.append("STARTTLS")
    return replies.ehlo(hostname, offered)
