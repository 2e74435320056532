"""
The real resolver and name servers in every mood, on the simulated network.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from lmrelay.config.values import Config, Server
from lmrelay.errors import DnsError
from lmrelay.interfaces import Answer, MxRecord
from lmrelay.testing.name_server import MX, Said, Zone
from tests.simulation.name_hosts import PORT, Mood, NameHost, make_resolver, with_servers
from tests.simulation.network import Machine, Network
from tests.simulation.zones import WRONGS, Wrong

DOMAINS = [f"d{number}.example" for number in range(30)]
SILENT = {Mood.SILENT, Mood.CLOSED, Mood.FAILING, Mood.REFUSING, Mood.LAME, Mood.GARBLING, Mood.CUTTING}


def ask(moods: list[Mood], zone: Zone, *names: str) -> list[Answer | DnsError]:
    """
    What the resolver makes of them, asked one after the other.
    """
    network = Network(Random(1))
    hosts = [NameHost(network, zone, f"9.9.9.{n}", Random(n), mood) for n, mood in enumerate(moods)]
    config = with_servers(Config(Path("lmrelay.toml"), Server("relay.example")), *hosts)
    resolver = make_resolver(Machine(network, "192.0.2.1"), config, hosts, Random(1))
    found: list[Answer | DnsError] = []

    def keep(result: Answer | Failure) -> None:
        found.append(result if isinstance(result, Answer) else result.value)  # type: ignore[arg-type]

    for name in names:
        resolver.query(name, MX).addBoth(keep)
        network.run(60)
    assert len(names) == len(found)
    return found


@pytest.mark.parametrize("mood", Mood)
def test_moods(mood: Mood) -> None:
    """
    Whatever a server does, what is believed is true, and what is not known is not taken for nothing; with another one
    that is well, everything is known.
    """
    zone = Zone()
    for domain in DOMAINS:
        zone.exchanges(domain, (10, f"mx.{domain}"))
    right = [(MxRecord(10, f"mx.{domain}"),) for domain in DOMAINS]
    alone = ask([mood], zone, *DOMAINS)
    known = [one.records if isinstance(one, Answer) else None for one in alone]
    assert all(one in (None, expected) for one, expected in zip(known, right, strict=True))
    assert (mood in SILENT) <= (None in known)
    together = ask([mood, Mood.WELL], zone, *DOMAINS)
    assert right == [one.records for one in together if isinstance(one, Answer)]


@pytest.mark.parametrize("wrong", WRONGS, ids=lambda wrong: wrong.words)
def test_zones(wrong: Wrong) -> None:
    """
    What a zone says wrongly is heard as it is said: there is nothing only where it says so.
    """
    zone = Zone().exchanges("d.example", (10, "mx.d.example")).addresses("mx.d.example", "8.8.0.1")
    wrong.do(zone, "d.example", "8.8.0.1", Random(1))
    (found,) = ask([Mood.WELL], zone, "d.example")
    hosts = [record.host for record in found.records] if isinstance(found, Answer) else None
    empty = {"does not exist", "has nothing", "is its own host"}
    silent = {"fails", "is refused", "is silent", "is lame", "goes in a loop"}
    assert (wrong.words in empty) == (hosts == [])
    assert (wrong.words in silent) == (hosts is None)
    assert (wrong.words == "takes no mail") == (hosts == [""])


def test_truncated() -> None:
    """
    What does not fit into a datagram comes over a connection.
    """
    zone = Zone().say("d.example", MX, Said((MxRecord(10, "mx.d.example"),), truncated=True))
    assert [(MxRecord(10, "mx.d.example"),)] == [one.records for one in ask([Mood.WELL], zone, "d.example")]  # type: ignore[union-attr]


def test_closed() -> None:
    """
    A server that was closed since it cut an answer short takes no connection for the rest of it.
    """
    network = Network(Random(1))
    host = NameHost(network, Zone(), "9.9.9.9", Random(1), Mood.CLOSED)
    assert network.connect(PORT, host.address, Protocol(), "192.0.2.1") is None
