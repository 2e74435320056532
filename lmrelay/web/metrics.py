"""
All that is counted and measured, as Prometheus reads it. Written down off the reactor thread: it can be megabytes.
"""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from attrs import define, field, frozen
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.internet.interfaces import IReactorThreads, IReactorTime
from twisted.internet.threads import deferToThreadPool

from lmrelay.interfaces import Untold, Waiting
from lmrelay.tasks import Tasks
from lmrelay.web.census import Remembered
from lmrelay.web.facts import Facts
from lmrelay.web.sources import SiteLimit, Sources
from lmrelay.web.tallies import MOST, OTHER, Spread, Tally
from twisted import __version__ as TWISTED

MOST_SITES = 100

GOOD = 0.5
"""
Seconds for which metrics are as good as new.
"""

T = TypeVar("T")


@frozen
class Moment:
    """
    What was so when somebody asked. None: it is not known (yet).
    """

    sessions: int
    running: int
    in_memory: int
    free: int | None
    sites: Sequence[SiteLimit]
    ready: bool
    reload_succeeded: bool | None
    now: float
    waiting: Sequence[Waiting] | None = None
    counted_ago: float = 0.0
    untold: Sequence[Untold] | None = None


@define(eq=False)
class Metrics:
    """
    The metrics: what is counted of facts, and what the sources say.
    """

    _sources: Sources
    _facts: Facts
    _reactor: IReactorTime
    _wall: Callable[[], float]
    _version: str
    _tasks: Tasks
    _turn: DeferredLock = field(factory=DeferredLock, init=False)
    _written: dict[str, tuple[float, bytes]] = field(factory=dict, init=False)
    waiting: Remembered[Sequence[Waiting]] = field(init=False)
    untold: Remembered[Sequence[Untold]] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.waiting = Remembered(self._count_waiting, self._reactor, self._tasks)
        self.untold = Remembered(self._count_untold, self._reactor, self._tasks)

    def stop(self) -> None:
        """
        Count nothing further.
        """
        self.waiting.stop()
        self.untold.stop()

    async def _count_waiting(self) -> Sequence[Waiting]:
        oversight = self._sources.oversight()
        return () if oversight is None else await oversight.count_waiting()

    async def _count_untold(self) -> Sequence[Untold]:
        oversight = self._sources.oversight()
        return () if oversight is None else await oversight.count_untold()

    async def write(self, accepted: str) -> tuple[bytes, str]:
        """
        All metrics of now, and the content type: one that the C{Accept} field of a request takes.
        """
        encode, content_type = _choose(accepted)
        # One at a time: however many ask, it takes no more than its share of the processor.
        await self._turn.acquire()
        try:
            made_at, text = self._written.get(content_type, (float("-inf"), b""))
            if self._reactor.seconds() - made_at >= GOOD:
                registry = self._make_registry(await self._look())
                text = await run_apart(self._reactor, lambda: encode(registry))
                # A client says what it takes, so there could be any number.
                self._written.clear()
                self._written[content_type] = (self._reactor.seconds(), text)
        finally:
            self._turn.release()
        return text, content_type

    def _make_registry(self, moment: Moment) -> CollectorRegistry:
        registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        registry.register(_Page(moment, self._facts, self._version))
        return registry

    async def _look(self) -> Moment:
        sources = self._sources
        waiting = untold = None
        if sources.oversight() is not None:
            waiting, untold = await self.waiting.latest(), await self.untold.latest()
        now = self._reactor.seconds()
        try:
            free: int | None = sources.free()
        except OSError:
            free = None
        return Moment(
            sources.sessions(),
            sources.running(),
            sources.in_memory(),
            free,
            sources.sites(),
            not sources.troubles(),
            self._facts.reload_succeeded,
            self._wall(),
            waiting,
            now - (self.waiting.counted_at or now),
            untold,
        )


def _choose(accepted: str) -> tuple[Callable[[CollectorRegistry], bytes], str]:
    try:
        return choose_encoder(accepted)
    except (TypeError, ValueError):
        # A version that is none.
        return choose_encoder("")


def run_apart(reactor: IReactorTime, work: Callable[[], T]) -> Deferred[T]:
    """
    Do it on another thread. A clock has none.
    """
    threads = IReactorThreads(reactor, None)
    if threads is None:
        return succeed(work())
    return deferToThreadPool(threads, threads.getThreadPool(), work)


