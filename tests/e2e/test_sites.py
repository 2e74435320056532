"""
Sites of a live relay: suspended, resumed, remembered over a restart; rates and ceilings that a reload changes.
"""

from __future__ import annotations

from pathlib import Path

from tests.e2e.daemon import Relay, lmrelay
from tests.e2e.mail import send
from tests.e2e.receiver import Receiver, in_turn
from tests.e2e.story import await_states, states, until
from tests.e2e.world import World


def explained(relay: Relay, message: str) -> str:
    return lmrelay(relay.config, "explain", message).stdout


def listed(relay: Relay) -> dict[str, dict[str, object]]:
    """
    What C{sites list} tells, by site.
    """
    return {one["site"]: one for one in relay.ask("sites", "list")}


def test_suspend_and_resume(world: World) -> None:
    """
    Mail for a suspended site waits, over a restart too, without an attempt; the story says why. Other mail goes, and
    resumed it goes at once.
    """
    relay = world.relay().start()
    mx, other = world.receiver(), world.receiver()
    domain, elsewhere = world.domain(mx), world.domain(other)
    send(relay, f"first@{domain}")
    mx.wait()
    until(lambda: relay.ask("sites", "list", "--all"), "site in the store")
    change = relay.command("sites", "suspend", domain, "--reason", "a talk with them")
    assert (True, True, f"mx1.{domain}") == (change["changed"], change["by_daemon"], change["site"])
    waits = send(relay, f"second@{domain}")
    send(relay, f"someone@{elsewhere}")
    other.wait()
    assert f"its site, mx1.{domain}, is suspended since" in explained(relay, waits)
    assert "a talk with them" in explained(relay, waits)
    assert relay.stop() == 0
    assert {f"mx1.{domain}": (1, "a talk with them")} == {
        site: (one["waiting"], one["reason"]) for site, one in listed(relay).items()
    }
    relay.start()
    send(relay, f"another@{elsewhere}")
    other.wait(2)
    assert {"state": "queued", "attempts": 0, "last": None} == states(relay, waits)[f"second@{domain}"]
    assert 1 == len(mx.taken)
    relay.command("sites", "resume", f"mx1.{domain}")
    assert (f"second@{domain}",) == mx.wait(2, timeout=10)[1].recipients
    assert relay.stop() == 0


def test_back_off_is_remembered(world: World) -> None:
    """
    A site that asked for less has less after a kill too, and is listed in its own words.
    """
    relay = world.relay(delivery={"retry": ["1h"]}).start()
    mx = world.receiver(script=in_turn("MAIL", "451 4.7.0 Too many messages, slow down"))
    to = f"someone@{world.domain(mx)}"
    identity = send(relay, to)
    await_states(relay, identity, {to: "deferred"})
    found = until(lambda: [one for one in relay.ask("sites", "list") if one["lowered_at"]], "back-off in the store")
    relay.kill()
    assert [(10, 20, "451 4.7.0 Too many messages, slow down")] == [
        (one["connections"], one["ceiling"], one["lowered_for"]) for one in found
    ]
    relay.start()
    relay.command("queue", "retry", identity)
    mx.wait()
    assert [10] == [one["connections"] for one in relay.ask("sites", "list")]
    assert relay.stop() == 0


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
