"""
Endpoints for tests, and what is written of what they are told.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve
from sqlalchemy import select

from lmrelay.config.project import Project, Webhook
from lmrelay.config.values import Config
from lmrelay.queue.schema import event, webhook_delivery
from tests.queue.filling import writing

SECRET = "whsec_0123456789"


def hook(name: str = "shop", **more: Any) -> Webhook:
    """
    An endpoint of that name.
    """
    return Webhook(name, f"https://{name}.example/hook", SECRET, **more)


def with_hooks(config: Config, *hooks: Webhook, project: str = "acme") -> Config:
    """
    The configuration with a project that has these endpoints.
    """
    return evolve(config, projects={**config.projects, project: Project(project, webhooks=hooks)})


def deliveries(config: Config) -> list[tuple[str, str, str]]:
    """
    Event, endpoint and state of all there is to be told, in order.
    """
    query = (
        select(event.c.type, webhook_delivery.c.endpoint, webhook_delivery.c.state)
        .join(event, event.c.sequence == webhook_delivery.c.event)
        .order_by(event.c.sequence, webhook_delivery.c.endpoint)
    )
    with writing(config) as connection:
        return [tuple(row) for row in connection.execute(query)]
