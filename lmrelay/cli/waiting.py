"""
What a recipient waits for, why, and when it goes on, or how it ended, in words: of one in the document of C{explain}.

Pure: the time now is an argument. Times in the document are ISO texts in UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from shlex import quote
from typing import Any

from lmrelay.cli.output import human_duration

Story = Mapping[str, Any]

FINAL = {"delivered", "failed", "deleted", "suppressed"}


def why_it_waits(recipient: Story, now: float, message: str, outcome: Callable[[Story], str], workers: int = 1) -> str:
    """
    What a recipient waits for and when it goes on; empty if it waits for nothing.

    @param outcome: an attempt's, in words
    @param workers: how many live
    """
    state = recipient["state"]
    if state in FINAL:
        return ""
    if state == "held":
        since = f" since {when(recipient['held'], now)}" if recipient.get("held") else ""
        return f"held by the operator{since}; goes on with: lmrelay queue release {message}"
    if recipient.get("in_flight"):
        return "a worker has it: the attempt is under way, or waits for its turn at the receiver"
    if suspended := recipient.get("suspended"):
        return _why_suspended(suspended, recipient["address"].rpartition("@")[2])
    due = recipient.get("next_attempt")
    if due is None:
        return "waits for a worker to take it"
    left = seconds_of(due) - now
    if left <= 0:
        return _why_due(recipient, due, -left, workers)
    why = f", because the last attempt was {outcome(recipient['attempts'][-1])}" if recipient["attempts"] else ""
    return f"goes on at {due} (in {human_duration(left)}){why or _why_put_off(recipient)}"


def _why_put_off(recipient: Story) -> str:
    """
    What was never tried and has a time all the same was put off: its receiver answered nobody, or asked for less.
    """
    said = (recipient.get("lane") or {}).get("last")
    others = f": to other mail of the project {said}" if said else ""
    return f", put off without an attempt, as its receiver does not answer or asked for less{others}"


def _why_due(recipient: Story, due: str, late: float, workers: int) -> str:
    since = f"due since {due} ({human_duration(late)} ago)"
    if not workers:
        return f"{since}; no daemon is running, it goes on when one does"
    lane = recipient.get("lane") or {}
    if lane.get("ahead") or lane.get("in_flight"):
        domain = recipient["address"].rpartition("@")[2]
        return (
            f"{since}; waits for room: of the project's mail to {domain}, {lane['in_flight']} are with the daemon now "
            f"and {lane['ahead']} are before it"
        )
    return f"{since}; goes on as soon as a daemon runs and has room"


def _why_suspended(suspended: Story, domain: str) -> str:
    why = f": {suspended['reason']}" if suspended["reason"] else ""
    since = f"its site, {suspended['site']}, is suspended since {suspended['since']}"
    return f"{since}{why}; goes on with: lmrelay sites resume {domain}"


def what_else_counts(recipient: Story, now: float, workers: int = 1) -> Iterator[str]:
    """
    What holds for one that waits besides: no daemon, what its receiver asked for, what is configured there, its end.
    """
    state, due = recipient["state"], recipient.get("next_attempt")
    if state in FINAL or state == "held":
        return
    if not workers and due is not None and seconds_of(due) > now:
        yield "no daemon is running"
    site = recipient.get("site") or {}
    if site.get("connections") is not None:
        since = f" since {when(site['lowered_at'], now)}" if site.get("lowered_at") else ""
        few = f"{site['connections']} connection" + ("" if site["connections"] == 1 else "s")
        said = f": {site['lowered_for']}" if site.get("lowered_for") else ""
        yield f"its site, {site['site']}, asked for less at a time, and gets {few}{since}{said}"
    if site.get("rate"):
        yield f"its site, {site['site']}, gets at most {site['rate']:g} messages a second, as configured"
    if recipient.get("expires"):
        left = seconds_of(recipient["expires"]) - now
        when_ = f"in {human_duration(left)}" if left > 0 else "with its next attempt"
        yield f"given up at {recipient['expires']} ({when_}) if nobody takes it until then"


def how_it_ended(recipient: Story, received: str) -> str:
    """
    Why nothing more is done for a recipient, where its attempts do not say so; else empty.

    @param received: when its message was
    """
    attempts = recipient["attempts"]
    if recipient["state"] == "suppressed":
        # An address may have what a shell obeys.
        see = f"lmrelay suppressions list --address {quote(recipient['address'])}"
        return f"not sent, {recipient['last']}; see: {see}"
    if recipient["state"] == "failed" and recipient.get("ended") and attempts and attempts[-1]["outcome"] == "delayed":
        age = human_duration(seconds_of(recipient["ended"]) - seconds_of(received))
        return f"given up {age} after it was accepted, for nobody took it until then ([delivery] expire)"
    return ""


def when(iso: str, now: float) -> str:
    """
    A time, and how long ago that is.
    """
    return f"{iso} ({human_duration(max(now - seconds_of(iso), 0))} ago)"


def seconds_of(iso: str) -> float:
    """
    Since the epoch.
    """
    return datetime.fromisoformat(iso).timestamp()
