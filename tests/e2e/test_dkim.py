"""
Signatures by a live daemon, with keys made by the operator's command, verified by dkimpy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import dkim
import pytest

from tests.e2e.daemon import DOMAIN, Relay
from tests.e2e.mail import message, send
from tests.e2e.receiver import EXTENSIONS, Taken, in_turn
from tests.e2e.world import World

NEWS = {"newsletter": {"kind": "broadcast", "unsubscribe_url": "https://acme.example/unsubscribe/{token}"}}


@pytest.fixture
def own(world: World) -> Iterator[Relay]:
    """
    A relay of the test's own.
    """
    relay = world.relay()
    relay.change_project(routes=NEWS)
    relay.start()
    yield relay
    print(relay.log())  # captured, and shown only on failure
    relay.kill()


def make_key(relay: Relay, *options: str, domain: str = DOMAIN) -> Any:
    return relay.ask("dkim", "create", domain, "--activate", *options)


def verified(taken: Taken, keys: Sequence[Any]) -> list[str]:
    """
    The selectors of the signatures that hold, by the records that the command told.
    """
    zone = {f"{key['record']['name']}.": key["record"]["value"].encode() for key in keys}
    # What the test receiver takes down is what went over the wire, less the stuffing.
    verifier = dkim.DKIM(taken.content)
    count = len(taken.head("DKIM-Signature"))
    return [
        verifier.selector.decode()
        for index in range(count)
        if verifier.verify(idx=index, dnsfunc=lambda name, timeout=5: zone.get(name.decode()))
    ]


def test_signed_and_rotated(world: World, own: Relay) -> None:
    """
    A key signs from the reload on, both of two do, and one that is retired no more; no connection is lost by it.
    """
    mx = world.receiver()
    to = f"someone@{world.domain(mx)}"
    send(own, to)
    keys = [make_key(own, "--selector", "r1"), make_key(own, "--selector", "e1", "--algorithm", "ed25519")]
    send(own, to)
    assert own.reload()
    text = "Hello  \t Bob \r\n\r\n.dot\r\n" + "line \r\n" * 60000 + "\r\n\r\n"
    send(own, to, message(to, text))
    own.ask("dkim", "retire", DOMAIN, "r1")
    assert own.reload()
    send(own, to)
    taken = sorted(mx.wait(4, timeout=60), key=lambda one: one.at)
    by_signatures = sorted([verified(one, keys) for one in taken], key=len)
    assert [[], [], ["e1"], ["e1", "r1"]] == by_signatures


def test_signed_in_one_stroke(world: World, own: Relay) -> None:
    """
    What goes by BDAT with its envelope is what was signed.
    """
    key = make_key(own)
    assert own.reload()
    mx = world.receiver(extensions=(*EXTENSIONS, "CHUNKING", "ENHANCEDSTATUSCODES"))
    to = f"someone@{world.domain(mx)}"
    send(own, to, message(to, ".dot\r\n.\r\nline  \t\r\n\r\n"))
    (taken,) = mx.wait(1)
    assert (1, 0) == (len(mx.heard("BDAT")), len(mx.heard("DATA")))
    assert [key["selector"]] == verified(taken, [key])


def test_a_newsletter_is_signed_for_each(world: World, own: Relay) -> None:
    """
    Each copy's signature covers its own link, and the same octets come again after a refusal for now.
    """
    key = make_key(own)
    assert own.reload()
    mx = world.receiver(script=in_turn("CONTENT", "451 4.3.0 later"))
    domain = world.domain(mx)
    wanted = [f"r{number}@{domain}" for number in range(3)]
    send(own, wanted, message(wanted[0], "News.\r\n", "X-Lettermint-Route: newsletter"))
    taken = mx.wait(3, timeout=60)
    assert [[key["selector"]]] * 3 == [verified(one, [key]) for one in taken]
    assert 3 == len({tuple(one.head("List-Unsubscribe")) for one in taken})
    for one in taken:
        (signature,) = one.head("DKIM-Signature")
        covered = signature.replace(" ", "")
        assert ":list-unsubscribe:list-unsubscribe-post" in covered


def test_a_bad_key_is_refused(own: Relay) -> None:
    """
    A key that others could read keeps the old configuration in force.
    """
    path = own.folder / "state" / "dkim" / DOMAIN / "r1.pem"
    make_key(own, "--selector", "r1")
    path.chmod(0o644)
    assert not own.reload()
    assert "others could read it" in own.log()
    path.chmod(0o600)
    assert own.reload()
