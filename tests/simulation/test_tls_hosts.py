"""
Hosts that are bad at TLS, a relay that minds and one that does not; and zones that lead inside, likewise.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import pytest
from attrs import evolve

from lmrelay.config.values import Config
from tests.simulation.applications import Letter, To
from tests.simulation.story import Story
from tests.simulation.tls_hosts import PROVING, Tls, TlsHost
from tests.simulation.troubles.names import Names
from tests.simulation.troubles.security import KNOWN_BY, PUBLISHING_DOMAIN, Security
from tests.simulation.troubles.trouble import Trouble
from tests.simulation.world import World
from tests.simulation.zones import WRONGS

CLEAR = frozenset({Tls.NONE, Tls.REFUSING, Tls.LYING, Tls.BABBLING, Tls.STALLING})


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(1, tmp_path / "relay", 0, 0.0, "calm")


def begin(story: Story, family: type[Trouble], change: Callable[[Config], Config] = lambda config: config) -> Trouble:
    """
    A relay with that trouble at hand, but no storm; what the configuration says of it is changed.
    """
    trouble = family(story, 0.001)
    story._set_scene()
    trouble.begin()
    story.world.config = change(story.world.config)
    story.world.start()
    return trouble


def send(world: World, story: Story, name: str, address: str, route: str = "", seconds: float = 45) -> None:
    story.promises.applications[0].send(Letter(name, (To(address),), route=route, key=name))
    world.network.run(seconds)


def feel(security: Security, number: int, mood: Tls) -> TlsHost:
    """
    One of the hosts, which is always like that from now on.
    """
    host = security._hosts[number]
    host.mood, host.always = mood, True
    return host


@pytest.mark.parametrize("mood", [mood for mood in Tls if mood is not Tls.FLAPPING])
def test_moods(story: Story, mood: Tls) -> None:
    """
    A host that is always like that: mail that need not be secured comes at once, in whichever way it can; mail that
    must be comes only to who proved to be the host, and waits for everybody else.
    """
    security = begin(story, Security)
    host = feel(security, 1, mood)
    send(story.world, story, "L1", "a@c.example")
    send(story.world, story, "L2", "a@d.example")
    came = {one.field("Subject"): (one.message.tls is not None, host.has_proved(one)) for one in host.receiver.arrivals}
    assert "L1" in came
    if mood is not Tls.BREAKING:
        assert (mood not in CLEAR, mood in PROVING) == came["L1"]
        assert (mood in PROVING) == ("L2" in came)
    assert [] == list(security.find_broken())
    story.world.end()


def forget(config: Config) -> Config:
    """
    A relay that minds nothing.
    """
    projects = {
        slug: evolve(one, routes={name: evolve(route, tls=None) for name, route in one.routes.items()})
        for slug, one in config.projects.items()
    }
    return evolve(config, delivery=evolve(config.delivery, domains={}, mta_sts=False), projects=projects)


@pytest.mark.parametrize("mood", [Tls.NONE, Tls.STALLING, Tls.OTHER_NAME, Tls.EXPIRED, Tls.FOREIGN])
def test_careless_relay(story: Story, mood: Tls) -> None:
    """
    Mail of a route and to a domain that must be secured, and was not, does not go unnoticed.
    """
    security = begin(story, Security, forget)
    feel(security, 1, mood)
    send(story.world, story, "L1", "a@c.example", "news")
    send(story.world, story, "L2", "a@d.example")
    send(story.world, story, "L3", "a@c.example")
    assert ["L1", "L2"] == [line.split()[0] for line in security.find_broken()]
    story.world.end()


@pytest.mark.parametrize("is_careless", [False, True])
def test_published_policy(story: Story, is_careless: bool) -> None:
    """
    Once its policy was fetched, mail to a domain that publishes one goes to nobody unproved; a relay that forgets it is
    found out.
    """
    security = begin(story, Security)
    security._policy_host.is_well = True
    host = feel(security, 0, Tls.GOOD)
    send(story.world, story, "L1", f"a@{PUBLISHING_DOMAIN}", seconds=KNOWN_BY + 10)
    assert 1 == len(security._policy_host.served)
    if is_careless:
        relay = story.world.relay
        assert relay is not None
        relay.settings.config = forget(relay.settings.config)
    feel(security, 0, Tls.FOREIGN)
    send(story.world, story, "L2", f"a@{PUBLISHING_DOMAIN}")
    assert (["L1", "L2"] if is_careless else ["L1"]) == [one.field("Subject") for one in host.receiver.arrivals]
    assert is_careless == bool(list(security.find_broken()))
    story.world.end()


@pytest.mark.parametrize(("start", "is_known"), [(100.0, False), (100.0 + 2 * KNOWN_BY, True)])
def test_policy_that_went_out_before_a_death(story: Story, start: float, is_known: bool) -> None:
    """
    A process that ended may not have written the policy it had asked for: nobody is blamed for not knowing it.
    """
    security = begin(story, Security)
    story.world.network.run(500)
    security._policy_host.served.append(99.0)
    security._starts.append(start)
    assert is_known is security._must_be_secured(PUBLISHING_DOMAIN)
    story.world.end()


@pytest.mark.parametrize("words", ["leads inside", "leads inside as well"])
@pytest.mark.parametrize("is_careless", [False, True])
def test_led_inside(story: Story, words: str, is_careless: bool) -> None:
    """
    A relay that connects to where nobody may lead it is found out.
    """

    def allow(config: Config) -> Config:
        everywhere = (ip_network("0.0.0.0/0"), ip_network("::/0"))
        return evolve(config, delivery=evolve(config.delivery, allow_networks=everywhere))

    names = begin(story, Names, allow if is_careless else lambda config: config)
    assert isinstance(names, Names)
    wrong = next(one for one in WRONGS if one.words == words)
    wrong.do(story.world.zone, "b.example", "8.8.0.1", names.chance)
    send(story.world, story, "L1", "a@b.example", seconds=20)
    assert is_careless == any("mail went to" in line for line in names.find_broken())
    story.world.end()


def test_unfounded_failures(story: Story) -> None:
    """
    Mail that failed for what no zone said is found out.
    """
    names = begin(story, Names)
    assert isinstance(names, Names)
    wrong = next(one for one in WRONGS if one.words == "takes no mail")
    wrong.do(story.world.zone, "b.example", "8.8.0.1", names.chance)
    send(story.world, story, "L1", "a@b.example", seconds=20)
    now = story.world.network.seconds()
    (broken,) = names.find_broken()
    assert "5.1.10" in broken
    names._said.append(("b.example", wrong, 0.0, now))
    assert [] == list(names.find_broken())
    story.world.end()
