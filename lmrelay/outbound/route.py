"""
Where mail for a domain goes: its MX hosts in order, and their addresses (RFC 5321 §5.1).

The rules are pure; L{Router} asks the resolver for them. What cannot be routed is an outcome:
for good where the DNS says so, for now where it says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from itertools import chain, zip_longest
from random import Random
from typing import Union

from attrs import define, frozen
from twisted.internet.defer import Deferred, DeferredList

from lmrelay.config.values import Network
from lmrelay.errors import DnsError
from lmrelay.interfaces import Answer, IResolver, MxRecord
from lmrelay.mail.outcome import Delayed, Failed, Fault

A, MX, AAAA = 1, 15, 28

MAX_WORD = 400
_HOST = re.compile(r"[a-z0-9._-]{1,253}")

MAX_HOSTS = 10
MAX_ADDRESSES = 6
"""
Of a domain and of a host: a zone with hundreds must not hold an attempt for hours.
"""

IPAddress = Union[IPv4Address, IPv6Address]

_NAT64 = IPv6Network("64:ff9b::/96")
_EMBEDDING = (IPv6Network("::/96"), IPv6Network("::ffff:0:0:0/96"))
"""
IPv4-compatible (RFC 4291 §2.5.5.1) and IPv4-translated addresses (RFC 7915).
"""

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_DOCUMENTATION = IPv6Network("3fff::/20")
"""
RFC 9637. What is not global unicast is not the internet's: RFC 8215's local NAT64 prefix,
RFC 9602's segment identifiers and whatever comes next.
"""

_ISATAP = frozenset({0x00005EFE, 0x02005EFE})
"""
The upper half of an interface identifier with an IPv4 address below (RFC 5214 §6.1).
"""


Groups = tuple[tuple[str, ...], ...]
"""
MX hosts in groups of equal preference, the best first.
"""


@frozen
class Site:
    """
    The hosts that serve a domain.

    Domains with the same groups share the site. C{authenticated}: the DNS vouched for it.
    C{implicit}: there was no MX record, the domain is its own host.
    """

    groups: Groups
    authenticated: bool = False
    implicit: bool = False

    @property
    def name(self) -> str:
        """
        For people: the first of its hosts.
        """
        return self.groups[0][0]

    @property
    def hosts(self) -> str:
        """
        All hosts in one word, by which a site is remembered: commas between equals, a semicolon before worse ones.

        A very long one, or with a name that no host has, is its best host and a SHA-256 of all: a zone's owner must not
        be able to make a word that the database does not take, or that is another site's.
        """
        word = ";".join(map(",".join, self.groups))
        if len(word) <= MAX_WORD and all(map(_HOST.fullmatch, chain.from_iterable(self.groups))):
            return word
        digest = sha256(repr(self.groups).encode("utf-8", "surrogatepass")).hexdigest()
        return f"{self.name};sha256:{digest}" if _HOST.fullmatch(self.name) else f"sha256:{digest}"

    def order(self, random: Random) -> list[str]:
        """
        The hosts to try, equal preference at random so that the load spreads.
        """
        if len(self.groups) == len(self.groups[0]) == 1:
            return list(self.groups[0])
        hosts = chain.from_iterable(random.sample(group, len(group)) for group in self.groups)
        return list(hosts)[:MAX_HOSTS]


def choose_site(domain: str, answer: Answer, own_name: str) -> Site | Failed:
    """
    What the MX records of C{domain} say; without any, the domain is its own host.
    """
    records = [record for record in answer.records if isinstance(record, MxRecord)]
    if not answer.exists:
        return Failed("5.1.2", f"the domain {domain} does not exist", Fault.RECIPIENT)
    if not records:
        if domain == own_name:
            return _loops(domain)
        return Site(((domain,),), answer.authenticated, implicit=True)
    hosts = [record for record in records if record.host]
    if not hosts:
        return Failed("5.1.10", f"the domain {domain} accepts no mail (null MX)", Fault.RECIPIENT)
    ours = [record.preference for record in hosts if record.host == own_name]
    if ours:
        hosts = [record for record in hosts if record.preference < min(ours)]
    if not hosts:
        return _loops(domain)
    return Site(_group(hosts), answer.authenticated)


def _loops(domain: str) -> Failed:
    return Failed("5.4.6", f"the best mail exchanger of {domain} is this server", Fault.RECEIVER)


def _group(records: Sequence[MxRecord]) -> Groups:
    groups: dict[int, set[str]] = {}
    seen: set[str] = set()
    for record in sorted(records, key=lambda record: (record.preference, record.host)):
        if record.host not in seen:
            seen.add(record.host)
            groups.setdefault(record.preference, set()).add(record.host)
    return tuple(tuple(sorted(group)) for group in groups.values())


def is_allowed(address: str, networks: Sequence[Network] = ()) -> bool:
    """
    May the relay connect there: is it public, or in one of these networks?

    Else any domain's owner could make the relay knock on doors behind the firewall.
    """
    try:
        seen = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    forms = _forms(seen)
    if any(form in network for form in forms for network in networks if form.version == network.version):
        return True
    return all(form.is_global and not form.is_multicast and not _is_reserved(form) for form in forms)


def _is_reserved(address: IPAddress) -> bool:
    if isinstance(address, IPv6Address):
        return address not in _GLOBAL_UNICAST or address in _DOCUMENTATION
    return address.is_unspecified or address.is_reserved


def _forms(address: IPAddress) -> list[IPAddress]:
    """
    What an address comes out as: itself, or the IPv4 address a translator or tunnel takes it for.
    """
    if isinstance(address, IPv4Address):
        return [address]
    low = IPv4Address(int(address) & 0xFFFFFFFF)
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address in _NAT64:
        return [low]
    if address.sixtofour is not None:
        return [address.sixtofour]
    if address.teredo is not None:
        return list(address.teredo)
    if any(address in network for network in _EMBEDDING) and int(address) > 1:
        return [address, low]
    if (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
        return [address, low]
    return [address]


def order_addresses(ipv6: Sequence[str], ipv4: Sequence[str], *, ipv6_last: bool = False) -> list[str]:
    """
    Both families in turn, IPv6 first (RFC 8305 §4), or last where it lately led nowhere.
    """
    if ipv6_last:
        ordered = [*ipv4, *ipv6]
    else:
        ordered = [address for pair in zip_longest(ipv6, ipv4) for address in pair if address is not None]
    return ordered[:MAX_ADDRESSES]


@frozen
class Addresses:
    """
    What a host's name led to. C{barred}: it has addresses, none of which may be connected to. C{authenticated}: the
    DNS vouched for all of it. C{name} is where a CNAME chain ended; empty: there was none.
    """

    addresses: tuple[str, ...] = ()
    barred: bool = False
    authenticated: bool = False
    name: str = ""


@define(eq=False)
class Router:
    """
    The rules above, with the resolver's answers.
    """

    resolver: IResolver
    random: Random

    async def find_site(self, domain: str, own_name: str, whose: Hashable = None) -> Site | Failed | Delayed:
        """
        Where mail for C{domain} (A-labels) goes. Never fails.

        @param whose: for whom the DNS is asked, as L{IResolver.query} has it
        """
        if domain.startswith("["):
            return Failed("5.1.2", "mail to address literals is not relayed", Fault.RECIPIENT)
        try:
            answer = await self.resolver.query(domain, MX, whose)
        except DnsError as error:
            return dns_trouble(error)
        return choose_site(domain, answer, own_name.lower())

    async def find_addresses(
        self, host: str, networks: Sequence[Network], whose: Hashable = None, *, ipv6_last: bool = False
    ) -> Addresses | Delayed:
        """
        Where C{host} can be connected to. A family without an answer is passed over as long
        as the other has one. Never fails.
        """
        questions: list[Deferred[Answer]] = [self.resolver.query(host, type, whose) for type in (AAAA, A)]
        answers = await DeferredList(questions, consumeErrors=True)
        families: list[list[str]] = []
        said: list[Answer] = []
        trouble: Delayed | None = None
        for success, answer in answers:
            if success and isinstance(answer, Answer):
                said.append(answer)
                records = list(map(str, answer.records))
                families.append(self.random.sample(records, len(records)))
            else:
                trouble = dns_trouble(getattr(answer, "value", answer))
                families.append([])
        found = list(chain.from_iterable(families))
        good = [[address for address in family if is_allowed(address, networks)] for family in families]
        if trouble is not None and not any(good):
            return trouble
        return Addresses(
            tuple(order_addresses(*good, ipv6_last=ipv6_last)),
            barred=bool(found) and not any(good),
            authenticated=bool(said) and all(answer.authenticated for answer in said),
            name=next((answer.name for answer in said if answer.name), ""),
        )


def dns_trouble(error: object) -> Delayed:
    """
    The outcome of a question without an answer.
    """
    return Delayed("4.4.3", f"the DNS gave no answer: {error}", Fault.DNS)


def nowhere(site: Site) -> Failed:
    """
    The outcome where no host of the site has an address.
    """
    if site.implicit:
        return Failed("5.1.2", f"the domain {site.name} has neither mail exchanger nor address", Fault.RECIPIENT)
    return Failed("5.4.4", "the names of the mail exchangers have no address", Fault.RECEIVER)
