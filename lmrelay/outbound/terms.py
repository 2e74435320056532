"""
What a message asks of the connections that carry it, all in one value.

Pure. Recipients of one message with equal terms share transactions; a connection serves the terms it was opened for.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from random import Random

from attrs import define, evolve, field, frozen

from lmrelay.config.project import Route
from lmrelay.config.values import Config
from lmrelay.config.words import TlsPolicy
from lmrelay.interfaces import Leased
from lmrelay.mail.outcome import Delayed, Failed, Fault
from lmrelay.outbound.requirement import find_policy
from lmrelay.outbound.sts import StsPolicy
from lmrelay.outbound.tls import Demand, Level, Rule, Vouched, fold
from lmrelay.reach import Addresses

REQUIRETLS = "requiretls"

MAX_FOUND = 10_000

_REQUIRED = Vouched(REQUIRETLS, Level.AUTHENTICATED)
_UNNAMED = Vouched(
    REQUIRETLS,
    Level.AUTHENTICATED,
    Failed(
        "5.7.10",
        "the sender requires TLS all the way, and neither DNSSEC nor MTA-STS vouches for the mail exchanger's name",
        Fault.POLICY,
    ),
)


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

    def narrow(self, found: Addresses | Delayed) -> Addresses | Delayed:
        """
        Without the addresses of a family that there is no source of.
        """
        if isinstance(found, Delayed):
            return found
        kept = tuple(address for address in found.addresses if self.reaches(address))
        if found.addresses and not kept:
            return Delayed("4.3.5", "the hosts have no address of the family of source_address", Fault.OURS)
        return evolve(found, addresses=kept)

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
    C{sts} what the recipient domain published by MTA-STS. C{tls_optional}: the sender said C{TLS-Required: No}, and it
    counts: neither MTA-STS nor DANE is to hold the message up (RFC 8689 §3).
    """

    tls: TlsPolicy
    egress: Egress = Egress()
    require_tls: bool = False
    sts: StsPolicy | None = None
    tls_optional: bool = False


@frozen
class Load:
    """
    Mail with the same terms that goes to one site together, for recipients at C{domains} (A-labels). C{vouched}: the
    names of the site's hosts are known for sure.
    """

    terms: Terms
    domains: frozenset[str]
    vouched: bool = False

    def demand_of(self, host: str, found: tuple[Rule, ...] = ()) -> Demand:
        """
        What it asks of a connection to C{host}, of which these rules were found out.
        """
        terms, sts = self.terms, self.terms.sts
        if terms.tls_optional:
            return fold(terms.tls, domains=self.domains)
        asked, watched = (sts.asks(host), sts.watches(host)) if sts is not None else ((), ())
        return fold(terms.tls, asked, found, watched, self.domains, self._of_sender(host))

    def _of_sender(self, host: str) -> Rule | None:
        """
        REQUIRETLS wants the host's name and its certificate verified, each in any way (RFC 8689 §2).
        """
        if not self.terms.require_tls:
            return None
        sts = self.terms.sts
        return _REQUIRED if self.vouched or (sts is not None and sts.matches(host)) else _UNNAMED


def find_terms(config: Config, leased: Leased, sts: StsPolicy | None = None) -> Terms:
    """
    The terms of mail in that lane now. A route or a project that is gone leaves those of what is above it.
    """
    lane = leased.lane
    policy = find_policy(config, lane.project, leased.route, lane.domain, leased.tls)
    project = config.projects.get(lane.project)
    egress = find_egress(config, project.route(leased.route) if project else None)
    # A promise of the operator's is not the sender's to take back, and who asks for both means the stricter.
    optional = leased.tls_optional and not leased.require_tls and policy is not TlsPolicy.ENFORCED
    if optional or (policy is TlsPolicy.NONE and not leased.require_tls):
        sts = None
    return Terms(policy, egress, leased.require_tls, sts, optional)


@define(eq=False)
class KnownTerms:
    """
    Remembers what was found, for as long as the configuration is the same: a lane's messages have the same terms.
    """

    _under: Config | None = field(default=None, init=False)
    _found: dict[Hashable, tuple[StsPolicy | None, Terms]] = field(factory=dict, init=False)

    def find(self, config: Config, leased: Leased, sts: StsPolicy | None) -> Terms:
        """
        As L{find_terms}.
        """
        if config is not self._under or len(self._found) >= MAX_FOUND:
            self._under = config
            self._found.clear()
        lane = leased.lane
        key = (lane.project, leased.route, lane.domain, leased.tls, leased.require_tls, leased.tls_optional)
        found = self._found.get(key)
        if found is None or found[0] is not sts:
            found = self._found[key] = (sts, find_terms(config, leased, sts))
        return found[1]


def find_egress(config: Config, route: Route | None) -> Egress:
    """
    What the route says, or else the server; each of the two for itself.
    """
    delivery = config.delivery
    sources = (route.source_address if route else ()) or delivery.source_address
    return Egress(sources, (route.ehlo_name if route else "") or delivery.ehlo_name)
