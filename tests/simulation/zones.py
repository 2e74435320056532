"""
What a zone can say of a mail domain that no good zone should, and what mail may come to by it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from random import Random

from attrs import evolve, frozen

from lmrelay.testing.name_server import MAX_ALIASES, MX, A, Said, Zone
from tests.simulation.endpoints import INSIDE

TTL = 5
"""
Seconds that anything may be remembered for.
"""

NOTHING: frozenset[str] = frozenset()


@frozen
class Wrong:
    """
    C{do} makes the zone say it of a domain, whose mail is served at an address. C{codes} are those with which mail may
    fail for good by it; without any, it must wait, or go where it should.
    """

    words: str
    do: Callable[[Zone, str, str, Random], object]
    codes: frozenset[str] = NOTHING


def shorten(zone: Zone) -> None:
    """
    Let nothing be remembered for long.
    """
    for types in zone.names.values():
        types.update({type: evolve(said, ttl=TTL) for type, said in types.items()})


def mend(zone: Zone, domain: str, good: dict[int, Said]) -> None:
    """
    Say what is right again.
    """
    zone.faults.pop(domain, None)
    zone.aliases.pop(domain, None)
    zone.names[domain] = dict(good)


def _fault(said: Said) -> Callable[[Zone, str, str, Random], object]:
    return lambda zone, domain, address, random: zone.fault(domain, said)


def _exchanges(zone: Zone, domain: str, *hosts: tuple[int, str]) -> None:
    zone.exchanges(domain, *hosts, ttl=TTL)


def _say_nothing(zone: Zone, domain: str, address: str, random: Random) -> None:
    zone.names[domain] = {type: Said(ttl=TTL) for type in (MX, A, 28)}


def _be_its_own_host(zone: Zone, domain: str, address: str, random: Random) -> None:
    zone.names[domain] = {MX: Said(ttl=TTL)}
    zone.addresses(domain, address, ttl=TTL)


def _name_a_literal(zone: Zone, domain: str, address: str, random: Random) -> None:
    _exchanges(zone, domain, (10, random.choice((address, f"[{address}]", "127.0.0.1", "[ipv6:::1]", "localhost"))))


def _lead_inside(zone: Zone, domain: str, address: str, random: Random) -> None:
    zone.addresses(f"inside.{domain}", *random.sample(INSIDE, 3), ttl=TTL)
    _exchanges(zone, domain, (10, f"inside.{domain}"))


def _lead_inside_too(zone: Zone, domain: str, address: str, random: Random) -> None:
    zone.addresses(f"half.{domain}", *random.sample(INSIDE, 3), address, ttl=TTL)
    _exchanges(zone, domain, (5, f"inside.{domain}"), (10, f"half.{domain}"))
    zone.addresses(f"inside.{domain}", *random.sample(INSIDE, 2), ttl=TTL)


def _loop(zone: Zone, domain: str, address: str, random: Random) -> None:
    names = (domain, *(f"loop{number}.{domain}" for number in range(random.randrange(1, 4))))
    for name, target in zip(names, (*names[1:], domain), strict=True):
        zone.alias(name, target)


def _go_a_long_way(zone: Zone, domain: str, address: str, random: Random) -> None:
    steps = random.choice((1, 3, MAX_ALIASES - 1))
    names = (domain, *(f"step{number}.{domain}" for number in range(steps)))
    zone.names[names[-1]] = dict(zone.names[domain])
    for name, target in pairwise(names):
        zone.alias(name, target)


def _have_a_hundred(zone: Zone, domain: str, address: str, random: Random) -> None:
    hosts = [f"host{number}.{domain}" for number in range(100)]
    for host in hosts:
        zone.addresses(host, address, ttl=TTL)
    _exchanges(zone, domain, *((random.randrange(5), host) for host in hosts))


def _name_us(zone: Zone, domain: str, address: str, random: Random) -> None:
    _exchanges(zone, domain, (10, "relay.example"), (20, f"worse.{domain}"))
    zone.addresses(f"worse.{domain}", address, ttl=TTL)


def _remember(ttl: int) -> Callable[[Zone, str, str, Random], object]:
    def do(zone: Zone, domain: str, address: str, random: Random) -> None:
        zone.names[domain] = {type: evolve(said, ttl=ttl) for type, said in zone.names[domain].items()}

    return do


WRONGS = (
    Wrong("fails", _fault(Said(rcode=2))),
    Wrong("is refused", _fault(Said(rcode=5))),
    Wrong("is silent", _fault(Said(silent=True))),
    Wrong("is lame", _fault(Said(lame=True))),
    Wrong("does not exist", _fault(Said(rcode=3, ttl=TTL)), frozenset({"5.1.2"})),
    Wrong("takes no mail", lambda zone, domain, *_: _exchanges(zone, domain, (0, "")), frozenset({"5.1.10"})),
    Wrong("has nothing", _say_nothing, frozenset({"5.1.2"})),
    # Its address may be gone while nobody knows yet of the exchangers that it has instead.
    Wrong("is its own host", _be_its_own_host, frozenset({"5.1.2"})),
    Wrong("names a literal", _name_a_literal, frozenset({"5.4.4"})),
    Wrong("leads inside", _lead_inside, frozenset({"5.4.4"})),
    Wrong("leads inside as well", _lead_inside_too),
    Wrong("goes in a loop", _loop),
    Wrong("goes a long way", _go_a_long_way),
    Wrong("has a hundred hosts", _have_a_hundred),
    Wrong("names the relay itself", _name_us, frozenset({"5.4.6"})),
    Wrong("is not to be remembered", _remember(0)),
    Wrong("is to be remembered for a week", _remember(604_800)),
)
