"""
What a message asks of the connections that carry it, all in one value.

Pure. Recipients of one message with equal terms share transactions; a connection serves the terms it was opened for.
"""

from __future__ import annotations

from attrs import frozen

from lmrelay.config.values import Config, TlsPolicy
from lmrelay.interfaces import Leased
from lmrelay.outbound.requirement import find_policy


@frozen
class Egress:
    """
    From which of this machine's addresses, and under which name. No C{sources}: the system chooses; C{name} empty: the
    server's host name.
    """

    sources: tuple[str, ...] = ()
    name: str = ""


@frozen
class Terms:
    """
    C{tls} is what server, project, route and recipient domain say, C{require_tls} that the sender said REQUIRETLS.
    """

    tls: TlsPolicy
    egress: Egress = Egress()
    require_tls: bool = False


def find_terms(config: Config, leased: Leased) -> Terms:
    """
    The terms of mail in that lane now. A route or a project that is gone leaves those of what is above it.
    """
    lane = leased.lane
    return Terms(find_policy(config, lane.project, leased.route, lane.domain, leased.tls))
