"""
The story of a message as lines for people: in comes the JSON document of C{explain}, out go lines.

Pure: the time now is an argument. Times in the document are ISO texts in UTC.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lmrelay.cli import waiting
from lmrelay.cli.output import human_duration, human_size
from lmrelay.cli.steps import tell_steps
from lmrelay.cli.waiting import FINAL, seconds_of, when

__all__ = ["FINAL", "particulars", "tell", "tell_way", "why_it_waits"]

Story = Mapping[str, Any]

INDENT = 26
"""
Of the steps of an attempt: under its time.
"""

SHOWN = 120
"""
Characters of an endpoint's answer.
"""


def tell(story: Story, now: float) -> Iterator[str]:
    """
    The whole story, the message first, then each recipient in the order of RCPT, then who was told of it.
    """
    yield from particulars(story, now)
    for recipient in story["recipients"]:
        yield ""
        yield from _tell_recipient(story, recipient, now)
    yield from _tell_endpoints(story, now)


def particulars(story: Story, now: float) -> Iterator[str]:
    """
    What is known of the message itself.
    """
    yield f"Message {story['message']}" + (f'  "{story["subject"]}"' if story.get("subject") else "")
    for title, text in _particulars(story, now):
        if text:
            yield f"  {title:10} {text}"


def _particulars(story: Story, now: float) -> Iterator[tuple[str, str]]:
    yield "accepted", when(story["received"], now)
    if story.get("notification"):
        yield "by", "lmrelay itself: a delivery status notification"
    yield "project", f"{story['project']}, route {story['route']} ({story['kind']})"
    yield "token", _token(story)
    yield "client", _client(story.get("client") or {})
    yield "software", story.get("software") or ""
    yield "from", _sender(story)
    yield "to", story.get("to") or ""
    yield "size", human_size(story["size"])
    yield "message-id", story.get("message_id") or ""
    yield "tags", ", ".join(story.get("tags") or ())
    yield "metadata", ", ".join(f"{key}={value}" for key, value in (story.get("metadata") or {}).items())
    yield "note", ", ".join(_notes(story))


def _notes(story: Story) -> Iterator[str]:
    if story.get("sandbox"):
        yield "sandbox: nothing of it leaves"
    if story.get("redact"):
        yield "its route keeps subject and addresses out of logs and events"
    if story.get("require_tls"):
        yield "its sender requires TLS (REQUIRETLS)"


def _token(story: Story) -> str:
    name, id_ = story.get("token_name"), story.get("token") or ""
    return f'"{name}" ({id_})' if name else id_


def _sender(story: Story) -> str:
    envelope = f"<{story.get('reverse_path') or ''}>"
    header = story.get("sender") or ""
    return f"{envelope} (From: {header})" if header and f"<{header}>" != envelope else envelope


def _client(client: Mapping[str, str]) -> str:
    return ", ".join(f"{'EHLO' if key == 'helo' else key} {value}" for key, value in client.items() if value)


def _tell_recipient(story: Story, recipient: Story, now: float) -> Iterator[str]:
    attempts = recipient["attempts"]
    count = f"{len(attempts)} attempt" + ("" if len(attempts) == 1 else "s")
    by_whom = " by the operator" if recipient["state"] == "deleted" else ""
    since = f" at {recipient['ended']}" if recipient.get("ended") else ""
    yield f"Recipient {recipient['address']}: {recipient['state']}{by_whom}{since}, {count}"
    for number, attempt in enumerate(attempts, 1):
        yield f"  {attempt['started']}  attempt {number}: {tell_way(attempt)}"
        yield f"  {'':{len(attempt['started'])}}    {_outcome(attempt)}"
        for line in tell_steps(attempt.get("steps") or ()):
            yield f"{'':{INDENT}}{line}"
    if ended := waiting.how_it_ended(recipient, story["received"]):
        yield f"  {ended}"
    for returned in recipient.get("returned") or ():
        yield f"  {returned['received']}  came back: {_returned(returned)}"
    workers = story.get("workers", 1)
    if why := why_it_waits(recipient, now, story["message"], workers):
        yield f"  now: {why}"
        yield from (f"       {line}" for line in waiting.what_else_counts(recipient, now, workers))


def tell_way(attempt: Story) -> str:
    """
    Where an attempt went, how it was protected, and how long it took.
    """
    parts = [_where(attempt), _protection(attempt), f"took {human_duration(attempt['seconds'])}"]
    return ", ".join(part for part in parts if part)


def _where(attempt: Story) -> str:
    if attempt.get("played"):
        return "played here, nothing was sent"
    if not attempt.get("host"):
        return "no host reached"
    where = f"{attempt['host']} [{attempt['address']}]" if attempt.get("address") else str(attempt["host"])
    return f"{where} from {attempt['source']}" if attempt.get("source") else where


def _protection(attempt: Story) -> str:
    tls = attempt.get("tls")
    if tls:
        verified = "certificate verified" if tls["verified"] else f"certificate not verified ({tls['reason']})"
        return f"{tls['version']} {tls['cipher']}, {verified}, policy {tls['policy']}"
    failure = attempt.get("tls_failure")
    if not attempt.get("offered"):
        # Nothing of the message went out, so there is nothing that was or was not protected.
        return f"TLS failed: {failure}" if failure else ""
    return f"in plaintext, because TLS failed: {failure}" if failure else "in plaintext"


def _outcome(attempt: Story) -> str:
    words = attempt.get("reply") or f"{attempt.get('status') or ''} {attempt.get('text') or ''}".strip()
    # The words come first; what is said of them need not have them again.
    extra = (attempt.get("text") or "").removeprefix(f"the server said {words} ")
    reason = f" ({extra})" if attempt.get("reply") and extra and extra not in words else ""
    return f"{attempt['outcome']}: {words}{reason}"


def _returned(returned: Story) -> str:
    words = f"{returned['status']} {returned['text']}".strip()
    by = f" (by {returned['by']})" if returned["by"] else ""
    # What says nothing of the delivery is shown all the same: an operator may know better.
    kind = "nothing to go by" if returned["kind"] == "none" else f"a {returned['kind']}"
    return f"{kind}: {words}{by}"


def why_it_waits(recipient: Story, now: float, message: str, workers: int = 1) -> str:
    """
    What a recipient waits for and when it goes on; empty if it waits for nothing.
    """
    return waiting.why_it_waits(recipient, now, message, _outcome, workers)


def _tell_endpoints(story: Story, now: float) -> Iterator[str]:
    """
    Which endpoints were told of its events, and how that went.
    """
    addresses = {one.get("number"): one["address"] for one in story["recipients"]}
    told = [(event, delivery) for event in story.get("events") or () for delivery in event["deliveries"]]
    if told:
        yield ""
        yield "Webhooks"
    for event, delivery in told:
        whom = f", {addresses[event['recipient']]}" if event["recipient"] in addresses else ""
        yield f"  {event['at']}  {event['event']} (event {event['sequence']}{whom}) to {delivery['endpoint']}: " + (
            _delivery(delivery, now, story.get("workers", 1))
        )
        for one in delivery["tries"]:
            yield f"  {'':{len(event['at'])}}    {one['started']}  attempt {one['number']}: {_try(one)}"


def _delivery(delivery: Story, now: float, workers: int) -> str:
    count = f"{delivery['attempts']} attempt" + ("" if delivery["attempts"] == 1 else "s")
    off = delivery.get("disabled")
    stopped = ""
    if off and delivery["state"] == "waiting":
        why = f": {off['reason']}" if off["reason"] else ""
        stopped = f"; the endpoint is told nothing since {off['since']}{why}"
    if delivery["state"] != "waiting":
        word = "given up" if delivery["state"] == "dead" else delivery["state"]
        at = f" at {delivery['ended']}" if delivery.get("ended") else ""
        said = f": {delivery['last']}" if delivery["state"] == "dead" and delivery["last"] else ""
        return f"{word}{at}, {count}{said}"
    due = delivery.get("next_attempt")
    if delivery.get("in_flight"):
        return f"being told now, {count}"
    if due is None:
        return f"waits, {count}{stopped}"
    left = seconds_of(due) - now
    on = f"goes on at {due} (in {human_duration(left)})" if left > 0 else f"due since {when(due, now)}"
    why = ""
    if not workers and left <= 0:
        why = "; no daemon is running"
    elif delivery.get("trouble"):
        why = f"; behind what the endpoint does not take: {_cut(delivery['trouble'])}"
    elif delivery["tries"] and left <= 0:
        # While it fails an endpoint is asked for one thing at a time, so what is due may have others before it.
        why = "; waits for its turn, for the endpoint takes nothing now"
    return f"{on}, {count}{stopped or why}"


def _try(one: Story) -> str:
    status = str(one["status"]) if one["status"] is not None else one["text"] or "no answer"
    body = " ".join((one.get("body") or "").split())
    shown = f": {_cut(body)}" if body and one["status"] not in range(200, 300) else ""
    return f"{status}{shown}, took {human_duration(one['seconds'])}"


def _cut(text: str) -> str:
    return text[:SHOWN] + ("…" if len(text) > SHOWN else "")
