"""
Nobody's mail waits for anybody else's: the whole relay, with tenants that would clog it.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from lmrelay.config.words import Kind
from lmrelay.outbound.dispatch import LANE_WINDOW
from tests.simulation.fairness import await_arrival, hand_over, measure, play, queue
from tests.simulation.receivers import Mood, Receiver
from tests.simulation.world import World

SOON = 2.0
"""
Seconds in which a password reset must arrive.
"""

RATE = 50


class SimulationTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name) / "relay"

    def make_world(self, name: str = "relay") -> World:
        world = World(self.folder.with_name(name))
        self.addCleanup(world.end)
        return world


class BusySiteTests(SimulationTests):
    def test_newsletter(self) -> None:
        """
        While a newsletter has all of a site's 50 messages a second, another tenant's password resets arrive in under
        2 s, and the newsletter still gets at least 95 % of that.
        """
        figures = play(self.folder, 700)
        self.assertLess(max(figures.waits), SOON)
        self.assertGreaterEqual(figures.rates["acme"], 0.95 * RATE)

    def test_own_newsletter(self) -> None:
        """
        Nor does a tenant's own newsletter delay its resets; the two newsletters share the site evenly.
        """
        figures = play(self.folder, 700, own_news=700)
        self.assertLess(max(figures.waits), SOON)
        self.assertGreaterEqual(figures.rates["acme"], 0.475 * RATE)
        self.assertGreaterEqual(figures.rates["acme"] + figures.rates["beta"], 0.95 * RATE)

    def test_many_domains_of_one_site(self) -> None:
        """
        The same where the newsletter goes to many domains that one site serves.
        """
        world = self.make_world()
        domains = [f"d{number}.example" for number in range(200)]
        receiver = world.receiver("b.example", *domains, rate=RATE)
        queue(world, "acme", *(f"a{number}@{domain}" for domain in domains for number in range(4)))
        world.start()
        world.network.run(6)
        figures = measure(world, receiver, "b.example")
        self.assertLess(max(figures.waits), SOON)
        self.assertGreaterEqual(figures.rates["acme"], 0.95 * RATE)

    def test_transactional_flood(self) -> None:
        """
        A tenant that sends its newsletter as transactional mail takes turns with others, message by message.
        """
        world = self.make_world()
        receiver = world.receiver("b.example", rate=RATE)
        queue(world, "acme", *(f"a{number}@b.example" for number in range(700)), kind=Kind.TRANSACTIONAL)
        world.start()
        world.network.run(6)
        figures = measure(world, receiver, "b.example")
        self.assertLess(max(figures.waits), SOON)

    def test_next_free_connection(self) -> None:
        """
        At a site where every message takes long, or that has few connections, a reset gets one of the next
        connections that frees: at most one message of the newsletter begins before it.
        """
        rows: list[dict[str, Any]] = [
            {"pause": 5.0},
            {"pause": 0.5, "most": 1},
            {"rate": 2.0},
            {"pause": 1.0, "most": 3},
        ]
        for number, options in enumerate(rows):
            world = self.make_world(str(number))
            receiver = world.receiver("b.example", **options)
            queue(world, "acme", *(f"a{number}@b.example" for number in range(600)))
            world.start()
            world.network.run(16)
            figures = measure(world, receiver, "b.example")
            self.assertLessEqual(max(figures.overtaken), 1, options)


class PolicingSiteTests(SimulationTests):
    def test_newsletter(self) -> None:
        """
        A site that refuses what is over its rate gets what it takes, and is not asked in vain for all the rest: a site
        that bears less than one connection at a time has its rest.
        """
        rate, seconds = 10, 30
        world = self.make_world()
        receiver = world.receiver("b.example", mood=Mood.POLICING, rate=float(rate), pause=0.1)
        queue(world, "acme", *(f"a{number}@b.example" for number in range(900)))
        world.start()
        world.network.run(seconds)
        asked = sum(line.startswith("MAIL") for line in receiver.mx.commands)
        self.assertGreaterEqual(len(receiver.arrivals), 0.95 * rate * seconds)
        self.assertLess(asked, 2.5 * rate * seconds)

    def test_resets(self) -> None:
        """
        There too a newsletter that uses the rate up does not delay another tenant's reset.
        """
        world = self.make_world()
        receiver = world.receiver("b.example", mood=Mood.POLICING, rate=10.0, pause=0.1)
        queue(world, "acme", *(f"a{number}@b.example" for number in range(700)))
        world.start()
        world.network.run(5)
        figures = measure(world, receiver, "b.example", resets=15, gap=0.4)
        self.assertLess(max(figures.waits), SOON)


class DeadSiteTests(SimulationTests):
    def dead(self, world: World, count: int) -> list[str]:
        """
        Domains whose hosts never answer, each a site of its own.
        """
        domains = [f"dead{number}.example" for number in range(count)]
        for domain in domains:
            world.receiver(domain, mood=Mood.SILENT)
        return domains

    def assert_prompt(self, world: World, receiver: Receiver, project: str, route: str = "") -> None:
        letter = hand_over(world, project, f"{project} {route} now", "now@b.example", route)
        self.assertLess(await_arrival(world, receiver, letter), SOON)

    def test_dead_sites(self) -> None:
        """
        A tenant with mail for a hundred dead sites delays neither others nor its own mail to a living one.
        """
        world = self.make_world()
        receiver = world.receiver("b.example")
        domains = self.dead(world, 100)
        queue(world, "acme", *(f"a{number}@{domain}" for domain in domains for number in range(10)))
        world.start()
        world.network.run(20)
        for project, route in (("beta", ""), ("beta", "news"), ("acme", ""), ("acme", "news")):
            self.assert_prompt(world, receiver, project, route)

    def test_full_window(self) -> None:
        """
        Nor does a full window of one site's mail, be it from before or on its way in.
        """
        world = self.make_world()
        receiver = world.receiver("b.example")
        [domain] = self.dead(world, 1)
        queue(world, "acme", *(f"a{number}@{domain}" for number in range(2 * LANE_WINDOW)))
        world.start()
        world.network.run(10)
        self.assertGreater(world.relay.courier.dispatch.windows.used, LANE_WINDOW - 100)  # type: ignore[union-attr]
        for project, route in (("beta", ""), ("acme", ""), ("acme", "news")):
            self.assert_prompt(world, receiver, project, route)

    def test_after_a_restart(self) -> None:
        """
        What waits in the store when a process starts goes out soon, however many domains another tenant has mail for.
        """
        world = self.make_world()
        receiver, silent = world.receiver("b.example"), world.receiver(mood=Mood.SILENT)
        domains = [f"d{number}.example" for number in range(1000)]
        for domain in domains:
            world.zone.exchanges(domain, (10, silent.host))
        queue(world, "acme", *(f"a@{domain}" for domain in domains))
        queue(world, "zeta", "now@b.example", kind=Kind.TRANSACTIONAL)
        world.start()
        self.assertTrue(world.network.run_until(lambda: bool(receiver.arrivals), 0.5))
