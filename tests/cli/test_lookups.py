"""
Questions to the DNS from a command, over real sockets.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from attrs import evolve

from lmrelay.cli.lookups import MX, TXT, A, Lookups, open_lookups, texts_of
from lmrelay.config.values import Dns, NameServer
from lmrelay.errors import DnsError
from lmrelay.interfaces import Answer, MxRecord
from lmrelay.testing import name_server
from lmrelay.testing.name_server import Said, Zone
from tests.cli.zone import rdata, serving, texts
from tests.outbound.doubles import config


@pytest.fixture
def server() -> Iterator[name_server.NameServer]:
    zone = Zone().addresses("a.example", "192.0.2.1").exchanges("a.example", (10, "mx.a.example"))
    zone.alias("alias.example", "a.example")
    with serving(texts(zone, "a.example", "x" * 600, "", "y")) as running:
        yield running


def asking(*ports: int) -> Lookups:
    return Lookups([NameServer("127.0.0.1", port) for port in ports])


def closed_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_answers(server: name_server.NameServer) -> None:
    """
    Records of each type come as the relay's resolver gives them; what is not there is no error.
    """
    lookups = asking(server.port)
    assert ("192.0.2.1",) == lookups.ask("a.example", A).records
    assert ("192.0.2.1",) == lookups.ask("alias.example", A).records
    assert (MxRecord(10, "mx.a.example"),) == lookups.ask("A.example.", MX).records
    assert ["x" * 600, "", "y"] == texts_of(lookups.ask("a.example", TXT))
    assert ((), False) == (lookups.ask("gone.example", A).records, lookups.ask("gone.example", A).exists)


def test_asked_once(server: name_server.NameServer) -> None:
    """
    The same question is asked once, and a failure is one for all who ask.
    """
    lookups = asking(server.port)
    server.zone.fault("broken.example", Said(rcode=2))
    for _ in range(3):
        lookups.ask("a.example", A)
        with pytest.raises(DnsError, match=r"SERVFAIL from 127\.0\.0\.1 for broken\.example"):
            lookups.ask("broken.example", A)
    assert 1 == [name for name, _, _ in server.asked].count("a.example")


def test_truncated(server: name_server.NameServer) -> None:
    """
    What does not fit a datagram comes over TCP.
    """
    server.zone.say("long.example", TXT, Said((rdata("z" * 3000),), truncated=True))
    assert ["z" * 3000] == texts_of(asking(server.port).ask("long.example", TXT))
    assert ["udp", "tcp"] == [transport for _, _, transport in server.asked]


def test_other_answers(server: name_server.NameServer) -> None:
    """
    An answer to another question is passed over.
    """
    server.zone.say("a.example", A, Said(("192.0.2.9",), wrong_question=True))
    assert ("192.0.2.9",) == asking(server.port).ask("a.example", A).records


def test_dead_server(server: name_server.NameServer) -> None:
    """
    A server that is not there is passed over; where none is, it is said at once, and no more time is spent.
    """
    lookups = asking(closed_port(), server.port)
    assert ("192.0.2.1",) == lookups.ask("a.example", A).records
    lookups = asking(closed_port())
    for name in ("a.example", "b.example"):
        with pytest.raises(DnsError, match="no name server answers"):
            lookups.ask(name, A)
    assert [] == lookups.servers


def test_no_name() -> None:
    """
    What can be no name is not asked for.
    """
    with pytest.raises(DnsError):
        asking().ask("a..example", A)


@pytest.mark.parametrize("octets", [b"", b"\x05ab", b"\x00", b"\xff"])
def test_torn_texts(octets: bytes) -> None:
    """
    A record whose strings do not add up is read as far as it goes.
    """
    assert octets[1:].decode("latin-1") == texts_of(Answer((octets,)))[0]


def test_configured_servers() -> None:
    """
    Those of the configuration are asked, else the system's.
    """
    configured = evolve(config(), dns=Dns((NameServer("192.0.2.53"),)))
    assert [NameServer("192.0.2.53")] == open_lookups(configured).servers
    assert open_lookups(config()).servers