@frozen(eq=False)
class _Page:
    """
    A collector of prometheus_client.
    """

    moment: Moment
    facts: Facts
    version: str

    def collect(self) -> Iterator[Metric]:
        """
        Every metric of ours, with a sample or without.
        """
        yield _info("lmrelay_build", "What runs.", self.version)
        yield from self._states()
        yield from self._queue()
        yield from self._webhooks()
        yield from self._sites()
        for tally in self.facts.tallies:
            yield _counter(tally)
        for spread in self.facts.spreads:
            yield _histogram(spread)

    def _states(self) -> Iterator[Metric]:
        now = self.moment
        yield _value("lmrelay_ready", "1: it takes and sends mail; 0: see /readyz.", now.ready)
        yield _value("lmrelay_sessions", "Clients that are connected.", now.sessions)
        yield _value("lmrelay_transactions_running", "Transactions with receivers under way.", now.running)
        yield _value("lmrelay_recipients_in_memory", "Recipients that delivery has taken.", now.in_memory)
        yield _value("lmrelay_disk_free_bytes", "Free octets on the disk of the state folder.", now.free)
        yield _value(
            "lmrelay_config_reload_success", "1: the last reload took force; 0: it was refused.", now.reload_succeeded
        )

    def _queue(self) -> Iterator[Metric]:
        recipients: dict[tuple[str, ...], float] = defaultdict(float)
        oldest: dict[tuple[str, ...], float] = {}
        waiting = self.moment.waiting
        for one in waiting or ():
            # A project that is many routes in many states must not be a flood of time series.
            known = len(recipients) < MOST or (one.project, one.route, one.state) in recipients
            key = (one.project, one.route, one.state) if known else (OTHER, OTHER, one.state)
            recipients[key] += one.recipients
            oldest[key] = max(oldest.get(key, 0.0), self.moment.now - one.oldest)
        by = ("project", "route", "state")
        yield _gauge("lmrelay_queue_recipients", "Recipients that are not final.", recipients, *by)
        yield _gauge("lmrelay_queue_oldest_seconds", "Age of the oldest message that is not final.", oldest, *by)
        ago = None if waiting is None else self.moment.counted_ago
        yield _value("lmrelay_queue_counted_seconds", "How long ago the queue was counted.", ago)

    def _webhooks(self) -> Iterator[Metric]:
        events: dict[tuple[str, ...], float] = defaultdict(float)
        overdue: dict[tuple[str, ...], float] = {}
        disabled = 0
        for one in self.moment.untold or ():
            key = (one.project if len(events) < MOST or (one.project,) in events else OTHER,)
            events[key] += one.events
            late = 0.0 if one.due is None or one.disabled_at is not None else self.moment.now - one.due
            overdue[key] = max(overdue.get(key, 0.0), late)
            disabled += one.disabled_at is not None
        yield _gauge("lmrelay_webhook_pending", "Events that webhooks are still to be told.", events, "project")
        yield _gauge(
            "lmrelay_webhook_overdue_seconds", "By how long the telling of events is late.", overdue, "project"
        )
        yield _value("lmrelay_webhook_endpoints_disabled", "Webhook endpoints that are disabled.", disabled)

    def _sites(self) -> Iterator[Metric]:
        sites = self.moment.sites
        lowered = [one for one in sites if not one.suspended]
        yield _value("lmrelay_sites_lowered", "Sites that asked for less at a time.", len(lowered))
        yield _value("lmrelay_sites_suspended", "Suspended sites.", len(sites) - len(lowered))
        # The tightest first: a bad day at a large provider must not make thousands of time series.
        tightest = sorted(lowered, key=lambda one: (one.connections, one.site))[:MOST_SITES]
        limits: dict[tuple[str, ...], float] = {(one.site,): float(one.connections) for one in tightest}
        yield _gauge("lmrelay_site_connections_limit", "Connections that such a site bears.", limits, "site")


def _info(name: str, meaning: str, version: str) -> Metric:
    made = {"version": version, "python": platform.python_version(), "twisted": TWISTED}
    return InfoMetricFamily(name, meaning, value=made)


def _value(name: str, meaning: str, value: float | None) -> Metric:
    return _gauge(name, meaning, {} if value is None else {(): float(value)})


def _gauge(name: str, meaning: str, values: Mapping[tuple[str, ...], float], *labels: str) -> Metric:
    family = GaugeMetricFamily(name, meaning, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _counter(tally: Tally) -> Metric:
    family = CounterMetricFamily(tally.name, tally.meaning, labels=tally.labels)
    for key, count in tally.copy().items():
        family.add_metric(key, count)
    return family


def _histogram(spread: Spread) -> Metric:
    family = HistogramMetricFamily(spread.name, spread.meaning, labels=spread.labels)
    names = [*map(str, spread.bounds), "+Inf"]
    for key, (counts, total) in spread.copy().items():
        so_far, buckets = 0.0, []
        for name, count in zip(names, counts, strict=True):
            so_far += count
            buckets.append((name, so_far))
        family.add_metric(key, buckets, sum_value=total)
    return family
