"""
Tells endpoints what is due: each at its own pace, with requests of its own, so that none waits for another.

An endpoint has a desk here while there is something for it. What is due is looked for every second, and at once where
the queue hints at it; it is taken in small portions, and of an endpoint that fails, one request's worth at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from lmrelay.config.project import Webhook
from lmrelay.errors import StoreError, StoreFault
from lmrelay.events.desk import Desk, find_webhook, log_told, why_over
from lmrelay.events.post import Post
from lmrelay.events.request import MAX_OCTETS, compose, count_next
from lmrelay.events.schedule import lifetime, next_try
from lmrelay.interfaces import Endpoint, IHooks, ISettings, Telling, Told, Want
from lmrelay.shares import Shares
from lmrelay.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Mapping

INTERVAL = 1.0
SOON = 0.05
"""
Seconds between two looks for what is due, and after a hint: time for its commit, and for more of the same.
"""

BREATH = 0.05
LONGEST_WAIT = 30.0
"""
Seconds before the next step of something long, and before a store that is out of order is asked again.
"""

GRACE = 5.0
"""
Seconds for requests under way when the relay ends: an endpoint that stalls is told again.
"""

PORTIONS = 64
"""
Endpoints whose events are taken from the queue together.
"""

GONE = 410

DISABLED = "the endpoint is disabled"

T = TypeVar("T")

log = Logger()


@define(eq=False)
class Teller:
    """
    C{shares}: the requests that the process may have under way; an endpoint that has none is never refused one.
    """

    _reactor: IReactorTime
    _settings: ISettings
    _post: Post
    _wall: Callable[[], float]
    _shares: Shares
    _hooks: IHooks | None = field(default=None, init=False)
    _desks: dict[Endpoint, Desk] = field(factory=dict, init=False)
    _flagged: dict[Endpoint, None] = field(factory=dict, init=False)
    _starved: dict[Endpoint, None] = field(factory=dict, init=False)
    _ending: set[Endpoint] = field(factory=set, init=False)
    _sending: set[Deferred[Told]] = field(factory=set, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)
    _looking: IDelayedCall | None = field(default=None, init=False)
    _taking: bool = field(default=False, init=False)
    _stopped: bool = field(default=True, init=False)
    _tasks: Tasks = field(factory=Tasks, init=False)

    def start(self, hooks: IHooks) -> None:
        """
        Begin with what is due.
        """
        self._hooks, self._stopped = hooks, False
        hooks.listen(self._hear)
        self._look_after(0)

    def drain(self) -> Deferred[None]:
        """
        Begin no further request; fires when those under way are over, which is not waited for for long.
        """
        self._stopped = True
        for timer in (self._timer, self._looking, *(desk.resting for desk in self._desks.values())):
            if timer is not None and timer.active():
                timer.cancel()
        self._post.close()
        late = self._reactor.callLater(GRACE, self.stop)
        return self._tasks.wait().addCallback(lambda _: late.cancel() if late.active() else None)

    def stop(self) -> None:
        """
        Break off what is under way: it is told again.
        """
        for sending in list(self._sending):
            sending.cancel()

    def _hear(self, endpoints: Collection[Endpoint]) -> None:
        self._flagged.update(dict.fromkeys(endpoints))
        self._wake(SOON)

    # --- looking for what is due, and for whom nobody waits any more --------------------------

    def _look_after(self, seconds: float) -> None:
        if not self._stopped:
            self._looking = self._reactor.callLater(seconds, lambda: self._tasks.start(self._look()))

    async def _look(self) -> None:
        try:
            await self._look_through()
        except StoreError as error:
            log.warn("webhooks that are due could not be looked for", reason=str(error))
        finally:
            self._look_after(INTERVAL)

    async def _look_through(self) -> None:
        if self._hooks is None:
            return
        after: Endpoint | None = None
        while not self._stopped:
            waiting = await self._hooks.find_waiting(after)
            config, now = self._settings.config, self._wall()
            for one, soonest in waiting.soonest.items():
                reason = DISABLED if one in waiting.disabled else why_over(config, one)
                if one in self._desks:
                    self._desks[one].closed = reason
                if reason:
                    self._end(one)
                elif soonest <= now:
                    self._flagged.setdefault(one)
            after = waiting.after
            if after is None:
                break
            await self._sleep(BREATH)
        for desk in self._desks.values():
            # What is here is not among what waits in the store.
            if desk.waiting and (desk.closed or why_over(self._settings.config, desk.endpoint)):
                self._end(desk.endpoint)
        self._desks = {one: desk for one, desk in self._desks.items() if not self._is_forgotten(desk)}
        self._wake(0)

    def _is_forgotten(self, desk: Desk) -> bool:
        is_gone = not (desk.waiting or desk.running) and find_webhook(self._settings.config, desk.endpoint) is None
        return desk.is_idle or is_gone

    def _end(self, endpoint: Endpoint) -> None:
        if endpoint not in self._ending:
            self._ending.add(endpoint)
            self._tasks.start(self._end_all(endpoint))

    async def _end_all(self, endpoint: Endpoint) -> None:
        ended, reason = 0, DISABLED
        try:
            await self._let_go(endpoint)
            while self._hooks is not None and not self._stopped:
                # Asked at each step: else what comes after the endpoint is back is given up with the rest, for as long
                # as something comes.
                over = why_over(self._settings.config, endpoint)
                reason = over or DISABLED
                given_up = await self._hooks.end(endpoint, reason, if_disabled=not over)
                if not given_up:
                    break
                ended += given_up
                await self._sleep(BREATH)
        except StoreError as error:
            log.warn("webhooks could not be given up", project=endpoint[0], endpoint=endpoint[1], reason=str(error))
        finally:
            self._ending.discard(endpoint)
            if ended:
                log.info("webhooks given up", project=endpoint[0], endpoint=endpoint[1], events=ended, reason=reason)

    async def _let_go(self, endpoint: Endpoint) -> None:
        """
        Give back what was taken for an endpoint that is over, so that it has its end with the rest.
        """
        desk = self._desks.get(endpoint)
        if desk is not None and desk.waiting:
            sequences = [one.sequence for one in desk.waiting]
            desk.waiting.clear()
            await self._write(lambda hooks: hooks.release(endpoint, sequences), endpoint)

    # --- taking it, as far as there is room ---------------------------------------------------

    def _wake(self, after: float) -> None:
        if self._stopped:
            return
        if self._timer is not None and self._timer.active():
            if self._timer.getTime() <= self._reactor.seconds() + after:
                return
            self._timer.cancel()
        self._timer = self._reactor.callLater(after, self._go_on)

    def _go_on(self) -> None:
        if not self._taking and self._flagged:
            self._taking = True
            self._tasks.start(self._take())

    async def _take(self) -> None:
        try:
            while not self._stopped and (wants := self._choose()) and self._hooks is not None:
                taken = await self._hooks.take(wants)
                for one in wants:
                    if tellings := taken.get(one):
                        # Behind the others: there may be more.
                        self._flagged[one] = None
                        desk = self._find_desk(one)
                        desk.waiting.extend(tellings)
                        self._begin(desk)
                        # Others have something to do as well: beginning all that is due for many takes long.
                        await self._sleep(0)
        except StoreError as error:
            log.warn("webhooks that are due could not be taken", reason=str(error))
        finally:
            self._taking = False

    def _choose(self) -> Mapping[Endpoint, Want]:
        """
        Those that have room, in turn: they are flagged no more, until something is found.
        """
        wants: dict[Endpoint, Want] = {}
        config, now = self._settings.config, self._reactor.seconds()
        for one in list(self._flagged):
            del self._flagged[one]
            webhook = find_webhook(config, one)
            if webhook is None:
                continue
            desk = self._find_desk(one)
            if desk.closed:
                # Whether it still is, the next look tells.
                continue
            room = desk.find_room(webhook, now)
            # Without room its own requests will ask again when they are over, so that nobody has to look meanwhile.
            desk.more = not room
            if room:
                wants[one] = Want(room, MAX_OCTETS)
            if len(wants) == PORTIONS:
                break
        return wants

    def _find_desk(self, endpoint: Endpoint) -> Desk:
        return self._desks.setdefault(endpoint, Desk(endpoint))

    # --- telling ------------------------------------------------------------------------------

    def _begin(self, desk: Desk) -> None:
        """
        Begin as many requests as the endpoint's pace and the process's share allow.
        """
        while desk.waiting and not self._stopped:
            webhook = None if desk.closed else find_webhook(self._settings.config, desk.endpoint)
            # What waits for one that is over has its end at the next look.
            if webhook is None or desk.running >= desk.pace.allowed(self._reactor.seconds()):
                break
            if not self._shares.has_room(desk.endpoint):
                self._starved[desk.endpoint] = None
                break
            number = count_next(webhook, list(islice(desk.waiting, webhook.batch)))
            tellings = [desk.waiting.popleft() for _ in range(number)]
            desk.running += 1
            desk.being_told += number
            self._shares.take(desk.endpoint)
            self._tasks.start(self._tell(desk, webhook, tellings))

    async def _tell(self, desk: Desk, webhook: Webhook, tellings: Sequence[Telling]) -> None:
        begun = self._reactor.seconds()
        try:
            told = await self._send(desk.endpoint, webhook, tellings)
            self._judge(desk, told, begun)
            await self._record(desk.endpoint, tellings, told)
        except CancelledError:
            # Broken off at the end of the process: told again by whoever comes next.
            return
        finally:
            desk.running -= 1
            desk.being_told -= len(tellings)
            self._shares.give_back(desk.endpoint)
            self._end_turn(desk)

    def _judge(self, desk: Desk, told: Told, begun: float) -> None:
        if told.is_success:
            desk.pace.succeed()
        else:
            desk.pace.fail(begun, self._reactor.seconds())
        if told.status == GONE:
            desk.closed = DISABLED

    def _end_turn(self, desk: Desk) -> None:
        """
        Whose turn is it now that a request is over?
        """
        self._resume(desk)
        for starved in list(self._starved):
            del self._starved[starved]
            one = self._find_desk(starved)
            before = one.running
            self._begin(one)
            # Else it had nothing to begin with, and it is the next one's turn.
            if one.running > before or starved in self._starved:
                break

    def _resume(self, desk: Desk) -> None:
        pause = desk.pace.resting_until - self._reactor.seconds()
        if pause > 0:
            # Another failure may have made it longer, or the timer be a hair early: nobody else would look again.
            if not self._stopped and (desk.resting is None or not desk.resting.active()):
                desk.resting = self._reactor.callLater(pause, self._resume, desk)
            return
        self._begin(desk)
        if desk.more:
            self._flagged[desk.endpoint] = None
            self._wake(SOON / 5)

    async def _send(self, endpoint: Endpoint, webhook: Webhook, tellings: Sequence[Telling]) -> Told:
        request = compose(webhook, tellings, self._settings.config.webhooks.header_prefix, self._wall())
        sending: Deferred[Told] = Deferred.fromCoroutine(
            self._post.send(webhook.url, request.headers, request.body, endpoint)
        )
        self._sending.add(sending)
        try:
            return await sending
        finally:
            self._sending.discard(sending)

    async def _record(self, endpoint: Endpoint, tellings: Sequence[Telling], told: Told) -> None:
        """
        Write it. What can never be written does not keep the endpoint from the rest: then only what becomes of the
        events is written, and if not even that can be, they stay this worker's, for the next to tell.
        """
        config = self._settings.config
        retry = config.webhooks.retry
        is_over = told.is_success or told.status == GONE or bool(why_over(config, endpoint))
        parted = self._hooks is None or self._hooks.have_parted()
        due = {
            one.sequence: None if is_over else next_try(one, told.ended_at, retry, parted=parted) for one in tellings
        }
        stale = 0.0 if told.is_success or parted else told.ended_at - lifetime(retry)
        log_told(endpoint, tellings, told, due)
        if told.status == GONE:
            await self._disable(endpoint)
        about = {"project": endpoint[0], "endpoint": endpoint[1], "event": tellings[0].id, "events": len(tellings)}
        try:
            await self._write(lambda hooks: hooks.record(endpoint, told, due, stale), endpoint)
        except StoreFault as error:
            log.warn("how a webhook went cannot be recorded", reason=str(error), **about)
        else:
            return
        try:
            await self._write(lambda hooks: hooks.record(endpoint, told, due, wordless=True), endpoint)
        except StoreFault as error:
            log.error("webhooks are left until the relay starts again", reason=str(error), **about)

    async def _disable(self, endpoint: Endpoint) -> None:
        try:
            is_news = await self._write(lambda hooks: hooks.disable(endpoint, "it answered 410 (Gone)"), endpoint)
        except StoreFault as error:
            log.warn("an endpoint cannot be disabled", project=endpoint[0], endpoint=endpoint[1], reason=str(error))
        else:
            if is_news:
                log.warn("webhook endpoint disabled", project=endpoint[0], endpoint=endpoint[1], status=GONE)

    async def _write(self, work: Callable[[IHooks], Deferred[T]], endpoint: Endpoint) -> T | None:
        """
        Have the store write it, however long that takes: until then the endpoint has so much less at a time. None: the
        relay ends.

        @raise StoreFault: no store will ever write it
        """
        wait = 1.0
        while self._hooks is not None:
            try:
                return await work(self._hooks)
            except StoreFault:
                raise
            except StoreError as error:
                if self._stopped:
                    return None
                log.warn("how a webhook went could not be recorded", project=endpoint[0], reason=str(error))
            await self._sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)
        return None

    def _sleep(self, seconds: float) -> Deferred[None]:
        return deferLater(self._reactor, seconds)
