"""
Which TLS a message to a recipient needs, from all the places that may say so.

Pure. Server, project and route: the most specific that is set promises it to the sender. The
recipient's domain may raise that, and take the offer of TLS from a receiver that breaks over
it, but it never breaks a promise of C{enforced}.
"""

from __future__ import annotations

from lmrelay.config.values import Config, TlsPolicy


def choose_policy(
    server: TlsPolicy,
    project: TlsPolicy | None = None,
    route: TlsPolicy | None = None,
    domain: TlsPolicy | None = None,
) -> TlsPolicy:
    """
    The policy that comes of these settings; None is one that is not set.
    """
    promised = route or project or server
    if domain is TlsPolicy.ENFORCED:
        return TlsPolicy.ENFORCED
    if domain is TlsPolicy.NONE and promised is TlsPolicy.OPPORTUNISTIC:
        return TlsPolicy.NONE
    return promised


def find_policy(config: Config, project: str, route: str, domain: str) -> TlsPolicy:
    """
    The policy for a recipient at C{domain} of mail on that route. A project that is gone
    leaves the server's.
    """
    tenant = config.projects.get(project)
    of_domain = config.delivery.domains.get(domain)
    return choose_policy(
        config.delivery.tls,
        tenant.tls if tenant else None,
        tenant.route(route).tls if tenant else None,
        of_domain.tls if of_domain else None,
    )
