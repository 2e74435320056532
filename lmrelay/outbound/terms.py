"""
What a message asks of the connections that carry it, all in one value.

Pure. Recipients of one message with equal terms share transactions; a connection serves the terms it was opened for.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from attrs import frozen

from lmrelay.config.values import Config, Route, TlsPolicy
from lmrelay.interfaces import Leased
from lmrelay.outbound.requirement import find_policy
from lmrelay.outbound.sts import StsPolicy
from lmrelay.outbound.tls import Demand, Rule, fold


@frozen
class Egress:
    """
    From which of this machine's addresses, and under which name. No C{sources}: the system chooses; C{name} empty: the
    server's host name.
    """

    sources: tuple[str, ...] = ()
    name: str = ""

    def reaches(self, address: str) -> bool:
        """
        Is there a source of the address's family?
        """
        return not self.sources or bool(_of_family(self.sources, address))

    def order_sources(self, address: str, random: Random) -> Sequence[str]:
        """
        The addresses to connect from to C{address}, of its family; at random, so that the load spreads. The others are
        for where this machine has not got the first. An empty one: the system chooses.
        """
        sources = _of_family(self.sources, address)
        return random.sample(sources, len(sources)) or ("",)


def _of_family(sources: Sequence[str], address: str) -> list[str]:
    return [source for source in sources if (":" in source) == (":" in address)]


@frozen
class Terms:
    """
    C{tls} is what server, project, route and recipient domain say, C{require_tls} that the sender said REQUIRETLS,
    C{sts} what the recipient domain published by MTA-STS.
    """

    tls: TlsPolicy
    egress: Egress = Egress()
    require_tls: bool = False
    sts: StsPolicy | None = None


@frozen
class Load:
    """
    Mail with the same terms that goes to one site together, for recipients at C{domains} (A-labels).
    """

    terms: Terms
    domains: frozenset[str]

    def demand_of(self, host: str, found: tuple[Rule, ...] = ()) -> Demand:
        """
        What it asks of a connection to C{host}, of which these rules were found out.
        """
        sts = self.terms.sts
        if sts is None:
            return fold(self.terms.tls, (), found, (), self.domains)
        return fold(self.terms.tls, sts.asks(host), found, sts.watches(host), self.domains)


def find_terms(config: Config, leased: Leased, sts: StsPolicy | None = None) -> Terms:
    """
    The terms of mail in that lane now. A route or a project that is gone leaves those of what is above it.
    """
    lane = leased.lane
    policy = find_policy(config, lane.project, leased.route, lane.domain, leased.tls)
    project = config.projects.get(lane.project)
    egress = find_egress(config, project.route(leased.route) if project else None)
    return Terms(policy, egress, sts=None if policy is TlsPolicy.NONE else sts)


def find_egress(config: Config, route: Route | None) -> Egress:
    """
    What the route says, or else the server; each of the two for itself.
    """
    delivery = config.delivery
    sources = (route.source_address if route else ()) or delivery.source_address
    return Egress(sources, (route.ehlo_name if route else "") or delivery.ehlo_name)
