"""
The logger for what is told of every message.
"""

from __future__ import annotations

from twisted.logger import LogEvent, Logger, LogPublisher

from lmrelay.busy import BusyLogger


def test_tells_as_twisted_does() -> None:
    """
    Whoever listens cannot tell it from Twisted's: the same keys in every event, and but for logger and time the same
    values; its namespace is that of the module that made it.
    """
    events: list[LogEvent] = []
    told = LogPublisher(events.append)
    for log in (BusyLogger(observer=told), Logger(observer=told)):
        log.info("message accepted", message="m", size=7, tags=("a",))
        log.info("nothing more")
        log.warn("a warning", reason="r")
    half = len(events) // 2
    assert 3 == half
    for mine, theirs in zip(events[:half], events[half:], strict=True):
        assert set(theirs) == set(mine)
        assert __name__ == mine["log_namespace"]
        assert theirs["log_time"] >= mine["log_time"] > 0
        for own in ("log_logger", "log_time"):
            del mine[own], theirs[own]
        assert theirs == mine
