"""
The status page: what goes on, what goes wrong, and where a message is. Read-only, without a script.

What a redacted route keeps out of the log stays out of here too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import define, evolve, field
from jinja2 import Environment
from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Request

from lmrelay.config.values import Config
from lmrelay.errors import StoreError
from lmrelay.interfaces import ISettings, Record, Untold, Waiting
from lmrelay.web.charts import Chart, stack
from lmrelay.web.door import Answer
from lmrelay.web.facts import Facts
from lmrelay.web.guard import Guard
from lmrelay.web.history import KEPT, History, Totals
from lmrelay.web.metrics import Metrics, run_apart
from lmrelay.web.pages import make_environment, render, style
from lmrelay.web.sources import Sources

BASE = "/status"
FIELDS = ("recipient", "sender", "subject", "project", "route", "tag", "state")
OPEN = ("queued", "deferred", "held")
STATES = (*OPEN, "delivered", "failed", "suppressed", "deleted")
MAX_FIELD = 320
FOUND = 50
SHOWN = 100
"""
Characters of a field of the search; messages on one page; rows of a table.
"""


@define(eq=False)
class Status:
    """
    The pages below L{BASE}.
    """

    _reactor: IReactorTime
    _settings: ISettings
    _sources: Sources
    _facts: Facts
    _metrics: Metrics
    _guard: Guard
    _wall: Callable[[], float]
    history: History = field(init=False)
    _templates: Environment = field(factory=make_environment, init=False)

    @history.default
    def _begin(self) -> History:
        return History(self._count, self._wall)

    def _count(self) -> Totals:
        total, attempts = self._facts.total, "lmrelay_attempts"
        waiting = self._metrics.waiting.value
        return Totals(
            total("lmrelay_messages_accepted"),
            total(attempts, outcome="delivered"),
            total(attempts, outcome="delayed"),
            total(attempts, outcome="failed"),
            total("lmrelay_refusals"),
            None if waiting is None else sum(one.recipients for one in waiting),
        )

    async def answer(self, request: Request) -> Answer:
        """
        The page at the request's path.
        """
        refusal = await self._guard.check(request)
        if refusal is not None:
            return refusal
        path = request.path.decode("ascii", "replace").removeprefix(BASE).strip("/")
        if path == "style.css":
            return style()
        try:
            return await self._choose(path, request)
        except StoreError as error:
            return await self._render("trouble.html", "", 503, reason=str(error))

    async def _choose(self, path: str, request: Request) -> Answer:
        if path == "":
            return await self._tell_all()
        if path == "messages":
            return await self._search({name: _read(request, name) for name in FIELDS}, _read(request, "id"))
        if path.startswith("messages/"):
            return await self._tell_message(path.removeprefix("messages/"))
        if path == "sites":
            return await self._tell_sites()
        if path == "webhooks":
            return await self._tell_webhooks()
        return await self._render("trouble.html", "", 404, reason="There is no such page.")

    async def _render(self, name: str, here: str, code: int = 200, **values: Any) -> Answer:
        config: Config = self._settings.config
        common = {"base": BASE, "here": here, "hostname": config.server.hostname, "now": self._wall()}
        # A large page takes as long as a commit, and nobody's mail is to wait for it.
        return await run_apart(self._reactor, lambda: render(self._templates, name, code, **common, **values))

    async def _tell_all(self) -> Answer:
        sources = self._sources
        waiting: Sequence[Waiting] = ()
        if sources.oversight() is not None:
            waiting = await self._metrics.waiting.latest() or ()
        hooks = await self._list_webhooks()
        return await self._render(
            "overview.html",
            "overview",
            troubles=sources.troubles(),
            totals=self._count(),
            sessions=sources.sessions(),
            running=sources.running(),
            charts=self._draw(),
            faults=self._list_faults(),
            queue=summarize(waiting)[:SHOWN],
            waiting=sum(one.recipients for one in waiting),
            hooks=[one for one in hooks if one["bad"]][:SHOWN],
            sites=sorted(sources.sites(), key=lambda one: (not one.suspended, one.connections, one.site))[:SHOWN],
        )

    def _draw(self) -> list[Chart]:
        counted = [one.counted for one in self.history.spans()]
        ended = {name: [getattr(one, name) for one in counted] for name in ("delivered", "delayed", "failed")}
        queue = [float(one.waiting or 0) for one in counted]
        return [
            stack("Accepted messages", {"accepted": [one.accepted for one in counted]}, KEPT),
            stack("Attempts by outcome", ended, KEPT),
            evolve(stack("Waiting recipients", {"waiting": queue}, KEPT), totals={"waiting": queue[-1]}),
        ]

    def _list_faults(self) -> list[tuple[str, float]]:
        counts = ((fault, self._facts.total("lmrelay_attempts", fault=fault)) for fault in FAULTS)
        return sorted((one for one in counts if one[1]), key=lambda one: -one[1])

    async def _search(self, fields: Mapping[str, str], id_: str) -> Answer:
        found = None
        # Customers know the Message-ID of what they miss, and nothing else of ours has that sign.
        wanted = {**fields, "message_id": id_ if "@" in id_ else ""}
        story = await self._sources.archive.tell(id_) if id_ else None
        if story is not None:
            return await self._show(story)
        if any(wanted.values()):
            found = await self._sources.archive.find(wanted, FOUND)
        return await self._render(
            "messages.html", "messages", fields=fields, id=id_, found=found, states=STATES, limit=FOUND
        )

    async def _tell_message(self, id_: str) -> Answer:
        story = await self._sources.archive.tell(id_[:MAX_FIELD]) if id_.isalnum() else None
        if story is None:
            return await self._render("trouble.html", "messages", 404, reason="No such message is kept.")
        return await self._show(story)

    async def _show(self, story: Record) -> Answer:
        redact, to = story["redact"], story["recipients"]
        # Whom an event is about says something only where there are several.
        named = {} if redact or len(to) < 2 else {one["number"]: one["address"] for one in to}
        addresses = defaultdict(str, named)
        return await self._render("message.html", "messages", story=story, redact=redact, addresses=addresses)

    async def _tell_sites(self) -> Answer:
        sites = await self._sources.archive.sites()
        first = sorted(sites, key=lambda one: (not one["suspended_at"], one["connections"] is None, -one["waiting"]))
        return await self._render("sites.html", "sites", sites=first[:SHOWN], more=max(0, len(first) - SHOWN))

    async def _tell_webhooks(self) -> Answer:
        hooks = await self._list_webhooks()
        return await self._render("webhooks.html", "webhooks", hooks=hooks[:SHOWN], more=max(0, len(hooks) - SHOWN))

    async def _list_webhooks(self) -> list[dict[str, Any]]:
        """
        Those of the configuration, failures first: by name alone, for an address may well have a secret in it.
        """
        untold: Sequence[Untold] = ()
        if self._sources.oversight() is not None:
            untold = await self._metrics.untold.latest() or ()
        left = {(one.project, one.endpoint): one for one in untold}
        now, found = self._wall(), []
        config: Config = self._settings.config
        for slug, project in config.projects.items():
            for hook in project.webhooks:
                told, waits = self._facts.endpoints.find(slug, hook.name), left.get((slug, hook.name))
                off = waits is not None and waits.disabled_at is not None
                late = 0.0 if off or waits is None or waits.due is None else max(0.0, now - waits.due)
                found.append(
                    {
                        "project": slug,
                        "name": hook.name,
                        "enabled": hook.enabled,
                        "told": told,
                        "disabled": waits if off else None,
                        "pending": waits.events if waits else 0,
                        "overdue": late,
                        "bad": hook.enabled and (bool(told.reason) or off),
                    }
                )
        return sorted(found, key=lambda one: (not one["bad"], -one["overdue"], one["project"], one["name"]))


FAULTS = ("recipient", "policy", "receiver", "network", "dns", "ours")


def summarize(waiting: Sequence[Waiting]) -> list[dict[str, Any]]:
    """
    What waits by project and route, in a row each, the most first.
    """
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for one in waiting:
        row = rows.setdefault((one.project, one.route), {**dict.fromkeys(OPEN, 0), "oldest": one.oldest})
        row |= {"project": one.project, "route": one.route, "oldest": min(row["oldest"], one.oldest)}
        row[one.state] += one.recipients
    return sorted(rows.values(), key=lambda row: -sum(row[state] for state in OPEN))


def _read(request: Request, name: str) -> str:
    value: bytes = request.args.get(name.encode(), [b""])[0]
    # A NUL ends a pattern for SQLite, which then fits everything; PostgreSQL takes none at all.
    return value.decode("utf-8", "replace").replace("\0", "\ufffd").strip()[:MAX_FIELD]
