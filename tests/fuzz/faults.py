"""
What the relay notes as a fault of its own: none of it may come of what strangers send.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from twisted.logger import LogLevel, globalLogPublisher


@contextmanager
def no_faults() -> Iterator[None]:
    """
    Within, nothing is logged with a traceback.

    @raise AssertionError: something was
    """
    noted: list[Any] = []

    def note(event: Any) -> None:
        if event.get("log_level") is LogLevel.critical or "log_failure" in event:
            noted.append(event)

    globalLogPublisher.addObserver(note)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(note)
    for event in noted:
        failure = event.get("log_failure")
        raise AssertionError(f"the relay notes a fault: {event.get('log_format')}") from getattr(failure, "value", None)
