"""
Where a host that anybody may name can be connected to: at its public addresses, and in networks that are allowed.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from itertools import chain, zip_longest
from random import Random
from typing import Union

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred, DeferredList

from lmrelay.config.words import Network
from lmrelay.interfaces import Answer, IResolver
from lmrelay.mail.outcome import Delayed, Fault

A, AAAA = 1, 28

MAX_ADDRESSES = 6
"""
Of a host: a zone with hundreds must not hold an attempt for hours.
"""

IPAddress = Union[IPv4Address, IPv6Address]

_NAT64 = IPv6Network("64:ff9b::/96")
_EMBEDDING = (IPv6Network("::/96"), IPv6Network("::ffff:0:0:0/96"))
"""
IPv4-compatible (RFC 4291 §2.5.5.1) and IPv4-translated addresses (RFC 7915).
"""

_OF_THE_HOST = frozenset({IPv4Address("168.63.129.16")})
"""
Public by its number alone: there Azure's host talks to the machines that it runs, and to nobody else.
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
    return address.is_unspecified or address.is_reserved or address in _OF_THE_HOST


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


async def find_addresses(
    resolver: IResolver,
    random: Random,
    host: str,
    networks: Sequence[Network],
    whose: Hashable = None,
    *,
    ipv6_last: bool = False,
) -> Addresses | Delayed:
    """
    Where C{host} can be connected to. A family without an answer is passed over as long
    as the other has one. Raises nothing but when it is cancelled.

    @param whose: for whom the DNS is asked, as L{IResolver.query} has it
    """
    questions: list[Deferred[Answer]] = [resolver.query(host, type, whose) for type in (AAAA, A)]
    answers = await DeferredList(questions, consumeErrors=True)
    families: list[list[str]] = []
    said: list[Answer] = []
    trouble: Delayed | None = None
    for success, answer in answers:
        if success and isinstance(answer, Answer):
            said.append(answer)
            records = list(map(str, answer.records))
            families.append(random.sample(records, len(records)))
        else:
            error = getattr(answer, "value", answer)
            if isinstance(error, CancelledError):
                # Else who was given up goes on with the family that has answered, and nothing would end it any more.
                raise error
            trouble = dns_trouble(error)
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
