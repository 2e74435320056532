"""
Webhook endpoints of all bad kinds.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define, evolve, field

from lmrelay.config.project import Webhook
from lmrelay.config.values import Webhooks
from tests.simulation.endpoints import ELSEWHERE, FOR_GOOD, PORT, Endpoint, Temper, set_traps
from tests.simulation.tellings import Tellings
from tests.simulation.troubles.reloads import Reloads
from tests.simulation.troubles.trouble import Trouble

SETTINGS = Webhooks(retry=(5.0, 20.0, 60.0), timeout=12.0)
HOOKS = (
    ("acme", Webhook("all", "http://all.example/hooks?a=b", "whsec_all", events=("*",))),
    ("acme", Webhook("many", "http://many.example/", "whsec_many", previous_secret="whsec_before", batch=8)),
    ("acme", Webhook("news", "http://news.example:80/x", "whsec_news", routes=("news",))),
    ("beta", Webhook("all", "http://user:word@hooks.beta.example/", "whsec_beta")),
    (
        "beta",
        Webhook("ends", "http://ends.example", "whsec_ends", events=("message.delivered", "message.hard_bounced")),
    ),
    ("zeta", Webhook("all", "http://zeta.example/", "whsec_zeta", events=("*",))),
)
"""
The project C{zeta} has no mail, so its endpoint hears of nothing.
"""


@define(eq=False)
class Hooks(Trouble):
    """
    Endpoints with all tempers, which change, and that are to hear of everything all the same, once if that can be.
    """

    tellings: Tellings = field(init=False)

    def begin(self) -> None:
        world, config = self.story.world, self.story.world.config
        projects = dict(config.projects)
        endpoints = []
        for number, (slug, webhook) in enumerate(HOOKS):
            projects[slug] = evolve(projects[slug], webhooks=(*projects[slug].webhooks, webhook))
            host = webhook.url.split("/")[2].rpartition("@")[2].partition(":")[0]
            random = world.random(f"endpoint {number}")
            endpoints.append(Endpoint(world.network, world.zone, f"8.9.0.{number}", host, slug, webhook, random))
        world.config = evolve(config, webhooks=SETTINGS, projects=projects)
        trap = set_traps(world.network, PORT)
        world.network.servers[ELSEWHERE, PORT] = trap
        self.tellings = Tellings(world, endpoints, trap, self._was_away)
        for endpoint in endpoints:
            self._change(endpoint)

    def _change(self, endpoint: Endpoint) -> None:
        if self.story.is_stormy:
            is_bad = self.chance.random() < self.weight * 0.8
            self._feel(endpoint, self.chance.choice((*Temper,)) if is_bad else Temper.WELL)
            self.story.at(self.chance.uniform(0.02, 0.3) * self.story.storm, self._change, endpoint)

    def _feel(self, endpoint: Endpoint, temper: Temper) -> None:
        self.story.note(endpoint.host, f"is {temper.value}")
        endpoint.feel(temper)

    def _was_away(self, project: str) -> bool:
        return any(one.was_removed(project) for one in self.story.troubles if isinstance(one, Reloads))

    def died(self) -> None:
        self.tellings.note_end()

    def started(self) -> None:
        # Who was stopped while the store took nothing could not write either what was told.
        self.tellings.note_end()

    def calm(self) -> None:
        for endpoint in self.tellings.endpoints:
            is_lost = self.chance.random() < 0.2 * self.weight
            endpoint.always = is_lost
            self._feel(
                endpoint, self.chance.choice(sorted(FOR_GOOD, key=list(Temper).index)) if is_lost else Temper.WELL
            )

    def is_over(self) -> bool:
        return not self.tellings.find_open()

    def find_broken(self) -> Iterable[str]:
        return self.tellings.find_broken()
