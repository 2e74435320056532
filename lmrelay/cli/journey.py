"""
Each message's way as it happens, for people: the relay's facts and the stand-in's arrivals as aligned lines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from attrs import define
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from zope.interface import implementer

from lmrelay.cli.output import cell, human_size, printable
from lmrelay.cli.stand_in import Arrival

SHORT_ID = 8
"""
Of an id its end is shown, once it was told whole: the beginning is the time, the same for all of one minute.
"""


TOLD = frozenset({"login failed", "login refused", "command refused", "reloaded"})
"""
Facts that are about no message, and yet what somebody who tries is waiting for.
"""


@implementer(ILogObserver)
@define(eq=False)
class Journey:
    """
    An observer that tells the facts about messages and webhooks, what clients were refused, and what went wrong.

    C{say} prints a line; C{zone} None: the machine's time zone.
    """

    say: Callable[[str], None]

    def __call__(self, event: LogEvent) -> None:
        """
        Tell it, if it is about a message or a webhook, a warning, or one of L{TOLD}.
        """
        level = event.get("log_level") or LogLevel.info
        if level < LogLevel.info or not (event.get("log_namespace") or "").startswith("lmrelay"):
            if level >= LogLevel.warn:
                self._tell(event["log_time"], "", level.name, formatEvent(event))
            return
        fields = {key: value for key, value in event.items() if not key.startswith("log_")}
        message = str(fields.pop("message", "") or "")
        fact = event.get("log_format") or ""
        if not message and level < LogLevel.warn and fact not in TOLD and not fact.startswith("webhook"):
            return
        failure = event.get("log_failure")
        if failure is not None:
            fields["error"] = f"{failure.type.__name__}: {failure.value}"
        text = _join(fields)
        if fact == "message accepted":
            text = f"id={message}  {text}"
        elif fact == "attempt ended":
            fact, text = str(fields.get("outcome")), _attempt(fields)
        self._tell(event["log_time"], message, fact, text)

    def arrived(self, when: float, arrival: Arrival) -> None:
        """
        Tell what came to the stand-in.
        """
        recipients = ", ".join(arrival.recipients)
        how = f"over {arrival.tls}" if arrival.tls else "in plaintext"
        text = f'to {recipients} {how}, {human_size(arrival.size)}, "{arrival.subject}"'
        self._tell(when, "", "arrived", text)

    def _tell(self, when: float, message: str, fact: str, text: str) -> None:
        clock = datetime.fromtimestamp(when).astimezone()
        short = message[-SHORT_ID:]
        self.say(printable(f"{clock:%H:%M:%S}.{clock.microsecond // 1000:03d}  {short:{SHORT_ID}}  {fact:18} {text}"))


def _attempt(fields: Mapping[str, object]) -> str:
    """
    An attempt in the order in which people ask: whom, where, how, and what was said.
    """
    where = f"at {fields.get('host')} [{fields.get('address')}]" if fields.get("host") else "(no host reached)"
    how = f"over {fields['tls']}" if fields.get("tls") else "in plaintext" if fields.get("offered") else ""
    words = fields.get("reply") or f"{fields.get('status', '')} {fields.get('reason', '')}".strip()
    way = " ".join(part for part in (str(fields.get("recipient")), where, how) if part)
    return f"{way}: {words}"


def _join(fields: Mapping[str, object]) -> str:
    told = ((key, cell(value)) for key, value in fields.items() if value not in (None, "", (), []))
    return "  ".join(f"{key}={value}" for key, value in told)
