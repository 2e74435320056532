"""
What a worker has in memory for one endpoint, and what the configuration and the log say of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from lmrelay.config.project import Webhook
from lmrelay.config.values import Config
from lmrelay.events.schedule import Pace
from lmrelay.interfaces import Endpoint, Telling, Told

log = Logger()


@define(eq=False)
class Desk:
    """
    What this worker has for one endpoint: what waits in memory, and how many requests and events are under way.

    C{more}: more may be due than there was room for. C{closed}: why it is told nothing. C{resting}: its next turn.
    """

    endpoint: Endpoint
    pace: Pace = field(factory=Pace)
    waiting: deque[Telling] = field(factory=deque)
    running: int = 0
    being_told: int = 0
    more: bool = False
    closed: str = ""
    resting: IDelayedCall | None = None

    @property
    def is_idle(self) -> bool:
        """
        Is there nothing that it must remember?
        """
        return not (self.waiting or self.running or self.pace.failures or self.closed)

    def find_room(self, webhook: Webhook, now: float) -> int:
        """
        How many events may be taken for it: twice what it is told at a time, asked for when half of that is done.
        """
        at_once = self.pace.allowed(now) * webhook.batch
        most = at_once if self.pace.failures else 2 * at_once
        left = most - len(self.waiting) - self.being_told
        return left if left * 2 >= most else 0


def find_webhook(config: Config, endpoint: Endpoint) -> Webhook | None:
    """
    The endpoint as it is configured, if it is to be told anything.
    """
    project = config.projects.get(endpoint[0])
    webhook = None if project is None else project.endpoints.get(endpoint[1])
    return webhook if webhook is not None and webhook.enabled else None


def why_over(config: Config, endpoint: Endpoint) -> str:
    """
    Why nobody is to be told; empty: the endpoint is.
    """
    if find_webhook(config, endpoint) is not None:
        return ""
    project = config.projects.get(endpoint[0])
    known = project is not None and endpoint[1] in project.endpoints
    return "the endpoint is switched off" if known else "there is no such endpoint any more"


def log_told(endpoint: Endpoint, tellings: Sequence[Telling], told: Told, due: Mapping[int, float | None]) -> None:
    """
    A line a request.
    """
    first = tellings[0]
    about = {
        "project": endpoint[0],
        "endpoint": endpoint[1],
        "event": first.id,
        "type": first.type,
        "events": len(tellings),
        "attempt": first.attempts + 1,
        "status": told.status,
        "seconds": round(told.ended_at - told.started_at, 3),
    }
    if told.is_success:
        log.info("webhook delivered", **about)
    else:
        given_up = sum(when is None for when in due.values())
        log.info("webhook failed", reason=told.text or str(told.status), given_up=given_up, **about)
