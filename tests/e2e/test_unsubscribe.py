"""
Broadcasts with an unsubscribe link for each recipient, by a live daemon.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from lmrelay.mail.unsubscribe import derive_key, read_token
from tests.e2e.daemon import PROJECT, Relay
from tests.e2e.mail import message, send
from tests.e2e.receiver import Taken, in_turn
from tests.e2e.story import await_states
from tests.e2e.world import World

ROUTE = """
[routes.newsletter]
kind = "broadcast"
unsubscribe_url = "https://acme.example/unsubscribe/{token}"
"""


@pytest.fixture
def own(world: World) -> Iterator[Relay]:
    """
    A relay whose project sends newsletters, and nothing else; it makes its key itself.
    """
    relay = world.relay()
    file = relay.folder / "projects.d" / f"{PROJECT}.toml"
    file.write_text(f'default_route = "newsletter"\n{file.read_text()}\n{ROUTE}')
    for key in relay.folder.rglob("token.key"):
        key.unlink()
    relay.start()
    yield relay
    print(relay.log())  # captured, and shown only on failure
    relay.kill()


@pytest.fixture
def plain(world: World) -> Iterator[Relay]:
    """
    A relay that has no route with links, and no key; not started.
    """
    relay = world.relay()
    for key in relay.folder.rglob("token.key"):
        key.unlink()
    yield relay
    print(relay.log())  # captured, and shown only on failure
    relay.kill()


def add_route(relay: Relay) -> None:
    file = relay.folder / "projects.d" / f"{PROJECT}.toml"
    file.write_text(f"{file.read_text()}\n{ROUTE}")


def test_a_reload_makes_the_key_or_is_refused(plain: Relay) -> None:
    """
    Where the key cannot be made, a reload that adds links leaves the old configuration in force; where it can, it is.
    """
    plain.start()
    path = plain.folder / "state" / "token.key"
    assert not path.exists()
    path.symlink_to(plain.folder / "nowhere" / "key")
    add_route(plain)
    assert not plain.reload()
    assert "its name is taken" in plain.log()
    path.unlink()
    assert plain.reload()
    assert 32 == len(path.read_bytes())


def token_of(taken: Taken) -> str:
    (link,) = taken.head("List-Unsubscribe")
    assert ["List-Unsubscribe=One-Click"] == taken.head("List-Unsubscribe-Post")
    found = re.fullmatch(r"<https://acme\.example/unsubscribe/([^>]+)>", link)
    assert found is not None
    return found[1]


def test_each_recipient_has_its_link(world: World, own: Relay) -> None:
    """
    Three recipients at one site are three transactions, each with a link that says who it is for; one whose content
    was refused for now comes again with a link that is as good.
    """
    mx = world.receiver(script=in_turn("CONTENT", "451 4.3.0 later"))
    domain = world.domain(mx)
    wanted = {f"r{number}@{domain}": "delivered" for number in range(3)}
    identity = send(own, list(wanted))
    taken = mx.wait(3, timeout=60)
    assert set(wanted) == {one.recipients[0] for one in taken}
    assert [1] * 3 == [len(one.recipients) for one in taken]
    (path,) = own.folder.rglob("token.key")
    key = derive_key(path.read_bytes(), PROJECT, "newsletter")
    for one in taken:
        said = read_token(key, token_of(one))
        assert (PROJECT, "newsletter", identity, one.recipients[0]) == (
            said.project,
            said.route,
            said.message_id,
            said.address,
        )
    assert 4 == len(mx.heard("DATA"))
    await_states(own, identity, wanted)


def test_a_link_of_its_own_stays(world: World, own: Relay) -> None:
    """
    A message that brings a List-Unsubscribe keeps it, and gets no other.
    """
    mx = world.receiver()
    to = f"someone@{world.domain(mx)}"
    send(own, to, message(to, "Hello.\r\n", "List-Unsubscribe: <mailto:off@acme.example>"))
    (taken,) = mx.wait()
    assert ["<mailto:off@acme.example>"] == taken.head("List-Unsubscribe")
    assert [] == taken.head("List-Unsubscribe-Post")
