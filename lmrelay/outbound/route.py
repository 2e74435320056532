"""
Where mail for a domain goes: its MX hosts in order, and their addresses (RFC 5321 §5.1).

The rules are pure; L{Router} asks the resolver for them. What cannot be routed is an outcome:
for good where the DNS says so, for now where it says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from hashlib import sha256
from itertools import chain
from random import Random

from attrs import define, frozen

from lmrelay.config.words import Network
from lmrelay.errors import DnsError
from lmrelay.interfaces import Answer, IResolver, MxRecord
from lmrelay.mail.outcome import Delayed, Failed, Fault
from lmrelay.reach import Addresses, dns_trouble, find_addresses

MX = 15

MAX_WORD = 400
_HOST = re.compile(r"[a-z0-9._-]{1,253}")

MAX_HOSTS = 10
"""
Of a domain: a zone with hundreds must not hold an attempt for hours.
"""

MAX_KNOWN_HOSTS = 50
"""
The best of a domain: the others are never asked, and those of thousands of domains would fill the memory.
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
        if record.host not in seen and len(seen) < MAX_KNOWN_HOSTS:
            seen.add(record.host)
            groups.setdefault(record.preference, set()).add(record.host)
    return tuple(tuple(sorted(group)) for group in groups.values())


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
        As L{lmrelay.reach.find_addresses} has it.
        """
        return await find_addresses(self.resolver, self.random, host, networks, whose, ipv6_last=ipv6_last)


def nowhere(site: Site) -> Failed:
    """
    The outcome where no host of the site has an address.
    """
    if site.implicit:
        return Failed("5.1.2", f"the domain {site.name} has neither mail exchanger nor address", Fault.RECIPIENT)
    return Failed("5.4.4", "the names of the mail exchangers have no address", Fault.RECEIVER)
