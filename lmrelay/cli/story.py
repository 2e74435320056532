"""
The story of a message as lines for people: in comes the JSON document of C{explain}, out go lines.

Pure: the time now is an argument. Times in the document are ISO texts in UTC.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from lmrelay.cli.output import human_duration, human_size

Story = Mapping[str, Any]

FINAL = {"delivered", "failed", "deleted", "suppressed"}


def tell(story: Story, now: float) -> Iterator[str]:
    """
    The whole story, the message first, then each recipient in the order of RCPT.
    """
    yield from particulars(story, now)
    for recipient in story["recipients"]:
        yield ""
        yield from _tell_recipient(story, recipient, now)


def particulars(story: Story, now: float) -> Iterator[str]:
    """
    What is known of the message itself.
    """
    yield f"Message {story['message']}" + (f'  "{story["subject"]}"' if story.get("subject") else "")
    for title, text in _particulars(story, now):
        if text:
            yield f"  {title:10} {text}"


def _particulars(story: Story, now: float) -> Iterator[tuple[str, str]]:
    yield "accepted", _when(story["received"], now)
    if story.get("notification"):
        yield "by", "lmrelay itself: a delivery status notification"
    yield "project", f"{story['project']}, route {story['route']} ({story['kind']})"
    yield "sandbox", "nothing of this message leaves" if story.get("sandbox") else ""
    yield "token", story.get("token") or ""
    yield "client", _client(story.get("client") or {})
    yield "from", _sender(story)
    yield "to", story.get("to") or ""
    yield "size", human_size(story["size"])
    yield "message-id", story.get("message_id") or ""
    yield "tags", ", ".join(story.get("tags") or ())
    yield "metadata", ", ".join(f"{key}={value}" for key, value in (story.get("metadata") or {}).items())


def _sender(story: Story) -> str:
    envelope = f"<{story.get('reverse_path') or ''}>"
    header = story.get("sender") or ""
    return f"{envelope} (From: {header})" if header and f"<{header}>" != envelope else envelope


def _client(client: Mapping[str, str]) -> str:
    return ", ".join(f"{key} {value}" for key, value in client.items() if value)


def _tell_recipient(story: Story, recipient: Story, now: float) -> Iterator[str]:
    attempts = recipient["attempts"]
    count = f"{len(attempts)} attempt" + ("" if len(attempts) == 1 else "s")
    by_whom = " by the operator" if recipient["state"] == "deleted" else ""
    since = f" at {recipient['ended']}" if recipient.get("ended") else ""
    yield f"Recipient {recipient['address']}: {recipient['state']}{by_whom}{since}, {count}"
    for number, attempt in enumerate(attempts, 1):
        yield f"  {attempt['started']}  attempt {number}: {_attempt(attempt)}"
        yield f"  {'':{len(attempt['started'])}}    {_outcome(attempt)}"
    if recipient["state"] == "suppressed":
        yield f"  not sent, {recipient['last']}; see: lmrelay suppressions list --address {recipient['address']}"
    for returned in recipient.get("returned") or ():
        yield f"  {returned['received']}  came back: {_returned(returned)}"
    waiting = why_it_waits(recipient, now, story["message"])
    if waiting:
        yield f"  now: {waiting}"


def _attempt(attempt: Story) -> str:
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
    extra = attempt.get("text") or ""
    reason = f" ({extra})" if attempt.get("reply") and extra and extra not in words else ""
    return f"{attempt['outcome']}: {words}{reason}"


def _returned(returned: Story) -> str:
    words = f"{returned['status']} {returned['text']}".strip()
    by = f" (by {returned['by']})" if returned["by"] else ""
    # What says nothing of the delivery is shown all the same: an operator may know better.
    kind = "nothing to go by" if returned["kind"] == "none" else f"a {returned['kind']}"
    return f"{kind}: {words}{by}"


def why_it_waits(recipient: Story, now: float, message: str) -> str:
    """
    What a recipient waits for and when it goes on; empty if it waits for nothing.
    """
    state = recipient["state"]
    if state in FINAL:
        return ""
    if state == "held":
        return f"held by the operator; goes on with: lmrelay queue release {message}"
    if recipient.get("in_flight"):
        return "a worker has it: the attempt is under way, or waits for its turn at the receiver"
    if suspended := recipient.get("suspended"):
        return _why_suspended(suspended, recipient["address"].rpartition("@")[2])
    due = recipient.get("next_attempt")
    if due is None:
        return "waits for a worker to take it"
    left = _seconds(due) - now
    if left <= 0:
        return f"due since {due} ({human_duration(-left)} ago); goes on as soon as a daemon runs and has room"
    last = recipient["attempts"][-1] if recipient["attempts"] else None
    why = f", because the last attempt was {_outcome(last)}" if last else ""
    return f"goes on at {due} (in {human_duration(left)}){why}"


def _why_suspended(suspended: Story, domain: str) -> str:
    why = f": {suspended['reason']}" if suspended["reason"] else ""
    since = f"its site, {suspended['site']}, is suspended since {suspended['since']}"
    return f"{since}{why}; goes on with: lmrelay sites resume {domain}"


def _when(iso: str, now: float) -> str:
    return f"{iso} ({human_duration(max(now - _seconds(iso), 0))} ago)"


def _seconds(iso: str) -> float:
    return datetime.fromisoformat(iso).timestamp()
