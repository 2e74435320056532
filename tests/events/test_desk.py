"""
Finding an endpoint in a configuration.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attrs import evolve

from lmrelay.config.project import Project, Webhook
from lmrelay.config.values import Config, Server
from lmrelay.events.desk import find_webhook, why_over
from tests.queue.hooks import hook, with_hooks

CONFIG = Config(Path("lmrelay.toml"), Server("relay.example", Path()))


class Walked(tuple[Webhook, ...]):
    """
    Endpoints that know how often somebody went through them.
    """

    walks = 0

    def __iter__(self) -> Iterator[Webhook]:
        self.walks += 1
        return super().__iter__()


def test_found() -> None:
    """
    An endpoint is found if it is to be told anything, and if not, there is a reason.
    """
    config = with_hooks(CONFIG, hook("shop"), hook("off", enabled=False))
    names = ("shop", "off", "none")
    assert [hook("shop"), None, None] == [find_webhook(config, ("acme", name)) for name in names]
    reasons = ["", "the endpoint is switched off", "there is no such endpoint any more"]
    assert reasons == [why_over(config, ("acme", name)) for name in names]
    assert "there is no such endpoint any more" == why_over(config, ("other", "shop"))


def test_found_at_once() -> None:
    """
    However many endpoints a project has and is told of, they are gone through once; other endpoints are found anew.
    """
    walked = Walked(hook(f"h{number}") for number in range(100))
    config = evolve(CONFIG, projects={"acme": Project("acme", webhooks=walked)})
    for name in [one.name for one in tuple(walked)] * 2:
        assert name == getattr(find_webhook(config, ("acme", name)), "name", None)
    assert 2 == walked.walks, "once for the names above, once for all that are found"
    changed = evolve(config, projects={"acme": evolve(config.projects["acme"], webhooks=(hook("h1", batch=5),))})
    assert hook("h1", batch=5) == find_webhook(changed, ("acme", "h1"))
    assert None is find_webhook(changed, ("acme", "h2"))
