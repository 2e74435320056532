"""
REQUIRETLS, live: from a client's MAIL to a receiver's, over TLS that is verified, and back to the sender where none is.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from lmrelay.testing.certificates import Authority
from tests.e2e.daemon import DOMAIN, Relay
from tests.e2e.mail import SENDER, login, submit
from tests.e2e.receiver import EXTENSIONS, Receiver
from tests.e2e.story import await_states, until
from tests.e2e.world import World, open_world

AUTHORITY = Authority.make()
OFFERED = (*EXTENSIONS, "REQUIRETLS")


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """
    One of its own, for the sender's domain has a receiver in it that other tests do not know.
    """
    made = open_world(tmp_path_factory.mktemp("world"))
    yield made
    made.close()


@pytest.fixture
def trusting(world: World) -> Iterator[Relay]:
    """
    A relay that trusts the tests' CA, and believes its name server.
    """
    relay = world.trusting(AUTHORITY).start()
    yield relay
    assert relay.stop() == 0


def serve(world: World, domain: str, folder: Path, extensions: tuple[str, ...]) -> Receiver:
    """
    The one MX of a domain that the DNS vouches for, behind a certificate of the CA.
    """
    folder.mkdir()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*AUTHORITY.issue(f"mx.{domain}").write(folder))
    receiver = world.receiver(tls=context, extensions=extensions)
    world.names.mx(domain, 10, f"mx.{domain}")
    world.names.host(f"mx.{domain}", receiver.address)
    world.names.signed.add(domain)
    return receiver


def test_requiretls(world: World, trusting: Relay, tmp_path: Path) -> None:
    """
    A receiver that offers it gets the message with REQUIRETLS, over verified TLS; from one that does not it comes back,
    with REQUIRETLS and without its body.
    """
    senders = serve(world, DOMAIN, tmp_path / "senders", OFFERED)
    good = serve(world, "good.example", tmp_path / "good", OFFERED)
    bad = serve(world, "bad.example", tmp_path / "bad", EXTENSIONS)
    with login(trusting, "starttls") as client:
        client.ehlo()
        assert client.has_extn("REQUIRETLS")
        options = ("REQUIRETLS", "RET=FULL")
        first = submit(client, ["x@good.example"], mail_options=options)
        second = submit(client, ["x@bad.example"], mail_options=options)
    attempt = await_states(trusting, first, {"x@good.example": "delivered"})["x@good.example"]["last"]
    assert (True, "requiretls") == (attempt["tls"]["verified"], attempt["tls"]["policy"])
    (taken,) = good.taken
    assert "REQUIRETLS" in taken.parameters.split()
    failed = await_states(trusting, second, {"x@bad.example": "failed"})["x@bad.example"]["last"]
    assert "does not offer REQUIRETLS" in failed["text"]
    assert [] == bad.taken
    notice = until(lambda: senders.taken, "notification")[0]
    assert ("", [SENDER]) == (notice.reverse_path, list(notice.recipients))
    assert "REQUIRETLS" in notice.parameters.split()
    assert b"5.7.30" in notice.body
    assert b"Hello." not in notice.body
