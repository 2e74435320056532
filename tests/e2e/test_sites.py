"""
Sites of a live relay: suspended, resumed, remembered over a restart; rates and ceilings that a reload changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen

from tests.e2e.daemon import Relay, lmrelay
from tests.e2e.mail import send
from tests.e2e.receiver import Receiver, in_turn
from tests.e2e.story import await_states, states, until
from tests.e2e.world import World

LESS = "451 4.7.0 Too many messages, slow down"


@frozen
class Seen:
    """
    A relay that has sent to one site, and was asked for less by another: C{delayed} is the message.
    """

    relay: Relay
    mx: Receiver
    domain: str
    slow: Receiver
    slow_domain: str
    delayed: str


@pytest.fixture(scope="module", autouse=True)
def seen(world: World) -> Iterator[Seen]:
    """
    At once, as it takes seconds until what was learnt of a site is in the store: so there is less to wait for later.
    """
    relay = world.relay(delivery={"retry": ["1h"]}).start()
    mx, slow = world.receiver(), world.receiver(script=in_turn("MAIL", LESS))
    domain, slow_domain = world.domain(mx), world.domain(slow)
    send(relay, f"first@{domain}")
    delayed = send(relay, f"someone@{slow_domain}")
    mx.wait()
    await_states(relay, delayed, {f"someone@{slow_domain}": "deferred"})
    yield Seen(relay, mx, domain, slow, slow_domain, delayed)
    assert relay.stop() == 0


def listed(relay: Relay, *options: str) -> dict[str, dict[str, object]]:
    """
    What C{sites list} tells, by site.
    """
    return {one["site"]: one for one in relay.ask("sites", "list", *options)}


def write_rule(folder: Path, mx: str, rate: float) -> None:
    (folder / "receivers.toml").write_text(f'[[receivers]]\nname = "slow"\nhosts = ["{mx}"]\nrate = {rate}\n')


def arrivals(mx: Receiver, count: int) -> float:
    """
    How long it took from the first to the last of so many.
    """
    taken = mx.wait(count)
    return taken[count - 1].at - taken[0].at


def test_rate_and_reload(world: World) -> None:
    """
    A rule of the operator's own holds a site to its rate; a reload that raises it lets the rest go at once.
    """
    relay = world.relay(delivery={"receivers": "receivers.toml"})
    mx = world.receiver()
    domain = world.domain(mx)
    write_rule(relay.folder, f"*.{domain}", 2)
    relay.start()
    for number in range(5):
        send(relay, f"r{number}@{domain}")
    assert arrivals(mx, 4) >= 0.9
    write_rule(relay.folder, f"*.{domain}", 0.01)
    relay.reload()
    for number in range(5, 8):
        send(relay, f"r{number}@{domain}")
    until(lambda: [one for one in relay.ask("sites", "list") if one["waiting"]], "mail that rests")
    write_rule(relay.folder, f"*.{domain}", 100)
    relay.reload()
    mx.wait(8)
    assert relay.stop() == 0


def test_suspend_and_resume(world: World, seen: Seen) -> None:
    """
    Mail for a suspended site waits, over a restart too, without an attempt; the story says why. Other mail goes, and
    resumed it goes at once.
    """
    relay, mx, domain = seen.relay, seen.mx, seen.domain
    site, other = f"mx1.{domain}", world.receiver()
    elsewhere = world.domain(other)
    until(lambda: site in listed(relay, "--all"), "site in the store")
    change = relay.ask("sites", "suspend", domain, "--reason", "a talk with them")
    assert (True, True, site) == (change["changed"], change["by_daemon"], change["site"])
    waits = send(relay, f"second@{domain}")
    send(relay, f"someone@{elsewhere}")
    other.wait()
    told = lmrelay(relay.config, "explain", waits).stdout
    assert f"its site, {site}, is suspended since" in told
    assert "a talk with them" in told
    assert relay.stop() == 0
    assert (1, "a talk with them") == (listed(relay)[site]["waiting"], listed(relay)[site]["reason"])
    relay.start()
    send(relay, f"another@{elsewhere}")
    other.wait(2)
    assert {"state": "queued", "attempts": 0, "last": None} == states(relay, waits)[f"second@{domain}"]
    assert 1 == len(mx.taken)
    relay.ask("sites", "resume", site)
    assert (f"second@{domain}",) == mx.wait(2, timeout=10)[1].recipients


def test_back_off_is_remembered(seen: Seen) -> None:
    """
    A site that asked for less has less after a kill too, and is listed in its own words.
    """
    relay, site = seen.relay, f"mx1.{seen.slow_domain}"
    until(lambda: listed(relay).get(site, {}).get("lowered_at"), "back-off in the store")
    relay.kill()
    found = listed(relay)[site]
    assert (10, 20, LESS) == (found["connections"], found["ceiling"], found["lowered_for"])
    relay.start()
    relay.ask("queue", "retry", seen.delayed)
    seen.slow.wait()
    assert 10 == listed(relay)[site]["connections"]
