"""
Counting what the log tells: one line is one fact, so nobody has to be asked, and no room knows that it is counted.

In come events of twisted.logger; what is not counted here costs a look into a dictionary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Lock

from attrs import define, field
from twisted.logger import ILogObserver, LogEvent, LogLevel
from zope.interface import implementer

from lmrelay.web.endpoints import Endpoints
from lmrelay.web.tallies import Spread, Tally

WAITS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 43200.0, 172800.0)
"""
Seconds from acceptance to delivery: most mail takes less than a few, and some waits for days.
"""

TAKES = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0)
WRITES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0)
SYNCS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)

_WHOSE = ("project", "route")
_LOUD: Mapping[object, str] = {LogLevel.warn: "warn", LogLevel.error: "error", LogLevel.critical: "critical"}

Count = Callable[[LogEvent], None]


@implementer(ILogObserver)
@define(eq=False)
class Facts:
    """
    The counts. C{reload_succeeded} is None until the first reload.
    """

    tallies: list[Tally] = field(factory=list, init=False)
    endpoints: Endpoints = field(factory=Endpoints, init=False)
    spreads: list[Spread] = field(factory=list, init=False)
    reload_succeeded: bool | None = field(default=None, init=False)
    _counts: dict[object, Count] = field(init=False)
    _batch: Spread = field(init=False)
    _sync: Spread = field(init=False)
    _loud: Tally = field(init=False)
    _lock: Lock = field(factory=Lock, init=False)

    def __attrs_post_init__(self) -> None:
        self._batch = self._spread("lmrelay_commit_writes", "Writes in one commit of the store.", WRITES)
        self._sync = self._spread("lmrelay_commit_duration_seconds", "How long a commit of the store took.", SYNCS)
        self._loud = self._tally("lmrelay_log_lines", "Lines of the log that are warnings or worse.", "level")
        self._counts = {
            **self._count_inbound(),
            **self._count_outbound(),
            **self._count_webhooks(),
            **self._count_operation(),
        }

    def __call__(self, event: LogEvent) -> None:
        """
        Count it, if it counts.
        """
        count = self._counts.get(event.get("log_format"))
        if count is not None:
            count(event)
        level = event.get("log_level")
        if level in _LOUD:
            # These come from other threads too.
            with self._lock:
                self._loud.add((_LOUD[level],))

    def note_commit(self, writes: int, seconds: float) -> None:
        """
        So many writes were one commit, which took so long.
        """
        self._batch.add((), writes)
        self._sync.add((), seconds)

    def total(self, name: str, **labels: str) -> float:
        """
        What a tally has counted, of those whose labels have these values.
        """
        tally = next(one for one in self.tallies if one.name == name)
        wanted = [(tally.labels.index(label), value) for label, value in labels.items()]
        return sum(count for key, count in tally.copy().items() if all(key[place] == value for place, value in wanted))

    def _tally(self, name: str, meaning: str, *labels: str) -> Tally:
        made = Tally(name, meaning, labels)
        self.tallies.append(made)
        return made

    def _spread(self, name: str, meaning: str, bounds: tuple[float, ...], *labels: str) -> Spread:
        made = Spread(name, meaning, bounds, labels)
        self.spreads.append(made)
        return made

    def _count_inbound(self) -> dict[object, Count]:
        messages = self._tally("lmrelay_messages_accepted", "Messages accepted.", *_WHOSE)
        recipients = self._tally("lmrelay_recipients_accepted", "Recipients of accepted messages.", *_WHOSE)
        octets = self._tally("lmrelay_accepted_bytes", "Octets of accepted messages.", *_WHOSE)
        duplicates = self._tally("lmrelay_messages_duplicate", "Messages that were accepted before.", "project")
        refusals = self._tally(
            "lmrelay_refusals",
            "What clients were refused, by where in the session and by the code of the reply.",
            *("project", "stage", "code"),
        )
        logins = self._tally("lmrelay_logins", "Logins.", "project")
        timeouts = self._tally("lmrelay_session_timeouts", "Sessions ended because the client was too slow.")
        returned = self._tally("lmrelay_returned", "Reports that came back by mail.", "project", "report")

        def accept(event: LogEvent) -> None:
            whose = event["project"], event["route"]
            messages.add(whose)
            recipients.add(whose, event["recipients"])
            octets.add(whose, event["size"])

        def refuse(stage: str) -> Count:
            return lambda event: refusals.add((event.get("project", ""), stage, event["reply"][:3]))

        return {
            "message accepted": accept,
            "message is a duplicate": lambda event: duplicates.add((event["project"],)),
            "content refused": refuse("content"),
            "command refused": refuse("command"),
            "login refused": refuse("login"),
            "login failed": refuse("login"),
            "what came back is refused": refuse("return"),
            "connection refused": lambda _: refusals.add(("", "connection", "421")),
            "login": lambda event: logins.add((event["project"],)),
            "timeout": lambda _: timeouts.add(()),
            "came back": lambda event: returned.add((event["project"], event["report"])),
        }

    def _count_outbound(self) -> dict[object, Count]:
        attempts = self._tally(
            "lmrelay_attempts",
            "Attempts to deliver to a recipient, by how they ended and whose trouble it was.",
            *(*_WHOSE, "outcome", "fault"),
        )
        waits = self._spread(
            "lmrelay_delivery_seconds", "From acceptance to delivery, of recipients that were reached.", WAITS, *_WHOSE
        )
        takes = self._spread("lmrelay_attempt_duration_seconds", "How long an attempt took.", TAKES, "outcome")
        slower = self._tally("lmrelay_site_slowdowns", "How often receivers asked for less at a time.")

        def end(event: LogEvent) -> None:
            project, route, outcome = event["project"], event["route"], event["outcome"]
            attempts.add((project, route, outcome, event["fault"]))
            takes.add((outcome,), event["seconds"])
            if outcome == "delivered":
                waits.add((project, route), event["age"])

        return {"attempt ended": end, "site asks for less at a time": lambda _: slower.add(())}

    def _count_webhooks(self) -> dict[object, Count]:
        told = self._tally(
            "lmrelay_webhook_attempts", "Requests to webhook endpoints, by how they ended.", "project", "outcome"
        )

        events = self._tally(
            "lmrelay_webhook_events", "Events that endpoints were told, or are told no more.", "project", "outcome"
        )

        def deliver(event: LogEvent) -> None:
            told.add((event["project"], "delivered"))
            events.add((event["project"], "delivered"), event.get("events", 1))
            self.endpoints.note(event, "delivered")

        def fail(event: LogEvent) -> None:
            told.add((event["project"], "failed"))
            self.endpoints.note(event, "failed")
            if event.get("given_up"):
                events.add((event["project"], "given_up"), event["given_up"])

        def give_up(event: LogEvent) -> None:
            events.add((event["project"], "given_up"), event["events"])

        return {"webhook delivered": deliver, "webhook failed": fail, "webhooks given up": give_up}

    def _count_operation(self) -> dict[object, Count]:
        def reload(succeeded: bool) -> Count:
            def note(_: LogEvent) -> None:
                self.reload_succeeded = succeeded

            return note

        return {
            "reloaded": reload(True),
            "reload refused, the old configuration stays": reload(False),
            "reload failed, the old configuration stays": reload(False),
        }
