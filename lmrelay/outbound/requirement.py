"""
Which TLS a message to a recipient needs, from all the places that may say so.

Pure. Server, project and route: the most specific that is set promises it to the sender. The
recipient's domain may raise that, and take the offer of TLS from a receiver that breaks over
it, but it never breaks a promise of C{enforced}.
"""

from __future__ import annotations

from lmrelay.config.values import Config
from lmrelay.config.words import TlsPolicy


def choose_policy(
    server: TlsPolicy,
    project: TlsPolicy | None = None,
    route: TlsPolicy | None = None,
    domain: TlsPolicy | None = None,
    kept: TlsPolicy | None = None,
) -> TlsPolicy:
    """
    The policy that comes of these settings; None is one that is not set. C{kept} is what was promised when the
    message was accepted: of that and of what is promised now, the stricter.
    """
    promised = max(route or project or server, kept or TlsPolicy.NONE, key=list(TlsPolicy).index)
    if domain is TlsPolicy.ENFORCED:
        return TlsPolicy.ENFORCED
    if domain is TlsPolicy.NONE and promised is TlsPolicy.OPPORTUNISTIC:
        return TlsPolicy.NONE
    return promised


def find_policy(config: Config, project: str, route: str, domain: str, kept: TlsPolicy | None = None) -> TlsPolicy:
    """
    The policy for a recipient at C{domain} of mail on that route. A project that is gone
    leaves the server's, and what it had promised by then.
    """
    tenant = config.projects.get(project)
    of_domain = config.delivery.domains.get(domain)
    return choose_policy(
        config.delivery.tls,
        tenant.tls if tenant else None,
        tenant.route(route).tls if tenant else None,
        of_domain.tls if of_domain else None,
        kept,
    )
